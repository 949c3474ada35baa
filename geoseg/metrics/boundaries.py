"""Boundary F1: whether the borders of classes lie where they should, to a tolerance.

After Csurka, Larlus, Perronnin & Meylan 2013, "What is a good evaluation measure for semantic segmentation?", BMVC: for
each class, precision is the share of its predicted border within the tolerance of its true one, recall the share of the
true one within the tolerance of the predicted one, and F1 their harmonic mean. Distances are between pixel centres, as
where Perazzi et al. 2016 (DAVIS, CVPR) dilate both borders by a disk. Unlike either, borders are counted over the whole
map, not averaged over images, and the tolerance is given in pixels: a share of a diagonal says nothing of a map.

A border pixel of a class is a pixel of it with one of its four neighbours in another class. Only pixels with a class in
truth and prediction take part, as pixels and as neighbours: the edge of the data is no border.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from geoseg.errors import ParameterError
from geoseg.legend import IGNORE_ID, NODATA_ID, Legend

Labels = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.int64]

MOST_TOLERANCE = 64.0
"""Pixels; the search around a border pixel grows with the square."""


def boundary_halo(tolerance: float) -> int:
    """Rows that :func:`boundary_counts` needs around those that it counts.

    Raises:
        ParameterError: ``tolerance`` is not in 0..64 px.
    """
    if not 0 <= tolerance <= MOST_TOLERANCE:
        raise ParameterError(f"a boundary tolerance of {tolerance:g} px is not in 0..{MOST_TOLERANCE:g}; 2 is usual")
    return math.floor(tolerance) + 1


def boundary_counts(
    truth: Labels, predicted: Labels, ids: Sequence[int], tolerance: float, rows: slice | None = None
) -> Counts:
    """Count border pixels, and those that have one of the same class in the other labels within the tolerance.

    Counts of strips add up to those of the whole, where each strip comes with ``boundary_halo(tolerance)`` rows above
    and below, or as many as there are.

    Args:
        truth: (h, w) uint8 class ids; 0 and 255 are no data.
        predicted: (h, w), the same.
        ids: The K classes.
        tolerance: Distance in pixels, at most which two border pixels match.
        rows: Rows that are counted; all without it.

    Returns:
        (4, K) int64: predicted border pixels, those of them that match, true border pixels, those of them that match.

    Raises:
        ParameterError: The shapes differ, or the tolerance is out of range.
    """
    # Late, because compiled code takes a third of a second to come.
    from geoseg.metrics.boundary_pixels import count_matches, mark_borders

    if truth.shape != predicted.shape or truth.ndim != 2:
        raise ParameterError(f"truth is {truth.shape} and prediction {predicted.shape}; give (h, w) of one shape")
    reach = boundary_halo(tolerance)
    top, bottom, _ = (rows or slice(None)).indices(truth.shape[0])
    compared = np.logical_and.reduce([labels != i for labels in (truth, predicted) for i in (NODATA_ID, IGNORE_ID)])
    true, found = mark_borders(truth, compared), mark_borders(predicted, compared)
    around = _disk(tolerance, reach)
    counts = np.zeros((4, 256), np.int64)
    count_matches(found, true, around, top, bottom, counts[:2])
    count_matches(true, found, around, top, bottom, counts[2:])
    return counts[:, list(ids)]


@dataclass(frozen=True, slots=True)
class BoundaryScore:
    """How well borders agree. Fractions are 0..1; ``None`` is "undefined", where the denominator is 0.

    Attributes:
        tolerance: Pixels.
        tolerance_m: The same in metres; None where the size of a pixel is not known.
        mean_f1: Mean of ``f1`` over the classes that have a border.
        f1: By class; 0 where only truth or only prediction has a border of it.
        precision: By class; undefined where the prediction has no border of it.
        recall: By class; undefined where the truth has none.
    """

    tolerance: float
    tolerance_m: float | None
    mean_f1: float | None
    f1: tuple[float | None, ...]
    precision: tuple[float | None, ...]
    recall: tuple[float | None, ...]

    @classmethod
    def from_counts(cls, counts: Counts, tolerance: float, pixel_size: float | None = None) -> BoundaryScore:
        """Derive all figures from (4, K) counts of :func:`boundary_counts`; ``pixel_size`` in metres.

        Raises:
            ParameterError: These are no such counts.
        """
        if counts.ndim != 2 or len(counts) != 4 or (counts < 0).any() or (counts[1::2] > counts[::2]).any():
            raise ParameterError(f"counts of borders are (4, K), matches not above pixels; got shape {counts.shape}")
        precision = tuple(int(m) / int(n) if n else None for n, m in zip(counts[0], counts[1], strict=True))
        recall = tuple(int(m) / int(n) if n else None for n, m in zip(counts[2], counts[3], strict=True))
        f1 = tuple(_harmonic(p, r) for p, r in zip(precision, recall, strict=True))
        defined = [f for f in f1 if f is not None]
        mean = sum(defined) / len(defined) if defined else None
        return cls(tolerance, None if pixel_size is None else tolerance * pixel_size, mean, f1, precision, recall)

    def to_dict(self, legend: Legend) -> dict[str, Any]:
        """Plain values for JSON, classes by name; what is undefined is ``null``."""
        columns = zip(legend, self.f1, self.precision, self.recall, strict=True)
        return {
            "tolerance_px": self.tolerance,
            "tolerance_m": self.tolerance_m,
            "mean_f1": self.mean_f1,
            "classes": [{"id": c.id, "name": c.name, "f1": f, "precision": p, "recall": r} for c, f, p, r in columns],
        }


def _harmonic(precision: float | None, recall: float | None) -> float | None:
    if precision is None and recall is None:
        return None
    if not precision or not recall:
        return 0.0
    return 2 * precision * recall / (precision + recall)


def _disk(tolerance: float, reach: int) -> Counts:
    """(N, 2) steps down and across within the tolerance, the shortest first: most matches are near."""
    steps = np.arange(-reach, reach + 1)
    around = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2).astype(np.int64)
    squares = (around**2).sum(axis=1)
    order = np.argsort(squares, kind="stable")
    return np.ascontiguousarray(around[order][squares[order] <= tolerance**2])
