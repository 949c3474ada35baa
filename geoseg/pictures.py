"""Overview pictures: a scene, its map and its confidence side by side, with the legend.

Figures are made without pyplot: nothing is global, and no display is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from geoseg.legend import Legend
from geoseg.rasters import open_class_raster, open_confidence, open_scene
from geoseg.tiling import Window

Picture = npt.NDArray[np.uint8]
"""(H, W, 4) uint8 red, green, blue, opacity; no data is transparent."""

Sample = TypeVar("Sample", bound=np.generic)

CONFIDENCE_COLORS = "cividis"
"""Colour map of confidence; reads the same for colour-blind eyes, and in grey."""

_PERCENTILES = 0.5, 99.5
_INK, _PALE = "#222222", "#666666"

# Inches: side of a panel, between panels, above them for title and note, below them for the legend.
_SIDE, _GAP, _ABOVE, _BELOW = 5.2, 0.2, 1.2, 0.55

Rectangle = tuple[float, float, float, float]
"""Left, bottom, width, height as shares of a figure."""


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """One picture of an overview.

    Attributes:
        title: Above it.
        picture: What it shows.
        colorbar: Name of the colour map whose bar goes below, for values 0..1.
    """

    title: str
    picture: Picture
    colorbar: str | None = None


def picture_scene(path: str | Path, *, max_side: int = 1024) -> Picture:
    """A scene in its first three bands (or the first in grey), stretched unless it is 8-bit."""
    with open_scene(path) as scene:
        pixels = scene.sample(2 * max_side)
    bands = pixels.values[[0, 1, 2] if len(pixels.values) >= 3 else [0, 0, 0]]
    shown = bands.astype(np.float64) if bands.dtype == np.uint8 else _stretched(bands, pixels.valid)
    opacity = np.where(pixels.valid, 255.0, 0.0)
    picture = np.dstack([*shown, opacity])
    if max(opacity.shape) > max_side:
        picture = _halved(picture)
    return np.asarray(np.rint(picture), np.uint8)


def picture_labels(path: str | Path, *, max_side: int = 1024) -> Picture:
    """A class raster in the colours of its legend."""
    with open_class_raster(path) as raster:
        labels = _thinned(raster.read, raster.grid.shape, max_side)
        table = np.zeros((256, 4), np.uint8)
        for c in raster.legend:
            table[c.id] = (*c.rgb, 255)
    return np.asarray(table[labels], np.uint8)


def picture_confidence(path: str | Path, *, max_side: int = 1024) -> Picture:
    """A confidence raster from 0 (dark) to 1 (bright)."""
    with open_confidence(path) as raster:
        confidence = _thinned(raster.read, raster.grid.shape, max_side)
    picture = np.asarray(colormaps[CONFIDENCE_COLORS](confidence, bytes=True), np.uint8)
    picture[np.isnan(confidence)] = 0
    return picture


def draw_overview(
    panels: Sequence[Panel],
    legend: Legend | None = None,
    *,
    title: str | None = None,
    note: str | None = None,
    divide_at: float | None = None,
) -> Figure:
    """Panels side by side.

    Args:
        panels: From left to right, all of one shape.
        legend: Named below the panels.
        title: Above all.
        note: A line below the title.
        divide_at: Share of the width, 0..1, where a dashed line stands: trained on the left of it, tested on the right.

    Returns:
        A figure for ``savefig``, or to be shown by a notebook.
    """
    frame = _Frame(len(panels), panels[0].picture.shape[0] / panels[0].picture.shape[1])
    figure = Figure(figsize=(frame.width, frame.height), facecolor="white")
    for number, panel in enumerate(panels):
        _draw_panel(figure, frame, number, panel, divide_at)
    top = frame.height - 0.42
    if title:
        figure.text(_GAP / frame.width, top / frame.height, title, fontsize=19, fontweight="bold", color=_INK)
    if note:
        figure.text(_GAP / frame.width, (top - 0.34) / frame.height, note, fontsize=11.5, color=_PALE)
    if legend is not None:
        figure.legend(
            handles=[Patch(facecolor=c.color, label=c.name) for c in legend],
            loc="center left",
            bbox_to_anchor=(_GAP / 2 / frame.width, _BELOW / 2 / frame.height),
            ncols=4 * len(panels),
            frameon=False,
            fontsize=11.5,
            labelcolor=_INK,
            handlelength=1.1,
            handleheight=1.1,
            columnspacing=1.6,
        )
    return figure


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where the panels of a figure lie, in inches."""

    count: int
    aspect: float

    @property
    def width(self) -> float:
        return self.count * (_SIDE + _GAP) + _GAP

    @property
    def height(self) -> float:
        return _SIDE * self.aspect + _ABOVE + _BELOW

    def rectangle(self, number: int, left: float, bottom: float, width: float, height: float) -> Rectangle:
        """Inches from the lower left corner of a panel, as shares of the figure."""
        x, y = _GAP + number * (_SIDE + _GAP) + left, _BELOW + bottom
        return x / self.width, y / self.height, width / self.width, height / self.height


def _draw_panel(figure: Figure, frame: _Frame, number: int, panel: Panel, divide_at: float | None) -> None:
    ax = figure.add_axes(frame.rectangle(number, 0, 0, _SIDE, _SIDE * frame.aspect))
    ax.imshow(panel.picture, interpolation="antialiased", aspect="auto")
    ax.set_title(panel.title, fontsize=13, color=_INK, loc="left")
    ax.set_axis_off()
    if divide_at is not None:
        line = ax.axvline(divide_at * panel.picture.shape[1], color="white", linestyle=(0, (5, 4)), linewidth=1.6)
        line.set_path_effects([withStroke(linewidth=3.0, foreground=_INK)])  # shows on pale ground too
    if panel.colorbar is not None:
        bar = figure.add_axes(frame.rectangle(number, _SIDE - 1.9, -0.34, 1.6, 0.12))
        bar.imshow(np.linspace(0, 1, 256)[None], cmap=panel.colorbar, aspect="auto")
        bar.set_axis_off()
        for value, x in (("0", -0.03), ("1", 1.03)):
            bar.text(x, 0.5, value, transform=bar.transAxes, ha="right" if value == "0" else "left", va="center",
                     fontsize=11.5, color=_INK)  # fmt: skip


def _stretched(bands: npt.NDArray[np.generic], valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """(3, H, W) values to 0..255, each band from its 0.5th to its 99.5th percentile."""
    out = np.zeros(bands.shape)
    for band, values in zip(out, bands.astype(np.float64), strict=True):
        usable = valid & np.isfinite(values)
        if usable.any():
            low, high = np.percentile(values[usable], _PERCENTILES)
            band[usable] = np.clip((values[usable] - low) / max(high - low, 1e-12), 0, 1) * 255
    return out


def _halved(picture: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Means of 2×2 pixels; an odd last row or column is left out."""
    height, width = (n // 2 * 2 for n in picture.shape[:2])
    even = picture[:height, :width]
    return np.asarray((even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4)


def _thinned(
    read: Callable[[Window], npt.NDArray[Sample]], shape: tuple[int, int], max_side: int
) -> npt.NDArray[Sample]:
    """Every n-th row and column, so that no side is longer than ``max_side``."""
    height, width = shape
    step = math.ceil(max(shape) / max_side)
    middle = min(step // 2, height - 1, width - 1)
    rows = [read(Window(row, 0, 1, width))[:, middle::step] for row in range(middle, height, step)]
    return np.concatenate(rows)
