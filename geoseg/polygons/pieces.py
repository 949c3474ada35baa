"""The pieces of open rings, in buffers that hold little more than what is open.

A piece is a chain of ring vertices. ``onward`` links it to the piece that continues its ring; ``following`` links the
pieces of one patch into a list. Room that closed patches leave is won back when the buffers are full, by copying what
is open into new ones: the work stays in proportion to the vertices that came in.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from geoseg.errors import VectorError
from geoseg.polygons.shapes import AT_BOTTOM, AT_TOP, CLOSED, Flags, Fragments, Offsets, Points
from geoseg.polygons.splitting import split_ring

Ints = npt.NDArray[np.int32]
Sides = npt.NDArray[np.uint8]

# Free room that new buffers get, as a share of what they hold.
_SPARE = 0.5


class Pieces:
    """The pieces of all open patches 0 .. m - 1, and where on the seam they wait to be continued."""

    def __init__(self, width: int) -> None:
        self._begin = np.zeros(0, np.int64)
        self._size, self._onward, self._following = (np.zeros(0, np.int32) for _ in range(3))
        self._points, self._touch = np.zeros((0, 2)), np.zeros(0, np.bool_)
        self._head, self._tail = np.zeros(0, np.int32), np.zeros(0, np.int32)
        # For each column of the seam: the piece that ends there, and the piece that begins there.
        self._ends, self._begins = np.full(width + 1, -1, np.int32), np.full(width + 1, -1, np.int32)
        self._used_points = self._used_pieces = self._open_points = self._open_pieces = 0

    @property
    def open_points(self) -> int:
        """Vertices that are held for open patches."""
        return self._open_points

    def unite(self, group: Ints, count: int) -> None:
        """Replace the patches by ``count`` others: patch ``i`` goes into ``group[i]``."""
        head, tail = np.full(count, -1, np.int32), np.full(count, -1, np.int32)
        _unite(group, self._head, self._tail, self._following, head, tail)
        self._head, self._tail = head, tail

    def add(self, strip: Fragments, patch: Ints) -> None:
        """Take in the pieces of the next strip, (C,) of them, each of the open patch ``patch[i]``, and link them.

        Raises:
            VectorError: They do not fit the ends of the strip above.
        """
        self._reserve(len(strip.points), len(patch))
        first_point, first_piece = self._used_points, self._used_pieces
        points, pieces = first_point + len(strip.points), first_piece + len(patch)
        self._points[first_point:points], self._touch[first_point:points] = strip.points, strip.touch
        self._begin[first_piece:pieces] = strip.starts[:-1] + first_point
        self._size[first_piece:pieces] = np.diff(strip.starts)
        _append(patch, first_piece, self._following, self._head, self._tail)
        ends, begins = np.full_like(self._ends, -1), np.full_like(self._begins, -1)
        _begin(first_piece, strip.begin_side, strip.begin_x, self._onward, self._ends, begins)
        _end(first_piece, strip.end_side, strip.end_x, self._onward, self._begins, ends)
        waiting = np.flatnonzero((self._ends >= 0) | (self._begins >= 0))
        if len(waiting):
            raise VectorError(f"the rings of two strips do not meet at row {strip.top}, column {waiting[0]}")
        self._ends, self._begins = ends, begins
        self._used_points, self._used_pieces = points, pieces
        self._open_points += len(strip.points)
        self._open_pieces += len(patch)

    def close(self, patches: npt.NDArray[np.intp]) -> tuple[Points, Offsets, Offsets]:
        """Take out the rings of ``patches``, split where they meet themselves: points, rings and polygons of Shapes.

        Raises:
            VectorError: A ring of these patches is open.
        """
        points, pieces, touches = _count(patches, self._head, self._following, self._begin, self._size, self._touch)
        closed = np.empty((points, 2))
        rings, polygons = np.zeros(pieces + touches + 1, np.int64), np.zeros(len(patches) + 1, np.int64)
        count = _close(
            patches, self._head, self._following, self._begin, self._size, self._onward, self._points, self._touch,
            closed, rings, polygons,
        )  # fmt: skip
        if count < 0:
            raise VectorError(f"a ring of the {len(patches)} patches that end here is open, or crosses itself")
        self._open_points -= points
        self._open_pieces -= pieces
        return closed, rings[: count + 1].copy(), polygons

    def keep(self, patches: npt.NDArray[np.intp]) -> None:
        """Forget all patches but ``patches``, which become 0 .. m - 1."""
        self._head, self._tail = self._head[patches], self._tail[patches]

    def _reserve(self, points: int, pieces: int) -> None:
        """Make room for so many more."""
        if self._used_points + points <= len(self._points) and self._used_pieces + pieces <= len(self._begin):
            return
        point_room, piece_room = (
            int(held * (1 + _SPARE)) + more for held, more in ((self._open_points, points), (self._open_pieces, pieces))
        )
        begin = np.empty(piece_room, np.int64)
        size, onward, following = (np.empty(piece_room, np.int32) for _ in range(3))
        moved_points, touch = np.empty((point_room, 2)), np.empty(point_room, np.bool_)
        moved_to = np.empty(self._used_pieces, np.int32)
        _move(
            self._head, self._tail, self._begin, self._size, self._onward, self._following, self._points, self._touch,
            begin, size, onward, following, moved_points, touch, moved_to,
        )  # fmt: skip
        for waiting in (self._ends, self._begins):
            waiting[waiting >= 0] = moved_to[waiting[waiting >= 0]]
        self._begin, self._size, self._onward, self._following = begin, size, onward, following
        self._points, self._touch = moved_points, touch
        self._used_points, self._used_pieces = self._open_points, self._open_pieces


@njit(cache=True, nogil=True)
def _unite(group: Ints, head: Ints, tail: Ints, following: Ints, new_head: Ints, new_tail: Ints) -> None:
    """Lists of pieces joined end to end."""
    for i in range(len(head)):
        if head[i] < 0:
            continue
        to = group[i]
        if new_tail[to] < 0:
            new_head[to] = head[i]
        else:
            following[new_tail[to]] = head[i]
        new_tail[to] = tail[i]


@njit(cache=True, nogil=True)
def _append(patch: Ints, first: int, following: Ints, head: Ints, tail: Ints) -> None:
    """New pieces to the ends of the lists of their patches."""
    for i in range(len(patch)):
        to, piece = patch[i], np.int32(first + i)
        following[piece] = -1
        if tail[to] < 0:
            head[to] = piece
        else:
            following[tail[to]] = piece
        tail[to] = piece


@njit(cache=True, nogil=True)
def _begin(first: int, side: Sides, column: Ints, onward: Ints, ends: Ints, begins: Ints) -> None:
    """Let new pieces continue what ends at the seam above, and note in ``begins`` what begins at the seam below."""
    for i in range(len(side)):
        piece, x = np.int32(first + i), column[i]
        onward[piece] = piece if side[i] == CLOSED else -1
        if side[i] == AT_BOTTOM:
            begins[x] = piece
        elif side[i] == AT_TOP and ends[x] >= 0:
            onward[ends[x]] = piece
            ends[x] = -1


@njit(cache=True, nogil=True)
def _end(first: int, side: Sides, column: Ints, onward: Ints, begins: Ints, ends: Ints) -> None:
    """Let what begins at the seam above continue new pieces, and note in ``ends`` what ends at the seam below."""
    for i in range(len(side)):
        piece, x = np.int32(first + i), column[i]
        if side[i] == AT_BOTTOM:
            ends[x] = piece
        elif side[i] == AT_TOP and begins[x] >= 0:
            onward[piece] = begins[x]
            begins[x] = -1


@njit(cache=True, nogil=True)
def _count(
    patches: npt.NDArray[np.intp], head: Ints, following: Ints, begin: Offsets, size: Ints, touch: Flags
) -> tuple[int, int, int]:
    """Points, pieces and touching vertices of ``patches``."""
    points, pieces, touches = 0, 0, 0
    for patch in patches:
        piece = int(head[patch])
        while piece >= 0:
            pieces += 1
            points += int(size[piece])
            touches += int(np.count_nonzero(touch[begin[piece] : begin[piece] + size[piece]]))
            piece = int(following[piece])
    return points, pieces, touches


@njit(cache=True, nogil=True)
def _close(
    patches: npt.NDArray[np.intp],
    head: Ints,
    following: Ints,
    begin: Offsets,
    size: Ints,
    onward: Ints,
    points: Points,
    touch: Flags,
    closed: Points,
    rings: Offsets,
    polygons: Offsets,
) -> int:
    """Copy the rings of ``patches`` to ``closed``; the number of rings, or -1 if one is open or crosses itself."""
    at, ring = 0, 0
    for i in range(len(patches)):
        piece = head[patches[i]]
        while piece >= 0:
            if begin[piece] >= 0:
                start = at
                at, touches = _gather(piece, begin, size, onward, points, touch, closed, at)
                if at < 0:
                    return -1
                ring = split_ring(closed, start, at, touches, rings, ring)
                if ring < 0:
                    return -1
            piece = following[piece]
        polygons[i + 1] = ring
    return ring


@njit(cache=True, nogil=True)
def _gather(
    first: int,
    begin: Offsets,
    size: Ints,
    onward: Ints,
    points: Points,
    touch: Flags,
    closed: Points,
    at: int,
) -> tuple[int, list[int]]:
    """Copy one ring to ``closed[at:]`` and mark its pieces; its end, or -1, and where in it touching vertices are."""
    start, piece = at, first
    touches = [0 for _ in range(0)]
    while begin[piece] >= 0:
        lo = begin[piece]
        for k in range(lo, lo + size[piece]):
            closed[at, 0], closed[at, 1] = points[k, 0], points[k, 1]
            if touch[k]:
                touches.append(at - start)
            at += 1
        begin[piece] = -1
        piece = onward[piece]
        if piece < 0:
            return -1, touches
    return (at if piece == first else -1), touches


@njit(cache=True, nogil=True)
def _move(
    head: Ints,
    tail: Ints,
    begin: Offsets,
    size: Ints,
    onward: Ints,
    following: Ints,
    points: Points,
    touch: Flags,
    new_begin: Offsets,
    new_size: Ints,
    new_onward: Ints,
    new_following: Ints,
    new_points: Points,
    new_touch: Flags,
    moved_to: Ints,
) -> None:
    """Copy the open pieces to new buffers, patch by patch, and number them anew."""
    at, count = 0, np.int32(0)
    for i in range(len(head)):
        piece = head[i]
        if piece >= 0:
            head[i] = count
        while piece >= 0:
            moved_to[piece] = count
            lo, n = begin[piece], size[piece]
            new_begin[count], new_size[count], new_onward[count] = at, n, onward[piece]
            new_points[at : at + n], new_touch[at : at + n] = points[lo : lo + n], touch[lo : lo + n]
            at += n
            piece = following[piece]
            new_following[count] = count + 1 if piece >= 0 else -1
            tail[i] = count
            count += 1
    for k in range(count):
        if new_onward[k] >= 0:
            new_onward[k] = moved_to[new_onward[k]]
