"""A map, its reference and where they differ, at reduced size, made while the strips go by."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from geoseg.legend import NODATA_ID
from geoseg.reports import errors_png
from geoseg.tiling import Window

MOST_PIXELS = 800
"""Longest side of a picture."""

Labels = npt.NDArray[np.uint8]


class Thumbnails:
    """Pictures of an area in cells of n × n pixels, n so that no side is longer than 800 cells.

    Prediction and reference show the middle pixel of each cell. The third picture loses nothing: it shows the share of
    each cell that differs, so that thin errors are seen too.

    Attributes:
        area: What they show.
        step: Side of a cell in pixels.
        predicted: (h, w) uint8 class ids.
        truth: (h, w) uint8 class ids.
        compared: (h, w) int64 pixels of each cell with a class in both.
        wrong: (h, w) int64 those of them that differ.
    """

    def __init__(self, area: Window) -> None:
        self.area = area
        self.step = -(-max(area.height, area.width) // MOST_PIXELS)
        shape = -(-area.height // self.step), -(-area.width // self.step)
        self.predicted, self.truth = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
        self.compared, self.wrong = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        self._rows, self._cols = (
            np.minimum(np.arange(count) * self.step + self.step // 2, size - 1)
            for count, size in zip(shape, (area.height, area.width), strict=True)
        )

    def add(self, truth: Labels, predicted: Labels, top: int) -> None:
        """Take in full-width rows of the area, the first of them row ``top`` of the scene."""
        first = top - self.area.row_off
        here = np.flatnonzero((self._rows >= first) & (self._rows < first + len(truth)))
        at = np.ix_(self._rows[here] - first, self._cols)
        self.truth[here], self.predicted[here] = truth[at], predicted[at]
        compared = (truth != NODATA_ID) & (predicted != NODATA_ID)
        cells = (first + np.arange(len(truth))) // self.step
        starts = np.flatnonzero(np.diff(cells, prepend=-1))
        edges = np.arange(0, self.area.width, self.step)
        for counts, pixels in ((self.compared, compared), (self.wrong, compared & (truth != predicted))):
            # Rows first: along them the sum of a column of cells is one sweep.
            sums = np.add.reduceat(pixels, starts, axis=0, dtype=np.int32)
            counts[cells[starts]] += np.add.reduceat(sums, edges, axis=1, dtype=np.int64)

    def differences_png(self) -> bytes:
        """From grey, where all agrees, to red, where all differs; transparent where nothing was compared."""
        return errors_png(self.wrong / np.maximum(self.compared, 1), self.compared > 0)
