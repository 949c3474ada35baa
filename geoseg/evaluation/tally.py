"""What is counted of a map and its reference, strip by strip."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from geoseg.legend import NODATA_ID, Legend
from geoseg.metrics import BoundaryScore, boundary_counts, boundary_halo, calibration_counts, confusion_matrix
from geoseg.metrics.calibration import BINS

Labels = npt.NDArray[np.uint8]


class Tally:
    """Counts that grow with each strip.

    Attributes:
        halo: Rows around a strip that borders need.
        confusion: (K, K) int64, rows are the reference.
        borders: (4, K) int64; see :func:`geoseg.metrics.boundary_counts`.
        confidence: (3, bins) float64; see :func:`geoseg.metrics.calibration_counts`.
        in_truth: Pixels with a class in the reference.
        in_prediction: Pixels with a class in the map.
    """

    def __init__(self, legend: Legend, tolerance: float) -> None:
        self._ids = legend.ids
        self._tolerance = tolerance
        self.halo = boundary_halo(tolerance)
        self.confusion = np.zeros((len(legend), len(legend)), np.int64)
        self.borders = np.zeros((4, len(legend)), np.int64)
        self.confidence = np.zeros((3, BINS))
        self.in_truth = 0
        self.in_prediction = 0

    def add(
        self, truth: Labels, predicted: Labels, rows: slice, confidence: npt.NDArray[np.float32] | None = None
    ) -> None:
        """Count some rows.

        Args:
            truth: (h, w) the reference, with the rows around that borders need.
            predicted: (h, w) the map.
            rows: What is counted.
            confidence: Of these rows, NaN where there is none.
        """
        t, p = truth[rows], predicted[rows]
        self.confusion += confusion_matrix(t, p, self._ids)
        self.borders += boundary_counts(truth, predicted, self._ids, self._tolerance, rows)
        self.in_truth += int(np.count_nonzero(t != NODATA_ID))
        self.in_prediction += int(np.count_nonzero(p != NODATA_ID))
        if confidence is not None:
            known = (t != NODATA_ID) & (p != NODATA_ID) & np.isfinite(confidence)
            # Stored as a float it may exceed 1 by rounding.
            self.confidence += calibration_counts((t == p)[known], np.minimum(confidence[known], np.float32(1)))

    def boundary(self, pixel_size: float | None) -> BoundaryScore:
        """What the borders say; ``pixel_size`` in metres."""
        return BoundaryScore.from_counts(self.borders, self._tolerance, pixel_size)
