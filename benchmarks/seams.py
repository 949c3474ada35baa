"""Can the tiles be seen? The rate of label changes across tile borders against the rate elsewhere.

usage: python benchmarks/seams.py [--quick] [--model NAME]

Real scenes, the built-in model, default settings. A pair of neighbouring pixels, both with data, counts as a change
where their labels differ. The score of a set of borders is the share of changes among the pairs across them, over the
share among all other pairs: 1 where the tiling cannot be seen. As that also depends on what happens to lie there, the
borders are compared with the pairs beside them as well, 6 to 24 px away. The same for lattices of the same stride that
lie elsewhere, where nothing can be seen: their mean and standard deviation tell what a score of 1.02 is worth.
"""

from __future__ import annotations

import argparse
import statistics
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from common import DATA, RunError, parse, run_predict, say, table

LIMIT = 1.02

# The other lattices: moved by so many pixels, and used where they stay this far from the true borders.
_STEP, _AWAY = 4, 12

# What is beside a border: from .. to pixels away, on either side.
_NEAR, _FAR = 6, 24

# Folders of DATA, and what of their files is RGB imagery. No training images of the built-in model.
_SCENES = (
    "amazon_forest/validation/images/*.tiff",
    "loveda/T*/*/images_png/*.png",
    "massachusetts_buildings/*.tif",
    "kampala_buildings/*.tif",
    "scenes/rasterio_RGB.byte_*.tif",
    "scenes/riotiler_pix4d_*.tif",
)

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Line:
    """One axis of one map.

    Attributes:
        changes: (n,) label changes between position p − 1 and p, for p = 0 .. n − 1; 0 for p = 0.
        pairs: (n,) pairs that are both data.
        cores: Positions where cores begin, but for the first.
        tiles: Positions inside the axis where tiles begin or end.
        stride: Distance between cores.
    """

    changes: Counts
    pairs: Counts
    cores: tuple[int, ...]
    tiles: tuple[int, ...]
    stride: int

    def shifted(self, by: int) -> tuple[int, ...]:
        """The lattice of the cores, moved; positions too near to true borders are left out."""
        true = (*self.cores, *self.tiles)
        moved = range(by, len(self.pairs), self.stride)
        return tuple(p for p in moved if p and min((abs(p - t) for t in true), default=_AWAY) >= _AWAY)


def lines(labels: npt.NDArray[np.uint8], tile: int, overlap: int) -> tuple[Line, Line]:
    """The changes of a map from row to row, and from column to column."""
    return _line(labels, tile, overlap), _line(labels.T, tile, overlap)


def _line(labels: npt.NDArray[np.uint8], tile: int, overlap: int) -> Line:
    from geoseg.tiling import Axis

    axis = Axis(len(labels), tile, overlap)
    both = (labels[1:] != 0) & (labels[:-1] != 0)
    changes = ((labels[1:] != labels[:-1]) & both).sum(axis=1)
    starts = [axis.start(k) for k in range(len(axis))]
    ends = {p for start in starts for p in (start, start + tile) if 0 < p < axis.size}
    cores = tuple(axis.core(k)[0] for k in range(1, len(axis)))
    return Line(np.insert(changes, 0, 0), np.insert(both.sum(axis=1), 0, 0), cores, tuple(sorted(ends)), axis.stride)


def score(all_lines: Sequence[Line], positions: Sequence[Sequence[int]], *, beside: bool = False) -> float | None:
    """Rate of changes at the positions over that elsewhere, or beside them; None where there is nothing to compare.

    True borders never count as elsewhere, nor what is less than ``_NEAR`` pixels from one.
    """
    there, elsewhere = np.zeros(2, np.int64), np.zeros(2, np.int64)
    for line, chosen in zip(all_lines, positions, strict=True):
        n = len(line.pairs)
        at = np.zeros(n, np.bool_)
        at[list(chosen)] = True
        other = _around(chosen, n, _FAR) if beside else np.ones(n, np.bool_)
        other &= ~_around((*chosen, *line.cores, *line.tiles), n, _NEAR)
        there += [line.changes[at].sum(), line.pairs[at].sum()]
        elsewhere += [line.changes[other].sum(), line.pairs[other].sum()]
    if not there[1] or not elsewhere[0]:
        return None
    return float(there[0] / there[1] / (elsewhere[0] / elsewhere[1]))


def _around(positions: Sequence[int], n: int, distance: int) -> npt.NDArray[np.bool_]:
    """(n,) what lies within so many pixels of a position."""
    near = np.zeros(n, np.bool_)
    for position in positions:
        near[max(0, position - distance) : position + distance + 1] = True
    return near


def row_of(name: str, all_lines: Sequence[Line], note: str) -> list[object]:
    """A row: the scores of cores and tiles, against all else and against what is beside, and of other lattices."""
    cores, tiles = [line.cores for line in all_lines], [line.tiles for line in all_lines]
    elsewhere = [
        found
        for by in range(_STEP, max(line.stride for line in all_lines), _STEP)
        if (found := score(all_lines, [line.shifted(by) for line in all_lines], beside=True)) is not None
    ]
    spread = f"{statistics.mean(elsewhere):.3f} ± {statistics.stdev(elsewhere):.3f}" if len(elsewhere) > 1 else None
    changes = sum(int(line.changes[list(line.cores)].sum()) for line in all_lines)
    scores = [score(all_lines, where, beside=beside) for beside in (False, True) for where in (cores, tiles)]
    return [name, *(None if s is None else f"{s:.3f}" for s in scores), spread, changes, note]


def scenes(quick: bool) -> Iterator[Path]:
    """Real imagery, smallest kinds first."""
    for pattern in _SCENES:
        found = sorted(DATA.glob(pattern))
        if not found:
            say(f"skipped: there is no {DATA / pattern}")
        yield from found[:1] if quick else found


def predicted(scene: Path, folder: Path, model: str) -> tuple[dict[str, Any], npt.NDArray[np.uint8]]:
    """What predict() says, and the labels."""
    output = folder / "seams.tif"
    found = run_predict(scene=scene, model=model, output=output, bands=(1, 2, 3), overwrite=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(output) as file:
            labels: npt.NDArray[np.uint8] = file.read(1)
    for path in folder.glob("seams*.tif*"):
        path.unlink()
    return found, labels


def main() -> None:
    """Run and print."""
    args = parse(__doc__, _options)
    if not DATA.is_dir():
        print(f"Seams: skipped, there is no imagery in {DATA}")
        return
    say(f"about {2 if args.quick else 5} minutes")
    rows, every = [], []
    for path in scenes(args.quick):
        if args.quick and path.stat().st_size > 20e6:
            say(f"skipped: {path.name} is large")
            continue
        try:
            found, labels = predicted(path, args.folder, args.model)
        except RunError as error:
            rows.append([path.name, *[None] * 6, str(error)])
            continue
        pair = lines(labels, found["tile_size"], found["overlap"])
        rows.append(row_of(path.name, pair, f"{labels.shape[0]}×{labels.shape[1]}"))
        every += pair
        say(f"{path.name}: {rows[-1][1]}, beside {rows[-1][3]}")
    if every:
        rows.append(row_of("all together", every, ""))
    print(f"\n## Seams: label changes across tile borders against elsewhere; limit {LIMIT}")
    head = [
        "scene", "core borders", "tile borders", "core borders, against beside", "tile borders, against beside",
        "lattices elsewhere, against beside", "changes at core borders", "note",
    ]  # fmt: skip
    table(head, rows)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="unet", help="default: %(default)s")


if __name__ == "__main__":
    main()
