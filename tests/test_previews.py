"""Pixels for the eye: stretched alike, absent ground never taken for data."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from geoseg.errors import ParameterError
from geoseg.normalization import BandStats
from geoseg.sources.previews import Previewer, preview, shown_bands

FULL = (-1e30, 1e30)


def is_middle(shown: npt.NDArray[np.uint8]) -> bool:
    """Whether all is the grey of the mean, 127.5."""
    return bool(np.isin(shown, (127, 128)).all())


@pytest.mark.parametrize(
    ("names", "bands"),
    [
        (("red", "green", "blue"), [0, 1, 2]),
        (("Blue", "Green", "Red", "NIR"), [2, 1, 0]),
        (("b", "g", "r"), [2, 1, 0]),
        (("band 1", "band 2", "band 3", "band 4"), [0, 1, 2]),
        (("nir", "red", "green"), [0, 1, 2]),
        (("nir", "red"), [0, 0, 0]),
        (("pan",), [0, 0, 0]),
    ],
)
def test_named_bands_are_shown_and_else_the_first_three(names: tuple[str, ...], bands: list[int]) -> None:
    assert shown_bands(names) == bands


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "float32", "float64"])
def test_the_same_scene_looks_the_same_in_any_type(dtype: str) -> None:
    values = np.random.default_rng(0).integers(0, 200, (3, 9, 11))
    stats = BandStats(tuple(values.mean((1, 2))), tuple(values.std((1, 2))))
    present = np.ones((9, 11), bool)
    shown = preview(values.astype(dtype), present, stats, (0, 199), ("red", "green", "blue"))
    assert shown.shape == (9, 11, 3)
    assert shown.dtype == np.uint8
    np.testing.assert_array_equal(shown, preview(values.astype("float64"), present, stats, (0, 199), tuple("rgb")))


def test_two_percent_on_either_side_are_black_and_white() -> None:
    values = np.random.default_rng(0).normal(1000, 50, (1, 300, 300))
    shown = preview(values, np.ones((300, 300), bool), BandStats((1000.0,), (50.0,)), FULL, ("pan",))
    assert abs((shown[..., 0] == 0).mean() - 0.02) < 0.004
    assert abs((shown[..., 0] == 255).mean() - 0.02) < 0.004
    order = np.argsort(values.ravel())
    assert (np.diff(shown[..., 0].ravel()[order].astype(int)) >= 0).all()
    assert (shown == shown[..., :1]).all()


def test_nothing_beyond_the_range_of_values_is_spread_over_the_screen() -> None:
    values = np.array([[[0.0, 255.0, 128.0]]])
    shown = preview(values, np.ones((1, 3), bool), BandStats((128.0,), (100.0,)), (0, 255), ("pan",))
    assert shown[0, :, 0].tolist() == [0, 255, 128]
    flat = preview(values, np.ones((1, 3), bool), BandStats((128.0,), (1.0,)), (300, 400), ("pan",))
    assert flat[0, :2, 0].tolist() == [0, 255]
    assert is_middle(flat[0, 2])


def test_absent_pixels_are_a_pale_chequer_whatever_they_hold() -> None:
    values = np.full((3, 16, 16), 100.0)
    values[0, :4] = np.nan
    values[1, 4:8] = 1e300
    present = np.ones((3, 16, 16), bool)
    present[:, :8] = False
    values[2, 15, 15] = np.inf  # present, but no number
    shown = preview(values, present, BandStats((100.0,) * 3, (1.0,) * 3), FULL, ("red", "green", "blue"))
    assert set(shown[:8].ravel().tolist()) == {214, 233}
    assert shown[15, 15, 0] in (214, 233)
    assert is_middle(shown[8:, :15])
    one = preview(values, present.all(axis=0), BandStats((100.0,) * 3, (1.0,) * 3), FULL, ("red", "green", "blue"))
    np.testing.assert_array_equal(one, shown)


def test_a_band_that_is_not_shown_may_be_absent() -> None:
    present = np.ones((4, 3, 3), bool)
    present[3] = False
    stats = BandStats((5.0,) * 4, (1.0,) * 4)
    shown = preview(np.full((4, 3, 3), 5.0), present, stats, FULL, ("red", "green", "blue", "nir"))
    assert is_middle(shown)


def test_numbers_of_bands_that_differ_are_refused() -> None:
    with pytest.raises(ParameterError, match="2 band names"):
        Previewer(BandStats((1.0,), (1.0,)), FULL, ("a", "b"))
    with pytest.raises(ParameterError, match="3 bands given"):
        preview(np.zeros((3, 2, 2)), np.ones((2, 2), bool), BandStats((1.0,), (1.0,)), FULL, ("a",))
