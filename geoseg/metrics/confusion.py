"""Per-pixel accuracy of a map: one confusion matrix over all pixels, and everything that follows from it.

A class that occurs neither in the truth nor in the prediction has no IoU: it is ``None``, not 0, and takes no part in
the mean. Pixels are counted once, over the whole map; nothing is averaged over tiles or batches.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from geoseg.errors import ParameterError
from geoseg.legend import IGNORE_ID, NODATA_ID, Legend

CHUNK = 1 << 22
"""Pixels counted at a time; bounds the memory of the 8-byte index behind ``bincount``."""


def confusion_matrix(
    truth: npt.NDArray[np.integer[Any]],
    predicted: npt.NDArray[np.integer[Any]],
    ids: Sequence[int],
    *,
    ignore: Collection[int] = (NODATA_ID, IGNORE_ID),
) -> npt.NDArray[np.int64]:
    """Count the pixels of every pair of true and predicted class. Matrices of several pieces add up.

    Args:
        truth: Class ids 0..255, any shape.
        predicted: Class ids 0..255, the same shape.
        ids: Class ids in the order of the matrix.
        ignore: Ids that exclude a pixel, whether they stand in ``truth`` or in ``predicted``.

    Returns:
        (K, K) int64; rows are the truth, columns the prediction.

    Raises:
        ParameterError: The shapes differ, or a pixel holds an id that is neither in ``ids`` nor ignored.
    """
    if truth.shape != predicted.shape:
        raise ParameterError(f"truth is {truth.shape} but prediction is {predicted.shape}; give arrays of one shape")
    pairs = _count_pairs(truth.ravel(), predicted.ravel())
    dropped = sorted(set(ignore))
    pairs[dropped, :] = 0
    pairs[:, dropped] = 0
    unknown = sorted(set(np.flatnonzero(pairs.sum(axis=0) + pairs.sum(axis=1)).tolist()) - set(ids))
    if unknown:
        raise ParameterError(
            f"pixels hold class ids {', '.join(map(str, unknown))}, which are not among {', '.join(map(str, ids))}; "
            "add them to the legend, or ignore them"
        )
    return pairs[np.ix_(ids, ids)]


def _count_pairs(truth: npt.NDArray[np.integer[Any]], predicted: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    """(256, 256) pixel counts by stored value."""
    for name, values in (("truth", truth), ("prediction", predicted)):
        if values.size and (values.min() < 0 or values.max() > 255):
            raise ParameterError(f"{name} holds values {values.min()}..{values.max()}; class ids are 0..255")
    pairs = np.zeros(256 * 256, np.int64)
    for start in range(0, truth.size, CHUNK):
        part = slice(start, start + CHUNK)
        pairs += np.bincount(truth[part].astype(np.intp) * 256 + predicted[part], minlength=pairs.size)
    return pairs.reshape(256, 256)


@dataclass(frozen=True, slots=True)
class Metrics:
    """What a confusion matrix says. Fractions are 0..1; ``None`` is "undefined", where the denominator is 0.

    Attributes:
        pixels: Pixels counted.
        overall_accuracy: Share of pixels that are right.
        mean_accuracy: Class-average accuracy: mean of ``recall`` over the classes in the truth.
        mean_iou: Mean of ``iou`` over the classes in the truth or the prediction.
        mean_f1: Mean of ``f1`` over the same classes.
        kappa: Cohen 1960, agreement beyond chance, −1..1; undefined where chance alone explains everything.
        iou: Intersection over union (Jaccard) by class.
        f1: F1 = Dice by class.
        precision: By class; user's accuracy. Undefined for a class that is never predicted.
        recall: By class; producer's accuracy. Undefined for a class that is not in the truth.
        support: Pixels of each class in the truth.
    """

    pixels: int
    overall_accuracy: float | None
    mean_accuracy: float | None
    mean_iou: float | None
    mean_f1: float | None
    kappa: float | None
    iou: tuple[float | None, ...]
    f1: tuple[float | None, ...]
    precision: tuple[float | None, ...]
    recall: tuple[float | None, ...]
    support: tuple[int, ...]

    @classmethod
    def from_confusion(cls, matrix: npt.NDArray[np.integer[Any]]) -> Metrics:
        """Derive all figures from a (K, K) matrix of pixel counts, rows = truth.

        Raises:
            ParameterError: The matrix is not square or holds a negative count.
        """
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or (matrix < 0).any():
            raise ParameterError(f"a confusion matrix is square and holds counts >= 0; got shape {matrix.shape}")
        counts = matrix.astype(np.float64)
        hits, in_truth, in_prediction = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
        total = float(counts.sum())
        recall = _ratios(hits, in_truth)
        iou = _ratios(hits, in_truth + in_prediction - hits)
        f1 = _ratios(2 * hits, in_truth + in_prediction)
        return cls(
            pixels=int(matrix.sum()),
            overall_accuracy=_ratio(float(hits.sum()), total),
            mean_accuracy=_mean(recall),
            mean_iou=_mean(iou),
            mean_f1=_mean(f1),
            kappa=_kappa(float(hits.sum()), float(in_truth @ in_prediction), total),
            iou=iou,
            f1=f1,
            precision=_ratios(hits, in_prediction),
            recall=recall,
            support=tuple(int(n) for n in matrix.sum(axis=1)),
        )

    def to_dict(self, legend: Legend) -> dict[str, Any]:
        """Plain values for JSON, classes by name; what is undefined is ``null``.

        Raises:
            ParameterError: The legend has another number of classes.
        """
        if len(legend) != len(self.iou):
            raise ParameterError(f"the metrics are of {len(self.iou)} classes but the legend has {len(legend)}")
        columns = zip(legend, self.iou, self.f1, self.precision, self.recall, self.support, strict=True)
        return {
            "pixels": self.pixels,
            "overall_accuracy": self.overall_accuracy,
            "mean_accuracy": self.mean_accuracy,
            "mean_iou": self.mean_iou,
            "mean_f1": self.mean_f1,
            "kappa": self.kappa,
            "classes": [
                {"id": c.id, "name": c.name, "iou": i, "f1": f, "precision": p, "recall": r, "support": n}
                for c, i, f, p, r, n in columns
            ],
        }


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _ratios(parts: npt.NDArray[np.float64], wholes: npt.NDArray[np.float64]) -> tuple[float | None, ...]:
    return tuple(_ratio(float(p), float(w)) for p, w in zip(parts, wholes, strict=True))


def _mean(values: tuple[float | None, ...]) -> float | None:
    """Mean of what is defined."""
    defined = [v for v in values if v is not None]
    return sum(defined) / len(defined) if defined else None


def _kappa(hits: float, chance: float, total: float) -> float | None:
    """(observed − expected) / (1 − expected), multiplied through by total² so that it is exact for integer counts."""
    return _ratio(hits * total - chance, total * total - chance)
