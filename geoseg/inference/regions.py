"""How the steps of a job are given out: regions of neighbouring steps, a worker each, that compute few tiles twice."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from itertools import pairwise

from geoseg.inference.steps import missing_areas
from geoseg.tiling import TileGrid, Window

MOST_TWICE = 0.05
"""Share of the tiles that may be computed twice where there are steps enough for all workers."""

Steps = tuple[Window, ...]


@dataclass(frozen=True, slots=True)
class Regions:
    """What is given out.

    Attributes:
        steps: Steps of each region, from top to bottom.
        tiles: Tiles that one worker would compute for all of them.
        twice: Tiles that are computed again because regions meet.
    """

    steps: tuple[Steps, ...]
    tiles: int
    twice: int


def plan_regions(
    grid: TileGrid, steps: Sequence[Window], done: Set[Window], workers: int, size: int | None = None
) -> Regions:
    """Cut what is missing into regions.

    Each border between two regions costs the tiles that cover it once more. By default there is a region for each
    worker, and as many times more as cost at most 5 % of the tiles: what is left at the end is then small.

    Args:
        grid: The tile grid.
        steps: Of the job, in its order.
        done: Those that have parts.
        workers: For how many it is cut: those that compute, or this scene's share of them.
        size: Steps of a region; default is as above.
    """
    areas = [found for _, found in missing_areas(steps, done)]
    whole = sum(_tiles(grid, area) for area in areas)
    if size is not None:
        pieces = [cut for area in areas for cut in _cut(area, -(-len(area) // size))]
    else:
        pieces = _balanced(grid, areas, whole, workers)
    return Regions(tuple(pieces), whole, sum(_tiles(grid, piece) for piece in pieces) - whole)


def _balanced(grid: TileGrid, areas: Sequence[Steps], whole: int, workers: int) -> list[Steps]:
    """Cut areas until there is a region for each worker, and on as long as it costs little."""
    borders = [_border(grid, area) for area in areas]
    costly = max((b for b in borders if b), default=0)
    affordable = len(areas) + int(MOST_TWICE * whole / costly) if costly else len(areas)
    wanted = max(workers, affordable // workers * workers)
    tiles, counts = [_tiles(grid, area) for area in areas], [1] * len(areas)
    while sum(counts) < wanted:
        # The area whose regions are the largest; one that has no more steps than regions cannot be cut. Steps of a
        # narrow panel are as large as others, but hold more rows of tiles.
        sizes = [t / n if len(a) > n else 0.0 for t, a, n in zip(tiles, areas, counts, strict=True)]
        if not any(sizes):
            break
        counts[sizes.index(max(sizes))] += 1
    return [piece for area, count in zip(areas, counts, strict=True) for piece in _cut(area, count)]


def _cut(steps: Steps, count: int) -> list[Steps]:
    """So many runs of steps, as long as each other."""
    ends = [i * len(steps) // count for i in range(count + 1)]
    return [steps[first:last] for first, last in pairwise(ends)]


def _tiles(grid: TileGrid, steps: Steps) -> int:
    """Tiles that cover some neighbouring steps."""
    first, last = steps[0], steps[-1]
    return len(grid.rows.covering(first.row_off, last.row_end)) * len(grid.cols.covering(first.col_off, first.col_end))


def _border(grid: TileGrid, steps: Steps) -> int:
    """Tiles that a cut through some neighbouring steps makes twice; 0 where there is only one step."""
    if len(steps) < 2:
        return 0
    middle = len(steps) // 2
    return _tiles(grid, steps[:middle]) + _tiles(grid, steps[middle:]) - _tiles(grid, steps)
