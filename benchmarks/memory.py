"""Peak memory of prediction: a scene 16 times as high, and a sparse one of 100,000×100,000 pixels.

usage: python benchmarks/memory.py [--quick] [--part tall|sparse] [--side PIXELS]

The network does next to no work, so that it takes minutes and not hours; all else is as always.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import rasterio
from common import GIB, RunError, Sizes, parse, run_predict, say, table
from rasterio.windows import Window
from scenes import make_base, make_network, make_scene, profile

TALL_LIMIT = 1.05
SPARSE_LIMIT = 2.5e9

# Where the islands of the sparse scene lie, as shares of its sides.
_ISLANDS = ((0.0, 0.0), (0.2, 0.7), (0.5, 0.5), (0.503, 0.49), (0.85, 0.1), (1.0, 1.0))


def tall(folder: Path, sizes: Sizes, model: Path) -> None:
    """A scene, and one of the same width that is 16 times as high."""
    rows: list[list[object]] = []
    first: dict[bool, int | None] = {}
    for height in (sizes.scene, 16 * sizes.scene):
        scene = make_scene(folder, "synthetic", sizes, height, sizes.scene)
        for confidence in (False, True):
            row, peak = _predict(scene, model, folder, sizes, confidence, f"{height}×{sizes.scene}")
            least = first.setdefault(confidence, peak)
            rows.append([*row[:-1], None if peak is None or least is None else f"{peak / least:.3f}", row[-1]])
    print(f"\n## Peak memory against height; limit {TALL_LIMIT} ×")
    table(["scene, height×width", "confidence", "s", "Mpx/s", "peak, GiB", "× the first", "ran"], rows)


def sparse(folder: Path, sizes: Sizes, model: Path, side: int) -> None:
    """A scene that is nearly all absent from its file, with confidence."""
    scene = _make_sparse(folder, sizes, side)
    row, _ = _predict(scene, model, folder, sizes, True, f"{side}×{side}, {len(_ISLANDS)} islands of data")
    print(f"\n## A sparse scene; limit {SPARSE_LIMIT / 1e9} GB = {SPARSE_LIMIT / GIB:.2f} GiB")
    table(["scene", "confidence", "s", "Mpx/s", "peak, GiB", "ran"], [row])


def _predict(
    scene: Path, model: Path, folder: Path, sizes: Sizes, confidence: bool, name: str
) -> tuple[list[object], int | None]:
    """A row, and the peak in bytes."""
    with rasterio.open(scene) as file:
        mpx = file.height * file.width / 1e6
    output = folder / "memory.tif"
    try:
        found = run_predict(
            scene=scene, model=model, output=output, tile_size=sizes.tile, overlap=sizes.overlap,
            confidence=confidence, overwrite=True,
        )  # fmt: skip
    except RunError as error:
        say(f"{name}: {error}")
        return [name, confidence, None, None, None, str(error)], None
    finally:
        for path in folder.glob("memory*.tif*"):
            path.unlink()
    seconds, peak = found["seconds"], found["peak"]
    say(f"{name}, confidence {confidence}: {seconds:.1f} s, {peak / GIB:.3f} GiB")
    return [name, confidence, seconds, mpx / seconds, f"{peak / GIB:.3f}", found["backend"]], peak


def _make_sparse(folder: Path, sizes: Sizes, side: int) -> Path:
    path = folder / f"sparse-{side}.tif"
    if path.exists():
        return path
    island = min(sizes.base, side // 20)
    with np.load(make_base(folder, "synthetic", sizes.base)) as base:
        pixels = base["pixels"][:, :island, :island]
    temporary = path.with_name(f"partial-{path.name}")
    settings = profile(side, side, 3, nodata=0, sparse_ok=True, bigtiff="yes", blockxsize=512, blockysize=512)
    with rasterio.open(temporary, "w", **settings) as file:
        for down, right in _ISLANDS:
            row, col = (int(share * (side - island)) for share in (down, right))
            file.write(pixels, window=Window(col, row, island, island))
    temporary.replace(path)
    return path


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--part", choices=("tall", "sparse"), action="append", help="default is both")
    parser.add_argument("--side", type=int, help="of the sparse scene")


def main() -> None:
    """Run and print."""
    args = parse(__doc__, _options)
    say(f"about {3 if args.quick else 15} minutes, once the network is trained")
    model = make_network(args.folder, "synthetic", args.sizes) / "cheap.safetensors"
    if "tall" in (args.part or ["tall"]):
        tall(args.folder, args.sizes, model)
    if "sparse" in (args.part or ["sparse"]):
        sparse(args.folder, args.sizes, model, args.side or (10_000 if args.quick else 100_000))


if __name__ == "__main__":
    main()
