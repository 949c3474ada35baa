"""How an area is cut into steps: the rows that one part on disk holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from itertools import groupby

from geoseg.tiling import TileGrid, Window

# Score planes of one column panel stay below this; wider scenes go panel by panel on the same tile grid.
PANEL_BYTES = 512 * 2**20

# A part is closed once it has so many pixels: what a kill can cost at most, against a file and a sync each.
STEP_PIXELS = 4 * 2**20


def plan_steps(grid: TileGrid, area: Window, planes: int, held: int = 0) -> tuple[Window, ...]:
    """Windows that partition the area: column panels, each cut into rows that tile rows make final.

    Args:
        grid: The scene's tile grid.
        area: What is predicted.
        planes: Score planes of a tile.
        held: Rows of them that are held beside those of a tile row.
    """
    width = max(1, PANEL_BYTES // (4 * planes * (grid.tile_size + held)))
    return tuple(step for panel in _panels(grid, area, width) for step in _rows(grid, panel))


def missing_areas(steps: Iterable[Window], done: Set[Window]) -> Iterator[tuple[Window, tuple[Window, ...]]]:
    """Neighbouring steps that are not done, as one area each, and the steps in it."""
    columns = groupby(steps, key=lambda step: (step.col_off, step.width))
    for _, panel in columns:
        for is_done, group in groupby(panel, key=lambda step: step in done):
            if not is_done:
                found = tuple(group)
                first, last = found[0], found[-1]
                yield Window(first.row_off, first.col_off, last.row_end - first.row_off, first.width), found


def _panels(grid: TileGrid, area: Window, max_width: int) -> Iterator[Window]:
    for lo, hi in grid.panels(max_width):
        left, right = max(lo, area.col_off), min(hi, area.col_end)
        if left < right:
            yield Window(area.row_off, left, area.height, right - left)


def _rows(grid: TileGrid, panel: Window) -> Iterator[Window]:
    rows = grid.rows
    top = panel.row_off
    for i in rows.covering(panel.row_off, panel.row_end):
        bottom = min(rows.final_before(i), panel.row_end)
        if bottom > top and ((bottom - top) * panel.width >= STEP_PIXELS or bottom == panel.row_end):
            yield Window(top, panel.col_off, bottom - top, panel.width)
            top = bottom
    if top < panel.row_end:
        yield Window(top, panel.col_off, panel.row_end - top, panel.width)
