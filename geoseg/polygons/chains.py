"""Arcs: the borders of a strip as chains of vertices between nodes and pins, each once for both its sides."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from geoseg.polygons.labelling import Bytes, Index, Ints, Longs
from geoseg.polygons.lattice import EAST, NORTH, SOUTH, WEST, Lattice
from geoseg.polygons.rings import next_vertex
from geoseg.polygons.shapes import Arcs, Flags


class Chains(NamedTuple):
    """Arcs and where they begin.

    Attributes:
        arcs: An arc begins at its end that is first by (y, x), in the first direction of east, south, west, north; a
            loop without a node or pin at its first vertex.
        of_dart: (V, 4) int32, ``i + 1`` for the first dart of arc ``i``, ``-i - 1`` for the first one of its way back.
        is_end: (V,) bool, vertices at which arcs end.
    """

    arcs: Arcs
    of_dart: Ints
    is_end: Flags


def find_chains(lattice: Lattice, labels: Bytes, top: int, pin_cols: int) -> Chains:
    """The arcs of a strip.

    Args:
        lattice: Vertices of the strip.
        labels: (h + 1, W) the row above the strip and its rows.
        top: First row of the strip.
        pin_cols: Columns between lines of pins; 0 for none.
    """
    ends = _find_ends(lattice, top, labels.shape[1], pin_cols)
    of_dart = np.zeros((len(ends), 4), np.int32)
    # Every corner is on one arc, every end on as many as borders leave it, and a loop repeats its first vertex.
    points = np.empty((lattice.ends + lattice.corners, 2), np.int32)
    starts = np.empty(lattice.ends + lattice.corners + 1, np.int64)
    rigid = np.empty(lattice.ends + lattice.corners, np.bool_)
    count = _chain(lattice, ends, labels, top, of_dart, points, starts, rigid)
    starts = starts[: count + 1].copy()
    return Chains(Arcs(points[: starts[-1]], starts, rigid[:count].copy()), of_dart, ends == 1)


def mark_vertices(lattice: Lattice, top: int, height: int, width: int) -> Bytes:
    """(h + 1, W + 1) uint8, 1 at every vertex of the strip; row 0 is the line y = top."""
    marks = np.zeros((height + 1, width + 1), np.uint8)
    marks[lattice.points[1:, 1] - top, lattice.points[1:, 0]] = 1
    return marks


@njit(cache=True, nogil=True)
def _find_ends(lattice: Lattice, top: int, width: int, pin_cols: int) -> Bytes:
    """(V,) 1 at nodes and pins."""
    points, masks, cut = lattice.points, lattice.masks, lattice.cut
    ends = np.zeros(len(masks), np.uint8)
    for v in range(1, len(masks)):
        x, mask = points[v, 0], masks[v]
        borders = (mask & 1) + (mask >> 1 & 1) + (mask >> 2 & 1) + (mask >> 3)
        pinned = pin_cols > 0 and 0 < x < width and x % pin_cols == 0 and mask & (1 << WEST) != 0
        ends[v] = borders != 2 or pinned or (cut[points[v, 1] - top] and mask & (1 << NORTH) != 0)
    return ends


@njit(cache=True, nogil=True)
def _chain(
    lattice: Lattice,
    ends: Bytes,
    labels: Bytes,
    top: int,
    of_dart: Ints,
    points: Ints,
    starts: Longs,
    rigid: Flags,
) -> int:
    """Follow every arc; return how many there are. ``ends`` becomes 2 at corners, 1 where a loop begins."""
    links, masks = lattice.links, lattice.masks
    count = 0
    starts[0] = 0
    for v in range(1, len(masks)):
        if ends[v] != 1:
            continue
        for direction in range(4):
            leaves = masks[v] >> direction & 1 and next_vertex(links, v, direction) > 0
            if leaves and of_dart[v, direction] == 0:
                _follow(lattice, ends, v, direction, of_dart, points, starts, count)
                rigid[count] = _is_rigid(labels, lattice.points[v, 0], lattice.points[v, 1] - top, direction)
                count += 1
    for v in range(1, len(masks)):
        if ends[v] == 0:
            ends[v] = 1
            _follow(lattice, ends, v, EAST, of_dart, points, starts, count)
            rigid[count] = _is_rigid(labels, lattice.points[v, 0], lattice.points[v, 1] - top, EAST)
            count += 1
    return count


@njit(cache=True, nogil=True)
def _follow(
    lattice: Lattice, ends: Bytes, v: int, direction: int, of_dart: Ints, points: Ints, starts: Longs, arc: int
) -> None:
    """Write the arc that leaves ``v`` and mark its corners, so that no loop begins at them."""
    links, masks, corners = lattice.links, lattice.masks, lattice.points
    n = Index(starts[arc])
    of_dart[v, direction] = arc + 1
    points[n, 0], points[n, 1] = corners[v, 0], corners[v, 1]
    while True:
        n += Index(1)
        v = next_vertex(links, v, direction)
        points[n, 0], points[n, 1] = corners[Index(v), 0], corners[Index(v), 1]
        back = direction ^ 2
        if ends[Index(v)] == 1:
            break
        ends[Index(v)] = 2
        rest = masks[Index(v)] & ~(1 << back)  # one border is left: 1, 2, 4 or 8
        direction = (rest >> 1) - (rest >> 3)
    of_dart[v, back] = -arc - 1
    starts[arc + 1] = n + Index(1)


@njit(cache=True, nogil=True)
def _is_rigid(labels: Bytes, x: int, line: int, direction: int) -> bool:
    """Whether no data or the outside is on a side of the border that leaves (x, line)."""
    upper_left, upper_right = _label(labels, line, x - 1), _label(labels, line, x)
    lower_left, lower_right = _label(labels, line + 1, x - 1), _label(labels, line + 1, x)
    if direction == EAST:
        return upper_right == 0 or lower_right == 0
    if direction == SOUTH:
        return lower_left == 0 or lower_right == 0
    if direction == WEST:
        return upper_left == 0 or lower_left == 0
    return upper_left == 0 or upper_right == 0


@njit(cache=True, nogil=True)
def _label(labels: Bytes, row: int, col: int) -> int:
    height, width = labels.shape
    return labels[row, col] if row < height and 0 <= col < width else 0
