"""Joins what strips leave open: patches across seams become one, and their rings close."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from geoseg.errors import VectorError
from geoseg.polygons.pieces import Pieces
from geoseg.polygons.shapes import Fragments, PatchTable, Shapes

Ints = npt.NDArray[np.int32]

_NOTHING_YET = np.iinfo(np.int64).max


class SeamJoiner:
    """Takes the open rests of strips from top to bottom and gives each patch back as soon as it is whole.

    A patch is whole when it does not reach the last row of the strip. Memory grows with the vertices of open patches.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._pieces = Pieces(width)
        self._table = PatchTable.empty()
        self._bottom = np.full(width, -1, np.int32)  # open patch of each column of the last row so far
        self._next = 0  # the least row at which the next strip may begin

    @property
    def open_points(self) -> int:
        """Vertices that wait for strips to come."""
        return self._pieces.open_points

    def add(self, strip: Fragments) -> Shapes:
        """Join the next strip.

        Returns:
            The patches that are whole now, by their first pixels; rings in any order, each with its patch on the left.

        Raises:
            VectorError: The strip does not fit what came before.
        """
        self._check(strip)
        above = self._bottom[strip.above]
        if (above < 0).any():
            raise VectorError(f"the strip at row {strip.top} goes on from patches that the strip above does not have")
        held = len(self._table)
        group, count = _groups(held + len(strip.table), above, strip.joins, held)
        table = _sum_groups(PatchTable.concatenate([self._table, strip.table]), group, count)
        self._pieces.unite(group[:held], count)
        self._pieces.add(strip, np.concatenate([group[held:], group[above]])[strip.face])
        open_patch = np.append(group, np.int32(-1))[np.where(strip.bottom < 0, -1, strip.bottom + held)]
        is_open = np.zeros(count, np.bool_)
        is_open[open_patch[open_patch >= 0]] = True
        whole = self._take_out(table, np.flatnonzero(~is_open))
        self._keep(table, np.flatnonzero(is_open), open_patch)
        self._next = -1 if strip.last else strip.top + 1
        return whole

    def finish(self) -> None:
        """Make sure that all is closed.

        Raises:
            VectorError: The last strip has not come.
        """
        if self._next >= 0 or len(self._table):
            raise VectorError(f"{len(self._table)} polygons are still open: the last strip is missing")

    def _check(self, strip: Fragments) -> None:
        if strip.width != self._width:
            raise VectorError(f"a strip of {strip.width} columns does not fit {self._width} columns")
        if self._next < 0 or strip.top < self._next or (self._next == 0 and strip.top != 0):
            raise VectorError(f"the strip at row {strip.top} is not the next one")

    def _take_out(self, table: PatchTable, patches: npt.NDArray[np.intp]) -> Shapes:
        patches = patches[np.argsort(table.first[patches])]
        return Shapes(*self._pieces.close(patches), table.take(patches))

    def _keep(self, table: PatchTable, patches: npt.NDArray[np.intp], bottom: Ints) -> None:
        number = np.full(len(table) + 1, -1, np.int32)  # the last one stands for no patch: -1
        number[patches] = np.arange(len(patches))
        self._table, self._bottom = table.take(patches), number[bottom]
        self._pieces.keep(patches)


def _sum_groups(table: PatchTable, group: Ints, count: int) -> PatchTable:
    """What is known of ``count`` groups of patches."""
    class_id = np.zeros(count, np.uint8)
    class_id[group] = table.class_id
    if (class_id[group] != table.class_id).any():
        raise VectorError("patches of different classes were joined at a seam")
    first = np.full(count, _NOTHING_YET, np.int64)
    np.minimum.at(first, group, table.first)
    sums = [np.zeros(count, np.int64) for _ in range(3)]
    for total, values in zip(sums, (table.pixels, table.confidence, table.confident), strict=True):
        np.add.at(total, group, values)
    return PatchTable(class_id, sums[0], first, sums[1], sums[2])


@njit(cache=True, nogil=True)
def _groups(total: int, above: Ints, joins: Ints, held: int) -> tuple[Ints, int]:
    """The group of each of ``total`` patches, the ``held`` ones and then those of the strip; the number of groups."""
    parent = np.arange(total).astype(np.int32)
    for k in range(len(joins)):
        a, b = _root(parent, above[joins[k, 0]]), _root(parent, held + joins[k, 1])
        parent[max(a, b)] = min(a, b)
    group, count = np.empty(total, np.int32), 0
    for i in range(total):
        if parent[i] == i:
            group[i] = count
            count += 1
        else:
            group[i] = group[_root(parent, i)]
    return group, count


@njit(cache=True, nogil=True)
def _root(parent: Ints, i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i
