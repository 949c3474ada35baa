"""Whether a corner may be cut off: the one question that simplification and smoothing ask.

A corner ``v`` with neighbours ``p`` and ``n`` on its arc is cut along a line inside the triangle ``p v n``. Two
statements make every such cut safe, whatever is cut in what order:

1. An edge of the arrangement that enters the triangle has to leave it. It crosses neither ``p v`` nor ``v n``, which
   are edges themselves, and a straight line does not cross the third side twice. So it would have to end inside: a
   triangle that holds no vertex of the arrangement is entered by nothing.
2. The arcs have only vertices that they had from the beginning. A triangle that holds none of the *original* vertices
   of the other arcs holds none that they still have.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

Marks = npt.NDArray[np.uint8]
"""(H + 1, W + 1), nonzero at the lattice points that are vertices."""


@njit(cache=True, nogil=True)
def holds_vertex(marks: Marks, row: int, col: int, ux: int, uy: int, vx: int, vy: int, scale: int) -> bool:
    """Whether a marked lattice point lies in the closed triangle, apart from its corners.

    The corners are (col, row) of ``marks``, and from there (ux, uy) / scale and (vx, vy) / scale. Exact: all of it is
    integers. It looks at the lattice points of the triangle only, row by row.
    """
    if scale == 1 and abs(ux * vy - uy * vx) <= 1:
        return False  # by Pick's theorem there is no fourth lattice point; with no area nothing is swept over
    # The corners from top to bottom: (ax, ay), (bx, by), (cx, cy).
    ax, ay, bx, by, cx, cy = 0, 0, ux, uy, vx, vy
    if by < ay:
        ax, ay, bx, by = bx, by, ax, ay
    if cy < by:
        bx, by, cx, cy = cx, cy, bx, by
        if by < ay:
            ax, ay, bx, by = bx, by, ax, ay
    for j in range(-(-ay // scale), cy // scale + 1):
        left, right = _reach(j * scale, ax, ay, bx, by, cx, cy, scale)
        for i in range(left, right + 1):
            if (
                marks[row + j, col + i] != 0
                and (i != 0 or j != 0)
                and (i * scale != ux or j * scale != uy)
                and (i * scale != vx or j * scale != vy)
            ):
                return True
    return False


@njit(cache=True, nogil=True)
def _reach(y: int, ax: int, ay: int, bx: int, by: int, cx: int, cy: int, scale: int) -> tuple[int, int]:
    """First and last i, with i · ``scale`` in row ``y`` of the triangle; ay ≤ by ≤ cy and ay ≤ y ≤ cy."""
    if ay == cy:
        return -(-min(ax, bx, cx) // scale), max(ax, bx, cx) // scale
    # x = tx + part / over on each of the two sides that the row meets; where two sides meet in b, either does.
    long_over = cy - ay
    long_x = ax * long_over + (cx - ax) * (y - ay)
    if y < by or by == cy:
        short_over, short_x = by - ay, ax * (by - ay) + (bx - ax) * (y - ay)
    else:
        short_over, short_x = cy - by, bx * (cy - by) + (cx - bx) * (y - by)
    if short_x * long_over < long_x * short_over:
        return -(-short_x // (short_over * scale)), long_x // (long_over * scale)
    return -(-long_x // (long_over * scale)), short_x // (short_over * scale)
