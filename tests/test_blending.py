"""Blending: weights sum to 1 everywhere, and a strip at a time gives what the whole gives."""

from collections.abc import Iterable
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.blending import tile_weights, window_1d
from geoseg.blending.accumulator import Arithmetic, StripAccumulator
from geoseg.blending.device import DeviceArithmetic
from geoseg.blending.host import HostArithmetic
from geoseg.blending.stored import NOTHING, Stored
from geoseg.errors import ParameterError
from geoseg.tiling import Axis, Blend, TileGrid, Window

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


ARITHMETICS = (HostArithmetic(), DeviceArithmetic(torch.device("cpu")))
EVERYTHING = Stored(confidence=True, entropy=True, mutual_information=True, probabilities=True)


def _scores(arithmetic: Arithmetic, scores: npt.NDArray[np.float32]) -> Any:
    return torch.from_numpy(scores) if isinstance(arithmetic, DeviceArithmetic) else scores


def _blended(
    grid: TileGrid,
    blend: Blend,
    scores: dict[tuple[int, int], npt.NDArray[np.float32]],
    areas: Iterable[Window],
    arithmetic: Arithmetic,
) -> npt.NDArray[np.uint8]:
    """All rows from the accumulator, area by area, as class and probabilities."""
    classes = next(iter(scores.values())).shape[0]
    stored = Stored(probabilities=True)
    whole = np.zeros((1 + classes, grid.height, grid.width), np.uint8)
    seen = np.zeros((grid.height, grid.width), int)
    for area in areas:
        accumulator = StripAccumulator(grid, area, classes, classes, blend, arithmetic)
        for row in accumulator.tile_rows:
            for col in accumulator.tile_cols:
                accumulator.add(col, _scores(arithmetic, scores[row, col]))
            final = accumulator.final_rows(row)
            finished = accumulator.finished(stored)
            assert (finished is None) == (final[0] == final[1])
            if finished is not None:
                window, planes = finished
                assert planes is not None
                assert (window.row_off, window.row_end) == final
                place = slice(window.row_off, window.row_end), slice(window.col_off, window.col_end)
                seen[place] += 1
                whole[:, *place] = planes
            accumulator.advance()
    assert (seen == 1).all()
    return whole


@pytest.mark.parametrize("arithmetic", ARITHMETICS, ids=["host", "device"])
@settings(max_examples=40, deadline=None)
@given(
    blend=st.sampled_from(BLENDS),
    height=st.integers(1, 50),
    width=st.integers(1, 50),
    tile_size=st.integers(1, 16),
    data=st.data(),
)
def test_areas_equal_the_whole_to_the_bit(
    arithmetic: Arithmetic, blend: Blend, height: int, width: int, tile_size: int, data: st.DataObject
) -> None:
    grid = TileGrid(height, width, tile_size, data.draw(st.integers(0, tile_size - 1)))
    rng = np.random.default_rng(0)
    raw = {(t.row, t.col): rng.random((3, tile_size, tile_size), np.float32) for t in grid}
    scores = {key: value / value.sum(0) for key, value in raw.items()}

    pad = 2 * tile_size
    expected = np.zeros((3, height + 2 * pad, width + 2 * pad))
    for t in grid:
        weight = np.outer(tile_weights(blend, grid.rows, t.row), tile_weights(blend, grid.cols, t.col))
        r, c = t.window.row_off + pad, t.window.col_off + pad
        expected[:, r : r + tile_size, c : c + tile_size] += scores[t.row, t.col] * weight
    expected = expected[:, pad : pad + height, pad : pad + width]

    whole = _blended(grid, blend, scores, [Window(0, 0, height, width)], arithmetic)
    np.testing.assert_allclose(whole[1:] / 250, expected, atol=0.0021)
    margin = np.sort(expected, axis=0)
    clear = margin[-1] - margin[-2] > 1e-5
    np.testing.assert_array_equal(whole[0][clear], expected.argmax(0)[clear])

    row, col = data.draw(st.integers(0, height)), data.draw(st.integers(0, width))
    edges = [(0, row, 0, width), (row, height, 0, col), (row, height, col, width)]
    areas = [Window(a, c, b - a, d - c) for a, b, c, d in edges if b > a and d > c]
    np.testing.assert_array_equal(_blended(grid, blend, scores, areas, arithmetic), whole)


@given(st.integers(1, 6), st.integers(1, 9), st.sampled_from(ARITHMETICS))
@settings(deadline=None)
def test_what_is_stored(classes: int, width: int, arithmetic: Arithmetic) -> None:
    rng = np.random.default_rng(classes * 10 + width)
    sums = rng.integers(0, 3, (classes + 1, 4, width)).astype(np.float32)  # many ties
    sums[:classes] /= np.maximum(sums[:classes].sum(0), 1)
    planes = arithmetic.store(_scores(arithmetic, sums), (1, 4), classes, EVERYTHING)

    kept = sums[:, 1:4].astype(np.float64)
    p, covered = kept[:classes], kept[:classes].sum(0) > 0.5
    entropy = -(p * np.log(np.where(p > 0, p, 1))).sum(0)
    scale = 1 / np.log(classes) if classes > 1 else 0
    np.testing.assert_array_equal(planes[0], np.where(covered, p.argmax(0), NOTHING))
    for plane, share in zip(
        planes[1:], [p.max(0), entropy * scale, (entropy - kept[classes]) * scale, *p], strict=True
    ):
        np.testing.assert_allclose(plane / 250, np.clip(share, 0, 1), atol=0.0021)


def test_both_arithmetics_agree_to_the_byte() -> None:
    sums = np.random.default_rng(1).random((6, 40, 50), np.float32)
    sums[:5] /= sums[:5].sum(0)
    host, device = (a.store(_scores(a, sums), (3, 31), 5, EVERYTHING) for a in ARITHMETICS)
    assert np.abs(host.astype(int) - device).max() <= 1
    np.testing.assert_array_equal(host[0], device[0])


def test_rows_that_no_tile_covers_have_no_planes() -> None:
    grid = TileGrid(40, 8, 8, 0)
    accumulator = StripAccumulator(grid, Window(0, 0, 40, 8), 2, 2, "hann", HostArithmetic())
    found = []
    for row in accumulator.tile_rows:
        if row == 2:
            accumulator.add(0, np.full((2, 8, 8), 0.5, np.float32))
        finished = accumulator.finished(Stored())
        assert finished is not None
        found.append(finished[1] is not None)
        accumulator.advance()
    assert found == [False, False, True, False, False]


def test_planes_are_named_in_order() -> None:
    names = ("class", "confidence", "entropy", "mutual information", "probability 0", "probability 1")
    assert EVERYTHING.planes(2) == names
    assert Stored().planes(2) == ("class",)
