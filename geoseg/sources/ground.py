"""Windows of a sheet: which touch, what closed ones leave, and the places where a chip fits between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from geoseg.tiling import Window

Ints = npt.NDArray[np.int64]


def touches(a: Window, b: Window) -> bool:
    """Whether two windows share a pixel."""
    rows = a.row_off < b.row_end and b.row_off < a.row_end
    return rows and a.col_off < b.col_end and b.col_off < a.col_end


def grown(window: Window, by: int, height: int, width: int) -> Window:
    """A window with ``by`` more pixels on all sides, as far as the sheet of ``height`` × ``width`` reaches."""
    top, left = max(0, window.row_off - by), max(0, window.col_off - by)
    bottom, right = min(height, window.row_end + by), min(width, window.col_end + by)
    return Window(top, left, bottom - top, right - left)


def free_rectangles(height: int, width: int, taken: Sequence[Window]) -> Ints:
    """Cut what windows leave of an area into rectangles.

    Identity: together with the windows, clipped to the area, the rectangles cover it, and they overlap neither the
    windows nor each other.

    Args:
        height: Rows of the area.
        width: Its columns.
        taken: Windows, which may overlap and reach beyond the area.

    Returns:
        (N, 4) top, left, bottom, right, the last two exclusive; from top to bottom, then from left to right.
    """
    return _free(height, width, _corners(taken))


class Positions:
    """Where the upper left corner of a chip may be, so that the chip lies in the sheet and touches no closed window.

    A chip is as large as the sheet along an axis where it would be larger.

    Args:
        height: Rows of the sheet.
        width: Its columns.
        closed: Windows that no chip may touch.
        size: Side of a chip.

    Attributes:
        count: How many there are.
    """

    def __init__(self, height: int, width: int, closed: Sequence[Window], size: int) -> None:
        self._rows, self._cols = min(size, height), min(size, width)
        # A chip touches a window when it starts less than its own size before it, or inside.
        barred = _corners(closed)
        barred[:, 0] -= self._rows - 1
        barred[:, 1] -= self._cols - 1
        self._free = _free(height - self._rows + 1, width - self._cols + 1, barred)
        self.count = int(_areas(self._free).sum())

    def window(self, rng: np.random.Generator) -> Window:
        """A chip, all places being as likely; there must be one."""
        return self._drawn(self._free, rng)

    def window_with(self, cell: Window, rng: np.random.Generator) -> Window | None:
        """A chip that holds a window, or lies in it where that is larger than a chip; None where none may."""
        top, bottom = sorted((cell.row_off, cell.row_end - self._rows))
        left, right = sorted((cell.col_off, cell.col_end - self._cols))
        near = self._free.copy()
        np.maximum(near[:, :2], (top, left), out=near[:, :2])
        np.minimum(near[:, 2:], (bottom + 1, right + 1), out=near[:, 2:])
        near = near[(near[:, :2] < near[:, 2:]).all(axis=1)]
        return self._drawn(near, rng) if len(near) else None

    def reach(self, tops: Ints, bottoms: Ints, lefts: Ints, rights: Ints) -> npt.NDArray[np.bool_]:
        """(R, C) bool: for which cells of a lattice :meth:`window_with` finds a chip.

        Args:
            tops: (R,) first row of each row of cells.
            bottoms: (R,) the row after its last.
            lefts: (C,) first column of each column of cells.
            rights: (C,) the column after its last.
        """
        found = np.zeros((len(tops), len(lefts)), np.bool_)
        first_row, last_row = np.sort((tops, bottoms - self._rows), axis=0)
        first_col, last_col = np.sort((lefts, rights - self._cols), axis=0)
        for top, left, bottom, right in self._free:
            # Both ends grow along the lattice, so that a rectangle reaches one run of cells along each axis.
            rows = slice(int(np.searchsorted(last_row, top)), int(np.searchsorted(first_row, bottom)))
            cols = slice(int(np.searchsorted(last_col, left)), int(np.searchsorted(first_col, right)))
            found[rows, cols] = True
        return found

    def _drawn(self, rectangles: Ints, rng: np.random.Generator) -> Window:
        ends = np.cumsum(_areas(rectangles))
        place = int(rng.integers(ends[-1]))
        which = int(np.searchsorted(ends, place, side="right"))
        top, left, bottom, right = (int(v) for v in rectangles[which])
        row, col = divmod(place - int(ends[which]) + (bottom - top) * (right - left), right - left)
        return Window(top + row, left + col, self._rows, self._cols)


def _corners(windows: Sequence[Window]) -> Ints:
    listed = [(w.row_off, w.col_off, w.row_end, w.col_end) for w in windows]
    return np.array(listed, np.int64).reshape(-1, 4)


def _areas(rectangles: Ints) -> Ints:
    areas: Ints = (rectangles[:, 2] - rectangles[:, 0]) * (rectangles[:, 3] - rectangles[:, 1])
    return areas


def _free(height: int, width: int, taken: Ints) -> Ints:
    """See :func:`free_rectangles`; ``taken`` as (N, 4) corners."""
    taken = np.clip(taken, 0, (height, width, height, width))
    rows = np.unique(np.concatenate([taken[:, [0, 2]].ravel(), (0, height)]))
    cols = np.unique(np.concatenate([taken[:, [1, 3]].ravel(), (0, width)]))
    free = np.ones((len(rows) - 1, len(cols) - 1), np.bool_)
    tops, bottoms = np.searchsorted(rows, taken[:, 0]), np.searchsorted(rows, taken[:, 2])
    lefts, rights = np.searchsorted(cols, taken[:, 1]), np.searchsorted(cols, taken[:, 3])
    for top, bottom, left, right in zip(tops, bottoms, lefts, rights, strict=True):
        free[top:bottom, left:right] = False
    row, first, last = _runs(free)
    return np.stack([rows[row], cols[first], rows[row + 1], cols[last]], axis=1)


def _runs(flags: npt.NDArray[np.bool_]) -> tuple[Any, Any, Any]:
    """Row, begin and end of each run of True along the rows."""
    steps = np.diff(np.pad(flags, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    row, first = np.nonzero(steps == 1)
    return row, first, np.nonzero(steps == -1)[1]
