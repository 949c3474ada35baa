"""A scene as a stream of tiles, each source row read once. Nothing here grows with the scene's height."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from geoseg.mirroring import copy_tile, shown, span_of
from geoseg.rasters import Pixels, Scene
from geoseg.tiling import TileGrid, Window

Bools = npt.NDArray[np.bool_]

# Places that are looked at for each sample tile wanted, where most of the scene is no data.
_TRIES = 8


@dataclass(frozen=True, slots=True)
class TileBatch:
    """Tiles of one tile row.

    Attributes:
        row: Tile row.
        cols: Tile column of each tile.
        values: (B, C, S, S) uint8 or float32, as stored; 0 where absent. S is the side of a tile and the context that
            the network reads around it.
        present: (B, 1 or C, S, S) bool, False where a sample is no data.
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
        samples: (C, h, w) as stored and (1 or C, h, w) bool whether they are there, of the same pixels; None where
            ``valid`` is, or they are not wanted.
    """

    row: int
    valid: Bools | None
    samples: tuple[npt.NDArray[Any], Bools] | None = None


@dataclass(frozen=True, slots=True)
class Walk:
    """Which tiles of a scene are visited, in row-major order, and what they make final.

    Attributes:
        grid: The scene's tile grid.
        area: The pixels that are wanted.
        final: (first, last + 1) of the rows of the area that a tile row makes final; equal where there are none.
        touches: Whether anything is wanted in a window of the scene; None where all is.
        inside: (h, w) bool, which pixels of a window are wanted; None where all are.
        sampled: Whether the samples of final rows are wanted too.
    """

    grid: TileGrid
    area: Window
    final: Callable[[int], tuple[int, int]]
    touches: Callable[[Window], bool] | None
    inside: Callable[[Window], Bools] | None
    sampled: bool = False

    @property
    def tile_rows(self) -> range:
        """Tile rows that cover the area."""
        return self.grid.rows.covering(self.area.row_off, self.area.row_end)

    @property
    def tile_cols(self) -> range:
        """Tile columns that cover the area."""
        return self.grid.cols.covering(self.area.col_off, self.area.col_end)

    def cols_of(self, row: int) -> Sequence[int]:
        """Columns of the tiles that are visited in a tile row."""
        if self.touches is None:
            return self.tile_cols
        last = self.tile_cols[-1]
        if not self.touches(_joined(_seen(self.grid, row, self.tile_cols[0]), _seen(self.grid, row, last))):
            return ()
        return [col for col in self.tile_cols if self.touches(_seen(self.grid, row, col))]

    def shown_cols(self) -> tuple[int, int]:
        """(first, last + 1) of the scene columns that visited tiles show, or a little more."""
        cols, first, last = self.tile_cols, self.tile_rows[0], self.tile_rows[-1]
        if self.touches is not None:  # of a whole column of tiles at once: an answer a tile would grow with the height
            columns = {col: _joined(_seen(self.grid, first, col), _seen(self.grid, last, col)) for col in cols}
            touched = [col for col, window in columns.items() if self.touches(window)]
            cols = range(touched[0], touched[-1] + 1) if touched else cols[:1]
        spans = [span_of(self.grid.cols.mirrored(col)) for col in cols]
        return min(lo for lo, _ in spans), max(hi for _, hi in spans)


def _seen(grid: TileGrid, row: int, col: int) -> Window:
    """What a tile covers of the scene."""
    window = grid.tile(row, col).window
    top, left = max(0, window.row_off), max(0, window.col_off)
    return Window(top, left, min(window.row_end, grid.height) - top, min(window.col_end, grid.width) - left)


def _joined(first: Window, last: Window) -> Window:
    """The window from the first pixel of one to the last pixel of another."""
    return Window(first.row_off, first.col_off, last.row_end - first.row_off, last.col_end - first.col_off)


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
    strips = _Strips(scene, walk.grid, walk.tile_rows[-1], walk.shown_cols())
    for row in walk.tile_rows:
        cols = walk.cols_of(row)
        if not cols:
            yield RowEnd(row, None)
            continue
        strip = strips.of(row)
        yield from _batches(strip, walk.grid, row, cols, batch)
        yield _row_end(strip, walk, row)


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
    strip = _Strips(scene, walk.grid, row, span_of(walk.grid.cols.mirrored(col))).of(row)
    yield from _batches(strip, walk.grid, row, [col], 1)


class _Strips:
    """The scene rows that tile rows show, each read once.

    Args:
        scene: Read from top to bottom.
        grid: Its tile grid.
        last: The last tile row that may be asked for.
        span: (first, last + 1) of the columns that are read.
    """

    def __init__(self, scene: Scene, grid: TileGrid, last: int, span: tuple[int, int]) -> None:
        self._scene, self._rows, self._span = scene, grid.rows, span
        self._held: _Strip | None = None
        self._bottom = 0
        # The last tile rows may mirror rows above their own start: keep what any later row still needs.
        self._first: dict[int, int] = {}
        lowest = grid.height
        for row in range(last, -1, -1):
            if self._rows.input_start(row) + grid.input_size <= grid.height:
                break
            lowest = self._first[row] = min(lowest, span_of(self._rows.mirrored(row))[0])
        self._lowest = lowest

    def of(self, row: int) -> _Strip:
        """The rows that a tile row shows. Tile rows come from top to bottom; some may be left out."""
        first, need = span_of(self._rows.mirrored(row))
        first = self._first.get(row, min(first, self._lowest))
        held, self._held = self._held, None
        if held is not None and first >= self._bottom:
            held = None
        start = first if held is None else self._bottom
        parts = [] if held is None else [held.below(first)]
        if need > start:
            window = Window(start, self._span[0], need - start, self._span[1] - self._span[0])
            parts.append(_ready(self._scene.read(window), start, self._span[0]))
            self._bottom = need
        self._held = _stacked(parts)
        return self._held


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


def _batches(strip: _Strip, grid: TileGrid, row: int, cols: Sequence[int], batch: int) -> Iterator[TileBatch]:
    """Tiles with any valid pixel, at most ``batch`` at a time."""
    size, down = grid.input_size, shown(grid.rows, row, strip.top)
    across = {col: shown(grid.cols, col, strip.left) for col in cols}
    filled = [col for col in cols if strip.valid[down.span, across[col].span].any()]
    for i in range(0, len(filled), batch):
        group = filled[i : i + batch]
        values = np.empty((len(group), len(strip.values), size, size), strip.values.dtype)
        present = np.empty((len(group), len(strip.present), size, size), np.bool_)
        for k, col in enumerate(group):
            copy_tile(strip.values, down, across[col], values[k])
            copy_tile(strip.present, down, across[col], present[k])
        yield TileBatch(row, tuple(group), values, present)


def _row_end(strip: _Strip, walk: Walk, row: int) -> RowEnd:
    """What a tile row makes final."""
    lo, hi = walk.final(row)
    if hi <= lo:
        return RowEnd(row, None)
    rows = Window(lo, walk.area.col_off, hi - lo, walk.area.width)
    valid: Bools = _placed(strip, strip.valid, rows)
    if walk.inside is not None:
        valid &= walk.inside(rows)
    if not walk.sampled:
        return RowEnd(row, valid)
    return RowEnd(row, valid, (_placed(strip, strip.values, rows), _placed(strip, strip.present, rows)))


def _placed(strip: _Strip, planes: npt.NDArray[Any], window: Window) -> npt.NDArray[Any]:
    """(..., h, w) of a window, from planes of a strip that may not be as wide: tiles may stand beside the area."""
    placed = np.zeros((*planes.shape[:-2], window.height, window.width), planes.dtype)
    left, right = max(window.col_off, strip.left), min(window.col_end, strip.left + planes.shape[-1])
    if left < right:
        placed[..., left - window.col_off : right - window.col_off] = planes[
            ..., window.row_off - strip.top : window.row_end - strip.top, left - strip.left : right - strip.left
        ]
    return placed
