"""What evaluate() finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from geoseg.legend import Legend
from geoseg.metrics import BoundaryScore, Calibration, Metrics


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
        boundary: How well borders agree.
        calibration: How far the confidence that came with the map can be trusted; None where none came with it.
    """

    prediction: str
    reference: str
    legend: Legend
    confusion: npt.NDArray[np.int64]
    metrics: Metrics
    reference_pixels: int
    predicted_pixels: int
    notes: tuple[str, ...] = ()
    boundary: BoundaryScore | None = None
    calibration: Calibration | None = None

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
            "boundary": None if self.boundary is None else self.boundary.to_dict(self.legend),
            "calibration": None if self.calibration is None else self.calibration.to_dict(),
            "notes": list(self.notes),
            "confusion": self.confusion.tolist(),
        }

    def __str__(self) -> str:
        """A table for people."""
        m = self.metrics
        width = max(len("class"), *(len(name) for name in self.legend.names))
        head = f"{'class':<{width}}  {'IoU':>6}  {'F1':>6}  {'precision':>9}  {'recall':>6}"
        rows = [
            f"{c.name:<{width}}  {_figure(i):>6}  {_figure(f):>6}  {_figure(p):>9}  {_figure(r):>6}"
            for c, i, f, p, r in zip(self.legend, m.iou, m.f1, m.precision, m.recall, strict=True)
        ]
        lines = [head, *rows]
        if self.boundary is not None:
            borders = ("border F1", *map(_figure, self.boundary.f1))
            lines = [f"{line}  {border:>9}" for line, border in zip(lines, borders, strict=True)]
        shares = ("share", *(f"{n / m.pixels:.1%}" for n in m.support))
        lines = [f"{line}  {share:>7}" for line, share in zip(lines, shares, strict=True)]
        overall = (
            f"mean IoU {_figure(m.mean_iou)}, overall accuracy {_figure(m.overall_accuracy)}, "
            f"class-average accuracy {_figure(m.mean_accuracy)}, kappa {_figure(m.kappa)}"
        )
        counted = f"{m.pixels:,} pixels compared; {self.missing_share:.1%} of the reference has no prediction"
        return "\n".join([*lines, overall, counted, *self._more(), *(f"note: {note}" for note in self.notes)])

    def _more(self) -> list[str]:
        """Lines on borders and calibration, as far as there are."""
        lines = []
        if (b := self.boundary) is not None:
            metres = "" if b.tolerance_m is None else f" ({b.tolerance_m:.3g} m)"
            lines.append(f"mean border F1 {_figure(b.mean_f1)} within {b.tolerance:g} px{metres}")
        if (c := self.calibration) is not None:
            lines.append(f"expected calibration error {_figure(c.error)} in {len(c.pixels)} bins of confidence")
        return lines


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
