"""What is known of the accuracy of a map, as parts of a page: figures, classes, confusion, shares, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import numpy.typing as npt

from geoseg.legend import Legend
from geoseg.metrics import BoundaryScore, Calibration, Metrics
from geoseg.reports.charts import reliability_chart
from geoseg.reports.markup import UNDEFINED, class_key, figure, raw_table, share, table

Counts = npt.NDArray[np.int64]

# Opacity of the heat of a share of 1: text on it keeps its contrast.
_HEAT = 0.55


def headline(metrics: Metrics, boundary: BoundaryScore | None) -> list[tuple[str, str]]:
    """Value and name of what matters most, for :func:`geoseg.reports.cards`."""
    found = [
        (figure(metrics.mean_iou, 3), "mean IoU"),
        (share(metrics.overall_accuracy, 1), "overall accuracy"),
        (figure(metrics.kappa, 3), "kappa"),
    ]
    if boundary is not None:
        found.append((figure(boundary.mean_f1, 3), border_name(boundary)))
    return found


def border_name(boundary: BoundaryScore) -> str:
    """What the border F1 is, with its tolerance."""
    metres = "" if boundary.tolerance_m is None else f" ({boundary.tolerance_m:.3g} m)"
    return f"mean border F1 within {boundary.tolerance:g} px{metres}"


def figure_rows(
    metrics: Metrics, boundary: BoundaryScore | None, calibration: Calibration | None
) -> list[tuple[str, str]]:
    """Names and values, HTML, for a table of two columns."""
    rows = [
        ("mean IoU", figure(metrics.mean_iou)),
        ("mean F1", figure(metrics.mean_f1)),
        ("overall accuracy", figure(metrics.overall_accuracy)),
        ("class-average accuracy", figure(metrics.mean_accuracy)),
        ("kappa", figure(metrics.kappa)),
    ]
    if boundary is not None:
        rows.append((border_name(boundary), figure(boundary.mean_f1)))
    if calibration is not None:
        rows.append((f"expected calibration error in {len(calibration.pixels)} bins", figure(calibration.error)))
    return rows


def class_table(legend: Legend, metrics: Metrics, boundary: BoundaryScore | None, truth: str = "reference") -> str:
    """One row a class; ``truth`` is what the rows of the matrix are."""
    head = ["class", "IoU", "F1", "precision", "recall", f"{truth} pixels"]
    columns: list[Sequence[float | None]] = [metrics.f1, metrics.precision, metrics.recall]
    rows = [
        f"<td>{class_key(c)}</td>{_bar_cell(metrics.iou[i])}"
        + "".join(f"<td>{figure(column[i])}</td>" for column in columns)
        + f"<td>{metrics.support[i]:,}</td>"
        for i, c in enumerate(legend)
    ]
    if boundary is not None:
        head += ["border F1", "border precision", "border recall"]
        borders = (boundary.precision, boundary.recall)
        for i in range(len(rows)):
            cells = "".join(f"<td>{figure(column[i])}</td>" for column in borders)
            rows[i] += _bar_cell(boundary.f1[i]) + cells
    return raw_table(head, rows)


def confusion_table(legend: Legend, matrix: Counts, truth: str = "reference") -> str:
    """Counts, and below each its share of the row; the deeper the colour, the larger."""
    head = [f"{truth} ↓ prediction →", *(escape(name) for name in legend.names), "sum"]
    rows = []
    for i, (c, counts) in enumerate(zip(legend, matrix, strict=True)):
        total = int(counts.sum())
        cells = "".join(_confusion_cell(int(n), total, i == j) for j, n in enumerate(counts))
        rows.append(f"<td>{class_key(c)}</td>{cells}<td>{total:,}</td>")
    sums = "".join(f"<td>{int(n):,}</td>" for n in matrix.sum(axis=0))
    rows.append(f"<td>sum</td>{sums}<td>{int(matrix.sum()):,}</td>")
    return raw_table(head, rows)


def share_table(legend: Legend, first: tuple[str, Sequence[int]], second: tuple[str, Sequence[int]]) -> str:
    """How the classes share two grounds, with bars: the first above the second, which is paler.

    Args:
        legend: The K classes.
        first: What it is, as text, and (K,) pixels.
        second: The same.
    """
    shares = list(zip(_shares(first[1]), _shares(second[1]), strict=True))
    most = max((s for pair in shares for s in pair if s is not None), default=0.0)
    rows = []
    for c, (a, b) in zip(legend, shares, strict=True):
        difference = UNDEFINED if a is None or b is None else f"{b - a:+.2%}"
        bars = "".join(_bar(s / most, c.color) for s in (a or 0.0, b or 0.0) if most)
        rows.append((class_key(c), share(a), share(b), difference, bars))
    head = ("class", escape(first[0]), escape(second[0]), "difference", '<div class="bars"></div>')
    return table(head, rows)


def calibration_chart(title: str, calibration: Calibration) -> str:
    """How often a map is right where it says how sure it is; empty where no pixel says so."""
    if calibration.error is None:
        return ""
    named = f"{title}: expected calibration error {figure(calibration.error)}"
    return reliability_chart(named, calibration.pixels, calibration.accuracy)


def calibration_table(calibration: Calibration) -> str:
    """The bins of confidence."""
    edges = np.linspace(0, 1, len(calibration.pixels) + 1)
    columns = zip(calibration.pixels, calibration.confidence, calibration.accuracy, strict=True)
    rows = [
        (f"{low:.3f} to {high:.3f}", f"{n:,}", figure(sure), figure(right))
        for low, high, (n, sure, right) in zip(edges[:-1], edges[1:], columns, strict=True)
    ]
    return table(("confidence", "pixels", "mean confidence", "accuracy"), rows)


def _shares(counts: Sequence[int]) -> list[float | None]:
    total = sum(counts)
    return [n / total if total else None for n in counts]


def _bar(length: float, color: str) -> str:
    hidden = "" if length else "; visibility: hidden"
    return f'<span class="bar" style="width: {length:.2%}; background: {color}{hidden}"></span>'


def _bar_cell(value: float | None) -> str:
    """A figure above a bar of its length."""
    if value is None:
        return f"<td>{UNDEFINED}</td>"
    return f'<td class="bar-cell"><i style="width: {value:.1%}"></i>{figure(value)}</td>'


def _confusion_cell(count: int, total: int, agrees: bool) -> str:
    if not total:
        return f"<td>{count:,}<small>{UNDEFINED}</small></td>"
    part = count / total
    color = "right" if agrees else "wrong"
    heat = f' style="background: rgb(var(--{color}) / {_HEAT * part:.3f})"' if count else ""
    return f"<td{heat}>{count:,}<small>{share(part, 1)}</small></td>"
