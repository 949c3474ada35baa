"""Steps partition what is predicted, and what is missing of them is gone on with as whole areas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.inference import steps
from geoseg.inference.steps import missing_areas, plan_steps
from geoseg.tiling import TileGrid, Window


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "STEP_PIXELS", 60)
    monkeypatch.setattr(steps, "PANEL_BYTES", 4 * 2 * 8 * 20)  # 20 columns of tiles of 8 px and 2 planes


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 7), st.data())
def test_steps_partition_the_area(height: int, width: int, overlap: int, data: st.DataObject) -> None:
    grid = TileGrid(height, width, 8, overlap)
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    area = Window(top, left, data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left)))
    seen = np.zeros((height, width), int)
    found = plan_steps(grid, area, 2)
    for step in found:
        seen[step.row_off : step.row_end, step.col_off : step.col_end] += 1
    inside = np.zeros_like(seen)
    inside[area.row_off : area.row_end, area.col_off : area.col_end] = 1
    np.testing.assert_array_equal(seen, inside)
    assert max(step.width for step in found) <= max(20, grid.cols.stride)


@given(st.integers(1, 80), st.integers(0, 7))
def test_steps_end_where_rows_become_final(height: int, overlap: int) -> None:
    grid = TileGrid(height, 9, 8, overlap)
    ends = {grid.rows.final_before(i) for i in range(len(grid.rows))}
    found = plan_steps(grid, Window(0, 0, height, 9), 2)
    assert {step.row_end for step in found} <= ends
    assert all(step.height * step.width >= 60 for step in found if step.row_end < height)


@given(st.integers(1, 60), st.integers(1, 60), st.sets(st.integers(0, 40)))
def test_what_is_missing_is_whole_areas_of_neighbours(height: int, width: int, finished: set[int]) -> None:
    planned = plan_steps(TileGrid(height, width, 8, 2), Window(0, 0, height, width), 2)
    done = {step for i, step in enumerate(planned) if i in finished}
    found = list(missing_areas(planned, done))
    assert [step for _, group in found for step in group] == [step for step in planned if step not in done]
    for area, group in found:
        assert sum(s.height for s in group) == area.height
        assert {(s.col_off, s.width) for s in group} == {(area.col_off, area.width)}
        assert (group[0].row_off, group[-1].row_end) == (area.row_off, area.row_end)
