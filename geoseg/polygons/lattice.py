"""The borders between patches as a graph: lattice points at which a border turns, ends or meets another, and links.

A sweep over the lines between rows merges the starts of the runs above and below: only there can anything begin or end.
Horizontal borders need no links, since the vertices of a line are numbered from left to right.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geoseg.polygons.labelling import Bytes, Index, Ints, Runs

EAST, SOUTH, WEST, NORTH = range(4)
"""Directions along borders, clockwise on screen; bit ``1 << direction`` of a mask says that a border leaves there."""

STRAIGHT_DOWN, STRAIGHT_ACROSS, CROSSING = 0b1010, 0b0101, 0b1111
"""Masks of the points at which a border does not turn, and of those at which four patches may meet."""

BELOW = 1 << NORTH
"""The mask of the points on the line below a strip that another strip follows: borders end there."""


class Pins(NamedTuple):
    """Where arcs are cut besides at nodes: where they come to certain lines inside the raster from above or the left.

    Attributes:
        rows: Every point on a line y = k · rows at which a vertical border ends from above is a pin; 0 for none.
        cols: Every point on a line x = k · cols at which a horizontal border ends from the left is one; 0 for none.
    """

    rows: int
    cols: int


class Lattice(NamedTuple):
    """The vertices of a strip, numbered from 1 line by line, and the vertical borders between them.

    A vertex is a corner, a node, a pin of :class:`Pins`, or a point on a seam at which a vertical border of the row
    above the seam ends. Number 0 stands for none.

    Attributes:
        points: (V, 2) int32 x, y.
        links: (V, 2) int32, the vertices at the other ends of the borders to the south and to the north.
        masks: (V,) uint8, bit ``1 << direction`` for each border.
        below: (V,) int32, of a vertex with a border to the south the run to its lower right.
        cut: (h + 1,) bool, lines from y = top on which there are pins.
        first_below: The first vertex on the line below the strip; V in the last strip.
        corners: Vertices with borders to the east and to the south, counted twice if there are no others.
        crossings: Vertices with four borders.
        ends: Sum of the vertices' borders.
    """

    points: Ints
    links: Ints
    masks: Bytes
    below: Ints
    cut: NDArray[np.bool_]
    first_below: int
    corners: int
    crossings: int
    ends: int


def find_lattice(runs: Runs, top: int, width: int, *, last: bool, pins: Pins) -> Lattice:
    """The vertices of a strip.

    Args:
        runs: Of the row above the strip and of its rows.
        top: First row of the strip; its y.
        width: Columns.
        last: The line below the strip is the lower edge of the raster.
        pins: Further cuts.
    """
    height = len(runs.rows) - 2
    # Every vertex is at the start of a run above or below its line, unless it is a pin on a horizontal border.
    most = 1 + 2 * len(runs.starts) + (len(runs.rows) * (width // pins.cols + 1) if pins.cols else 0)
    points, links = np.empty((most, 2), np.int32), np.empty((most, 2), np.int32)
    masks, below = np.empty(most, np.uint8), np.empty(most, np.int32)
    masks[0] = 0
    hanging = np.empty(len(runs.starts), np.int32)
    hanging[: runs.rows[1]] = 0
    cut = _cut_lines(top, height, last, pins.rows)
    count, first_below = _sweep(runs, top, width, last, cut, pins.cols, hanging, points, links, masks, below)
    vertices = points[:count], links[:count], masks[:count], below[:count]
    return Lattice(*vertices, cut, int(first_below), *_count(masks[1:count]))


def _cut_lines(top: int, height: int, last: bool, pin_rows: int) -> NDArray[np.bool_]:
    """Lines of pins: those of ``pin_rows`` and the seams."""
    lines = np.arange(top, top + height + 1)
    cut = np.zeros(len(lines), np.bool_) if pin_rows == 0 else lines % pin_rows == 0
    cut[0] = top > 0
    cut[-1] = not last
    return cut


@njit(cache=True, nogil=True)
def _sweep(
    runs: Runs,
    top: int,
    width: int,
    last: bool,
    cut: NDArray[np.bool_],
    pin_cols: int,
    hanging: Ints,
    points: Ints,
    links: Ints,
    masks: Bytes,
    below: Ints,
) -> tuple[np.int64, np.int64]:
    """Fill the arrays; return how many vertices there are and which is the first below the strip."""
    starts, labels, rows = runs
    height = len(rows) - 2
    v = Index(1)
    for line in range(height + last):
        y = top + line
        a = Index(rows[line] + 1)
        b = Index(rows[line + 1] + 1 if line < height else rows[-1] - 1)  # a run that stands for nothing
        passing = 0 if cut[line] else STRAIGHT_DOWN
        above_label, below_label = np.uint8(0), np.uint8(0)
        west = False
        before = 0
        x = min(starts[a], starts[b])
        while x <= width:
            if pin_cols > 0 and west:
                for pin in range((before // pin_cols + 1) * pin_cols, x, pin_cols):
                    points[v, 0], points[v, 1], masks[v] = pin, y, STRAIGHT_ACROSS
                    links[v, 0], links[v, 1] = 0, 0
                    v += Index(1)
            # Hardly any branches, since they could not be predicted: what is wrong is overwritten before it is read.
            north, south = starts[a] == x, starts[b] == x
            above_label = labels[a] if north else above_label
            below_label = labels[b] if south else below_label
            east = above_label != below_label
            mask = east << EAST | south << SOUTH | west << WEST | north << NORTH
            points[v, 0], points[v, 1], masks[v], below[v] = x, y, mask, b
            upper = hanging[a] if north else np.int32(0)
            links[v, 0], links[v, 1] = 0, upper
            links[Index(upper), 0] = v
            hanging[b] = upper if mask == passing else np.int32(v)
            v += Index(mask != passing)
            a += Index(north)
            b += Index(south)
            west = east
            before = x
            x = min(starts[a], starts[b])
    first_below = v
    if not last:
        for run in range(rows[height] + 1, rows[height + 1] - 1):
            points[v, 0], points[v, 1] = starts[run], top + height
            links[v, 0], links[v, 1] = 0, hanging[run]
            links[hanging[run], 0] = v
            masks[v] = BELOW
            v += Index(1)
    return np.int64(v), np.int64(first_below)


@njit(cache=True, nogil=True)
def _count(masks: Bytes) -> tuple[int, int, int]:
    corners, crossings, ends = 0, 0, 0
    for mask in masks:
        corners += (mask & 3 == 3) + (mask == 3)
        crossings += mask == CROSSING
        ends += (mask & 1) + (mask >> 1 & 1) + (mask >> 2 & 1) + (mask >> 3)
    return corners, crossings, ends
