"""How a lazy map is cut into blocks, and what of the scene each of them needs. All in integers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from geoseg.inference.job import Job
from geoseg.inference.scaling import outwards, scaled
from geoseg.mirroring import span_of
from geoseg.tiling import Axis, TileGrid, Window

LEAST_TILES = 4
"""Chunks are merged into blocks of at least so many tile sizes: smaller ones compute most of their tiles twice."""

ADVISED_TILES = 8
"""Chunks of so many tile sizes have about a quarter of the tiles computed twice."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """Blocks that partition a scene.

    Attributes:
        heights: Rows of each row of blocks.
        widths: Columns of each column of blocks.
        twice: Tiles that are computed again because blocks meet, as a share of those of the scene.
    """

    heights: tuple[int, ...]
    widths: tuple[int, ...]
    twice: float

    def windows(self) -> Iterator[tuple[tuple[int, int], Window]]:
        """(row, column) of each block, and its window."""
        rows, cols = (list(pairwise(accumulate(sizes, initial=0))) for sizes in (self.heights, self.widths))
        for i, (top, bottom) in enumerate(rows):
            for j, (left, right) in enumerate(cols):
                yield (i, j), Window(top, left, bottom - top, right - left)


def plan_blocks(job: Job, row_chunks: Sequence[int], col_chunks: Sequence[int]) -> Blocks:
    """Blocks that end where chunks end.

    Args:
        job: What is computed.
        row_chunks: Rows of each row of chunks.
        col_chunks: Columns of each column of chunks.
    """
    own = job.scene.grid
    rows, cols = _sides(job, LEAST_TILES)
    heights, widths = merged(row_chunks, rows), merged(col_chunks, cols)
    tiles = sum(_tiles(job, window) for _, window in Blocks(heights, widths, 0.0).windows())
    whole = _tiles(job, Window(0, 0, own.height, own.width))
    return Blocks(heights, widths, tiles / whole - 1)


def advised_chunks(job: Job) -> tuple[int, int]:
    """(rows, columns) of chunks of which few tiles are computed twice."""
    return _sides(job, ADVISED_TILES)


def _sides(job: Job, tiles: int) -> tuple[int, int]:
    """(rows, columns) of the scene as long as so many tiles of it as the network sees it."""
    own, seen, length = job.scene.grid, job.source.grid, tiles * job.grid.tile_size
    return -(-length * own.height // seen.height), -(-length * own.width // seen.width)


def merged(chunks: Sequence[int], least: int) -> tuple[int, ...]:
    """Join neighbouring chunks until each sum is ``least`` or more; what is left at the end goes to the last."""
    sums: list[int] = []
    held = 0
    for chunk in chunks:
        held += chunk
        if held >= least:
            sums.append(held)
            held = 0
    if held and sums:
        sums[-1] += held
    elif held:
        sums.append(held)
    return tuple(sums)


def area_of(job: Job, window: Window) -> Window:
    """What of ``job.source`` a window of the scene shows."""
    return scaled(window, job.scene.grid, job.source.grid)


def needed(job: Job, window: Window) -> Window:
    """The pixels of the scene that a window of the map depends on: what its tiles show, mirrored at the borders."""
    around = _around(job, area_of(job, window))
    top, bottom = _shown(job.grid.rows, around.row_off, around.row_end)
    left, right = _shown(job.grid.cols, around.col_off, around.col_end)
    shown = Window(top, left, bottom - top, right - left)
    if job.gsd is None:
        return shown
    own = job.scene.grid
    reached = _joined(outwards(shown, job.source.grid, own), window)
    # Interpolated pixels reach for the old one beyond.
    top, left = max(0, reached.row_off - 1), max(0, reached.col_off - 1)
    bottom, right = min(own.height, reached.row_end + 1), min(own.width, reached.col_end + 1)
    return Window(top, left, bottom - top, right - left)


def _joined(first: Window, second: Window) -> Window:
    """The smallest window that holds two."""
    top, left = min(first.row_off, second.row_off), min(first.col_off, second.col_off)
    bottom, right = max(first.row_end, second.row_end), max(first.col_end, second.col_end)
    return Window(top, left, bottom - top, right - left)


def _around(job: Job, area: Window) -> Window:
    """What of ``job.source`` is blended for an area, and what refining it takes."""
    grid: TileGrid = job.grid
    return area if job.crf is None else job.crf.around(area, grid.height, grid.width)


def _shown(axis: Axis, lo: int, hi: int) -> tuple[int, int]:
    """(first, last + 1) of the positions that the tiles over ``[lo, hi)`` show."""
    spans = [span_of(axis.mirrored(i)) for i in axis.covering(lo, hi)]
    return min(first for first, _ in spans), max(end for _, end in spans)


def _tiles(job: Job, window: Window) -> int:
    """Tiles that are computed for a window of the map."""
    around = _around(job, area_of(job, window))
    rows = job.grid.rows.covering(around.row_off, around.row_end)
    cols = job.grid.cols.covering(around.col_off, around.col_end)
    return len(rows) * len(cols)
