"""How far each architecture looks in effect, for the catalogue in geoseg/models/table.py.

usage: python benchmarks/effective_radius.py [NAME ...]

Networks as `create_model` builds them with no option given, for 3 bands and 8 classes, with random weights of seed 0;
what is measured is said in geoseg/models/effective.py. Takes half a minute for each of the larger ones on 2 cores.
"""

from __future__ import annotations

import sys

import torch

from geoseg.models import architectures, create_model, effective_radius

BANDS, CLASSES = 3, 8


def main() -> None:
    """Print lines of the catalogue."""
    for name in sys.argv[1:] or architectures():
        torch.manual_seed(0)
        model = create_model(name, bands=BANDS, classes=CLASSES)
        print(f'    "{name}": {effective_radius(model, BANDS)},', flush=True)


if __name__ == "__main__":
    main()
