"""A scene as a stream of tiles, and tiles as a stream of finished rows. Nothing here grows with the scene's height."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from geoseg.blending import StripAccumulator, decide
from geoseg.inference.threads import prefetched
from geoseg.normalization import BandStats
from geoseg.rasters import Pixels, Scene
from geoseg.tiling import Blend, TileGrid, Window

if TYPE_CHECKING:  # torch comes with it, and a scene that cannot be read should be refused before torch is loaded
    from geoseg.predictors import Predictor

# Score planes of one column panel stay below this; wider scenes go panel by panel on the same tile grid.
PANEL_BYTES = 512 * 2**20

_BATCHES_AHEAD = 4


@dataclass(frozen=True, slots=True)
class FinishedRows:
    """Rows that nothing will change any more.

    Attributes:
        window: Where they are in the scene.
        channels: (h, w) uint8, index of the best class in the legend.
        confidence: (h, w) float32, its probability, 0..1.
        valid: (h, w) bool; where False, the two above mean nothing.
    """

    window: Window
    channels: npt.NDArray[np.uint8]
    confidence: npt.NDArray[np.float32]
    valid: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _TileBatch:
    """Normalised tiles of one tile row: their columns, and (B, C, T, T) float32."""

    cols: list[int]
    tiles: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _RowEnd:
    """All tiles of a tile row have been sent; ``valid`` covers the rows that this makes final."""

    valid: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Strip:
    """Scene pixels that one tile row needs: ``pixels`` start at scene position (``top``, ``left``)."""

    top: int
    left: int
    pixels: Pixels


def predict_rows(
    scene: Scene, predictor: Predictor, grid: TileGrid, stats: BandStats, classes: int, blend: Blend, batch: int
) -> Generator[FinishedRows]:
    """Predict a scene and give back its rows as they become final, from top to bottom within each column panel.

    Args:
        scene: Read in a thread of its own; each source row of a panel is read once.
        predictor: Tiles to probabilities.
        grid: The scene's tile grid.
        stats: Scaling to network input.
        classes: Number of classes that the predictor gives.
        blend: How overlapping tiles are weighted.
        batch: Tiles per call of the predictor.
    """
    for columns in grid.panels(max(1, PANEL_BYTES // (4 * classes * grid.tile_size))):
        accumulator = StripAccumulator(grid, classes, blend, columns)
        batches = _tile_batches(scene, grid, stats, accumulator, columns, batch)
        with closing(prefetched(batches, _BATCHES_AHEAD)) as items:
            for item in items:
                if isinstance(item, _TileBatch):
                    for col, scores in zip(item.cols, predictor(item.tiles), strict=True):
                        accumulator.add(col, scores)
                    continue
                finished = accumulator.finished()
                if finished is not None:
                    window, scores = finished
                    yield FinishedRows(window, *decide(scores), item.valid)
                accumulator.advance()


def _tile_batches(
    scene: Scene,
    grid: TileGrid,
    stats: BandStats,
    accumulator: StripAccumulator,
    columns: tuple[int, int],
    batch: int,
) -> Iterator[_TileBatch | _RowEnd]:
    """Tiles that hold any valid pixel, a tile row at a time, and after each row the validity of its final rows."""
    rows, cols = grid.rows, grid.cols
    sources = {c: cols.mirrored(c) for c in accumulator.tile_columns}
    left = min(min(s) for s in sources.values())
    right = max(max(s) for s in sources.values()) + 1
    for row, strip in enumerate(_strips(scene, grid, left, right)):
        down = _positions(rows.mirrored(row), strip.top)
        cols_ready: list[int] = []
        tiles_ready: list[npt.NDArray[np.float32]] = []
        for col, source in sources.items():
            tile = _tile(strip.pixels, down, _positions(source, strip.left), stats)
            if tile is not None:
                cols_ready.append(col)
                tiles_ready.append(tile)
            if len(cols_ready) == batch or (cols_ready and col == accumulator.tile_columns[-1]):
                yield _TileBatch(cols_ready, np.stack(tiles_ready))
                cols_ready, tiles_ready = [], []
        first, last = max(0, rows.start(row)), rows.final_before(row)
        yield _RowEnd(
            strip.pixels.valid[
                first - strip.top : last - strip.top, columns[0] - strip.left : columns[1] - strip.left
            ].copy()
        )


def _strips(scene: Scene, grid: TileGrid, left: int, right: int) -> Iterator[_Strip]:
    """For each tile row the scene rows it shows, between columns ``left`` and ``right``; each row is read once."""
    rows = grid.rows
    spans = [_span(rows.mirrored(i)) for i in range(len(rows))]
    # The last tile rows may mirror rows above their own start: keep what any later row still needs.
    keep = [lo for lo, _ in spans]
    for i in range(len(spans) - 2, -1, -1):
        keep[i] = min(keep[i], keep[i + 1])
    held: Pixels | None = None
    top = bottom = 0
    for (_, need), first in zip(spans, keep, strict=True):
        parts = [] if held is None else [_rows(held, first - top)]
        if need > bottom:
            parts.append(scene.read(Window(bottom, left, need - bottom, right - left)))
        top, bottom = first, max(bottom, need)
        held = _stacked(parts)
        yield _Strip(top, left, held)


def _span(positions: Sequence[int]) -> tuple[int, int]:
    return min(positions), max(positions) + 1


def _rows(pixels: Pixels, first: int) -> Pixels:
    return Pixels(pixels.values[:, first:], pixels.valid[first:], pixels.present[:, first:])


def _stacked(parts: Sequence[Pixels]) -> Pixels:
    if len(parts) == 1:
        return parts[0]
    return Pixels(
        np.concatenate([p.values for p in parts], axis=1),
        np.concatenate([p.valid for p in parts], axis=0),
        np.concatenate([p.present for p in parts], axis=1),
    )


def _positions(source: Sequence[int], origin: int) -> slice | npt.NDArray[np.intp]:
    """Positions relative to ``origin``: a slice where nothing is mirrored, which NumPy need not gather."""
    first, last = source[0], source[-1]
    if last - first == len(source) - 1 and all(b - a == 1 for a, b in pairwise(source)):
        return slice(first - origin, last + 1 - origin)
    return np.asarray(source, np.intp) - origin


def _tile(
    pixels: Pixels, down: slice | npt.NDArray[np.intp], across: slice | npt.NDArray[np.intp], stats: BandStats
) -> npt.NDArray[np.float32] | None:
    """(C, T, T) float32 network input, or None where no pixel of the tile is valid."""
    # Slices before index arrays: a gather then copies a tile and never a strip of the scene's width.
    rows_first = isinstance(down, slice)

    def cut(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return array[..., down, :][..., across] if rows_first else array[..., across][..., down, :]

    if not cut(pixels.valid).any():
        return None
    return stats.normalize(cut(pixels.values), cut(pixels.present))
