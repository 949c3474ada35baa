"""Arcs with fewer vertices: each arc alone, without a crossing between any two of them.

A vertex is removed only where the triangle that it makes with its neighbours on the arc holds no vertex that another
arc had from the beginning, and none that its own arc still has. Then simplified arcs touch at their ends only:

Let A be simplified and B as traced. A removal replaces two sides of a triangle by the third; no edge of B crosses the
two, none ends in the triangle, so none crosses the third (see :mod:`geoseg.polygons.triangles`), and no edge of A
itself either. So all of A' is free of B. Now A' stays and B is simplified: its triangles hold no vertex of A or of A',
and by the same argument B' is free of A'. Nothing was swept over, so every arc keeps what it has on its left and right.
Two arcs could only come to be the same: as the bare chord between the same two ends, which therefore no arc becomes
that shares its ends with another. What is done to an arc depends on the borders around it and not on what was done to
them: the order does not matter, nor the strip, as no triangle reaches over a line of pins.

Pins are needed where a border comes to a line from above (or from the left) only: what lies above touches the line
there and nowhere else, so that what lies below may do along the line as it likes. One pin for each crossing is better
than two, at both ends of the pixel edges along the line: these would show as a step in every slanting border.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from geoseg.errors import ParameterError
from geoseg.polygons.shapes import Arcs, Flags, Lattice, Offsets
from geoseg.polygons.triangles import Marks, holds_vertex

Numbers = npt.NDArray[np.int64]

Method = Literal["visvalingam", "douglas-peucker"]

# The order of removal is one number: twice the area of the triangle above these bits, the time of its entry in them.
# Larger triangles than _LARGEST are taken for that large; no arc of a strip has 2**28 vertices (three entries each).
_TIME_BITS = 30
_LARGEST = 1 << 32
_TIMES = (1 << _TIME_BITS) - 1

_ALL = np.iinfo(np.int64).max


def simplify_arcs(
    arcs: Arcs, marks: Marks, top: int, *, tolerance: float, method: Method, pin_rows: int, pin_cols: int = 0
) -> Arcs:
    """Remove vertices of arcs, the smallest triangle first; ends and rigid arcs stay as they are.

    ``visvalingam`` removes while the triangle of a vertex and its neighbours is smaller than ``tolerance``² (of equal
    ones that which has been so for longest, so that a staircase becomes a straight line). ``douglas-peucker`` removes
    what lies within ``tolerance`` of the chords that the method of that name keeps; what cannot go safely stays. The
    smallest triangle between pixel corners has an area of 1/2: below 0.7 px ``visvalingam`` changes nothing.

    A loop keeps four vertices, so that a small patch does not become a triangle. An arc becomes the chord between its
    ends only where no other arc joins the same ends, and where the chord lies on no line of pins: what the other side
    of that line does is not known here.

    Args:
        arcs: Arcs of one strip.
        marks: (h + 1, W + 1) nonzero at every vertex of the strip's arrangement, row ``i`` being the line
            y = ``top + i``. Changed while this runs, and as before when it returns.
        top: First row of the strip.
        tolerance: In pixels. Triangles of more than 2**31 px² are never removed.
        method: How to choose.
        pin_rows: Rows between lines of pins; 0 = none but those at the ends of the strip.
        pin_cols: Columns between lines of pins; 0 = none.

    Raises:
        ParameterError: The tolerance is not positive.
    """
    if not (tolerance > 0 and math.isfinite(tolerance)):
        raise ParameterError(f"tolerance {tolerance} px: give a positive number of pixels, or do not simplify")
    least = _least_vertices(arcs, top, marks.shape, pin_rows, pin_cols)
    if method == "visvalingam":
        removable, limit = np.ones(len(arcs.points), np.bool_), math.ceil(min(2 * tolerance**2, _LARGEST))
    else:
        removable, limit = _near_chords(arcs.points, arcs.starts, least, float(tolerance)), _ALL
    kept = _simplify(arcs.points, arcs.starts, least, removable, limit, marks, top)
    return Arcs(arcs.points[kept], _recount(kept, arcs.starts), arcs.rigid)


def _recount(kept: Flags, starts: Offsets) -> Offsets:
    """Offsets of what is kept of lists."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(kept, dtype=np.int64)])[starts]


def _least_vertices(arcs: Arcs, top: int, shape: tuple[int, ...], pin_rows: int, pin_cols: int) -> Numbers:
    """(A,) points that each arc must keep, the repeated first point of a loop included."""
    begin, end = arcs.points[arcs.starts[:-1]].astype(np.int64), arcs.points[arcs.starts[1:] - 1].astype(np.int64)
    sizes = np.diff(arcs.starts)
    least = np.where(_have_twins(begin, end, arcs.rigid & (sizes > 2), shape[1]), 3, 2)
    rows, cols = begin[:, 1], begin[:, 0]
    least[(rows == end[:, 1]) & ((rows == top) | (rows == top + shape[0] - 1))] = 3
    if pin_rows:
        least[(rows == end[:, 1]) & (rows % pin_rows == 0)] = 3
    if pin_cols:
        least[(cols == end[:, 0]) & (cols % pin_cols == 0)] = 3
    least[(begin == end).all(axis=1)] = 5
    return np.where(arcs.rigid, sizes, least)


def _have_twins(begin: Numbers, end: Numbers, bent: Flags, width: int) -> Flags:
    """(A,) whether another arc joins the same two ends, apart from those that are ``bent`` and stay so."""
    a, b = (p[:, 1] * width + p[:, 0] for p in (begin, end))
    low, high = np.minimum(a, b), np.maximum(a, b)
    high[bent] = ~np.flatnonzero(bent)  # as no other
    order = np.argsort(low, kind="stable")  # nearly sorted already, which this sort makes use of
    low, high = low[order], high[order]
    twins = np.zeros(len(low), np.bool_)
    for step in (1, 2, 3):  # no more than four arcs end at a lattice point
        same = (low[step:] == low[:-step]) & (high[step:] == high[:-step])
        twins[step:] |= same
        twins[:-step] |= same
    found = np.empty_like(twins)
    found[order] = twins
    return found


class _Queue(NamedTuple):
    """What is known of the vertices of one arc, numbered from its first point, and which of them may go, in order.

    Attributes:
        before: The vertex before each that is still there.
        after: The vertex after it.
        entry: The entry of ``keys`` that holds for it, -1 for none.
        vertex: Of each entry, whose it is.
        keys: A binary heap: twice the area above the lowest _TIME_BITS, the number of the entry in them.
        saved: What its mark was when it went.
    """

    before: Numbers
    after: Numbers
    entry: Numbers
    vertex: Numbers
    keys: Numbers
    saved: Marks


@njit(cache=True, nogil=True)
def _simplify(
    points: Lattice, starts: Offsets, least: Numbers, removable: Flags, limit: int, marks: Marks, top: int
) -> Flags:
    """(V,) which points stay; see :func:`simplify_arcs`. Triangles of half of ``limit`` and more stay."""
    kept = np.ones(len(points), np.bool_)
    n = 0
    for arc in range(len(least)):
        n = max(n, starts[arc + 1] - starts[arc])
    numbers = np.empty((3, n), np.int64)
    queue = _Queue(
        numbers[0], numbers[1], numbers[2], np.empty(3 * n, np.int64), np.empty(3 * n, np.int64), np.empty(n, np.uint8)
    )
    for arc in range(len(least)):
        low, high = starts[arc], starts[arc + 1]
        if high - low > least[arc]:
            _simplify_arc(points[low:high], least[arc], removable[low:high], limit, marks, top, kept[low:high], queue)
    return kept


@njit(cache=True, nogil=True)
def _simplify_arc(
    points: Lattice, least: int, removable: Flags, limit: int, marks: Marks, top: int, kept: Flags, queue: _Queue
) -> None:
    alive = len(points)
    length, time = 0, 0
    for k in range(alive):
        queue.before[k], queue.after[k], queue.entry[k] = k - 1, k + 1, -1
    for k in range(1, alive - 1):
        if removable[k]:
            length, time = _enter(points, k, limit, queue, length, time)
    while length > 0 and alive > least:
        entry = queue.keys[0] & _TIMES
        length = _pop(queue.keys, length)
        k = queue.vertex[entry]
        p, n = queue.before[k], queue.after[k]
        if queue.entry[k] != entry or _is_held(points, p, k, n, marks, top):
            continue  # out of date; or it stays until one of its neighbours goes
        alive -= 1
        kept[k] = False
        queue.after[p], queue.before[n] = n, p
        # To its own arc a vertex that is gone is no obstacle.
        queue.saved[k], marks[points[k, 1] - top, points[k, 0]] = marks[points[k, 1] - top, points[k, 0]], 0
        if p > 0 and removable[p]:
            length, time = _enter(points, p, limit, queue, length, time)
        if n < len(points) - 1 and removable[n]:
            length, time = _enter(points, n, limit, queue, length, time)
    for k in range(1, len(points) - 1):
        if not kept[k]:
            marks[points[k, 1] - top, points[k, 0]] = queue.saved[k]


@njit(cache=True, nogil=True)
def _enter(points: Lattice, k: int, limit: int, queue: _Queue, length: int, time: int) -> tuple[int, int]:
    """Put vertex ``k`` in its new place, or in none; return the length of the heap and the next entry."""
    p, n = queue.before[k], queue.after[k]
    x, y = points[k, 0], points[k, 1]
    area = abs((points[p, 0] - x) * (points[n, 1] - y) - (points[p, 1] - y) * (points[n, 0] - x))
    if area >= limit:
        queue.entry[k] = -1
        return length, time
    queue.entry[k], queue.vertex[time] = time, k
    return _push(queue.keys, length, (min(area, _LARGEST) << _TIME_BITS) | time), time + 1


@njit(cache=True, nogil=True)
def _is_held(points: Lattice, p: int, k: int, n: int, marks: Marks, top: int) -> bool:
    """Whether a vertex lies in the triangle of the points ``p``, ``k`` and ``n``."""
    x, y = points[k, 0], points[k, 1]
    return holds_vertex(marks, y - top, x, points[p, 0] - x, points[p, 1] - y, points[n, 0] - x, points[n, 1] - y, 1)


@njit(cache=True, nogil=True)
def _push(heap: Numbers, size: int, key: int) -> int:
    """Add to a binary heap of ``size`` keys; return its new size."""
    place = size
    while place > 0 and heap[(place - 1) >> 1] > key:
        heap[place] = heap[(place - 1) >> 1]
        place = (place - 1) >> 1
    heap[place] = key
    return size + 1


@njit(cache=True, nogil=True)
def _pop(heap: Numbers, size: int) -> int:
    """Drop the least of ``size`` keys; return how many are left."""
    size -= 1
    key, place = heap[size], 0
    while 2 * place + 1 < size:
        child = 2 * place + 1
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= key:
            break
        heap[place] = heap[child]
        place = child
    heap[place] = key
    return size


@njit(cache=True, nogil=True)
def _near_chords(points: Lattice, starts: Offsets, least: Numbers, tolerance: float) -> Flags:
    """(V,) which points Douglas-Peucker drops: those within ``tolerance`` of the chord of their stretch."""
    dropped = np.ones(len(points), np.bool_)
    longest = 0
    for arc in range(len(least)):
        longest = max(longest, starts[arc + 1] - starts[arc])
    stack = np.empty((longest, 2), np.int64)
    for arc in range(len(least)):
        if starts[arc + 1] - starts[arc] <= least[arc]:
            continue
        stack[0, 0], stack[0, 1] = starts[arc], starts[arc + 1] - 1
        depth = 1
        while depth > 0:
            depth -= 1
            low, high = stack[depth, 0], stack[depth, 1]
            farthest = _farthest(points, low, high, tolerance)
            if farthest > low:
                dropped[farthest] = False
                stack[depth, 0], stack[depth, 1] = low, farthest
                stack[depth + 1, 0], stack[depth + 1, 1] = farthest, high
                depth += 2
    return dropped


@njit(cache=True, nogil=True)
def _farthest(points: Lattice, low: int, high: int, tolerance: float) -> int:
    """The first of the points farthest from the chord between two of their arc; ``low`` if all are within tolerance."""
    ax, ay = points[low, 0], points[low, 1]
    dx, dy = points[high, 0] - ax, points[high, 1] - ay
    length = dx * dx + dy * dy
    # Squared distances times the squared length of the chord, which keeps them whole numbers.
    found, farthest = low, tolerance * tolerance * max(length, 1)
    for k in range(low + 1, high):
        px, py = points[k, 0] - ax, points[k, 1] - ay
        along = px * dx + py * dy
        if length == 0:
            distance = float(px * px + py * py)
        elif along <= 0:
            distance = float(px * px + py * py) * length
        elif along >= length:
            qx, qy = px - dx, py - dy
            distance = float(qx * qx + qy * qy) * length
        else:
            across = float(px * dy - py * dx)
            distance = across * across
        if distance > farthest:
            found, farthest = k, distance
    return found
