"""Expected calibration error: whether a map is right as often as its confidence says.

Naeini, Cooper & Hauskrecht 2015, "Obtaining well calibrated probabilities using Bayesian binning", AAAI; Guo et al.
2017, "On calibration of modern neural networks", ICML: pixels are sorted by the confidence of their class into bins of
equal width, and the error is the mean over pixels of |accuracy − mean confidence| of their bin. A confidence on the
edge of two bins is in the upper one, 1.0 in the last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from geoseg.errors import ParameterError
from geoseg.metrics.confusion import CHUNK

BINS = 15
"""As Guo et al. 2017."""


def calibration_counts(
    right: npt.NDArray[np.bool_], confidence: npt.NDArray[np.floating[Any]], bins: int = BINS
) -> npt.NDArray[np.float64]:
    """Sort pixels into bins of confidence. Counts of several pieces add up.

    Args:
        right: Whether the class of a pixel is the true one, any shape.
        confidence: 0..1, the same shape; pixels that do not count must be left out.
        bins: How many.

    Returns:
        (3, bins) float64: pixels, those that are right, and the sum of their confidences.

    Raises:
        ParameterError: The shapes differ, or a confidence is not in 0..1.
    """
    if right.shape != confidence.shape:
        raise ParameterError(f"right is {right.shape} but confidence is {confidence.shape}; give one shape")
    counts = np.zeros((3, bins))
    flat, hits = confidence.ravel(), right.ravel()
    for start in range(0, flat.size, CHUNK):
        part = flat[start : start + CHUNK].astype(np.float64)
        if not ((part >= 0) & (part <= 1)).all():
            raise ParameterError(f"confidence holds {part.min():g}..{part.max():g}; give 0..1")
        index = np.minimum((part * bins).astype(np.intp), bins - 1)
        counts[0] += np.bincount(index, minlength=bins)
        counts[1] += np.bincount(index, hits[start : start + CHUNK], minlength=bins)
        counts[2] += np.bincount(index, part, minlength=bins)
    return counts


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far confidence can be trusted. Fractions are 0..1; bins without a pixel have None.

    Attributes:
        error: Expected calibration error; None without a pixel.
        pixels: Pixels of each bin; the bins cut 0..1 into equal parts.
        accuracy: Share of them that is right.
        confidence: Their mean confidence.
    """

    error: float | None
    pixels: tuple[int, ...]
    accuracy: tuple[float | None, ...]
    confidence: tuple[float | None, ...]

    @classmethod
    def from_counts(cls, counts: npt.NDArray[np.float64]) -> Calibration:
        """Derive all figures from (3, bins) counts of :func:`calibration_counts`.

        Raises:
            ParameterError: These are no such counts.
        """
        if counts.ndim != 2 or len(counts) != 3 or (counts < 0).any():
            raise ParameterError(f"counts of calibration are (3, bins), all >= 0; got shape {counts.shape}")
        pixels, right, sums = counts
        total = float(pixels.sum())
        return cls(
            error=float(np.abs(right - sums).sum()) / total if total else None,
            pixels=tuple(int(n) for n in pixels),
            accuracy=tuple(float(r / n) if n else None for r, n in zip(right, pixels, strict=True)),
            confidence=tuple(float(s / n) if n else None for s, n in zip(sums, pixels, strict=True)),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is undefined is ``null``."""
        edges = np.linspace(0, 1, len(self.pixels) + 1).tolist()
        rows = zip(edges, edges[1:], self.pixels, self.accuracy, self.confidence, strict=False)
        return {
            "error": self.error,
            "bins": [{"from": a, "to": b, "pixels": n, "accuracy": r, "confidence": c} for a, b, n, r, c in rows],
        }
