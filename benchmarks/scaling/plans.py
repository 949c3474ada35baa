"""What the default regions cost: tiles that are computed twice, and workers that wait at the end. Exact, no pixels."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from geoseg.inference.regions import plan_regions
from geoseg.inference.steps import plan_steps
from geoseg.tiling import TileGrid, Window

CLASSES, TILE, OVERLAP = 7, 512, 128
"""Of the network that all tables of performance.md are about."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What is given out for one scene.

    Attributes:
        tiles: That one process computes.
        twice: That are computed once more because regions meet.
        parts: Files that workers write.
        regions: Tasks.
        longest: Tiles of the worker that has most, where all are as fast and each takes the next region as it is free.
        workers: How many there are.
    """

    tiles: int
    twice: int
    parts: int
    regions: int
    longest: int
    workers: int

    @property
    def share_twice(self) -> float:
        """Tiles that are computed twice, of all."""
        return self.twice / self.tiles

    @property
    def efficiency(self) -> float:
        """Share of the workers' time that goes into tiles that one process would compute, were there nothing else."""
        return self.tiles / (self.workers * self.longest)


def count(
    height: int, width: int, workers: int, region_parts: int | None = None, *, among: int = 1, tile: int = TILE,
    overlap: int = OVERLAP,
) -> Counts:  # fmt: skip
    """What the regions of a scene come to, of ``among`` on so many workers; the default ones, or of so many parts."""
    grid = TileGrid(height, width, tile, overlap)
    steps = plan_steps(grid, Window(0, 0, height, width), CLASSES)
    plan = plan_regions(grid, steps, frozenset(), -(-workers // among), region_parts)  # as geoseg.inference.clustered
    tiles = [_tiles(grid, region) for region in plan.steps]
    return Counts(plan.tiles, plan.twice, len(steps), len(tiles), longest(tiles, workers), workers)


def longest(tasks: Iterable[int], workers: int) -> int:
    """When the last worker is done, where each takes the next task as it is free."""
    free = [0] * workers
    for task in tasks:
        heapq.heappush(free, heapq.heappop(free) + task)
    return max(free)


def _tiles(grid: TileGrid, steps: Sequence[Window]) -> int:
    first, last = steps[0], steps[-1]
    rows = grid.rows.covering(first.row_off, last.row_end)
    return len(rows) * len(grid.cols.covering(first.col_off, first.col_end))
