"""A scene as a stream of tiles, each source row read once. Nothing here grows with the scene's height."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from geoseg.rasters import Pixels, Scene
from geoseg.tiling import TileGrid, Window

Bools = npt.NDArray[np.bool_]
Positions = slice | npt.NDArray[np.intp]

# Places that are looked at for each sample tile wanted, where most of the scene is no data.
_TRIES = 8


@dataclass(frozen=True, slots=True)
class TileBatch:
    """Tiles of one tile row.

    Attributes:
        row: Tile row.
        cols: Tile column of each tile.
        values: (B, C, T, T) uint8 or float32, as stored; 0 where absent.
        present: (B, 1 or C, T, T) bool, False where a sample is no data.
    """

    row: int
    cols: tuple[int, ...]
    values: npt.NDArray[Any]
    present: Bools


@dataclass(frozen=True, slots=True)
class RowEnd:
    """All tiles of a tile row have been sent.

    Attributes:
        row: Tile row.
        valid: (h, w) bool over the rows that this makes final and the width of the area; None where no pixel of them is
            valid, or no row is final.
    """

    row: int
    valid: Bools | None


@dataclass(frozen=True, slots=True)
class Walk:
    """Which tiles of a scene are visited, in row-major order, and what they make final.

    Attributes:
        grid: The scene's tile grid.
        area: The pixels that are wanted.
        final: (first, last + 1) of the rows of the area that a tile row makes final; equal where there are none.
        touches: Whether anything is wanted in a window of the scene; None where all is.
        inside: (h, w) bool, which pixels of a window are wanted; None where all are.
    """

    grid: TileGrid
    area: Window
    final: Callable[[int], tuple[int, int]]
    touches: Callable[[Window], bool] | None
    inside: Callable[[Window], Bools] | None

    @property
    def tile_rows(self) -> range:
        """Tile rows that cover the area."""
        return self.grid.rows.covering(self.area.row_off, self.area.row_end)

    @property
    def tile_cols(self) -> range:
        """Tile columns that cover the area."""
        return self.grid.cols.covering(self.area.col_off, self.area.col_end)

    def cols_of(self, row: int) -> list[int]:
        """Columns of the tiles that are visited in a tile row."""
        if self.touches is None:
            return list(self.tile_cols)
        return [col for col in self.tile_cols if self.touches(_seen(self.grid, row, col))]


def _seen(grid: TileGrid, row: int, col: int) -> Window:
    """What a tile sees of the scene."""
    window = grid.tile(row, col).window
    top, left = max(0, window.row_off), max(0, window.col_off)
    return Window(top, left, min(window.row_end, grid.height) - top, min(window.col_end, grid.width) - left)


@dataclass(frozen=True, slots=True)
class _Strip:
    """Scene pixels from position (``top``, ``left``) on, in the network's type.

    Attributes:
        values: (C, h, w) uint8 or float32, 0 where absent.
        present: (1 or C, h, w) bool.
        valid: (h, w) bool.
    """

    top: int
    left: int
    values: npt.NDArray[Any]
    present: Bools
    valid: Bools

    def below(self, row: int) -> _Strip:
        """From scene row ``row`` on."""
        skip = row - self.top
        return _Strip(row, self.left, self.values[:, skip:], self.present[:, skip:], self.valid[skip:])


def network_dtype(scene: Scene) -> str:
    """The type in which samples go to the network: ``uint8`` as they are, all others as ``float32``."""
    return "uint8" if scene.dtype == "uint8" else "float32"


def stream_tiles(scene: Scene, walk: Walk, batch: int) -> Iterator[TileBatch | RowEnd]:
    """Tiles that hold any valid pixel, a tile row at a time, and after each row the validity of its final rows.

    Args:
        scene: Each of its rows is read once.
        walk: Which tiles.
        batch: Tiles in a batch; the last one of a tile row may hold fewer.
    """
    visited = {row: walk.cols_of(row) for row in walk.tile_rows}
    wanted = {row: cols for row, cols in visited.items() if cols}
    if not wanted:
        yield from (RowEnd(row, None) for row in walk.tile_rows)
        return
    sources = {c: walk.grid.cols.mirrored(c) for c in sorted({c for cols in wanted.values() for c in cols})}
    span = min(min(s) for s in sources.values()), max(max(s) for s in sources.values()) + 1
    strips = _strips(scene, walk.grid, list(wanted), span)
    across = {c: _positions(source, span[0]) for c, source in sources.items()}
    for row, cols in visited.items():
        if not cols:
            yield RowEnd(row, None)
            continue
        strip = next(strips)
        down = _positions(walk.grid.rows.mirrored(row), strip.top)
        yield from _batches(strip, row, down, {c: across[c] for c in cols}, walk.grid.tile_size, batch)
        yield RowEnd(row, _final_valid(strip, walk, row))


def sample_tiles(scene: Scene, walk: Walk, count: int) -> list[TileBatch]:
    """Up to ``count`` tiles with valid pixels, one a batch, spread over the area; the same ones at every call."""
    rows, cols = walk.tile_rows, walk.tile_cols
    total, found = len(rows) * len(cols), list[TileBatch]()
    step = _coprime_step(total)
    for i in range(min(total, _TRIES * count)):
        row, col = divmod((total // 2 + i * step) % total, len(cols))
        found.extend(_read_tile(scene, walk, rows[row], cols[col]))
        if len(found) == count:
            break
    return sorted(found, key=lambda tile: (tile.row, tile.cols))


def _coprime_step(total: int) -> int:
    """A stride that visits every one of ``total`` places once, far from the last ones: near the golden section."""
    step = max(1, round(total * 0.618))
    while math.gcd(step, total) != 1:
        step += 1
    return step


def _read_tile(scene: Scene, walk: Walk, row: int, col: int) -> Iterator[TileBatch]:
    """The tile at a place, unless it has nothing that is wanted."""
    if walk.touches is not None and not walk.touches(_seen(walk.grid, row, col)):
        return
    source = walk.grid.cols.mirrored(col)
    strip = next(_strips(scene, walk.grid, [row], _span(source)))
    down = _positions(walk.grid.rows.mirrored(row), strip.top)
    yield from _batches(strip, row, down, {col: _positions(source, strip.left)}, walk.grid.tile_size, 1)


def _strips(scene: Scene, grid: TileGrid, rows: Sequence[int], span: tuple[int, int]) -> Iterator[_Strip]:
    """For each of the tile rows the scene rows it shows, between the columns of ``span``; each row is read once."""
    spans = [_span(grid.rows.mirrored(i)) for i in rows]
    # The last tile rows may mirror rows above their own start: keep what any later row still needs.
    keep = [lo for lo, _ in spans]
    for i in range(len(spans) - 2, -1, -1):
        keep[i] = min(keep[i], keep[i + 1])
    held: _Strip | None = None
    bottom = 0
    for (_, need), first in zip(spans, keep, strict=True):
        if held is not None and first >= bottom:
            held = None
        start = bottom if held is not None else first
        parts = [] if held is None else [held.below(first)]
        if need > start:
            parts.append(_ready(scene.read(Window(start, span[0], need - start, span[1] - span[0])), start, span[0]))
            bottom = need
        held = _stacked(parts)
        yield held


def _ready(pixels: Pixels, top: int, left: int) -> _Strip:
    """Samples as the network takes them. Done once a pixel, and not once a tile."""
    same = pixels.present.strides[0] == 0 or len(pixels.present) == 1
    present = pixels.present[:1] if same else pixels.present
    if pixels.values.dtype == np.uint8:
        values: npt.NDArray[Any] = pixels.values
    else:
        with np.errstate(over="ignore", invalid="ignore"):  # absent samples may hold anything, 1e300 and NaN included
            values = pixels.values.astype(np.float32)
    if not present.all():
        values = np.where(present, values, values.dtype.type(0))
    return _Strip(top, left, values, present, pixels.valid)


def _stacked(parts: Sequence[_Strip]) -> _Strip:
    if len(parts) == 1:
        return parts[0]
    planes = max(len(p.present) for p in parts)
    return _Strip(
        parts[0].top,
        parts[0].left,
        np.concatenate([p.values for p in parts], axis=1),
        np.concatenate([np.broadcast_to(p.present, (planes, *p.valid.shape)) for p in parts], axis=1),
        np.concatenate([p.valid for p in parts], axis=0),
    )


def _batches(
    strip: _Strip, row: int, down: Positions, across: dict[int, Positions], size: int, batch: int
) -> Iterator[TileBatch]:
    """Tiles with any valid pixel, at most ``batch`` at a time."""
    cols = [c for c, positions in across.items() if _cut(strip.valid, down, positions).any()]
    for i in range(0, len(cols), batch):
        group = cols[i : i + batch]
        values = np.empty((len(group), len(strip.values), size, size), strip.values.dtype)
        present = np.empty((len(group), len(strip.present), size, size), np.bool_)
        for k, col in enumerate(group):
            values[k] = _cut(strip.values, down, across[col])
            present[k] = _cut(strip.present, down, across[col])
        yield TileBatch(row, tuple(group), values, present)


def _final_valid(strip: _Strip, walk: Walk, row: int) -> Bools | None:
    """Validity of the rows that a tile row makes final, over the width of the area."""
    lo, hi = walk.final(row)
    if hi <= lo:
        return None
    area = walk.area
    left, right = max(area.col_off, strip.left), min(area.col_end, strip.left + strip.valid.shape[1])
    valid = np.zeros((hi - lo, area.width), np.bool_)
    if left < right:  # tiles may stand beside the area
        valid[:, left - area.col_off : right - area.col_off] = strip.valid[
            lo - strip.top : hi - strip.top, left - strip.left : right - strip.left
        ]
    if walk.inside is not None:
        valid &= walk.inside(Window(lo, area.col_off, hi - lo, area.width))
    return valid


def _span(positions: Sequence[int]) -> tuple[int, int]:
    return min(positions), max(positions) + 1


def _positions(source: Sequence[int], origin: int) -> Positions:
    """Positions relative to ``origin``: a slice where nothing is mirrored, which NumPy need not gather."""
    first, last = source[0], source[-1]
    if last - first == len(source) - 1 and all(b - a == 1 for a, b in pairwise(source)):
        return slice(first - origin, last + 1 - origin)
    return np.asarray(source, np.intp) - origin


def _cut(array: npt.NDArray[Any], down: Positions, across: Positions) -> npt.NDArray[Any]:
    """Rows and columns of (..., h, w). Slices before index arrays: a gather then copies a tile and never a strip."""
    if isinstance(down, slice):
        return np.asarray(array[..., down, :][..., across])
    return np.asarray(array[..., across][..., down, :])
