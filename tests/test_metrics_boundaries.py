"""Boundary F1 and calibration error: oracles and identities."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from geoseg.errors import ParameterError
from geoseg.legend import Legend
from geoseg.metrics import BoundaryScore, Calibration, boundary_counts, boundary_halo, calibration_counts

IDS = (1, 2, 3)


def patches(seed: int, shape: tuple[int, int] = (48, 41)) -> npt.NDArray[np.uint8]:
    """Blobs of classes 0..3."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(4, *shape)), (0, 3, 3))
    return np.asarray(noise.argmax(axis=0), np.uint8)


def borders(labels: npt.NDArray[np.uint8], compared: npt.NDArray[np.bool_], i: int) -> npt.NDArray[np.bool_]:
    """Pixels of class ``i`` next to another class, by dilating the other classes with a cross."""
    others = ndimage.binary_dilation(compared & (labels != i), ndimage.generate_binary_structure(2, 1))
    return np.asarray(compared & (labels == i) & others)


def oracle(truth: npt.NDArray[np.uint8], predicted: npt.NDArray[np.uint8], tolerance: float) -> npt.NDArray[np.int64]:
    """By SciPy's exact Euclidean distance transform of the whole."""
    compared = (truth > 0) & (predicted > 0)
    counts = np.zeros((4, len(IDS)), np.int64)
    for k, i in enumerate(IDS):
        found, true = borders(predicted, compared, i), borders(truth, compared, i)
        for row, (ours, theirs) in enumerate(((found, true), (true, found))):
            near = ndimage.distance_transform_edt(~theirs) <= tolerance if theirs.any() else np.zeros_like(theirs)
            counts[2 * row : 2 * row + 2, k] = ours.sum(), (ours & near).sum()
    return counts


@pytest.mark.parametrize("tolerance", [0, 1, 1.5, 2, 3, 7.5])
def test_borders_match_as_the_distance_transform_says(tolerance: float) -> None:
    truth, predicted = patches(1), patches(2)
    expected = oracle(truth, predicted, tolerance)
    assert (expected[::2] > 20).all()
    np.testing.assert_array_equal(boundary_counts(truth, predicted, IDS, tolerance), expected)


@pytest.mark.parametrize("step", [1, 2, 7])
@pytest.mark.parametrize("tolerance", [0, 2, 5])
def test_strips_with_a_halo_add_up(step: int, tolerance: float) -> None:
    truth, predicted = patches(1), patches(2)
    halo, height = boundary_halo(tolerance), len(truth)
    total = np.zeros((4, 3), np.int64)
    for top in range(0, height, step):
        low, high = max(0, top - halo), min(height, top + step + halo)
        rows = slice(top - low, min(top + step, height) - low)
        total += boundary_counts(truth[low:high], predicted[low:high], IDS, tolerance, rows)
    np.testing.assert_array_equal(total, oracle(truth, predicted, tolerance))


def test_a_border_that_is_off_by_two_pixels() -> None:
    truth, predicted = np.ones((9, 30), np.uint8), np.ones((9, 30), np.uint8)
    truth[:, 10:], predicted[:, 12:] = 2, 2
    for tolerance, expected in ((1.9, 0.0), (2.0, 1.0)):
        score = BoundaryScore.from_counts(boundary_counts(truth, predicted, (1, 2), tolerance), tolerance, 0.5)
        assert score.f1 == (expected, expected)
        assert score.tolerance_m == tolerance / 2


def test_equal_labels_have_perfect_borders_and_absent_classes_none() -> None:
    labels = np.where(patches(1) == 3, 1, patches(1)).astype(np.uint8)
    score = BoundaryScore.from_counts(boundary_counts(labels, labels, IDS, 0), 0)
    assert score.f1 == score.precision == score.recall == (1.0, 1.0, None)
    assert score.mean_f1 == 1.0
    assert score.tolerance_m is None
    record = score.to_dict(Legend.from_names(["a", "b", "c"]))
    assert [c["f1"] for c in record["classes"]] == [1.0, 1.0, None]


def test_a_class_of_one_side_only_has_no_agreement() -> None:
    truth = np.ones((6, 6), np.uint8)
    predicted = truth.copy()
    predicted[:, 3:] = 2
    score = BoundaryScore.from_counts(boundary_counts(truth, predicted, IDS, 2), 2)
    assert score.f1 == (0.0, 0.0, None)
    assert score.precision == (0.0, 0.0, None)
    assert score.recall == (None, None, None)


def test_the_edge_of_the_data_is_no_border() -> None:
    truth = np.ones((8, 8), np.uint8)
    truth[2:4, 2:4], truth[6, 6] = 0, 255
    assert not boundary_counts(truth, np.ones((8, 8), np.uint8), IDS, 2).any()


def test_what_boundaries_refuse() -> None:
    labels = np.ones((3, 3), np.uint8)
    for tolerance in (-1, 65, float("nan")):
        with pytest.raises(ParameterError, match=r"px is not in 0\.\.64"):
            boundary_counts(labels, labels, IDS, tolerance)
    with pytest.raises(ParameterError, match="one shape"):
        boundary_counts(labels, labels[:2], IDS, 1)
    with pytest.raises(ParameterError, match="matches not above"):
        BoundaryScore.from_counts(np.array([[1], [2], [0], [0]]), 1)


def certain(seed: int, count: int = 5000) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.2, 1, count).astype(np.float32)
    return rng.uniform(size=count) < confidence**2, confidence


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_calibration_error_is_that_of_torchmetrics(bins: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch
        from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error
    right, confidence = certain(1)
    found = Calibration.from_counts(calibration_counts(right, confidence, bins))
    # The first of nine classes is predicted throughout, with this confidence; the others share what is left.
    scores = np.stack([confidence, *[(1 - confidence) / 8] * 8], axis=1)
    expected = multiclass_calibration_error(
        torch.from_numpy(scores), torch.from_numpy(np.where(right, 0, 1)), num_classes=9, n_bins=bins, norm="l1"
    )
    assert found.error == pytest.approx(float(expected), abs=1e-5)
    binary = binary_calibration_error(torch.from_numpy(confidence), torch.from_numpy(right).long(), n_bins=bins)
    assert found.error == pytest.approx(float(binary), abs=1e-5)


def test_calibration_bins_are_those_of_scikit_learn() -> None:
    from sklearn.calibration import calibration_curve

    right, confidence = certain(2)
    found = Calibration.from_counts(calibration_counts(right, confidence))
    accuracy, mean = calibration_curve(right, confidence, n_bins=15)
    np.testing.assert_allclose([a for a in found.accuracy if a is not None], accuracy, atol=1e-6)
    np.testing.assert_allclose([c for c in found.confidence if c is not None], mean, atol=1e-6)
    assert found.accuracy[0] is found.confidence[0] is None
    assert sum(found.pixels) == 5000


def test_pieces_and_chunks_of_calibration_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    right, confidence = certain(3)
    whole = calibration_counts(right, confidence)
    monkeypatch.setattr("geoseg.metrics.calibration.CHUNK", 7)
    pieces = calibration_counts(right[:99], confidence[:99]) + calibration_counts(right[99:], confidence[99:])
    np.testing.assert_allclose(pieces, whole)


def test_calibration_by_hand() -> None:
    right, confidence = np.array([True, False, True, True]), np.array([0.9, 0.9, 0.3, 1.0])
    found = Calibration.from_counts(calibration_counts(right, confidence, 2))
    assert found.pixels == (1, 3)
    assert found.error == pytest.approx((abs(1 - 0.3) + abs(2 - 2.8)) / 4)
    assert found.to_dict()["bins"][0] == {"from": 0, "to": 0.5, "pixels": 1, "accuracy": 1.0, "confidence": 0.3}
    assert Calibration.from_counts(np.zeros((3, 4))).error is None


def test_what_calibration_refuses() -> None:
    with pytest.raises(ParameterError, match=r"give 0\.\.1"):
        calibration_counts(np.array([True]), np.array([np.nan]))
    with pytest.raises(ParameterError, match="one shape"):
        calibration_counts(np.array([True]), np.array([0.5, 0.5]))
    with pytest.raises(ParameterError, match="bins"):
        Calibration.from_counts(np.zeros((2, 4)))
