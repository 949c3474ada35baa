"""A map, its reference and where they differ, at reduced size, made while the strips go by."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt

from geoseg.legend import NODATA_ID, Legend
from geoseg.tiling import Window

MOST_PIXELS = 800
"""Longest side of a picture."""

Labels = npt.NDArray[np.uint8]
Picture = npt.NDArray[np.uint8]

_RIGHT, _WRONG = (225, 228, 226), (200, 30, 30)


class Thumbnails:
    """Pictures of an area in cells of n × n pixels, n so that no side is longer than 800 cells.

    Prediction and reference show the middle pixel of each cell. The third picture loses nothing: it shows the share of
    each cell that differs, so that thin errors are seen too.

    Attributes:
        step: Side of a cell in pixels.
        predicted: (h, w) uint8 class ids.
        truth: (h, w) uint8 class ids.
        compared: (h, w) int64 pixels of each cell with a class in both.
        wrong: (h, w) int64 those of them that differ.
    """

    def __init__(self, area: Window) -> None:
        self._area = area
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
        first = top - self._area.row_off
        here = np.flatnonzero((self._rows >= first) & (self._rows < first + len(truth)))
        at = np.ix_(self._rows[here] - first, self._cols)
        self.truth[here], self.predicted[here] = truth[at], predicted[at]
        compared = (truth != NODATA_ID) & (predicted != NODATA_ID)
        cells = (first + np.arange(len(truth))) // self.step
        starts = np.flatnonzero(np.diff(cells, prepend=-1))
        edges = np.arange(0, self._area.width, self.step)
        for counts, pixels in ((self.compared, compared), (self.wrong, compared & (truth != predicted))):
            # Rows first: along them the sum of a column of cells is one sweep.
            sums = np.add.reduceat(pixels, starts, axis=0, dtype=np.int32)
            counts[cells[starts]] += np.add.reduceat(sums, edges, axis=1, dtype=np.int64)

    def labels_png(self, labels: Labels, legend: Legend) -> bytes:
        """Labels in the colours of a legend; no data is transparent."""
        table = np.zeros((256, 4), np.uint8)
        for c in legend:
            table[c.id] = (*c.rgb, 255)
        return _png(table[labels])

    def differences_png(self) -> bytes:
        """From grey, where all agrees, to red, where all differs; transparent where nothing was compared."""
        share = self.wrong / np.maximum(self.compared, 1)
        # One wrong pixel in a hundred shall be seen: the eye takes the root for even steps.
        colors = _RIGHT + np.sqrt(share)[..., None] * np.subtract(_WRONG, _RIGHT)
        opacity = np.where(self.compared > 0, 255, 0)
        return _png(np.dstack([np.rint(colors), opacity]).astype(np.uint8))


def _png(picture: Picture) -> bytes:
    # Late: only who asks for a report needs it.
    from matplotlib.image import imsave

    file = io.BytesIO()
    imsave(file, picture, format="png")
    return file.getvalue()
