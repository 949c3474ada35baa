"""Walks along borders, with the face on the left: rings inside a strip, and the pieces of rings that leave it.

A step from a vertex in a direction is a *dart*, ``4 * vertex + direction``. At a vertex a walk turns left if a border
leaves there, else goes on straight, else turns right, so that a patch is never left through a corner. A walk that comes
back to a vertex is cut there: its rings are simple and touch.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geoseg.polygons.labelling import Bytes, Index, Ints, Longs, Runs
from geoseg.polygons.lattice import BELOW, CROSSING, EAST, NORTH, SOUTH, Lattice

Flags = NDArray[np.bool_]


def _turns() -> Bytes:
    """(64,) uint8, the direction in which a walk leaves a vertex, at ``4 * mask + direction of arrival``."""
    turns = np.zeros((16, 4), np.uint8)
    for mask in range(16):
        for arrival in range(4):
            choices = ((arrival + turn) % 4 for turn in (3, 0, 1))
            # On the line below the strip there is one border only; the walk goes on to where no vertex is.
            turns[mask, arrival] = SOUTH if mask == BELOW else next((d for d in choices if mask >> d & 1), 0)
    return turns.ravel()


_TURNS = _turns()


class Pieces(NamedTuple):
    """Walks from a seam to a seam.

    Attributes:
        starts: (C + 1,) int64, piece ``i`` is the darts ``starts[i]:starts[i + 1]``; the last dart leaves the strip.
        runs: (C,) int32, a run of the face.
    """

    starts: Longs
    runs: Ints


class Rings(NamedTuple):
    """Closed walks; the first one of a patch is its exterior.

    Attributes:
        begins: (R,) int32, the first dart of each ring.
        ends: (R,) int32, the dart after the last one.
        patches: (R,) int32, patch of the face.
    """

    begins: Ints
    ends: Ints
    patches: Ints


def walk(runs: Runs, numbers: Ints, lattice: Lattice, wanted: Flags) -> tuple[Ints, Pieces, Rings]:
    """All pieces and rings of the wanted faces of a strip.

    Args:
        runs: Of the row above the strip and of its rows.
        numbers: (R,) patch of each run, 0 for no data.
        lattice: Vertices of the strip.
        wanted: (256,) for each label whether its patches get rings.

    Returns:
        The darts (D,), pieces, and rings.
    """
    pins = int(runs.rows[1] - runs.rows[0] + runs.rows[-1] - runs.rows[-2])
    darts = np.empty(lattice.ends + pins, np.int32)
    done = np.zeros(len(lattice.masks), np.uint8)
    starts, owners = np.empty(pins + 1, np.int64), np.empty(pins, np.int32)
    count = _walk_pieces(runs, lattice, wanted, _TURNS, done, darts, starts, owners)
    pieces = Pieces(starts[: count + 1], owners[:count])
    most = lattice.corners + lattice.crossings
    begins, ends, patches = (np.empty(most, np.int32) for _ in range(3))
    visits = np.zeros(len(done), np.int32)
    total = _walk_rings(
        runs, numbers, lattice, wanted, _TURNS, done, visits, int(starts[count]), darts, begins, ends, patches
    )
    return darts, pieces, Rings(begins[:total], ends[:total], patches[:total])


@njit(cache=True, nogil=True)
def next_vertex(links: Ints, v: int, direction: int) -> int:
    """The vertex to which the border from ``v`` leads; 0 if it lies in another strip."""
    across = v + 1 - direction
    down = links[Index(v), Index(direction >> 1)]
    return down if direction & 1 else across


@njit(cache=True, nogil=True)
def _walk_pieces(
    runs: Runs,
    lattice: Lattice,
    wanted: Flags,
    turns: Bytes,
    done: Bytes,
    darts: Ints,
    starts: Longs,
    owners: Ints,
) -> int:
    """Walk from every border that comes in over a seam; return how many pieces there are."""
    points, links, masks = lattice.points, lattice.links, lattice.masks
    labels, rows = runs.labels, runs.rows
    count, end = 0, 0
    starts[0] = 0
    run = rows[0] + 1
    v = 1
    while run < rows[1] - 1:  # down from the row above, whose borders are the runs of that row
        if masks[v] >> NORTH & 1:
            if wanted[labels[run]]:
                end = _walk_piece(links, masks, turns, done, darts, end, v, turns[4 * masks[v] + SOUTH])
                owners[count] = run
                count += 1
                starts[count] = end
            run += 1
        v += 1
    for v in range(lattice.first_below, len(points)):  # up from the row below
        run = rows[-2] + v - lattice.first_below  # to the left of the border
        if wanted[labels[run]]:
            end = _walk_piece(links, masks, turns, done, darts, end, v, NORTH)
            owners[count] = run
            count += 1
            starts[count] = end
    return count


@njit(cache=True, nogil=True)
def _walk_piece(
    links: Ints, masks: Bytes, turns: Bytes, done: Bytes, darts: Ints, end: int, v: int, direction: int
) -> int:
    while v > 0:
        darts[end] = 4 * v + direction
        end += 1
        done[v] |= 1 << direction
        v = next_vertex(links, v, direction)
        direction = turns[4 * masks[v] + direction]
    return end


@njit(cache=True, nogil=True)
def _walk_rings(
    runs: Runs,
    numbers: Ints,
    lattice: Lattice,
    wanted: Flags,
    turns: Bytes,
    done: Bytes,
    visits: Ints,
    end: int,
    darts: Ints,
    begins: Ints,
    ends: Ints,
    patches: Ints,
) -> int:
    """Walk all rings that are not done yet; return how many there are.

    The first vertex of a ring, line by line, has borders to the east and to the south: an exterior leaves it to the
    south, with the patch to its lower right, and the ring around a hole to the east, where no other border is.
    """
    links, masks, below = lattice.links, lattice.masks, lattice.below
    count, back = 0, len(darts)
    for v in range(1, len(masks)):
        if masks[v] & 3 != 3:
            continue
        for direction in (SOUTH, EAST):
            if done[v] >> direction & 1 or (direction == EAST and masks[v] != 3):
                continue
            run = below[v] - (direction == EAST)
            if numbers[run] == 0 or not wanted[runs.labels[run]]:
                continue
            first = count
            begins[first] = end
            count, end, back = _walk_ring(
                links, masks, turns, done, visits, darts, end, back, begins, ends, count + 1, 4 * v + direction
            )
            ends[first] = end
            patches[first:count] = numbers[run]
    return count


@njit(cache=True, nogil=True)
def _walk_ring(
    links: Ints,
    masks: Bytes,
    turns: Bytes,
    done: Bytes,
    visits: Ints,
    darts: Ints,
    end: int,
    back: int,
    begins: Ints,
    ends: Ints,
    count: int,
    dart: int,
) -> tuple[int, int, int]:
    """Append a ring to ``darts``; the rings that it is cut into at crossings fill ``darts`` from behind."""
    begin, first = end, dart
    v, direction = dart >> 2, dart & 3
    while True:
        if masks[Index(v)] == CROSSING:
            visit = visits[Index(v)] - 1
            # What another ring has left there, or a part that was cut off, is no visit of this one.
            if begin <= visit < end and darts[Index(visit)] >> 2 == v:
                ends[count] = back
                for i in range(end - 1, visit - 1, -1):
                    back -= 1
                    darts[Index(back)] = darts[Index(i)]
                begins[count] = back
                count += 1
                end = visit
            visits[Index(v)] = end + 1
        darts[Index(end)] = 4 * v + direction
        end += 1
        done[Index(v)] |= 1 << direction
        v = next_vertex(links, v, direction)
        direction = turns[Index(4 * masks[Index(v)] + direction)]
        if 4 * v + direction == first:
            return count, end, back
