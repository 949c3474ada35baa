"""The spatial index of a GeoPackage: an R-tree packed from the boxes of features as they come.

SQLite keeps an R-tree in three tables (https://www.sqlite.org/rtree.html): nodes as blobs, the leaf of every feature,
and the parent of every node. Packing (Leutenegger, Lopez and Edgington 1997, "STR") makes it smaller and better than
inserting one by one. It is done by runs of features, so that memory does not grow with their number but for one box a
leaf: features come from top to bottom, so that a run is a band of the map.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geoseg.vectors.pages import Bytes, Integers, TableBuilder

Boxes = NDArray[np.float32]
"""(N, 4) float32 min x, max x, min y, max y."""

_ROOT = 1
_CELL = np.dtype([("id", ">i8"), ("box", ">f4", (4,))])

# Features that are packed together, in leaves.
_RUN = 1024

# A record of (NULL, 4-byte integer): size of its header, type codes, value.
_NUMBER_RECORD = np.dtype([("header", "u1", (3,)), ("value", ">i4")])


def outward(boxes: NDArray[np.float64]) -> Boxes:
    """float32 boxes that hold (N, 4) float64 ``boxes``: rounding may not leave a corner outside."""
    rounded = boxes.astype(np.float32)
    low, high = rounded[:, 0::2], rounded[:, 1::2]
    np.nextafter(low, np.float32(-np.inf), out=low, where=low > boxes[:, 0::2])
    np.nextafter(high, np.float32(np.inf), out=high, where=high < boxes[:, 1::2])
    return rounded


class RTreeBuilder:
    """Fills the three tables of an R-tree over features 1, 2, 3, ...

    Args:
        rowid: Table of the leaf of each feature.
        node: Table of the nodes.
        parent: Table of the parent of each node; its first id is 2, since the root has none.
        node_size: Bytes of a node, which SQLite fixes when it makes the index.
    """

    def __init__(self, rowid: TableBuilder, node: TableBuilder, parent: TableBuilder, node_size: int) -> None:
        self._rowid, self._node, self._parent = rowid, node, parent
        self._capacity = (node_size - 4) // _CELL.itemsize
        cells = (_CELL, (self._capacity,))
        self._layout = np.dtype(
            {"names": ["depth", "count", "cells"], "formats": [">u2", ">u2", cells], "offsets": [0, 2, 4],
             "itemsize": node_size}
        )  # fmt: skip
        self._waiting: list[Boxes] = []
        self._features = 0
        self._packed = 0
        self._leaf_boxes: list[Boxes] = []

    def append(self, boxes: Boxes) -> None:
        """Index the next features."""
        self._waiting.append(boxes)
        self._features += len(boxes)
        run = _RUN * self._capacity
        if self._features - self._packed >= run:
            waiting = np.concatenate(self._waiting)
            whole = len(waiting) // run * run
            for begin in range(0, whole, run):
                self._pack(waiting[begin : begin + run])
            self._waiting = [waiting[whole:]]

    def finish(self) -> None:
        """Write what is left and the levels above the leaves."""
        waiting = np.concatenate([np.zeros((0, 4), np.float32), *self._waiting])
        if not self._packed and len(waiting) <= self._capacity:
            self._append_nodes(self._nodes(np.arange(1, len(waiting) + 1), waiting, np.array([0, len(waiting)])))
            self._append_numbers(self._rowid, np.full(len(waiting), _ROOT))
            boxes = np.zeros((0, 4), np.float32)
            root = b""
        else:
            if len(waiting):
                self._pack(waiting)
            boxes = np.concatenate(self._leaf_boxes)
            root = self._stack(boxes)
        self._rowid.finish()
        self._node.finish(root)
        self._parent.finish()

    def _pack(self, boxes: Boxes) -> None:
        """Leaves for the next features, numbered on from those before."""
        if not self._packed:
            self._append_nodes(np.zeros(1, self._layout))  # the root, known at the end
        order = _spatial_order(boxes, self._capacity)
        bounds = _bounds(len(boxes), self._capacity)
        first = self._node.last + 1
        leaf_of = np.empty(len(boxes), np.int64)
        leaf_of[order] = first + np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
        self._append_nodes(self._nodes(order + self._packed + 1, boxes[order], bounds))
        self._append_numbers(self._rowid, leaf_of)
        self._leaf_boxes.append(_unite(boxes[order], bounds))
        self._packed += len(boxes)

    def _stack(self, boxes: Boxes) -> bytes:
        """The levels above nodes 2 .. n + 1 with ``boxes``; returns the root."""
        depth, first = 1, _ROOT + 1
        while len(boxes) > self._capacity:
            bounds = _bounds(len(boxes), self._capacity)
            numbers = np.arange(first, first + len(boxes))
            above = first + len(boxes)
            self._append_numbers(self._parent, above + np.repeat(np.arange(len(bounds) - 1), np.diff(bounds)))
            self._append_nodes(self._nodes(numbers, boxes, bounds))
            boxes, first, depth = _unite(boxes, bounds), above, depth + 1
        numbers = np.arange(first, first + len(boxes))
        self._append_numbers(self._parent, np.full(len(boxes), _ROOT))
        root = self._nodes(numbers, boxes, np.array([0, len(boxes)]))
        root["depth"] = depth
        return root.tobytes()

    def _nodes(self, ids: Integers, boxes: Boxes, bounds: Integers) -> NDArray[np.void]:
        nodes = np.zeros(len(bounds) - 1, self._layout)
        nodes["count"] = np.diff(bounds)
        which = np.repeat(np.arange(len(nodes)), np.diff(bounds))
        place = np.arange(len(ids)) - bounds[which]
        cells = np.empty(len(ids), _CELL)
        cells["id"], cells["box"] = ids, boxes
        nodes["cells"][which, place] = cells
        return nodes

    def _append_nodes(self, nodes: NDArray[np.void]) -> None:
        """Rows of (NULL, blob)."""
        size = 12 + 2 * nodes.itemsize
        header = np.array([4, 0, size >> 7 | 128, size & 127], np.uint8)
        records = np.empty((len(nodes), len(header) + nodes.itemsize), np.uint8)
        records[:, : len(header)] = header
        records[:, len(header) :] = nodes.view(np.uint8).reshape(len(nodes), nodes.itemsize)
        _append_alike(self._node, records)

    def _append_numbers(self, table: TableBuilder, values: Integers) -> None:
        records = np.empty(len(values), _NUMBER_RECORD)
        records["header"], records["value"] = (3, 0, 4), values
        _append_alike(table, records.view(np.uint8).reshape(len(values), _NUMBER_RECORD.itemsize))


def _append_alike(table: TableBuilder, records: Bytes) -> None:
    """Append (n, size) records."""
    count, size = records.shape
    table.append(np.ascontiguousarray(records).reshape(-1), np.arange(count + 1, dtype=np.int64) * size)


def _bounds(count: int, capacity: int) -> Integers:
    """Where groups of at most ``capacity`` begin and end, all of about the same size."""
    groups = -(-count // capacity)
    return np.arange(groups + 1, dtype=np.int64) * count // groups


def _unite(boxes: Boxes, bounds: Integers) -> Boxes:
    """The box of each group."""
    begins = bounds[:-1]
    low, high = np.minimum.reduceat(boxes, begins), np.maximum.reduceat(boxes, begins)
    return np.stack([low[:, 0], high[:, 1], low[:, 2], high[:, 3]], axis=1)


def _spatial_order(boxes: Boxes, capacity: int) -> Integers:
    """The order of sort-tile-recursive packing: slices by x, within them by y."""
    x, y = boxes[:, 0] + boxes[:, 1], boxes[:, 2] + boxes[:, 3]
    slices = max(1, round((len(boxes) / capacity) ** 0.5))
    by_x = np.argsort(x, kind="stable")
    return np.concatenate([part[np.argsort(y[part], kind="stable")] for part in np.array_split(by_x, slices)])
