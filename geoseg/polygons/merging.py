"""Merging of patches below the minimum mapping unit into their neighbours, streamed.

**Definition.** A *group* is a set of patches that were merged; at first each patch is one. Its class is that of the
patch it grew from, its first pixel the first of all in row-major order. A group is *small* while its area is below the
minimum of its class. A group that is not small is *large* from then on: it keeps its class, its area as of that moment
and its first pixel, whatever joins it, and two large groups stay two for all that follows even if they come to touch.

While any small group has a neighbour, the smallest one g, by pixel count, then by first pixel, joins a neighbour t:
the one with the longest border with g in pixel edges, of those the one with the larger area, then the one with the
lower first pixel. Neighbours of g of the class of t are *alike*. If t is large, g and its small alikes become part of
t. Else if any alike is large, g, t and the small alikes become part of one of these, chosen as t was. Else g, t and the
alikes become one group of the class of t, with the sums of their pixels and areas, which is small or large by the
minimum of this class. Pixels without data are in no group.

**Why the order of strips does not matter.** Each step takes the smallest group and makes a larger one of it, so the
groups taken have ever larger keys (pixels, first pixel). A step reads and changes nothing but g and its neighbours,
and large groups never change. So two steps can be exchanged unless some small group belongs to both or is a neighbour
of both: unless they are within two steps of one another through small groups. Let g have no smaller small group
within two steps. A step elsewhere, taken by a smaller group m, unites m with neighbours, all at least two steps from
g; if the united group is two steps from g it holds a group that was, whose key is above that of g, and its own is
higher still. So no smaller group ever comes within two steps of g before g is taken, and g may be taken at once, if
only its neighbours and theirs are known: if g and its small neighbours are complete.

**Why rows come out soon.** A small group waits for smaller ones only. Of groups with one pixel count these begin
higher up or in the same row, and a small group spans as many rows as it has pixels at most; so a chain of groups that
wait for one another reaches down a number of rows that depends on the minima alone. This is why the order goes by
pixels, not by area: where rows have ever smaller areas, chains of equal patches would reach the end of the raster.
"""

from __future__ import annotations

import heapq
from pathlib import Path

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geoseg.errors import ParameterError
from geoseg.polygons.merging_flight import settle_strips
from geoseg.polygons.merging_graph import Edges, Flags, Nodes, find
from geoseg.polygons.survey_bands import AreaUnits, Ints, Longs, Parts, Strips
from geoseg.polygons.surveying import Survey


def merge_small(
    strips: Strips,
    row_areas: NDArray[np.float64],
    minima: NDArray[np.float64],
    *,
    band_rows: int | None = None,
    scratch: Path | None = None,
) -> Strips:
    """Merge patches below the minimum of their class into the neighbour with the longest shared border.

    The smallest go first, and it goes on until every patch reaches its minimum or has no neighbour: pixels without data
    neither absorb nor are absorbed. The valid area does not change. The exact rules stand above. A patch whose area
    equals the minimum but for rounding is large enough.

    The source is read once when the result is read for the first time, and once each time that it is read. Memory
    depends on the width and on the size of the minima.

    Args:
        strips: The labels, 0 = no data.
        row_areas: (H,) area of one pixel of each row in m², positive.
        minima: (256,) smallest area of a patch of each class id in m², 0 = none.
        band_rows: Rows to work on together; chosen by the width if not given. It does not change the result.
        scratch: Folder for temporary files; the system's if not given.

    Returns:
        The new labels, in strips of ``band_rows`` rows.

    Raises:
        ParameterError: The minima are no areas; row areas are not positive, or, when the result is read, there are more
            or fewer of them than rows.
        OutputError: There is no room for the temporary file, when the result is read.
    """
    minima = np.array(minima, np.float64)
    if minima.shape != (256,) or not (minima >= 0).all():
        raise ParameterError(
            f"minima of {minima.min(initial=0):g} m² and more for {minima.size} class ids; give 256 that are 0 or more"
        )
    minima[0] = 0
    survey = Survey(strips, row_areas, band_rows=band_rows, scratch=scratch)

    def is_small(parts: Parts, units: AreaUnits) -> Flags:
        return np.asarray(parts.areas < units.thresholds(minima)[parts.classes])

    def settle(nodes: Nodes, edges: Edges, units: AreaUnits) -> None:
        _merge(nodes, edges, units.thresholds(minima))

    return lambda: settle_strips(survey, is_small, settle)


@njit(cache=True, nogil=True)
def _merge(nodes: Nodes, edges: Edges, thresholds: Longs) -> None:
    """Merge all groups that may be merged now.

    Groups are taken in the order of their keys. One that cannot be merged yet bars itself and its small neighbours: a
    later one that finds itself or a neighbour barred is within two steps of it.
    """
    total = len(nodes.first)
    barred, seen, at = np.zeros(total, np.bool_), np.full(total, -1, np.int32), np.empty(total, np.int32)
    queue = [_key(n, nodes) for n in range(total) if not nodes.settled[n]]
    heapq.heapify(queue)
    while queue:
        pixels, _, node = heapq.heappop(queue)
        group = int(node)
        if nodes.parents[group] != group or nodes.settled[group] or nodes.pixels[group] != pixels:
            continue  # outdated
        _gather(group, nodes, edges, seen, at)
        if _is_barred(group, nodes, edges, barred):
            _bar(group, nodes, edges, barred)
        elif nodes.heads[group] < 0:
            nodes.settled[group] = True  # an island in no data
        else:
            united = _join(group, nodes, edges, thresholds)
            if not nodes.settled[united]:
                heapq.heappush(queue, _key(united, nodes))


@njit(cache=True, nogil=True)
def _key(group: int, nodes: Nodes) -> tuple[np.int64, np.int64, np.int64]:
    return nodes.pixels[group], nodes.first[group], np.int64(group)


@njit(cache=True, nogil=True)
def _gather(group: int, nodes: Nodes, edges: Edges, seen: Ints, at: Ints) -> None:
    """Let the list of ``group`` have one edge to each neighbouring group, and none to itself or no data."""
    edge, head = nodes.heads[group], np.int32(-1)
    while edge >= 0:
        following = edges.following[edge]
        other = find(nodes.parents, edges.to[edge])
        if other != group and other != 0:
            if seen[other] == group:
                edges.lengths[at[other]] += edges.lengths[edge]
            else:
                seen[other], at[other] = group, edge
                edges.to[edge], edges.following[edge] = other, head
                head = edge
        edge = following
    nodes.heads[group] = head
    edge = head
    while edge >= 0:
        seen[edges.to[edge]] = -1
        edge = edges.following[edge]


@njit(cache=True, nogil=True)
def _is_barred(group: int, nodes: Nodes, edges: Edges, barred: Flags) -> bool:
    """Whether ``group`` must wait: for what was not seen yet, or for a smaller group within two steps."""
    if nodes.open[group] or barred[group]:
        return True
    edge = nodes.heads[group]
    while edge >= 0:
        other = edges.to[edge]
        if not nodes.settled[other] and (nodes.open[other] or barred[other]):
            return True
        edge = edges.following[edge]
    return False


@njit(cache=True, nogil=True)
def _bar(group: int, nodes: Nodes, edges: Edges, barred: Flags) -> None:
    barred[group] = True
    edge = nodes.heads[group]
    while edge >= 0:
        barred[edges.to[edge]] = True
        edge = edges.following[edge]


@njit(cache=True, nogil=True)
def _join(group: int, nodes: Nodes, edges: Edges, thresholds: Longs) -> int:
    """Unite ``group`` with its target and what is alike; returns the united group."""
    root = _longest(group, nodes, edges, -1)
    label = nodes.classes[root]
    if not nodes.settled[root]:
        large = _longest(group, nodes, edges, label)
        root = large if large >= 0 else root
    edge = nodes.heads[group]
    while edge >= 0:
        other = edges.to[edge]
        if other != root and not nodes.settled[other] and nodes.classes[other] == label:
            _absorb(root, other, nodes, edges)
        edge = edges.following[edge]
    _absorb(root, group, nodes, edges)
    if nodes.areas[root] >= thresholds[label]:
        nodes.settled[root] = True
    return root


@njit(cache=True, nogil=True)
def _longest(group: int, nodes: Nodes, edges: Edges, label: int) -> int:
    """The neighbour of ``group`` with the longest border, of all or of large ones of class ``label``; -1 for none."""
    best, length = -1, 0
    edge = nodes.heads[group]
    while edge >= 0:
        other = edges.to[edge]
        if label < 0 or (nodes.settled[other] and nodes.classes[other] == label):
            longer = edges.lengths[edge] > length
            if longer or (edges.lengths[edge] == length and _is_before(other, best, nodes)):
                best, length = other, edges.lengths[edge]
        edge = edges.following[edge]
    return best


@njit(cache=True, nogil=True)
def _is_before(a: int, b: int, nodes: Nodes) -> bool:
    """Whether node ``a`` is preferred to ``b`` where borders are equally long."""
    if nodes.areas[a] != nodes.areas[b]:
        return bool(nodes.areas[a] > nodes.areas[b])
    return bool(nodes.first[a] < nodes.first[b])


@njit(cache=True, nogil=True)
def _absorb(root: int, other: int, nodes: Nodes, edges: Edges) -> None:
    """Make ``other`` part of ``root``, which takes over pixels, area and edges unless it is large."""
    nodes.parents[other] = root
    if nodes.settled[root]:
        return
    nodes.pixels[root] += nodes.pixels[other]
    nodes.areas[root] += nodes.areas[other]
    nodes.first[root] = min(nodes.first[root], nodes.first[other])
    edge = last = nodes.heads[other]
    while edge >= 0:
        last, edge = edge, edges.following[edge]
    if last >= 0:
        edges.following[last] = nodes.heads[root]
        nodes.heads[root] = nodes.heads[other]
