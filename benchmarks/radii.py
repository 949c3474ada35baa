"""How far each architecture looks, for the catalogue in geoseg/models/table.py.

usage: python benchmarks/radii.py effective [NAME ...]
       python benchmarks/radii.py receptive [NAME ...]

Networks as `create_model` builds them with no option given, for 3 bands and 8 classes, with random weights of seed 0;
what is measured is said in geoseg/models/effective.py and geoseg/models/probing.py. The first takes half a minute for
each of the larger ones on 2 cores; the second, which is for SMP's networks alone, one to five minutes.
"""

from __future__ import annotations

import argparse

import torch

from geoseg.models import architectures, create_model, effective_radius, probed_radius

BANDS, CLASSES = 3, 8


def main() -> None:
    """Print lines of the catalogue."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=("effective", "receptive"))
    parser.add_argument("names", nargs="*", metavar="NAME")
    args = parser.parse_args()
    measure = {"effective": effective_radius, "receptive": probed_radius}[args.which]
    known = [name for name in architectures() if args.which == "effective" or name.startswith("smp.")]
    for name in args.names or known:
        torch.manual_seed(0)
        model = create_model(name, bands=BANDS, classes=CLASSES)
        print(f'    "{name}": {measure(model, BANDS)},', flush=True)


if __name__ == "__main__":
    main()
