"""Charts as SVG elements inside a page: sharp at any size, readable in both colour schemes, with no script.

What a point says appears when the pointer rests on it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from geoseg.reports.markup import share

Points = Sequence[tuple[float, float | None]]

PALETTE = tuple(f"var(--c{i})" for i in range(5))
"""Colours of the style that show on both grounds."""

_WIDTH, _HEIGHT = 600, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 14, 20, 42

# Points of a chart that say what they are: each takes a hundred bytes.
_MOST_HOVERS = 1500


@dataclass(frozen=True, slots=True)
class Line:
    """A curve.

    Attributes:
        name: Text.
        points: x and y in order; the line breaks where y is None or not finite.
        color: CSS colour; a class colour may be pale, so it gets a casing.
        dashed: Told apart without colour.
    """

    name: str
    points: Points
    color: str
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class _Frame:
    """From values to places in the picture."""

    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, x: float, y: float) -> tuple[float, float]:
        right = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        across, down = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
        return round(_LEFT + right * across, 1), round(_TOP + (1 - up) * down, 1)


def line_chart(
    title: str,
    lines: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    y_range: tuple[float, float] | None = None,
    mark: tuple[float, str] | None = None,
) -> str:
    """Curves over a common, whole-numbered x.

    Args:
        title: Text above.
        lines: Those without any value are left out.
        x_label: What x is.
        y_label: What y is, with its unit.
        y_range: Fixed; None = what the values take.
        mark: An x to point out, and why.

    Returns:
        HTML; empty without a value.
    """
    shown = [line for line in lines if any(_runs(line.points))]
    values = [y for line in shown for run in _runs(line.points) for _, y in run]
    if not values:
        return ""
    xs = [x for line in shown for x, _ in line.points]
    y_ticks = ticks(*(y_range or (min(values), max(values))))
    x_ticks = [t for t in ticks(min(xs), max(xs), whole=True) if min(xs) <= t <= max(xs)]
    low, high = (min(xs), max(xs)) if min(xs) < max(xs) else (xs[0] - 1, xs[0] + 1)
    frame = _Frame((low, high), (y_ticks[0], y_ticks[-1]))
    parts = [*_axes(frame, x_ticks, y_ticks, x_label, y_label), *_mark(frame, mark)]
    parts += [part for line in shown for part in _curve(frame, line)]
    every = math.ceil(sum(len(line.points) for line in shown) / _MOST_HOVERS)
    parts += [dot for line in shown for dot in _hovers(frame, line, every, x_label)]
    return chart(title, _WIDTH, _HEIGHT, parts, _line_keys(shown))


def chart(title: str, width: int, height: int, parts: Iterable[str], keys: str = "") -> str:
    """SVG elements as a titled figure, with HTML below."""
    return (
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption>\n'
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">\n'
        + "\n".join(parts)
        + f"\n</svg>{keys}</figure>\n"
    )


def charts(elements: Iterable[str], *, small: bool = False) -> str:
    """Charts side by side, as far as there are any."""
    filled = "".join(elements)
    return f'<div class="charts{" small" if small else ""}">\n{filled}</div>' if filled else ""


def text(x: float, y: float, words: str, *, anchor: str = "start", turned: bool = False) -> str:
    """A text element; ``turned`` reads upwards."""
    turn = f' transform="rotate(-90 {x:g} {y:g})"' if turned else ""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{turn}>{escape(words)}</text>'


def rule(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A straight line: ``grid``, ``axis`` or ``guide``."""
    return f'<line class="{kind}" x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"/>'


def ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Round values from at most ``low`` to at least ``high``, two at least."""
    # Late: only who asks for a report needs it.
    from matplotlib.ticker import MaxNLocator

    if not low < high:
        pad = 1.0 if whole else abs(low) * 0.1 or 1.0
        low, high = low - pad, high + pad
    locator = MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10], integer=whole, min_n_ticks=2)
    return [float(t) for t in locator.tick_values(low, high)]


def reliability_chart(title: str, pixels: Sequence[int], accuracy: Sequence[float | None]) -> str:
    """How often a map is right for each bin of confidence, above how many pixels lie in it.

    Args:
        title: Text.
        pixels: Of each bin; the bins cut 0..1 into equal parts.
        accuracy: Share of them that is right; None without a pixel.
    """
    width, side, low, total = 330, 260, 62, sum(pixels)
    left, top, base = 48, 8, 8 + side
    foot, step = base + 16 + low, side / len(pixels)
    parts = [_axis_tick(left, side, base, v / 4) for v in range(5)]
    parts.append(rule(left, foot, left + side, foot, "axis"))
    most = max(*pixels, 1)
    for i, (n, right) in enumerate(zip(pixels, accuracy, strict=True)):
        if right is None:
            continue
        said = f"confidence {i / len(pixels):.2f} to {(i + 1) / len(pixels):.2f}: {share(n / total)} of the pixels, "
        said += f"{share(right)} of them right"
        x = left + i * step + 1
        parts.append(_box(x, base - right * side, step - 2, right * side, said))
        parts.append(_box(x, foot - n / most * low, step - 2, n / most * low, said))
    middle = left + side / 2
    parts.append(rule(left, base, left + side, top, "guide"))
    parts += [text(left + v * side, foot + 15, f"{v:g}", anchor="middle") for v in (0, 0.25, 0.5, 0.75, 1)]
    parts += [
        text(middle, foot + 32, "confidence", anchor="middle"),
        text(13, top + side / 2, "share that is right", anchor="middle", turned=True),
        text(13, foot - low / 2, "pixels", anchor="middle", turned=True),
    ]
    return chart(title, width, foot + 38, parts)


def _axis_tick(left: float, side: float, base: float, value: float) -> str:
    y = base - value * side
    kind = "grid" if value else "axis"
    return rule(left, y, left + side, y, kind) + text(left - 7, y + 4, f"{value:g}", anchor="end")


def _box(x: float, y: float, width: float, height: float, said: str) -> str:
    return (
        f'<rect class="box" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{max(height, 0.5):.1f}">'
        f"<title>{escape(said)}</title></rect>"
    )


def _axes(
    frame: _Frame, x_ticks: Sequence[float], y_ticks: Sequence[float], x_label: str, y_label: str
) -> Iterator[str]:
    base = _HEIGHT - _BOTTOM
    for y in y_ticks:
        height = frame.at(frame.x[0], y)[1]
        yield rule(_LEFT, height, _WIDTH - _RIGHT, height, "axis" if y == y_ticks[0] else "grid")
        yield text(_LEFT - 7, height + 4, f"{y:.6g}", anchor="end")
    for x in x_ticks:
        place = frame.at(x, frame.y[0])[0]
        yield rule(place, base, place, base + 4, "axis")
        yield text(place, base + 17, f"{x:g}", anchor="middle")
    yield text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, x_label, anchor="middle")
    yield text(12, (_TOP + base) / 2, y_label, anchor="middle", turned=True)


def _mark(frame: _Frame, mark: tuple[float, str] | None) -> Iterator[str]:
    if mark is None:
        return
    x, top = frame.at(mark[0], frame.y[1])
    yield rule(x, top, x, _HEIGHT - _BOTTOM, "guide")
    yield text(x, top - 6, mark[1], anchor="middle")


def _curve(frame: _Frame, line: Line) -> Iterator[str]:
    """The line over its casing; a point on its own is a dot."""
    dashes = ' stroke-dasharray="7 5"' if line.dashed else ""
    for run in _runs(line.points):
        if len(run) == 1:
            x, y = frame.at(*run[0])
            yield f'<circle cx="{x:g}" cy="{y:g}" r="3.5" fill="{line.color}" class="axis"/>'
            continue
        places = " ".join("{:g},{:g}".format(*frame.at(*point)) for point in run)
        if not line.color.startswith("var("):
            yield f'<polyline class="casing" points="{places}"/>'
        yield f'<polyline class="line" stroke="{line.color}"{dashes} points="{places}"/>'


def _hovers(frame: _Frame, line: Line, every: int, x_label: str) -> Iterator[str]:
    for run in _runs(line.points):
        for x, y in run[::every]:
            cx, cy = frame.at(x, y)
            said = escape(f"{line.name}, {x_label} {x:g}: {y:.4g}")
            yield f'<circle class="hover" cx="{cx:g}" cy="{cy:g}" r="4"><title>{said}</title></circle>'


def _line_keys(lines: Sequence[Line]) -> str:
    """What each colour is, with its last value."""
    return '<p class="keys">' + " ".join(_line_key(line) for line in lines) + "</p>"


def _line_key(line: Line) -> str:
    dashes = ' stroke-dasharray="7 5"' if line.dashed else ""
    casing = "" if line.color.startswith("var(") else '<line class="casing" x1="1" y1="5" x2="25" y2="5"/>'
    sample = (
        f'<svg viewBox="0 0 26 10" style="display: inline-block; width: 26px" aria-hidden="true">{casing}'
        f'<line class="line" stroke="{line.color}"{dashes} x1="1" y1="5" x2="25" y2="5"/></svg>'
    )
    return f"<span>{sample} {escape(line.name)}</span>"


def _runs(points: Points) -> Iterator[list[tuple[float, float]]]:
    """Stretches of points that have a value."""
    run: list[tuple[float, float]] = []
    for x, y in points:
        if y is not None and math.isfinite(y):
            run.append((x, y))
        elif run:
            yield run
            run = []
    if run:
        yield run
