"""Walks as points: vertex by vertex, or arc by arc where arcs were reshaped."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from geoseg.polygons.labelling import Index, Ints, Longs
from geoseg.polygons.lattice import BELOW, CROSSING, NORTH, STRAIGHT_DOWN, Lattice
from geoseg.polygons.shapes import Flags, Points


class Reshaped(NamedTuple):
    """Arcs that replace those between the vertices.

    Attributes:
        points: (V', 2) float64 x, y.
        starts: (A + 1,) int64, arc ``i`` is ``points[starts[i]:starts[i + 1]]``; its ends are as before.
        of_dart: As in :class:`geoseg.polygons.chains.Chains`.
        is_end: As there.
    """

    points: Points
    starts: Longs
    of_dart: Ints
    is_end: Flags


def draw(
    lattice: Lattice, darts: Ints, begins: Ints, ends: Ints, reshaped: Reshaped | None
) -> tuple[Points, Longs, Flags]:
    """The points of walks ``darts[begins[i]:ends[i]]``.

    Points on the line below the strip are left out, and with vertices as they are those that are no corner and no node.

    Returns:
        (V', 2) float64 x, y; (R + 1,) int64 offsets of the walks; and (V',) bool, vertices with four borders.
    """
    starts = np.zeros(len(begins) + 1, np.int64)
    if reshaped is None:
        np.cumsum(ends - begins, dtype=np.int64, out=starts[1:])
        points, crossings = np.empty((starts[-1], 2)), np.empty(starts[-1], np.bool_)
        _draw_vertices(lattice, darts, begins, ends, points, crossings)
        return points, starts, crossings
    firsts, kept = np.empty(int((ends - begins).sum()) + 1, np.int32), np.empty(len(begins) + 1, np.int64)
    kept[0] = 0
    _find_firsts(darts, begins, ends, reshaped.is_end, firsts, kept)
    _measure_arcs(lattice, firsts, kept, reshaped, starts)
    points, crossings = np.empty((starts[-1], 2)), np.zeros(starts[-1], np.bool_)
    _draw_arcs(lattice, firsts[: kept[-1]], reshaped, points, crossings)
    return points, starts, crossings


def trim(lattice: Lattice, darts: Ints, begins: Ints, ends: Ints, *, keep_straight: bool) -> tuple[Ints, Ints]:
    """Walks from seam to seam without the ends that are no vertices of polygons.

    Args:
        lattice: Vertices of the strip.
        darts: (D,) of all walks.
        begins: (C,) int32 first dart of each walk.
        ends: (C,) int32 the dart after its last one.
        keep_straight: Seam pins are vertices everywhere, not only at corners and nodes.

    Returns:
        ``begins`` and ``ends``.
    """
    hidden = np.zeros(16, np.int32)
    hidden[BELOW] = 1
    hidden[STRAIGHT_DOWN] = not keep_straight
    return begins + hidden[lattice.masks[darts[begins] >> 2]], ends - hidden[lattice.masks[darts[ends - 1] >> 2]]


@njit(cache=True, nogil=True)
def _draw_vertices(lattice: Lattice, darts: Ints, begins: Ints, ends: Ints, points: Points, crossings: Flags) -> None:
    n = 0
    for walk in range(len(begins)):
        for i in range(begins[walk], ends[walk]):
            v = darts[i] >> 2
            points[n, 0], points[n, 1] = lattice.points[v, 0], lattice.points[v, 1]
            crossings[n] = lattice.masks[v] == CROSSING
            n += 1


@njit(cache=True, nogil=True)
def _leaves_above(lattice: Lattice, dart: int) -> bool:
    return dart & 3 == NORTH and lattice.links[dart >> 2, 1] == 0


@njit(cache=True, nogil=True)
def _find_firsts(darts: Ints, begins: Ints, ends: Ints, is_end: Flags, firsts: Ints, kept: Longs) -> None:
    """The darts that leave ends of arcs: ``firsts[kept[i]:kept[i + 1]]`` of walk ``i``."""
    n = Index(0)
    for walk in range(len(begins)):
        for i in range(begins[walk], ends[walk]):
            dart = darts[Index(i)]
            firsts[n] = dart
            n += Index(is_end[Index(dart >> 2)])
        kept[walk + 1] = n


@njit(cache=True, nogil=True)
def _measure_arcs(lattice: Lattice, firsts: Ints, kept: Longs, reshaped: Reshaped, starts: Longs) -> None:
    n = 0
    for walk in range(len(kept) - 1):
        for i in range(kept[walk], kept[walk + 1]):
            dart = firsts[i]
            arc = abs(reshaped.of_dart[dart >> 2, dart & 3]) - 1
            if arc >= 0:
                n += reshaped.starts[arc + 1] - reshaped.starts[arc] - 1
                n -= lattice.masks[dart >> 2] == BELOW
            else:
                n += _leaves_above(lattice, dart)
        starts[walk + 1] = n


@njit(cache=True, nogil=True)
def _draw_arcs(lattice: Lattice, firsts: Ints, reshaped: Reshaped, points: Points, crossings: Flags) -> None:
    """Every arc without its last point, which the next one brings."""
    n = Index(0)
    for dart in firsts:
        v = dart >> 2
        arc = reshaped.of_dart[v, dart & 3]
        begun = n
        if arc == 0 and _leaves_above(lattice, dart):
            points[n, 0], points[n, 1] = lattice.points[v, 0], lattice.points[v, 1]
            n += Index(1)
        elif arc != 0:
            lo, hi = reshaped.starts[abs(arc) - 1], reshaped.starts[abs(arc)] - 1
            at, step = (lo, 1) if arc > 0 else (hi, -1)
            skipped = lattice.masks[v] == BELOW
            for _ in range(skipped, hi - lo):
                source = Index(at + step * skipped)
                points[n, 0], points[n, 1] = reshaped.points[source, 0], reshaped.points[source, 1]
                at += step
                n += Index(1)
        if n > begun:
            crossings[begun] = lattice.masks[v] == CROSSING
