"""The report of a training: one HTML file that needs nothing else, on no network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from pathlib import Path

from geoseg.reports import (
    Line,
    Place,
    Section,
    calibration_chart,
    cards,
    charts,
    class_table,
    confusion_table,
    figure,
    figure_rows,
    headline,
    line_chart,
    page,
    paragraphs,
    place_gallery,
    share_table,
    size_in_bytes,
    table,
    time_span,
    warning_box,
    write_page,
)
from geoseg.reports.charts import PALETTE
from geoseg.reports.markup import class_key
from geoseg.training.results import HistoryRow, Judgement, RunReport

_NOT_JUDGED = "There is no labelled validation ground: nobody knows how good this model is."

# What stands after a value in YAML; a # inside quotes has no blank before it.
_COMMENT = re.compile(r"(^|\s)(#.*)$", re.MULTILINE)


def write_run_report(path: Path, report: RunReport) -> None:
    """Write the report of a training, whole or not at all; an older one is replaced.

    Raises:
        OutputError: It cannot be written.
    """
    write_page(path, run_page(report), overwrite=True)


def run_page(report: RunReport) -> str:
    """The HTML page; see :func:`write_run_report`."""
    judged = report.judgement
    sections = [Section("Learning", _curves(report))]
    if judged is not None:
        sections += [
            Section("Figures", table(("figure", "value"), _figures(report, judged))),
            Section("Classes", class_table(report.legend, judged.metrics, judged.boundary, "validation")),
            Section("Confusion matrix", confusion_table(report.legend, judged.confusion, "truth")),
            Section("Areas", _subsets(report)),
        ]
    sections += [
        Section("Worst chips", place_gallery(_places(report), report.legend, truth="truth")),
        Section("Class shares", _shares(report)),
        Section("Calibration", "" if judged is None else _calibration(report, judged)),
        Section("Time and memory", table(("what", "value"), _costs(report))),
        Section("Notes", paragraphs(report.notes)),
        Section("Settings", _settings(report.config)),
    ]
    return page(f"Training of {report.name}", _lead(report), sections)


def _lead(report: RunReport) -> str:
    lines = [report.purpose, report.architecture, f"Trained on {report.source}" if report.source else ""]
    lead = '<p class="lead">' + "<br>".join(escape(line) for line in lines if line) + "</p>\n"
    warnings = [*report.warnings, *([] if report.judgement else [_NOT_JUDGED])]
    return lead + ("" if report.judgement is None else _cards(report, report.judgement)) + warning_box(warnings)


def _cards(report: RunReport, judged: Judgement) -> str:
    figures = headline(judged.metrics, judged.boundary)
    if judged.calibration.error is not None:
        name = f"expected calibration error; {figure(judged.uncalibrated.error, 3)} at temperature 1"
        figures.append((figure(judged.calibration.error, 3), name))
        figures.append((f"{report.temperature:.3g}", "temperature"))
    if report.best_epoch is not None:
        figures.append((f"{report.best_epoch} of {report.history[-1].epoch}", "best epoch"))
    return cards(figures)


def _curves(report: RunReport) -> str:
    history = report.history
    mark = None if report.best_epoch is None else (float(report.best_epoch), "best")

    def chart(title: str, y_label: str, lines: list[Line], y_range: tuple[float, float] | None = None) -> str:
        return line_chart(title, lines, x_label="epoch", y_label=y_label, y_range=y_range, mark=mark)

    losses = [
        Line("training", [(row.epoch, row.loss) for row in history], PALETTE[0]),
        _judged_line(history, "validation", "loss", PALETTE[1], dashed=True),
    ]
    classes = [_judged_line(history, c.name, f"iou/{c.name}", c.color) for c in report.legend]
    rates = [Line("learning rate", [(row.epoch, row.lr) for row in history], PALETTE[0])]
    return charts(
        [
            chart("Loss", "loss", losses),
            chart("Accuracy on validation ground", "share", list(_accuracy_lines(report)), (0, 1)),
            chart("IoU of each class on validation ground", "IoU", classes, (0, 1)),
            chart("Learning rate", "learning rate", rates),
        ]
    )


def _accuracy_lines(report: RunReport) -> Iterator[Line]:
    """Mean IoU, overall accuracy, the figure that decides, and mean IoU of the areas."""
    names = {"mean_iou": "mean IoU", "overall_accuracy": "overall accuracy"}
    names.setdefault(report.monitor, report.monitor.replace("_", " "))
    for i, (key, name) in enumerate(names.items()):
        yield _judged_line(report.history, name, key, PALETTE[i])
    for i, name in enumerate(report.subsets, start=len(names)):
        key, color = f"{name}/mean_iou", PALETTE[i % len(PALETTE)]
        yield _judged_line(report.history, f"mean IoU, {name}", key, color, dashed=True)


def _judged_line(history: tuple[HistoryRow, ...], name: str, key: str, color: str, *, dashed: bool = False) -> Line:
    """A figure of validation over the epochs that were judged; epochs between them do not break it."""
    points = [(row.epoch, row.figures.get(key)) for row in history if row.figures]
    return Line(name, points, color, dashed)


def _figures(report: RunReport, judged: Judgement) -> list[tuple[str, str]]:
    rows = figure_rows(judged.metrics, judged.boundary, judged.calibration)
    if judged.calibration.error is not None:
        rows.append(("the same at temperature 1", figure(judged.uncalibrated.error)))
        rows.append(("temperature", figure(report.temperature)))
    return [*rows, ("pixels judged", f"{judged.metrics.pixels:,}")]


def _subsets(report: RunReport) -> str:
    """The named areas apart: overall, and the IoU of each class."""
    if not report.subsets:
        return ""
    head = ("area", "mean IoU", "overall accuracy", "kappa", "border F1", "calibration error", "pixels")
    rows = [
        (
            escape(name),
            figure(found.metrics.mean_iou),
            figure(found.metrics.overall_accuracy),
            figure(found.metrics.kappa),
            figure(found.boundary.mean_f1),
            figure(found.calibration.error),
            f"{found.metrics.pixels:,}",
        )
        for name, found in report.subsets.items()
    ]
    classes = [
        (class_key(c), *(figure(found.metrics.iou[i]) for found in report.subsets.values()))
        for i, c in enumerate(report.legend)
    ]
    by_class = table(("IoU", *map(escape, report.subsets)), classes)
    return f"{table(head, rows)}\n<h3>Classes</h3>\n{by_class}"


def _places(report: RunReport) -> list[Place]:
    return [
        Place(
            chip.sheet, " · ".join(filter(None, (chip.place, str(chip.window)))), chip.truth, chip.predicted, chip.image
        )
        for chip in report.chips
    ]


def _shares(report: RunReport) -> str:
    return share_table(report.legend, ("training", report.training_pixels), ("validation", report.validation_pixels))


def _calibration(report: RunReport, judged: Judgement) -> str:
    pictures = [
        calibration_chart("Temperature 1", judged.uncalibrated),
        calibration_chart(f"Temperature {report.temperature:.3g}", judged.calibration),
    ]
    return charts(pictures, small=True)


def _costs(report: RunReport) -> list[tuple[str, str]]:
    total = sum(report.seconds.values())
    rows = [(f"time: {escape(stage)}", time_span(seconds)) for stage, seconds in report.seconds.items()]
    rows.append(("time in all", time_span(total)))
    if report.chips_per_second is not None:
        rows.append(("chips a second", f"{report.chips_per_second:.3g}"))
    for name, size in (("peak memory", report.peak_memory), ("peak memory of the GPU", report.peak_device_memory)):
        if size is not None:
            rows.append((name, size_in_bytes(size)))
    return [*rows, ("device", escape(report.device)), ("parameters", f"{report.parameters:,}")]


def _settings(config: str) -> str:
    """YAML with pale comments."""
    paled = _COMMENT.sub(r"\1<i>\2</i>", escape(config, quote=False))
    return f"<pre>{paled}</pre>" if config else ""
