"""The report of an evaluation: one HTML file that needs nothing else, on no network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from geoseg.evaluation.result import Evaluation
from geoseg.evaluation.thumbnails import Thumbnails
from geoseg.reports import (
    Place,
    Section,
    calibration_chart,
    calibration_table,
    captioned,
    cards,
    charts,
    class_keys,
    class_table,
    confusion_table,
    figure,
    figure_rows,
    headline,
    labels_png,
    page,
    paragraphs,
    picture,
    place_gallery,
    share_table,
    table,
    write_page,
)


def write_report(
    path: Path, found: Evaluation, maps: Thumbnails, worst: Sequence[Place], aspect: float, overwrite: bool
) -> None:
    """Write the report, whole or not at all.

    Args:
        path: Ends in ``.html``.
        found: What it reports.
        maps: Its pictures.
        worst: Where the map is worst, the worst first.
        aspect: Width over height of a pixel on the ground.
        overwrite: Replace an older report.

    Raises:
        OutputExistsError: It has come into being meanwhile and ``overwrite`` is not given.
        OutputError: It cannot be written.
    """
    write_page(path, report_page(found, maps, worst, aspect), overwrite)


def report_page(found: Evaluation, maps: Thumbnails, worst: Sequence[Place], aspect: float) -> str:
    """The HTML page; see :func:`write_report`."""
    lead = f'<p class="lead">Prediction: {escape(found.prediction)}<br>Reference: {escape(found.reference)}</p>'
    sections = (
        Section("Maps", _maps(found, maps, aspect)),
        Section("Figures", _figures(found)),
        Section("Classes", class_table(found.legend, found.metrics, found.boundary)),
        Section("Confusion matrix", confusion_table(found.legend, found.confusion)),
        Section("Worst places", place_gallery(worst, found.legend, aspect=aspect)),
        Section("Class shares", _shares(found)),
        Section("Calibration", _calibration(found)),
        Section("Notes", paragraphs(found.notes)),
    )
    return page(f"Evaluation of {Path(found.prediction).name}", lead + _cards(found), sections)


def _cards(found: Evaluation) -> str:
    figures = headline(found.metrics, found.boundary)
    if found.calibration is not None:
        figures.append((figure(found.calibration.error, 3), "expected calibration error"))
    return cards([*figures, (f"{found.metrics.pixels:,}", "pixels compared")])


def _maps(found: Evaluation, maps: Thumbnails, aspect: float) -> str:
    pictures = (
        ("Prediction", labels_png(maps.predicted, found.legend)),
        ("Reference", labels_png(maps.truth, found.legend)),
        ("Where they differ (red)", maps.differences_png()),
    )
    shape = aspect * maps.area.width / maps.area.height
    figures = "".join(captioned(picture(png, title, shape), title) for title, png in pictures)
    cell = f"<p>One pixel of these pictures stands for {maps.step} × {maps.step} of the map.</p>" * (maps.step > 1)
    return f'<div class="maps">\n{figures}</div>\n{class_keys(found.legend)}{cell}'


def _figures(found: Evaluation) -> str:
    rows = [
        *figure_rows(found.metrics, found.boundary, found.calibration),
        ("pixels compared", f"{found.metrics.pixels:,}"),
        ("pixels with a class in the reference", f"{found.reference_pixels:,}"),
        ("pixels with a class in the prediction", f"{found.predicted_pixels:,}"),
        ("share of the reference without prediction", f"{found.missing_share:.2%}"),
    ]
    return table(("figure", "value"), rows)


def _shares(found: Evaluation) -> str:
    """Shares of the pixels that were compared."""
    reference, prediction = (found.confusion.sum(axis=axis).tolist() for axis in (1, 0))
    return share_table(found.legend, ("reference", reference), ("prediction", prediction))


def _calibration(found: Evaluation) -> str:
    if found.calibration is None:
        return ""
    chart = charts([calibration_chart("Confidence of the map", found.calibration)], small=True)
    return chart + calibration_table(found.calibration)
