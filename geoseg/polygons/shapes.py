"""What passes between the steps of polygonizing: arcs, polygons as arrays, and the open rest of a strip.

Points are pixel coordinates: x = column, y = row of pixel corners, the origin at the upper left corner of the raster.
Lists of lists are kept flat, as in Arrow: item ``i`` is ``values[starts[i]:starts[i + 1]]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from geoseg.errors import VectorError

Points = npt.NDArray[np.float64]
Lattice = npt.NDArray[np.int32]
Offsets = npt.NDArray[np.int64]
Indices = npt.NDArray[np.integer]
Flags = npt.NDArray[np.bool_]
Columns = npt.NDArray[np.int32]

CONFIDENCE_UNIT = 1 << 20
"""Confidences are summed as whole multiples of 1 / CONFIDENCE_UNIT, so that sums do not depend on their order."""

CLOSED, AT_TOP, AT_BOTTOM = 0, 1, 2
"""Where an end of a piece of :class:`Fragments` lies: nowhere, on the line y = top, on the line y = bottom."""


@dataclass(frozen=True, slots=True)
class Arcs:
    """Chains of pixel edges between nodes or pins, and closed loops without any.

    Attributes:
        points: (V, 2) int32 pixel corners x, y. A loop repeats its first point at the end.
        starts: (A + 1,) int64, arc ``i`` is ``points[starts[i]:starts[i + 1]]``.
        rigid: (A,) bool, one side is no data or the outside: every vertex is kept.
    """

    points: Lattice
    starts: Offsets
    rigid: Flags

    def __post_init__(self) -> None:
        _check_offsets("arcs", self.starts, len(self.points))
        _check_lengths("arcs", len(self), self.rigid)

    def __len__(self) -> int:
        return len(self.starts) - 1


@dataclass(frozen=True, slots=True)
class PatchTable:
    """What is known of N patches, each array (N,).

    Attributes:
        class_id: uint8, 1..255.
        pixels: int64.
        first: int64, number ``row * width + col`` of the patch's first pixel in row-major order.
        confidence: int64, sum over the pixels of ``round(confidence * CONFIDENCE_UNIT)``.
        confident: int64, pixels that have a confidence.
    """

    class_id: npt.NDArray[np.uint8]
    pixels: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.int64]
    confident: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        _check_lengths("the table", len(self), *(getattr(self, field.name) for field in fields(self)))

    def __len__(self) -> int:
        return len(self.class_id)

    @staticmethod
    def empty() -> PatchTable:
        """No patches."""
        return PatchTable(np.zeros(0, np.uint8), *(np.zeros(0, np.int64) for _ in range(4)))

    @staticmethod
    def concatenate(tables: Sequence[PatchTable]) -> PatchTable:
        """All patches of ``tables``, in their order."""
        if len(tables) == 1:
            return tables[0]
        everything = (PatchTable.empty(), *tables)
        return PatchTable(*(np.concatenate([getattr(t, f.name) for t in everything]) for f in fields(PatchTable)))

    def take(self, indices: Indices) -> PatchTable:
        """The patches at ``indices``, (M,) integers, in that order."""
        return PatchTable(*(getattr(self, field.name)[indices] for field in fields(self)))

    def mean_confidence(self) -> npt.NDArray[np.float64]:
        """(N,) mean confidence of the pixels that have one; NaN where none has."""
        none = self.confident == 0
        means = self.confidence / CONFIDENCE_UNIT / np.where(none, 1, self.confident)
        return np.asarray(np.where(none, np.nan, means))


@dataclass(frozen=True, slots=True)
class Shapes:
    """N polygons with what is known of their patches.

    Attributes:
        points: (V, 2) float64 x, y. A ring does not repeat its first point.
        rings: (R + 1,) int64, ring ``i`` is ``points[rings[i]:rings[i + 1]]``.
        polygons: (N + 1,) int64, polygon ``i`` is made of the rings ``polygons[i]`` to ``polygons[i + 1]``, in any
            order before :func:`geoseg.polygons.finishing.normalized`.
        table: N patches.
    """

    points: Points
    rings: Offsets
    polygons: Offsets
    table: PatchTable

    def __post_init__(self) -> None:
        _check_offsets("rings", self.rings, len(self.points))
        _check_offsets("polygons", self.polygons, len(self.rings) - 1)
        _check_lengths("the polygons", len(self.polygons) - 1, self.table)

    def __len__(self) -> int:
        return len(self.table)

    @staticmethod
    def empty() -> Shapes:
        """No polygons."""
        return Shapes(np.zeros((0, 2)), np.zeros(1, np.int64), np.zeros(1, np.int64), PatchTable.empty())

    @staticmethod
    def concatenate(parts: Sequence[Shapes]) -> Shapes:
        """All polygons of ``parts``, in their order."""
        if len(parts) == 1:
            return parts[0]
        return Shapes(
            np.concatenate([np.zeros((0, 2)), *(p.points for p in parts)]),
            _joined([p.rings for p in parts]),
            _joined([p.polygons for p in parts]),
            PatchTable.concatenate([p.table for p in parts]),
        )

    def part(self, begin: int, end: int) -> Shapes:
        """The polygons from ``begin`` to before ``end``, not copied."""
        rings = self.rings[self.polygons[begin] : self.polygons[end] + 1]
        polygons = self.polygons[begin : end + 1]
        every = slice(begin, end)
        table = PatchTable(*(getattr(self.table, field.name)[every] for field in fields(PatchTable)))
        return Shapes(self.points[rings[0] : rings[-1]], rings - rings[0], polygons - polygons[0], table)

    def take(self, indices: Indices) -> Shapes:
        """The polygons at ``indices``, (M,) integers, in that order."""
        rings, polygons = _gather(self.polygons, indices)
        points, ring_starts = _gather(self.rings, rings)
        return Shapes(self.points[points], ring_starts, polygons, self.table.take(indices))


@dataclass(frozen=True, slots=True)
class Fragments:
    """The open rest of a strip: patches that go on above it or below it, and the pieces of their rings.

    Each piece is a chain of ring vertices with its face on the left, from a seam pin to a seam pin, or a closed ring. A
    seam pin on the top line is the first (last) point of the piece that begins (ends) there if it is to be a vertex;
    one on the bottom line never is: the strip below says so.

    Attributes:
        width: Columns of the raster.
        top: First row of the strip.
        last: No strip follows.
        table: The n open patches: those that reach the last row of a strip that is not the last, or go on above.
        above: (U,) int32, first columns of the maximal runs of one wanted label in the row above the strip.
        joins: (J, 2) int32, (run of ``above``, open patch) that belong to one patch.
        bottom: (W,) int32, open patch of each column of the last row; -1 for none. All -1 in the last strip.
        points: (V, 2) float64 x, y.
        starts: (C + 1,) int64, piece ``i`` is ``points[starts[i]:starts[i + 1]]``.
        touch: (V,) bool, vertices at which a ring may meet itself.
        face: (C,) int32, whose ring it is: an open patch, or n + a run of ``above``.
        begin_side: (C,) uint8, CLOSED, AT_TOP or AT_BOTTOM.
        end_side: The same of the end.
        begin_x: (C,) int32, column of the seam pin at which the piece begins; any where it is closed.
        end_x: The same of the end.
    """

    width: int
    top: int
    last: bool
    table: PatchTable
    above: Columns
    joins: npt.NDArray[np.int32]
    bottom: npt.NDArray[np.int32]
    points: Points
    starts: Offsets
    touch: Flags
    face: npt.NDArray[np.int32]
    begin_side: npt.NDArray[np.uint8]
    end_side: npt.NDArray[np.uint8]
    begin_x: Columns
    end_x: Columns

    def __post_init__(self) -> None:
        _check_offsets("pieces", self.starts, len(self.points))
        _check_lengths("the points", len(self.points), self.touch)
        ends = (self.begin_side, self.end_side, self.begin_x, self.end_x)
        _check_lengths("the pieces", len(self.starts) - 1, self.face, *ends)
        _check_lengths("the last row", self.width, self.bottom)


def _check_offsets(what: str, starts: Offsets, total: int) -> None:
    if len(starts) < 1 or starts[0] != 0 or starts[-1] != total:
        raise VectorError(f"offsets of {what} must run from 0 to {total}, not {starts[:1]} to {starts[-1:]}")


def _check_lengths(what: str, count: int, *arrays: npt.NDArray[np.generic] | PatchTable) -> None:
    for array in arrays:
        if len(array) != count:
            raise VectorError(f"{what}: {count} expected, but an array has {len(array)}")


def _joined(starts: Sequence[Offsets]) -> Offsets:
    """Offsets of lists laid one after the other."""
    steps = [np.diff(s) for s in starts]
    return np.concatenate([np.zeros(1, np.int64), *steps]).cumsum()


def _gather(starts: Offsets, indices: Indices) -> tuple[Offsets, Offsets]:
    """Where the values of the lists at ``indices`` lie, (K,), and the offsets of these lists, (M + 1,)."""
    indices = np.asarray(indices, np.int64)
    lengths = starts[indices + 1] - starts[indices]
    gathered = np.concatenate([np.zeros(1, np.int64), lengths.cumsum()])
    values = np.arange(gathered[-1]) + np.repeat(starts[indices] - gathered[:-1], lengths)
    return values, gathered
