"""Pages, tables and figures as HTML. What takes texts escapes them; what takes HTML says so."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from geoseg.legend import ClassDef, Legend
from geoseg.reports.style import STYLE

UNDEFINED = "–"
"""Stands where a figure has no value."""

_MANY = 12
"""Columns above which a table is set small, with upright heads."""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page.

    Attributes:
        title: Text.
        body: HTML; a section without any is left out.
    """

    title: str
    body: str


def page(title: str, lead: str, sections: Iterable[Section]) -> str:
    """A page that loads and runs nothing: the security policy in its head forbids it.

    Args:
        title: Text.
        lead: HTML below the title.
        sections: With links to them above the first, where there are several.
    """
    filled = [s for s in sections if s.body]
    body = "\n".join(f'<section id="{_anchor(s)}">\n<h2>{escape(s.title)}</h2>\n{s.body}\n</section>' for s in filled)
    links = "".join(f'<a href="#{_anchor(s)}">{escape(s.title)}</a>\n' for s in filled)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{STYLE}
</style>
</head>
<body>
<h1>{escape(title)}</h1>
{lead}
<nav>
{links}</nav>
{body}
</body>
</html>
"""


def cards(figures: Iterable[tuple[str, str]]) -> str:
    """The figures that matter most, large: value and what it is, both texts."""
    lines = "".join(f"<li><b>{escape(value)}</b><span>{escape(name)}</span></li>\n" for value, name in figures)
    return f'<ul class="cards">\n{lines}</ul>' if lines else ""


def table(head: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of cells that are HTML already."""
    return raw_table(head, ("".join(f"<td>{cell}</td>" for cell in row) for row in rows))


def raw_table(head: Sequence[str], rows: Iterable[str]) -> str:
    """A table of rows that are whole ``<td>`` elements already; its head is HTML."""
    heads = "".join(f"<th>{text}</th>" for text in head)
    lines = "\n".join(f"<tr>{row}</tr>" for row in rows)
    kind = ' class="many"' if len(head) > _MANY else ""
    return f'<div class="wide"><table{kind}>\n<tr>{heads}</tr>\n{lines}\n</table></div>'


def paragraphs(texts: Iterable[str]) -> str:
    """Texts below each other."""
    return "\n".join(f"<p>{escape(text)}</p>" for text in texts)


def warning_box(texts: Sequence[str]) -> str:
    """Texts that must be seen; nothing without any."""
    return f'<div class="warnings" role="note">\n{paragraphs(texts)}\n</div>' if texts else ""


def class_key(c: ClassDef) -> str:
    """Colour and name of a class."""
    return f'<i class="key" style="background: {c.color}"></i>{escape(c.name)}'


def class_keys(legend: Legend) -> str:
    """All classes in a row."""
    return '<p class="keys">' + "".join(f"<span>{class_key(c)}</span> " for c in legend) + "</p>"


def figure(value: float | None, digits: int = 4) -> str:
    """A share or rate as text."""
    return UNDEFINED if value is None else f"{value:.{digits}f}"


def share(value: float | None, digits: int = 2) -> str:
    """A share 0..1 in per cent."""
    return UNDEFINED if value is None else f"{value:.{digits}%}"


def time_span(seconds: float) -> str:
    """``3.2 s``, ``4 min 05 s`` or ``2 h 07 min``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def size_in_bytes(count: int) -> str:
    """``512 MiB`` or ``3.25 GiB``."""
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _anchor(section: Section) -> str:
    return re.sub(r"[^a-z0-9]+", "-", section.title.lower()).strip("-")
