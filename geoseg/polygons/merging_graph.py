"""The graph of patches as arrays: nodes that are united by union-find, and their edges in chained lists.

The nodes are patches, an edge is a border in pixel edges. Only nodes that are not settled keep edges.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geoseg.polygons.labelling import Runs
from geoseg.polygons.survey_bands import Bytes, Ints, Longs

Flags = NDArray[np.bool_]


class Nodes(NamedTuple):
    """The nodes; each array is (N,). Node 0 is no data and what lies outside the raster; it is settled.

    Attributes:
        classes: uint8, class ids.
        first: int64, the first pixel in row-major order.
        pixels: int64, pixel counts.
        areas: int64, in units.
        settled: Whether the class is final.
        open: Whether the patch may have pixels or neighbours that were not seen yet.
        parents: int32, union-find: the node that this one was merged into, or itself.
        heads: int32, the first of the node's edges; -1 for none.
    """

    classes: Bytes
    first: Longs
    pixels: Longs
    areas: Longs
    settled: Flags
    open: Flags
    parents: Ints
    heads: Ints


class Edges(NamedTuple):
    """Lists of the edges of nodes, chained; several edges of a list may lead to one node. Each array is (E,) int32.

    Attributes:
        to: Node on the other side.
        lengths: Length of the shared border in pixel edges.
        following: The next edge of the same node; -1 at the end.
    """

    to: Ints
    lengths: Ints
    following: Ints


@njit(cache=True, nogil=True)
def find(parents: Ints, node: int) -> int:
    """The root of the tree that holds ``node``, which gets flatter."""
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = parents[node]
    return node


@njit(cache=True, nogil=True)
def roots_of(parents: Ints) -> Ints:
    """(N,) the root of every node."""
    roots = np.empty_like(parents)
    for node in range(len(parents)):
        roots[node] = find(parents, node)
    return roots


@njit(cache=True, nogil=True)
def add_rows(
    starts: Ints, above: Ints, runs: Runs, nodes_of: Ints, row: int, nodes: Nodes, edges: Edges, used: int
) -> tuple[int, int]:
    """Add the borders inside each row from ``row`` on and to the row above it, while there is room for edges.

    Args:
        starts: (A,) first columns of the runs of the row above the band.
        above: (A,) their nodes.
        runs: The runs of the band.
        nodes_of: (R,) their nodes.
        row: Row of the band to begin with.
        nodes: All nodes.
        edges: All edges, with room for those of one row.
        used: How many edges there are.

    Returns:
        The first row that was not added, and how many edges there are now.
    """
    for r in range(row, len(runs.rows) - 1):
        lo, hi = runs.rows[r], runs.rows[r + 1]
        if r > 0:
            starts, above = runs.starts[runs.rows[r - 1] : lo], nodes_of[runs.rows[r - 1] : lo]
        if r > row and used + 4 * (hi - lo) + 2 * len(above) > len(edges.to):
            return r, used
        here = nodes_of[lo:hi]
        for run in range(1, hi - lo - 1):
            used = _add_border(here[run - 1], here[run], 1, nodes.settled, nodes.heads, edges, used)
        used = _add_seam(starts, above, runs.starts[lo:hi], here, nodes.settled, nodes.heads, edges, used)
    return len(runs.rows) - 1, used


@njit(cache=True, nogil=True)
def _add_seam(
    starts_above: Ints, above: Ints, starts: Ints, below: Ints, settled: Flags, heads: Ints, edges: Edges, used: int
) -> int:
    """Add the borders between two rows."""
    a = b = 0
    while a < len(above) - 1 and b < len(below) - 1:
        end_a, end_b = starts_above[a + 1], starts[b + 1]
        if above[a] != below[b]:
            length = min(end_a, end_b) - max(starts_above[a], starts[b])
            used = _add_border(above[a], below[b], length, settled, heads, edges, used)
        a += end_a <= end_b
        b += end_b <= end_a
    return used


@njit(cache=True, nogil=True)
def _add_border(a: int, b: int, length: int, settled: Flags, heads: Ints, edges: Edges, used: int) -> int:
    if not settled[a]:
        used = _add_edge(a, b, length, heads, edges, used)
    if not settled[b]:
        used = _add_edge(b, a, length, heads, edges, used)
    return used


@njit(cache=True, nogil=True)
def _add_edge(a: int, b: int, length: int, heads: Ints, edges: Edges, used: int) -> int:
    edge = heads[a]
    for _ in range(4):  # the neighbour has mostly been met just before
        if edge < 0:
            break
        if edges.to[edge] == b:
            edges.lengths[edge] += length
            return used
        edge = edges.following[edge]
    edges.to[used], edges.lengths[used], edges.following[used] = b, length, heads[a]
    heads[a] = used
    return used + 1


@njit(cache=True, nogil=True)
def count_kept(nodes: Nodes, edges: Edges, roots: Ints, kept: Flags) -> int:
    """The edges of nodes that are kept and not settled; what they lead to is kept too."""
    count = 0
    for node in range(len(roots)):
        if roots[node] == node and not nodes.settled[node] and kept[node]:
            edge = nodes.heads[node]
            while edge >= 0:
                kept[roots[edges.to[edge]]] = True
                count += 1
                edge = edges.following[edge]
    return count


@njit(cache=True, nogil=True)
def copy_edges(old: NDArray[np.intp], nodes: Nodes, edges: Edges, moved: Ints, count: int) -> Edges:
    """Edges of ``nodes``, which were ``old``, in lists one after the other."""
    to, lengths, following = np.empty(count, np.int32), np.empty(count, np.int32), np.empty(count, np.int32)
    used = 0
    for node in range(len(old)):
        edge = nodes.heads[node]
        nodes.heads[node] = -1
        while edge >= 0 and not nodes.settled[node]:
            to[used], lengths[used] = moved[edges.to[edge]], edges.lengths[edge]
            following[used] = nodes.heads[node]
            nodes.heads[node] = used
            used += 1
            edge = edges.following[edge]
    return Edges(to, lengths, following)
