"""Class weights: by hand, against scikit-learn, and in what they promise of classes that do not occur."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.utils.class_weight import compute_class_weight

from geoseg.errors import ParameterError
from geoseg.legend import IGNORE_ID
from geoseg.training import build_loss, class_weights, count_pixels
from geoseg.training.weights import Weighting, effective_number, inverse_frequency, median_frequency

EVERY_RULE = pytest.mark.parametrize("rule", [median_frequency, inverse_frequency, effective_number])
Rule = Callable[[npt.ArrayLike], npt.NDArray[np.float64]]

# Two images of 100 labelled pixels and one of 50; class 3 does not occur, class 2 only in the last image.
COUNTS = np.array([[90, 10, 0, 0], [60, 40, 0, 0], [0, 10, 40, 0]])


def test_count_pixels() -> None:
    images = [np.array([[0, 1], [1, IGNORE_ID]], np.uint8), np.full((3, 3), IGNORE_ID), np.array([2, 2, 2, 0, 255])]
    assert count_pixels(images, 3).tolist() == [[1, 2, 0], [0, 0, 0], [1, 0, 3]]
    for wrong in (np.array([3]), np.array([-1]), np.array([254], np.uint8)):
        with pytest.raises(ParameterError, match=r"image 1 has indices .*; there are the classes 0\.\.2"):
            count_pixels([images[0], wrong], 3)
    with pytest.raises(ParameterError, match="no images"):
        count_pixels([], 3)


def test_median_frequency_by_hand() -> None:
    frequency = np.array([150 / 200, 60 / 250, 40 / 50])
    np.testing.assert_allclose(median_frequency(COUNTS), [*(0.75 / frequency), 1])


def test_median_frequency_does_not_count_images_without_the_class() -> None:
    """What tells it from inverse frequency: class 2 fills the one image it is in, and is not taken for rare."""
    weights = median_frequency(COUNTS)
    assert weights[2] == weights.min()
    assert inverse_frequency(COUNTS)[2] > inverse_frequency(COUNTS)[1]
    more = np.vstack([COUNTS, [[75, 0, 0, 0], [0, 0, 0, 0]]])
    assert median_frequency(more)[2] / median_frequency(more)[1] == pytest.approx(weights[2] / weights[1])


def test_inverse_frequency_is_scikit_learns_but_for_the_scale() -> None:
    labels = np.repeat([0, 1, 2], [150, 60, 40])
    balanced = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(inverse_frequency(COUNTS)[:3], balanced / balanced.mean())


def test_effective_number_by_hand() -> None:
    beta = 0.99
    expected = (1 - beta) / (1 - beta ** np.array([150, 60, 40]))
    np.testing.assert_allclose(effective_number(COUNTS, beta)[:3], 3 * expected / expected.sum())


def test_effective_number_lies_between_all_alike_and_inverse_frequency() -> None:
    np.testing.assert_allclose(effective_number(COUNTS, beta=0), 1)
    np.testing.assert_allclose(effective_number(COUNTS, beta=1 - 1e-12), inverse_frequency(COUNTS))
    common = effective_number([[10**8, 10**9, 100]])
    assert common[0] == pytest.approx(common[1])
    assert common[2] / common[0] == pytest.approx(1e4, rel=1e-3)


@EVERY_RULE
def test_classes_of_one_size_weigh_1(rule: Rule) -> None:
    np.testing.assert_allclose(rule([[7, 7, 7], [7, 7, 7]]), 1)


@EVERY_RULE
@settings(deadline=None)
@given(counts=arrays(np.int64, st.tuples(st.integers(1, 4), st.integers(1, 5)), elements=st.integers(0, 10**9)))
def test_what_weights_promise(rule: Rule, counts: npt.NDArray[np.int64]) -> None:
    if not counts.any():
        counts = counts + 1
    weights, occurs = rule(counts), counts.any(axis=0)
    assert weights.shape == occurs.shape
    assert np.isfinite(weights).all()
    assert (weights > 0).all()
    assert (weights[~occurs] == 1).all()
    # A class that does not occur changes nothing for the others; nor do the order of classes and of images.
    np.testing.assert_allclose(rule(counts[:, occurs]), weights[occurs])
    np.testing.assert_allclose(rule(counts[::-1, ::-1]), weights[::-1])
    if rule is not median_frequency:
        assert weights[occurs].mean() == pytest.approx(1)
        order = np.argsort(counts.sum(axis=0)[occurs])
        assert (np.diff(weights[occurs][order]) <= 1e-9 * weights.max()).all()  # the rarer, the heavier
    elif occurs.sum() % 2:
        assert np.median(weights[occurs]) == pytest.approx(1)


def test_by_name() -> None:
    rules = (median_frequency, inverse_frequency, effective_number)
    for name, rule in zip(get_args(Weighting), rules, strict=True):
        np.testing.assert_array_equal(class_weights(COUNTS, name), rule(COUNTS))
        build_loss("weighted_ce", class_weights(COUNTS, name))
    with pytest.raises(ParameterError, match="there is no class weighting 'median'; there are: median-frequency, inv"):
        class_weights(COUNTS, "median")  # type: ignore[arg-type]


@EVERY_RULE
@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([1, 2], r"shape \(2,\)"),
        ([[1.0, 2.0]], "type float64"),
        ([[1, -1]], "integers from 0 up"),
        ([[0, 0], [0, 0]], "no pixel of 2 images has a class"),
    ],
)
def test_counts_that_are_none(rule: Rule, counts: npt.ArrayLike, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        rule(counts)


@pytest.mark.parametrize("beta", [-0.1, 1.0, float("nan")])
def test_beta_out_of_range(beta: float) -> None:
    with pytest.raises(ParameterError, match="beta"):
        effective_number(COUNTS, beta)
