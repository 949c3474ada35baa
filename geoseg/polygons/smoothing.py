"""Rounded arcs: Chaikin's corner cutting, each corner within a triangle of its own."""

from __future__ import annotations

import numpy as np
from numba import njit

from geoseg.errors import ParameterError
from geoseg.polygons.shapes import Arcs, Flags, Lattice, Offsets, Points
from geoseg.polygons.triangles import Marks, holds_vertex

MOST_ITERATIONS = 8
"""Every iteration doubles the vertices."""


def smooth_arcs(arcs: Arcs, marks: Marks, top: int, *, iterations: int, pin_rows: int = 0) -> tuple[Points, Offsets]:
    """Cut the corners of arcs by Chaikin's scheme; ends and rigid arcs stay as they are.

    A corner ``b`` becomes the 2**iterations corners that cutting at quarters makes of it between the midpoints ``m1``
    and ``m2`` of its edges (Chaikin 1974; in the limit a quadratic B-spline). They lie in the triangle ``m1 b m2``. If
    that holds another vertex, of any arc, the corner is cut within half the distance, a quarter, and so on; where the
    sides are below 1 px no lattice point can be in it. Nothing crosses or touches then: no edge enters the triangle of
    a corner (see :mod:`geoseg.polygons.triangles`), and two triangles that no edge enters, neither holding the other's
    corner, could only overlap by their third sides crossing, which two straight lines do at most once.

    A loop without a node on it is cut at its first point too; it begins elsewhere afterwards. One that begins on a line
    of pins is not, since the strip below cannot tell whether an arc of the strip above ends there. All coordinates are
    whole multiples of a power of two, so they are exact, and the same in any strip.

    Args:
        arcs: Arcs of one strip, simplified or not.
        marks: (h + 1, W + 1), of which only the shape counts: the strip has h rows, the raster W columns.
        top: First row of the strip.
        iterations: 0 to MOST_ITERATIONS.
        pin_rows: Rows between lines of pins; 0 = none.

    Returns:
        (V', 2) points x, y and (A + 1,) offsets, as in :class:`geoseg.polygons.shapes.Arcs`.

    Raises:
        ParameterError: Too many or too few iterations.
    """
    if not 0 <= iterations <= MOST_ITERATIONS:
        raise ParameterError(f"{iterations} smoothing iterations: give 0 to {MOST_ITERATIONS}")
    if iterations == 0:
        return arcs.points.astype(np.float64), arcs.starts
    kept = np.zeros(marks.shape, np.uint8)
    _mark(arcs.points, arcs.starts, kept, top)
    free = _find_free_loops(arcs.points, arcs.starts, arcs.rigid, kept, top, pin_rows)
    sizes = np.diff(arcs.starts)
    cut = np.where(free, (sizes - 1 << iterations) + 1, (sizes - 2 << iterations) + 2)
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.where(arcs.rigid, sizes, cut))])
    points = np.empty((starts[-1], 2))
    _smooth(arcs.points, arcs.starts, arcs.rigid, free, kept, top, 1 << iterations, points, starts)
    return points, starts


@njit(cache=True, nogil=True)
def _mark(points: Lattice, starts: Offsets, marks: Marks, top: int) -> None:
    """Write 1 at inner vertices, and at ends twice the number of arcs that end there."""
    for arc in range(len(starts) - 1):
        first, last = starts[arc], starts[arc + 1] - 1
        for k in range(first + 1, last):
            marks[points[k, 1] - top, points[k, 0]] = 1
        marks[points[first, 1] - top, points[first, 0]] += 2
        marks[points[last, 1] - top, points[last, 0]] += 2


@njit(cache=True, nogil=True)
def _find_free_loops(points: Lattice, starts: Offsets, rigid: Flags, marks: Marks, top: int, pin_rows: int) -> Flags:
    """(A,) whether an arc is closed, may be cut, and no other arc ends, or could end, where it does."""
    free = np.zeros(len(rigid), np.bool_)
    for arc in range(len(rigid)):
        x, y = points[starts[arc], 0], points[starts[arc], 1]
        closed = x == points[starts[arc + 1] - 1, 0] and y == points[starts[arc + 1] - 1, 1]
        pinned = pin_rows > 0 and y % pin_rows == 0
        free[arc] = closed and not rigid[arc] and not pinned and marks[y - top, x] == 4
    return free


@njit(cache=True, nogil=True)
def _smooth(
    points: Lattice,
    starts: Offsets,
    rigid: Flags,
    free: Flags,
    marks: Marks,
    top: int,
    corners: int,
    target: Points,
    offsets: Offsets,
) -> None:
    for arc in range(len(rigid)):
        first, last, at = starts[arc], starts[arc + 1] - 1, offsets[arc]
        if rigid[arc]:
            for k in range(first, last + 1):
                target[at + k - first, 0], target[at + k - first, 1] = points[k, 0], points[k, 1]
            continue
        if free[arc]:
            _cut(points, last - 1, first, first + 1, marks, top, corners, target, at)
            at += corners
        else:
            target[at, 0], target[at, 1] = points[first, 0], points[first, 1]
            at += 1
        for k in range(first + 1, last):
            _cut(points, k - 1, k, k + 1, marks, top, corners, target, at)
            at += corners
        if free[arc]:
            target[at, 0], target[at, 1] = target[offsets[arc], 0], target[offsets[arc], 1]
        else:
            target[at, 0], target[at, 1] = points[last, 0], points[last, 1]


@njit(cache=True, nogil=True)
def _cut(
    points: Lattice, p: int, b: int, n: int, marks: Marks, top: int, corners: int, target: Points, at: int
) -> None:
    """Write the corners that corner ``b`` between points ``p`` and ``n`` becomes."""
    x, y = points[b, 0], points[b, 1]
    ux, uy, vx, vy = points[p, 0] - x, points[p, 1] - y, points[n, 0] - x, points[n, 1] - y
    scale = 2
    while holds_vertex(marks, y - top, x, ux, uy, vx, vy, scale):
        scale *= 2
    # The inner control points of the parts of the quadratic Bézier curve m1 b m2 between the parameters s and t.
    step = 1.0 / corners
    for k in range(corners):
        s, t = k * step, (k + 1) * step
        before, after = (1.0 - s) * (1.0 - t) / scale, s * t / scale
        target[at + k, 0] = x + (before * ux + after * vx)
        target[at + k, 1] = y + (before * uy + after * vy)
