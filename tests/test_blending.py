"""Blending: weights sum to 1 everywhere, and a strip at a time gives what the whole gives."""

from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.blending import StripAccumulator, decide, tile_weights, window_1d
from geoseg.errors import ParameterError
from geoseg.tiling import Axis, Blend, TileGrid

BLENDS = get_args(Blend)


@given(st.sampled_from(BLENDS), st.integers(1, 150), st.integers(1, 40), st.data())
def test_weights_sum_to_one_at_every_position(blend: Blend, size: int, tile_size: int, data: st.DataObject) -> None:
    axis = Axis(size, tile_size, data.draw(st.integers(0, tile_size - 1)))
    total = np.zeros(size)
    for i in range(len(axis)):
        start, weights = axis.start(i), tile_weights(blend, axis, i)
        lo, hi = max(0, start), min(size, start + tile_size)
        total[lo:hi] += weights[lo - start : hi - start]
        assert not weights[: max(0, -start)].any()
    np.testing.assert_allclose(total, 1, atol=1e-6)


@pytest.mark.parametrize("blend", [b for b in BLENDS if b != "crop"])
def test_windows_are_positive_and_symmetric(blend: Blend) -> None:
    window = window_1d(blend, Axis(100, 32, 8))
    assert window.min() > 0
    np.testing.assert_allclose(window, window[::-1])


def test_crop_weighs_only_the_core() -> None:
    axis = Axis(100, 8, 5)
    np.testing.assert_array_equal(tile_weights("crop", axis, 3), [0, 0, 1, 1, 1, 0, 0, 0])


def test_unknown_blend_lists_the_known_ones() -> None:
    with pytest.raises(ParameterError, match="hann, gaussian, linear, uniform, crop"):
        window_1d("cosine", Axis(9, 4, 0))  # type: ignore[arg-type]


def _blended(
    grid: TileGrid, blend: Blend, scores: dict[tuple[int, int], npt.NDArray[np.float32]], max_width: int
) -> npt.NDArray[np.float32]:
    """All rows from the accumulator, panel by panel."""
    classes = next(iter(scores.values())).shape[0]
    whole = np.full((classes, grid.height, grid.width), np.nan, np.float32)
    for columns in grid.panels(max_width):
        accumulator = StripAccumulator(grid, classes, blend, columns)
        for row in range(len(grid.rows)):
            for col in accumulator.tile_columns:
                accumulator.add(col, scores[row, col].copy())
            finished = accumulator.finished()
            if finished is not None:
                window, final = finished
                assert np.isnan(whole[:, window.row_off : window.row_end, window.col_off : window.col_end]).all()
                whole[:, window.row_off : window.row_end, window.col_off : window.col_end] = final
            accumulator.advance()
    assert not np.isnan(whole).any()
    return whole


@settings(max_examples=60)
@given(
    st.sampled_from(BLENDS), st.integers(1, 50), st.integers(1, 50), st.integers(1, 16), st.integers(1, 60), st.data()
)
def test_strips_and_panels_equal_the_whole(
    blend: Blend, height: int, width: int, tile_size: int, max_width: int, data: st.DataObject
) -> None:
    grid = TileGrid(height, width, tile_size, data.draw(st.integers(0, tile_size - 1)))
    rng = np.random.default_rng(0)
    scores = {(t.row, t.col): rng.random((2, tile_size, tile_size), np.float32) for t in grid}

    expected = np.zeros((2, height + 4 * tile_size, width + 4 * tile_size))
    pad = 2 * tile_size
    for t in grid:
        weight = np.outer(tile_weights(blend, grid.rows, t.row), tile_weights(blend, grid.cols, t.col))
        r, c = t.window.row_off + pad, t.window.col_off + pad
        expected[:, r : r + tile_size, c : c + tile_size] += scores[t.row, t.col] * weight
    expected = expected[:, pad : pad + height, pad : pad + width]

    np.testing.assert_allclose(_blended(grid, blend, scores, max_width), expected, atol=1e-5)


@given(st.integers(1, 6), st.integers(1, 9))
def test_decide_is_argmax_with_ties_to_the_first(classes: int, width: int) -> None:
    scores = np.random.default_rng(classes * 10 + width).integers(0, 3, (classes, 4, width)).astype(np.float32)
    index, best = decide(scores)
    np.testing.assert_array_equal(index, scores.argmax(axis=0))
    np.testing.assert_array_equal(best, scores.max(axis=0))
