"""What evaluate() finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from geoseg.legend import Legend
from geoseg.metrics import Metrics


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """How well a map agrees with a reference.

    Attributes:
        prediction: Name of the map.
        reference: Name of the reference.
        legend: The classes, in the order of the matrix and of the metrics.
        confusion: (K, K) int64 pixel counts; rows are the reference, columns the map.
        metrics: What follows from it.
        reference_pixels: Pixels with a class in the reference.
        predicted_pixels: Pixels with a class in the map.
        notes: What was done to the reference to compare it, and what of it was left out; each a sentence.
    """

    prediction: str
    reference: str
    legend: Legend
    confusion: npt.NDArray[np.int64]
    metrics: Metrics
    reference_pixels: int
    predicted_pixels: int
    notes: tuple[str, ...] = ()

    @property
    def compared_pixels(self) -> int:
        """Pixels with a class in both: what the metrics are about."""
        return self.metrics.pixels

    @property
    def missing_share(self) -> float:
        """Share of the reference, 0..1, where the map has no data: what the metrics are silent about."""
        return 1 - self.compared_pixels / self.reference_pixels

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is undefined is ``null``."""
        return {
            "prediction": self.prediction,
            "reference": self.reference,
            **self.metrics.to_dict(self.legend),
            "reference_pixels": self.reference_pixels,
            "predicted_pixels": self.predicted_pixels,
            "missing_share": self.missing_share,
            "notes": list(self.notes),
            "confusion": self.confusion.tolist(),
        }

    def __str__(self) -> str:
        """A table for people."""
        m = self.metrics
        width = max(len("class"), *(len(name) for name in self.legend.names))
        head = f"{'class':<{width}}  {'IoU':>6}  {'F1':>6}  {'precision':>9}  {'recall':>6}  {'share':>7}"
        rows = [
            f"{c.name:<{width}}  {_figure(i):>6}  {_figure(f):>6}  {_figure(p):>9}  {_figure(r):>6}"
            f"  {n / m.pixels:>7.1%}"
            for c, i, f, p, r, n in zip(self.legend, m.iou, m.f1, m.precision, m.recall, m.support, strict=True)
        ]
        overall = (
            f"mean IoU {_figure(m.mean_iou)}, overall accuracy {_figure(m.overall_accuracy)}, "
            f"class-average accuracy {_figure(m.mean_accuracy)}, kappa {_figure(m.kappa)}"
        )
        counted = f"{m.pixels:,} pixels compared; {self.missing_share:.1%} of the reference has no prediction"
        return "\n".join([head, *rows, overall, counted, *(f"note: {note}" for note in self.notes)])


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
