"""Patches in flight: the part of the graph of patches that decides about rows which cannot be given out yet.

The nodes of the graph are patches, its edges the pixel edges that two of them share. Only nodes that are not *settled*
keep edges. A rule (:mod:`geoseg.polygons.merging`, :mod:`geoseg.polygons.filling`) settles nodes by and by; rows whose
nodes are all settled are given out, and what nothing refers to any more is dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geoseg.polygons.labelling import Runs
from geoseg.polygons.merging_graph import Edges, Flags, Nodes, add_rows, copy_edges, count_kept, roots_of
from geoseg.polygons.survey_bands import AreaUnits, Band, Bytes, Ints, Parts
from geoseg.polygons.survey_records import Record
from geoseg.polygons.surveying import Survey


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows in flight: the node of each run of a band."""

    width: int
    runs: Runs
    nodes: Ints


def settle_strips(
    survey: Survey,
    is_small: Callable[[Parts, AreaUnits], Flags],
    settle: Callable[[Nodes, Edges, AreaUnits], None],
) -> Iterator[Bytes]:
    """The labels of a survey after a rule was applied, in strips from top to bottom.

    Args:
        survey: The raster.
        is_small: Given the parts and the units of areas, says which patches the rule decides about: (N + 1,) bool.
        settle: The rule: settles nodes that nothing still to come can change; all of them when none is open.
    """
    flight = _Flight()
    for band, record, units in survey.bands():
        flight.add(band, record, ~is_small(band.parts, units))
        settle(flight.nodes, flight.edges, units)
        yield from flight.settled_rows()
        flight.compact()
    assert not flight.rows


class _Flight:
    def __init__(self) -> None:
        zero = np.zeros(1, np.int64)
        yes, no = np.ones(1, np.bool_), np.zeros(1, np.bool_)
        self.nodes = Nodes(
            np.zeros(1, np.uint8), zero, zero, zero, yes, no, np.zeros(1, np.int32), np.full(1, -1, np.int32)
        )
        self.edges = Edges._make(np.zeros(0, np.int32) for _ in range(3))
        self.rows: deque[_Rows] = deque()
        self._used = 0
        self._groups = np.zeros(0, np.int32)  # the node of each group that goes on below, -1 for none
        self._following = np.zeros(0, np.int32)
        self._starts, self._above = np.zeros(0, np.int32), np.zeros(0, np.int32)

    def add(self, band: Band, record: Record, settled: Flags) -> None:
        """Append the rows of ``band``, whose patches are decided about unless ``settled``."""
        numbers = self._number(band.parts, record, settled)
        self.nodes.open[:] = False
        self.nodes.open[numbers[band.goes_on]] = True
        rows = _Rows(band.width, band.runs, numbers[band.numbers])
        self._add_edges(rows, last=band.last)
        self.rows.append(rows)

    def _number(self, parts: Parts, record: Record, settled: Flags) -> Ints:
        """The node of each part; parts of patches without one get a new one."""
        groups = np.full(len(record.values), -1, np.int32)
        going = (self._following >= 0) & (self._groups >= 0)
        groups[self._following[going]] = self._groups[going]
        numbers = np.full(len(settled), -1, np.int32)
        numbers[0] = 0
        numbers[record.rim] = groups[record.owners]
        # Of the parts of a patch that begins here the first one stands for it.
        owners, where = np.unique(record.owners, return_index=True)
        begins = numbers < 0
        begins[record.rim] = False
        begins[record.rim[where[groups[owners] < 0]]] = True
        chosen = np.flatnonzero(begins)
        numbers[chosen] = len(self.nodes.first) + np.arange(len(chosen))
        groups[owners] = numbers[record.rim[where]]
        numbers[record.rim] = groups[record.owners]
        self._groups, self._following = groups, record.following
        self._append(parts, settled, chosen)
        return numbers

    def _append(self, parts: Parts, settled: Flags, chosen: NDArray[np.intp]) -> None:
        count, total = len(self.nodes.first), len(chosen)
        known = (parts.classes, parts.first, parts.pixels, parts.areas, settled)
        itself = np.arange(count, count + total, dtype=np.int32)
        new = (*(a[chosen] for a in known), np.zeros(total, np.bool_), itself, np.full(total, -1, np.int32))
        self.nodes = Nodes._make(np.concatenate([a, b]) for a, b in zip(self.nodes, new, strict=True))

    def _add_edges(self, rows: _Rows, *, last: bool) -> None:
        outside = np.array([-1, rows.width + 1], np.int32), np.zeros(2, np.int32)
        if not len(self._starts):
            self._starts, self._above = outside
        runs, row = rows.runs, 0
        end = slice(runs.rows[-2], runs.rows[-1])
        while row < len(runs.rows) - 1:
            self._reserve(runs, row)
            row, self._used = add_rows(
                self._starts, self._above, runs, rows.nodes, row, self.nodes, self.edges, self._used
            )
        self._starts, self._above = runs.starts[end], rows.nodes[end]
        if last:
            below = Runs(outside[0], np.zeros(2, np.uint8), np.array([0, 2]))
            self._reserve(below, 0)
            _, self._used = add_rows(
                self._starts, self._above, below, outside[1], 0, self.nodes, self.edges, self._used
            )

    def _reserve(self, runs: Runs, row: int) -> None:
        """Make room for the edges of one more row, and then for as many again as there are."""
        needed = self._used + 4 * int(runs.rows[row + 1] - runs.rows[row]) + 2 * len(self._starts)
        needed += 2 * int(runs.rows[row] - runs.rows[row - 1]) if row else 0
        if needed > len(self.edges.to):
            size = max(needed, len(self.edges.to) * 3 // 2, 1 << 12)
            room = np.empty(size - self._used, np.int32)
            self.edges = Edges._make(np.concatenate([a[: self._used], room]) for a in self.edges)

    def settled_rows(self) -> Iterator[Bytes]:
        """Take and give out the rows from the top down to the first that is not settled."""
        roots = roots_of(self.nodes.parents)
        while self.rows and self.nodes.settled[roots[self.rows[0].nodes]].all():
            rows = self.rows.popleft()
            labels = np.empty((len(rows.runs.rows) - 1, rows.width), np.uint8)
            _paint(rows.runs, self.nodes.classes[roots[rows.nodes]], labels)
            yield labels

    def compact(self) -> None:
        """Keep only nodes that rows in flight, patches that go on, and edges that are needed refer to."""
        roots = roots_of(self.nodes.parents)
        kept = np.zeros(len(roots), np.bool_)
        kept[0] = True
        going = self._groups >= 0
        for used in (self._above, self._groups[going], *(rows.nodes for rows in self.rows)):
            kept[roots[used]] = True
        edges = count_kept(self.nodes, self.edges, roots, kept)
        moved = (np.cumsum(kept, dtype=np.int32) - 1)[roots]
        old = np.flatnonzero(kept)
        nodes = Nodes._make(a[old] for a in self.nodes)._replace(parents=np.arange(len(old), dtype=np.int32))
        self._used = edges
        self.edges = copy_edges(old, nodes, self.edges, moved, edges)
        self.nodes = nodes
        self._above, self._groups[going] = moved[self._above], moved[self._groups[going]]
        self.rows = deque(_Rows(rows.width, rows.runs, moved[rows.nodes]) for rows in self.rows)


@njit(cache=True, nogil=True)
def _paint(runs: Runs, classes: Bytes, labels: Bytes) -> None:
    starts, rows = runs.starts, runs.rows
    height, width = labels.shape
    for r in range(height):
        for run in range(rows[r], rows[r + 1] - 1):
            labels[r, max(0, starts[run]) : min(width, starts[run + 1])] = classes[run]
