"""The class raster as a stream of strips, each with the row above it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.polygons.survey_bands import Strips, restrip
from geoseg.rasters import ClassRaster, ConfidenceRaster
from geoseg.tiling import Window

Labels = NDArray[np.uint8]

# Pixels read at once: enough to decode each block once, few enough to hold several strips.
_STRIP_PIXELS = 1 << 22

# Each strip leaves the rings that cross its ends to the joiner, one thread for all.
_LEAST_ROWS = 128


@dataclass(frozen=True, slots=True)
class Strip:
    """What is traced at once.

    Attributes:
        top: First row.
        labels: (h + 1, W) uint8, the row above it first; zeros above the raster.
        confidence: (h, W) float32, NaN where there is none; None without confidence raster.
        last: No strip follows.
    """

    top: int
    labels: Labels
    confidence: NDArray[np.float32] | None
    last: bool

    @property
    def end(self) -> int:
        """First row below."""
        return self.top + len(self.labels) - 1


def strip_height(height: int, width: int, multiple: int, wanted: int | None) -> int:
    """Rows traced at once.

    Args:
        height: Rows of the raster.
        width: Columns of the raster.
        multiple: Rows at which arcs are pinned, which is where strips may end; 0 for anywhere.
        wanted: What the user wants; None for what is fast and takes little memory.
    """
    rows = max(_LEAST_ROWS, _STRIP_PIXELS // width) if wanted is None else wanted
    if multiple:
        rows = max(1, round(rows / multiple)) * multiple
    return min(rows, height)


def label_strips(source: ClassRaster, begin: int = 0, end: int | None = None) -> Strips:
    """The labels of ``source`` in strips of whole blocks: all rows, or those from ``begin`` to before ``end``."""
    height, width = source.grid.shape
    bottom = height if end is None else end
    rows = source.block_shape[0]
    step = max(1, _STRIP_PIXELS // width // rows) * rows

    def read() -> Iterator[Labels]:
        for block in range(begin // rows * rows, bottom, step):
            top = max(block, begin)
            yield source.read(Window(top, 0, min(block + step, bottom) - top, width))

    return read


def overlapped(
    strips: Strips,
    height: int,
    rows: int,
    confidence: ConfidenceRaster | None,
    *,
    top: int = 0,
    above: Labels | None = None,
) -> Iterator[Strip]:
    """Strips of ``rows`` rows, the last one of what is left, each with the row above it.

    Args:
        strips: Labels, (h, W) each; together ``height`` rows, or some of them.
        height: Rows of the raster.
        rows: Rows of a strip.
        confidence: Its pixels go with them.
        top: First of the rows.
        above: (1, W) labels of the row above it; None where it is the first of the raster.
    """
    for strip in restrip(strips, rows)():
        if above is None:
            above = np.zeros_like(strip[:1])
        end = top + len(strip)
        window = Window(top, 0, len(strip), strip.shape[1])
        values = None if confidence is None else confidence.read(window)
        yield Strip(top, np.concatenate([above, strip]), values, end == height)
        top, above = end, strip[-1:]
