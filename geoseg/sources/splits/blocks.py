"""Sheets cut into blocks, and the classes in each."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from geoseg.sources.surveys import SheetSurvey
from geoseg.tiling import Window

Floats = npt.NDArray[np.float64]


def block_edges(size: int, block: int) -> npt.NDArray[np.int64]:
    """Borders of blocks along an axis: equal ones, as close to ``block`` pixels as a whole number of them comes."""
    count = max(1, round(size / block))
    return np.arange(count + 1, dtype=np.int64) * size // count


def block_windows(height: int, width: int, block: int) -> list[Window]:
    """Blocks that partition a sheet, in row-major order."""
    rows, cols = block_edges(height, block).tolist(), block_edges(width, block).tolist()
    return [
        Window(top, left, bottom - top, right - left)
        for top, bottom in pairwise(rows)
        for left, right in pairwise(cols)
    ]


def block_neighbours(height: int, width: int, block: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """(E, 2) numbers of blocks that share a border, and (E,) its length in pixels."""
    rows, cols = block_edges(height, block), block_edges(width, block)
    number = np.arange((len(rows) - 1) * (len(cols) - 1)).reshape(len(rows) - 1, -1)
    beside = np.stack([number[:, :-1].ravel(), number[:, 1:].ravel()], axis=1)
    below = np.stack([number[:-1].ravel(), number[1:].ravel()], axis=1)
    lengths = np.repeat(np.diff(rows), len(cols) - 2), np.tile(np.diff(cols), len(rows) - 2)
    return np.concatenate([beside, below]), np.concatenate(lengths).astype(np.float64)


class ClassGround:
    """How much of each class lies in a rectangle of a sheet, as far as the cells of its survey tell.

    Args:
        height: Rows of the sheet.
        width: Its columns.
        found: What was seen in it.
    """

    def __init__(self, height: int, width: int, found: SheetSurvey) -> None:
        rows, cols, classes = found.cells.shape
        self._rows = np.minimum(np.arange(rows + 1) * found.cell, height)
        self._cols = np.minimum(np.arange(cols + 1) * found.cell, width)
        self._sums = np.zeros((rows + 1, cols + 1, classes))
        self._sums[1:, 1:] = found.cells.astype(np.float64).cumsum(axis=0).cumsum(axis=1)

    def pixels(self, corners: npt.NDArray[np.int64]) -> Floats:
        """(N, K) pixels of each class in (N, 4) top, left, bottom, right; cells that are cut count in part."""
        top, left, bottom, right = corners.T
        inside = self._before(bottom, right) - self._before(top, right) - self._before(bottom, left)
        return np.maximum(np.round(inside + self._before(top, left), 6), 0)

    def _before(self, rows: npt.NDArray[np.int64], cols: npt.NDArray[np.int64]) -> Floats:
        """(N, K) pixels above and left of positions, between the borders of cells as if they were spread evenly."""
        (row, down), (col, across) = _place(rows, self._rows), _place(cols, self._cols)
        down, across = down[:, None], across[:, None]
        upper = self._sums[row, col] * (1 - across) + self._sums[row, col + 1] * across
        lower = self._sums[row + 1, col] * (1 - across) + self._sums[row + 1, col + 1] * across
        mixed: Floats = upper * (1 - down) + lower * down
        return mixed


def _place(positions: npt.NDArray[np.int64], edges: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.intp], Floats]:
    """Number of the cell that holds a position, and how far along in it that is, 0..1."""
    cell = np.clip(np.searchsorted(edges, positions, side="right") - 1, 0, len(edges) - 2)
    return cell, (positions - edges[cell]) / (edges[cell + 1] - edges[cell])
