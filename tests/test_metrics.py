"""Metrics against hand-made matrices, scikit-learn and torchmetrics."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.errors import ParameterError
from geoseg.legend import Legend
from geoseg.metrics import Metrics, confusion_matrix

IDS = (1, 2, 5, 9)


def _labels(seed: int, shape: tuple[int, ...] = (64, 61)) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).choice(np.array((0, *IDS, 255), np.uint8), shape)


def _counted(truth: npt.NDArray[np.uint8], predicted: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    return np.isin(truth, IDS) & np.isin(predicted, IDS)


def test_matrix_is_scikit_learns() -> None:
    from sklearn.metrics import confusion_matrix as oracle

    truth, predicted = _labels(0), _labels(1)
    counted = _counted(truth, predicted)
    matrix = confusion_matrix(truth, predicted, IDS)
    assert matrix.dtype == np.int64
    np.testing.assert_array_equal(matrix, oracle(truth[counted], predicted[counted], labels=IDS))


@given(st.integers(0, 63), st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_matrices_of_pieces_add_up(cut: int, seed: int) -> None:
    truth, predicted = _labels(seed), _labels(seed + 1)
    pieces = [confusion_matrix(truth[s], predicted[s], IDS) for s in (slice(0, cut), slice(cut, None))]
    np.testing.assert_array_equal(sum(pieces), confusion_matrix(truth, predicted, IDS))


def test_many_chunks_count_like_one(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, predicted = _labels(4), _labels(5)
    whole = confusion_matrix(truth, predicted, IDS)
    monkeypatch.setattr("geoseg.metrics.confusion.CHUNK", 7)
    np.testing.assert_array_equal(confusion_matrix(truth, predicted, IDS), whole)


def test_every_figure_of_a_hand_made_matrix() -> None:
    matrix = np.array([[3, 1, 0], [2, 4, 0], [0, 0, 0]])
    m = Metrics.from_confusion(matrix)
    assert m.pixels == 10
    assert m.overall_accuracy == 0.7
    assert m.recall == (3 / 4, 4 / 6, None)
    assert m.precision == (3 / 5, 4 / 5, None)
    assert m.iou == (3 / 6, 4 / 7, None)
    assert m.f1 == (6 / 9, 8 / 11, None)
    assert m.support == (4, 6, 0)
    assert m.mean_iou == pytest.approx((3 / 6 + 4 / 7) / 2)
    assert m.mean_f1 == pytest.approx((6 / 9 + 8 / 11) / 2)
    assert m.mean_accuracy == pytest.approx((3 / 4 + 4 / 6) / 2)
    # expected agreement: (4 * 5 + 6 * 5) / 100 = 0.5
    assert m.kappa == pytest.approx((0.7 - 0.5) / (1 - 0.5))


def test_predicted_but_not_in_truth_is_zero_not_absent() -> None:
    m = Metrics.from_confusion(np.array([[5, 2], [0, 0]]))
    assert m.iou == (5 / 7, 0.0)
    assert m.recall == (5 / 7, None)
    assert m.precision == (1.0, 0.0)
    assert m.mean_iou == pytest.approx(5 / 14)


def test_nothing_counted_is_undefined_everywhere() -> None:
    m = Metrics.from_confusion(np.zeros((3, 3), np.int64))
    assert m.pixels == 0
    assert m.overall_accuracy is m.mean_accuracy is m.mean_iou is m.mean_f1 is m.kappa is None
    assert m.iou == (None, None, None)


def test_kappa_is_undefined_where_there_is_one_class_only() -> None:
    assert Metrics.from_confusion(np.array([[5, 0], [0, 0]])).kappa is None


@pytest.mark.parametrize("seed", range(5))
def test_figures_are_scikit_learns(seed: int) -> None:
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, cohen_kappa_score, jaccard_score
    from sklearn.metrics import precision_recall_fscore_support as fscore

    truth, predicted = _labels(seed), _labels(seed + 100)
    right = np.random.default_rng(seed).random(truth.shape) < 0.6
    predicted = np.where(right, truth, predicted)
    counted = _counted(truth, predicted)
    t, p = truth[counted], predicted[counted]
    m = Metrics.from_confusion(confusion_matrix(truth, predicted, IDS))
    assert m.overall_accuracy == pytest.approx(accuracy_score(t, p))
    assert m.mean_accuracy == pytest.approx(balanced_accuracy_score(t, p))
    assert m.kappa == pytest.approx(cohen_kappa_score(t, p))
    np.testing.assert_allclose(m.iou, jaccard_score(t, p, labels=IDS, average=None))
    precision, recall, f1, support = fscore(t, p, labels=IDS)
    np.testing.assert_allclose(m.precision, precision)
    np.testing.assert_allclose(m.recall, recall)
    np.testing.assert_allclose(m.f1, f1)
    np.testing.assert_array_equal(m.support, support)


def test_means_are_torchmetrics_even_where_a_class_is_absent() -> None:
    import torch
    from torchmetrics.functional.classification import multiclass_cohen_kappa, multiclass_jaccard_index

    truth = np.random.default_rng(7).choice(np.array([0, 1, 3], np.uint8), (50, 50))  # class 2 nowhere
    predicted = np.random.default_rng(8).choice(np.array([0, 1, 3], np.uint8), (50, 50))
    m = Metrics.from_confusion(confusion_matrix(truth, predicted, range(4), ignore=()))
    t, p = torch.from_numpy(truth).long(), torch.from_numpy(predicted).long()
    assert m.iou[2] is None
    assert m.mean_iou == pytest.approx(float(multiclass_jaccard_index(p, t, 4, average="macro")), abs=1e-6)
    assert m.kappa == pytest.approx(float(multiclass_cohen_kappa(p, t, 4)), abs=1e-6)


def test_to_dict_is_json_by_class_name() -> None:
    legend = Legend.from_names(["water", "forest"])
    record = json.loads(json.dumps(Metrics.from_confusion(np.array([[5, 0], [0, 0]])).to_dict(legend)))
    assert record["mean_iou"] == 1.0
    assert record["kappa"] is None
    assert [c["name"] for c in record["classes"]] == ["water", "forest"]
    assert record["classes"][1]["iou"] is None
    with pytest.raises(ParameterError, match="2 classes but the legend has 3"):
        Metrics.from_confusion(np.eye(2, dtype=np.int64)).to_dict(Legend.from_names(["a", "b", "c"]))


@pytest.mark.parametrize(
    ("truth", "predicted", "message"),
    [
        (np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), r"\(2, 3\).*\(3, 2\)"),
        (np.full((2, 2), 7, np.uint8), np.ones((2, 2), np.uint8), "class ids 7, which are not among 1, 2, 5, 9"),
        (np.ones((2, 2), np.uint8), np.full((2, 2), 3, np.uint8), "class ids 3"),
        (np.full((2, 2), 300), np.ones((2, 2), np.uint8), r"300\.\.300; class ids are 0\.\.255"),
        (np.ones((2, 2), np.uint8), np.full((2, 2), -1), r"-1\.\.-1"),
    ],
)
def test_wrong_arrays_are_named(truth: npt.NDArray[np.int_], predicted: npt.NDArray[np.int_], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        confusion_matrix(truth, predicted, IDS)


def test_wrong_matrices_are_refused() -> None:
    for matrix in (np.zeros((2, 3), np.int64), np.array([[1, -1], [0, 1]])):
        with pytest.raises(ParameterError, match="square"):
            Metrics.from_confusion(matrix)
