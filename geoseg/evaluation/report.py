"""The report of an evaluation: one HTML file that needs nothing else, on no network."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import numpy as np

from geoseg.durable import sync
from geoseg.errors import OutputError, OutputExistsError
from geoseg.evaluation.result import Evaluation
from geoseg.evaluation.thumbnails import Thumbnails
from geoseg.legend import ClassDef
from geoseg.rasters.publishing import temporary_names

_SUFFIXES = (".html", ".htm")

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #ddd; vertical-align: top; }
th:first-child, td:first-child { text-align: left; } td small { color: #555; display: block; }
.wide { overflow-x: auto; } .maps { display: flex; gap: 1rem; flex-wrap: wrap; }
figure { margin: 0; flex: 1 1 20rem; } figure img { width: 100%; image-rendering: pixelated; border: 1px solid #ccc; }
i.key { display: inline-block; width: .8em; height: .8em; margin-right: .4em; border: 1px solid #0003; }
.bar { display: block; height: .55em; margin: .15em 0; min-width: 1px; } .bars { width: 18rem; }
""".strip()


def check_report(path: Path, overwrite: bool) -> None:
    """See before any work whether a report can be written.

    Raises:
        OutputExistsError: It exists and ``overwrite`` is not given.
        OutputError: It is no name for an HTML file, or its folder is missing or read-only.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise OutputError(f"{path} must end in .html: the report is an HTML file")
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise OutputError(f"the folder of {path} does not exist; create {path.parent} first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(f"the folder {path.parent} is read-only; choose another one for {path.name}")
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} exists; give --overwrite (overwrite=True) to replace it")


def write_report(path: Path, found: Evaluation, maps: Thumbnails, aspect: float, overwrite: bool) -> None:
    """Write the report, whole or not at all.

    Args:
        path: Ends in ``.html``.
        found: What it reports.
        maps: Its pictures.
        aspect: Width over height of the pictures on the ground.
        overwrite: Replace an older report.

    Raises:
        OutputExistsError: It has come into being meanwhile and ``overwrite`` is not given.
        OutputError: It cannot be written.
    """
    page = report_page(found, maps, aspect)
    with temporary_names(path) as base:
        try:
            base.write_text(page, encoding="utf-8")
            sync(base)
            check_report(path, overwrite)
            base.replace(path)
        except OutputExistsError:
            raise
        except OSError as error:
            raise OutputError(f"{path} cannot be written ({error.strerror or error}); is the disk full?") from error


def report_page(found: Evaluation, maps: Thumbnails, aspect: float) -> str:
    """The HTML page; see :func:`write_report`."""
    sections = (
        ("Maps", _maps(found, maps, aspect)),
        ("Figures", _figures(found)),
        ("Classes", _classes(found)),
        ("Confusion matrix", _confusion(found)),
        ("Class shares", _shares(found)),
        ("Calibration", _calibration(found)),
        ("Notes", "\n".join(f"<p>{escape(note)}</p>" for note in found.notes)),
    )
    body = "\n".join(f"<h2>{title}</h2>\n{text}" for title, text in sections if text)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>Evaluation of {escape(Path(found.prediction).name)}</title>
<style>
{_STYLE}
</style>
</head>
<body>
<h1>Evaluation of {escape(Path(found.prediction).name)}</h1>
<p>Prediction: {escape(found.prediction)}<br>Reference: {escape(found.reference)}</p>
{body}
</body>
</html>
"""


def _maps(found: Evaluation, maps: Thumbnails, aspect: float) -> str:
    pictures = (
        ("Prediction", maps.labels_png(maps.predicted, found.legend)),
        ("Reference", maps.labels_png(maps.truth, found.legend)),
        ("Where they differ (red)", maps.differences_png()),
    )
    figures = "".join(
        f'<figure><img alt="{title}" style="aspect-ratio: {aspect:.4f}" '
        f'src="data:image/png;base64,{base64.b64encode(png).decode()}"><figcaption>{title}</figcaption></figure>\n'
        for title, png in pictures
    )
    keys = " &ensp; ".join(_key(c) for c in found.legend)
    cell = "" if maps.step == 1 else f"; one pixel of these pictures stands for {maps.step} × {maps.step} of the map"
    return f'<div class="maps">\n{figures}</div>\n<p>{keys}{cell}</p>'


def _figures(found: Evaluation) -> str:
    m, b, c = found.metrics, found.boundary, found.calibration
    rows = [
        ("mean IoU", _figure(m.mean_iou)),
        ("mean F1", _figure(m.mean_f1)),
        ("overall accuracy", _figure(m.overall_accuracy)),
        ("class-average accuracy", _figure(m.mean_accuracy)),
        ("kappa", _figure(m.kappa)),
    ]
    if b is not None:
        metres = "" if b.tolerance_m is None else f" ({b.tolerance_m:.3g} m)"
        rows.append((f"mean border F1 within {b.tolerance:g} px{metres}", _figure(b.mean_f1)))
    if c is not None:
        rows.append((f"expected calibration error in {len(c.pixels)} bins", _figure(c.error)))
    rows += [
        ("pixels compared", f"{m.pixels:,}"),
        ("pixels with a class in the reference", f"{found.reference_pixels:,}"),
        ("pixels with a class in the prediction", f"{found.predicted_pixels:,}"),
        ("share of the reference without prediction", f"{found.missing_share:.2%}"),
    ]
    return _table(("figure", "value"), rows)


def _classes(found: Evaluation) -> str:
    m, b = found.metrics, found.boundary
    head = ["class", "IoU", "F1", "precision", "recall", "reference pixels"]
    columns: list[Sequence[float | None]] = [m.iou, m.f1, m.precision, m.recall]
    rows = [
        [_key(c), *(_figure(column[i]) for column in columns), f"{m.support[i]:,}"] for i, c in enumerate(found.legend)
    ]
    if b is not None:
        head += ["border F1", "border precision", "border recall"]
        for i, row in enumerate(rows):
            row += [_figure(column[i]) for column in (b.f1, b.precision, b.recall)]
    return _table(head, rows)


def _confusion(found: Evaluation) -> str:
    """Counts, and below each its share of the row."""
    head = ["reference ↓ prediction →", *(escape(name) for name in found.legend.names), "sum"]
    lines = []
    for c, row in zip(found.legend, found.confusion, strict=True):
        total = int(row.sum())
        pairs = zip(found.legend.ids, row, strict=True)
        cells = "".join(_confusion_cell(int(n), total, c.id == other) for other, n in pairs)
        lines.append(f"<tr><td>{_key(c)}</td>{cells}<td>{total:,}</td></tr>")
    sums = "".join(f"<td>{int(n):,}</td>" for n in found.confusion.sum(axis=0))
    lines.append(f"<tr><td>sum</td>{sums}<td>{int(found.confusion.sum()):,}</td></tr>")
    heads = "".join(f"<th>{text}</th>" for text in head)
    return f'<div class="wide"><table>\n<tr>{heads}</tr>\n' + "\n".join(lines) + "\n</table></div>"


def _confusion_cell(count: int, total: int, agrees: bool) -> str:
    if not total:
        return f"<td>{count:,}<small>–</small></td>"
    color = "17, 119, 51" if agrees else "200, 30, 30"
    share = count / total
    return f'<td style="background: rgba({color}, {0.6 * share:.3f})">{count:,}<small>{share:.1%}</small></td>'


def _shares(found: Evaluation) -> str:
    """Shares of the pixels that were compared."""
    total = found.metrics.pixels
    rows = []
    for i, c in enumerate(found.legend):
        shares = [int(found.confusion.sum(axis=axis)[i]) / total for axis in (1, 0)]
        bars = "".join(f'<span class="bar" style="width: {s:.2%}; background: {c.color}"></span>' for s in shares)
        rows.append((_key(c), *(f"{s:.2%}" for s in shares), f"{shares[1] - shares[0]:+.2%}", bars))
    return _table(("class", "reference", "prediction", "difference", '<div class="bars"></div>'), rows)


def _calibration(found: Evaluation) -> str:
    c = found.calibration
    if c is None:
        return ""
    edges = np.linspace(0, 1, len(c.pixels) + 1)
    rows = [
        (f"{low:.3f} to {high:.3f}", f"{n:,}", _figure(sure), _figure(right))
        for low, high, n, sure, right in zip(edges[:-1], edges[1:], c.pixels, c.confidence, c.accuracy, strict=True)
    ]
    return _table(("confidence", "pixels", "mean confidence", "accuracy"), rows)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of cells that are HTML already."""
    heads = "".join(f"<th>{text}</th>" for text in head)
    lines = "\n".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table>\n<tr>{heads}</tr>\n{lines}\n</table></div>'


def _key(c: ClassDef) -> str:
    return f'<i class="key" style="background: {c.color}"></i>{escape(c.name)}'


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
