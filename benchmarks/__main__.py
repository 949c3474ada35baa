"""All benchmarks, one after the other: ``python benchmarks`` on a machine that does nothing else.

usage: python benchmarks [--quick] [--only NAME ...] [--folder DIR]

Markdown on stdout, progress on stderr. Each is also a script of its own with more options; see ``--help`` there.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from common import FOLDER, say

# Minutes in full and quick, once the network is trained (5 minutes) and the peers are installed (5 more).
MINUTES = {
    "pipeline": (6, 2), "seams": (5, 2), "memory": (15, 3), "peers": (45, 19), "cost": (8, 1), "gpu": (3, 1),
    "vectorize": (20, 2), "training": (10, 4), "torchgeo_training": (8, 3),
    "dask_scaling": (12, 1), "models": (110, 20), "segnet_memory": (6, 2), "unpooling": (10, 4),
}  # fmt: skip


def main() -> None:
    """Run them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes: to see that it works, not to measure")
    parser.add_argument("--only", choices=tuple(MINUTES), action="append", help="again for more; default is all")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="kept from run to run (default: %(default)s)")
    args = parser.parse_args()
    names = args.only or list(MINUTES)
    say(f"{', '.join(names)}: about {sum(MINUTES[name][args.quick] for name in names)} minutes")
    failed = []
    for name in names:
        options = ["--folder", str(args.folder), *(["--quick"] if args.quick else [])]
        if name == "cost":  # makes its own scene, in a folder that it removes
            options = ["--size", "1024"] if args.quick else []
        say(f"--- {name}")
        sys.stdout.flush()
        if subprocess.run(
            [sys.executable, str(Path(__file__).parent / f"{name}.py"), *options], check=False
        ).returncode:
            failed.append(name)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
