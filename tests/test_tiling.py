"""Overlap-tile geometry: every pixel of every size from 1×1 up, once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.errors import ParameterError
from geoseg.tiling import Axis, TileGrid, Window, mirror


@st.composite
def axes(draw: st.DrawFn) -> Axis:
    tile_size = draw(st.integers(1, 40))
    return Axis(draw(st.integers(1, 150)), tile_size, draw(st.integers(0, tile_size - 1)))


@given(axes())
def test_cores_partition_the_axis(axis: Axis) -> None:
    owned = [p for i in range(len(axis)) for p in range(*axis.core(i))]
    assert owned == list(range(axis.size))


@given(axes())
def test_every_tile_contains_its_core(axis: Axis) -> None:
    for i in range(len(axis)):
        lo, hi = axis.core(i)
        assert axis.start(i) <= lo < hi <= axis.start(i) + axis.tile_size


@given(axes(), st.integers(0, 149), st.integers(1, 60))
def test_covering_is_what_a_search_finds(axis: Axis, lo: int, length: int) -> None:
    hi = lo + length
    found = [i for i in range(len(axis)) if axis.start(i) < hi and axis.start(i) + axis.tile_size > lo]
    assert list(axis.covering(lo, hi)) == found


@given(axes())
def test_rows_are_final_once_no_later_tile_holds_them(axis: Axis) -> None:
    for i in range(len(axis)):
        final = axis.final_before(i)
        later = [axis.start(j) for j in range(i + 1, len(axis))]
        assert final == (max(0, min(later)) if later else axis.size)
    assert axis.final_before(len(axis) - 1) == axis.size


@given(axes())
def test_mirrored_equals_numpy_reflect(axis: Axis) -> None:
    before, after = axis.margin, axis.start(len(axis) - 1) + axis.tile_size - axis.size
    padded = np.pad(np.arange(axis.size), (before, max(0, after)), mode="reflect" if axis.size > 1 else "edge")
    for i in range(len(axis)):
        start = axis.start(i) + before
        assert axis.mirrored(i) == padded[start : start + axis.tile_size].tolist()


@given(st.integers(-500, 500), st.integers(1, 50))
def test_mirror_stays_inside_and_is_symmetric(position: int, size: int) -> None:
    assert 0 <= mirror(position, size) < size
    assert mirror(position, size) == mirror(-position, size)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 20), st.data())
def test_each_pixel_belongs_to_one_core(height: int, width: int, tile_size: int, data: st.DataObject) -> None:
    grid = TileGrid(height, width, tile_size, data.draw(st.integers(0, tile_size - 1)))
    painted = np.zeros((height, width), int)
    tiles = list(grid)
    for tile in tiles:
        core = tile.core
        painted[core.row_off : core.row_end, core.col_off : core.col_end] += 1
        assert tile.window.row_off <= core.row_off
        assert core.row_end <= tile.window.row_end
    assert (painted == 1).all()
    assert len(tiles) == len(grid)
    assert [(t.row, t.col) for t in tiles] == sorted((t.row, t.col) for t in tiles)


@given(st.integers(1, 300), st.integers(1, 200), st.integers(2, 40), st.data())
def test_panels_partition_the_width_on_core_borders(
    width: int, max_width: int, tile_size: int, data: st.DataObject
) -> None:
    grid = TileGrid(5, width, tile_size, data.draw(st.integers(0, tile_size - 1)))
    panels = grid.panels(max_width)
    assert [p for lo, hi in panels for p in range(lo, hi)] == list(range(width))
    assert all(lo % grid.cols.stride == 0 for lo, _ in panels)
    assert all(hi - lo <= max(max_width, grid.cols.stride) for lo, hi in panels)


@pytest.mark.parametrize(("size", "tile_size", "overlap"), [(0, 4, 0), (5, 0, 0), (5, 4, 4), (5, 4, -1)])
def test_impossible_axes_are_refused(size: int, tile_size: int, overlap: int) -> None:
    with pytest.raises(ParameterError):
        Axis(size, tile_size, overlap)


def test_a_window_says_where_it_is() -> None:
    assert str(Window(2, 3, 4, 5)) == "rows 2..5, columns 3..7"
    with pytest.raises(ParameterError, match="0×5"):
        Window(0, 0, 0, 5)
