"""Where a map is worst: errors counted in square cells while the strips go by."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from geoseg.legend import NODATA_ID
from geoseg.tiling import Window

SIDE = 256
"""Of a cell in pixels."""

MOST = 12
"""Cells that are shown."""

Labels = npt.NDArray[np.uint8]


class ErrorCells:
    """Wrong pixels of each cell of an area. One number a cell is kept, no pixel.

    Attributes:
        wrong: (rows, cols) int64 pixels whose class is not that of the reference.
    """

    def __init__(self, area: Window) -> None:
        self._area = area
        self.wrong = np.zeros((-(-area.height // SIDE), -(-area.width // SIDE)), np.int64)

    def add(self, truth: Labels, predicted: Labels, top: int) -> None:
        """Take in full-width rows of the area, the first of them row ``top`` of the scene."""
        wrong = (truth != NODATA_ID) & (predicted != NODATA_ID) & (truth != predicted)
        cells = (top - self._area.row_off + np.arange(len(truth))) // SIDE
        starts = np.flatnonzero(np.diff(cells, prepend=-1))
        sums = np.add.reduceat(wrong, starts, axis=0, dtype=np.int32)
        edges = np.arange(0, self._area.width, SIDE)
        self.wrong[cells[starts]] += np.add.reduceat(sums, edges, axis=1, dtype=np.int64)

    def worst(self) -> list[Window]:
        """Cells with the most wrong pixels, the worst first; none in an area of one cell, which is seen as a whole.

        Pixels are counted, not their share: a sliver of data at a border would be worst by its share.
        """
        if self.wrong.size == 1:
            return []
        order = np.argsort(-self.wrong, axis=None, kind="stable")[:MOST]
        rows, cols = np.unravel_index(order[self.wrong.ravel()[order] > 0], self.wrong.shape)
        return [self._window(int(row), int(col)) for row, col in zip(rows, cols, strict=True)]

    def _window(self, row: int, col: int) -> Window:
        down, across = row * SIDE, col * SIDE
        height, width = min(SIDE, self._area.height - down), min(SIDE, self._area.width - across)
        return Window(self._area.row_off + down, self._area.col_off + across, height, width)
