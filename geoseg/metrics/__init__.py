"""How good a map is: from one confusion matrix, along its borders, and in what it says of its own certainty."""

from geoseg.metrics.boundaries import BoundaryScore, boundary_counts, boundary_halo
from geoseg.metrics.calibration import Calibration, calibration_counts
from geoseg.metrics.confusion import CHUNK, Metrics, confusion_matrix

__all__ = [
    "CHUNK",
    "BoundaryScore",
    "Calibration",
    "Metrics",
    "boundary_counts",
    "boundary_halo",
    "calibration_counts",
    "confusion_matrix",
]
