"""One scaling everywhere: mean to 0, absent to 0, whatever an absent sample holds."""

import numpy as np
import pytest

from geoseg.errors import ParameterError
from geoseg.normalization import BandStats


def test_scales_each_band_by_its_own_statistics() -> None:
    pixels = np.array([[[10, 20]], [[0, 4]]], np.uint8)
    scaled = BandStats((10, 2), (5, 2)).normalize(pixels, np.ones((1, 2), bool))
    np.testing.assert_allclose(scaled, [[[0, 2]], [[-1, 1]]])
    assert scaled.dtype == np.float32


@pytest.mark.parametrize("junk", [np.nan, np.inf, -np.inf, 1e300, -3.4e38, -9999])
def test_absent_samples_become_zero_whatever_they_hold(junk: float) -> None:
    pixels = np.array([[[junk, 3.0]], [[5.0, junk]]])
    present = np.array([[[False, True]], [[True, False]]])
    scaled = BandStats((1, 1), (1e-3, 2)).normalize(pixels, present)
    np.testing.assert_allclose(scaled, [[[0, 2000]], [[2, 0]]], rtol=1e-5)


def test_absent_pixels_may_be_given_once_for_all_bands() -> None:
    scaled = BandStats((1, 2), (1, 1)).normalize(np.full((2, 1, 2), 7, np.int16), np.array([[True, False]]))
    np.testing.assert_array_equal(scaled[:, 0, 1], 0)


@pytest.mark.parametrize(
    ("mean", "std"), [((), ()), ((1,), (1, 2)), ((1,), (0,)), ((1,), (-1,)), ((np.nan,), (1,)), ((1,), (np.inf,))]
)
def test_impossible_statistics_are_refused(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    with pytest.raises(ParameterError):
        BandStats(mean, std)


def test_another_number_of_bands_is_refused() -> None:
    with pytest.raises(ParameterError, match="3 bands given, statistics are for 1"):
        BandStats((1,), (1,)).normalize(np.zeros((3, 2, 2)), np.ones((2, 2), bool))
