"""Filling of small holes in patches, streamed.

**Definition.** A *hole* of a patch P is a 4-connected component of all that is not P, if it neither holds pixels
without data nor reaches the edge of the raster: what lies beyond the edge is no data. Pixels that touch at a corner
only are not connected, neither in P nor beside it. Two holes either lie in one another or share no pixel. A pixel in
holes with an area below the maximum takes the class of the patch around the outermost of these, whatever the hole is
made of; every other pixel keeps its class. All holes are those of the raster as it was.

**As a graph.** Let the nodes be the patches, and R, which is all that has no data and the outside; edges join what
shares pixel edges. A hole of P is a component of the graph without P that does not hold R. Patches that reach the
maximum can lie in no hole that counts, so for the holes of other patches they may be taken for R, and their own holes
that count are components of the graph of small patches that have no other neighbour than the one large patch. So one
depth-first search from R over the small patches tells all (Hopcroft and Tarjan 1973, DOI 10.1145/362248.362272): below
node v hangs a hole of its parent P if no edge leads from v and what is below to above P.

**Why the order of strips does not matter.** While only some rows are known, components can grow and come to reach R,
no more; their areas, known of whole patches, only grow. A component that holds no patch that goes on in rows to come is
final. So a patch in no component with an area below the maximum never will be in one: it keeps its class, and may be
taken for R from then on. A patch in one whose outermost is final takes the class around this. All others wait. What
waits lies in a component that is smaller than the maximum and reaches the last row, so it reaches up as many rows as
the maximum has pixels at most. Every patch is found: above its first pixel lies R or a patch that begins earlier.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geoseg.errors import ParameterError
from geoseg.polygons.merging_flight import settle_strips
from geoseg.polygons.merging_graph import Edges, Flags, Nodes
from geoseg.polygons.survey_bands import AreaUnits, Ints, Longs, Parts, Strips
from geoseg.polygons.surveying import Survey


def fill_holes(
    strips: Strips,
    row_areas: NDArray[np.float64],
    max_area: float,
    *,
    band_rows: int | None = None,
    scratch: Path | None = None,
) -> Strips:
    """Give holes with an area below ``max_area`` the class of the patch around them.

    A hole is what one patch wholly encloses, without any pixel of no data in it; the exact rules stand above. Of holes
    in holes the outermost counts. The valid area does not change.

    The source is read once when the result is read for the first time, and once each time that it is read. Memory
    depends on the width and on ``max_area``.

    Args:
        strips: The labels, 0 = no data.
        row_areas: (H,) area of one pixel of each row in m², positive.
        max_area: In m²; a hole whose area equals it but for rounding stays.
        band_rows: Rows to work on together; chosen by the width if not given. It does not change the result.
        scratch: Folder for temporary files; the system's if not given.

    Returns:
        The new labels, in strips of ``band_rows`` rows.

    Raises:
        ParameterError: ``max_area`` is negative; row areas are not positive, or, when the result is read, there are
            more or fewer of them than rows.
        OutputError: There is no room for the temporary file, when the result is read.
    """
    if not max_area >= 0:
        raise ParameterError(f"holes below {max_area:g} m² cannot be filled; give an area of 0 or more")
    limit = np.array([max_area])
    survey = Survey(strips, row_areas, band_rows=band_rows, scratch=scratch)

    def is_small(parts: Parts, units: AreaUnits) -> Flags:
        return np.asarray((parts.classes > 0) & (parts.areas < units.thresholds(limit)))

    def settle(nodes: Nodes, edges: Edges, units: AreaUnits) -> None:
        _fill(nodes, edges, int(units.thresholds(limit)[0]))

    return lambda: settle_strips(survey, is_small, settle)


class _Tree(NamedTuple):
    """The search tree; its places are numbered from 1 in the order of finding, place 0 is R. Each array is (N + 1,).

    What hangs below a place has the places right after it.

    Attributes:
        nodes: int32, the node at each place.
        above: int32, the place each one was found from.
        low: int32, the first place to which an edge leads from here or below.
        sizes: int32, how many nodes are here and below.
        areas: int64, their areas.
        open: int32, how many of them are open.
        around: int32, the node of which here and below are a hole; -1 if they are none.
    """

    nodes: Ints
    above: Ints
    low: Ints
    sizes: Ints
    areas: Longs
    open: Ints
    around: Ints


@njit(cache=True, nogil=True)
def _fill(nodes: Nodes, edges: Edges, limit: int) -> None:
    """Settle all nodes but those in holes that may still grow."""
    total = len(nodes.first)
    place_of, edge_of = np.zeros(total, np.int32), nodes.heads.copy()
    tree = _Tree(
        np.zeros(total + 1, np.int32), np.zeros(total + 1, np.int32), np.zeros(total + 1, np.int32),
        np.zeros(total + 1, np.int32), np.zeros(total + 1, np.int64), np.zeros(total + 1, np.int32),
        np.full(total + 1, -1, np.int32),
    )  # fmt: skip
    count = 0
    for node in range(total):
        if not nodes.settled[node] and place_of[node] == 0 and _is_outer(node, nodes, edges):
            count = _search(node, nodes, edges, edge_of, place_of, tree, count)
    place = 1
    while place <= count:
        place = _settle(place, nodes, tree, limit)


@njit(cache=True, nogil=True)
def _is_outer(node: int, nodes: Nodes, edges: Edges) -> bool:
    """Whether an edge leads to what is settled, from which the search begins."""
    edge = nodes.heads[node]
    while edge >= 0:
        if nodes.settled[edges.to[edge]]:
            return True
        edge = edges.following[edge]
    return False


@njit(cache=True, nogil=True)
def _search(start: int, nodes: Nodes, edges: Edges, edge_of: Ints, place_of: Ints, tree: _Tree, count: int) -> int:
    """Find what hangs together with ``start``, which is beside R; returns how many places there are now."""
    first = place = count = _enter(start, 0, nodes, place_of, tree, count)
    only = -1  # the settled node beside all of it; 0 = several, or no data
    while place > 0:
        node = tree.nodes[place]
        edge = edge_of[node]
        if edge < 0:
            place = _leave(place, tree)
            continue
        edge_of[node] = edges.following[edge]
        other = edges.to[edge]
        if nodes.settled[other]:
            tree.low[place] = 0
            only = other if only < 0 or only == other else 0
        elif place_of[other] == 0:
            place = count = _enter(other, place, nodes, place_of, tree, count)
        else:
            tree.low[place] = min(tree.low[place], place_of[other])
    tree.around[first] = only if only > 0 else -1
    return count


@njit(cache=True, nogil=True)
def _enter(node: int, above: int, nodes: Nodes, place_of: Ints, tree: _Tree, count: int) -> int:
    """Put ``node`` at the next place, which is returned."""
    place = count + 1
    place_of[node] = place
    tree.nodes[place], tree.above[place], tree.low[place] = node, above, place
    tree.sizes[place], tree.areas[place], tree.open[place] = 1, nodes.areas[node], nodes.open[node]
    return place


@njit(cache=True, nogil=True)
def _leave(place: int, tree: _Tree) -> int:
    """Add what is known of ``place`` to the one above it, which is returned."""
    above = tree.above[place]
    if above > 0:
        tree.low[above] = min(tree.low[above], tree.low[place])
        tree.sizes[above] += tree.sizes[place]
        tree.areas[above] += tree.areas[place]
        tree.open[above] += tree.open[place]
        if tree.low[place] >= above:
            tree.around[place] = tree.nodes[above]
    return int(above)


@njit(cache=True, nogil=True)
def _settle(place: int, nodes: Nodes, tree: _Tree, limit: int) -> int:
    """Settle what is at ``place``, or all of an outermost hole that begins there; returns the place after it."""
    if tree.around[place] < 0 or tree.areas[place] >= limit:
        nodes.settled[tree.nodes[place]] = True
        return place + 1
    after = place + tree.sizes[place]
    if tree.open[place] == 0:
        for inside in range(place, after):
            nodes.classes[tree.nodes[inside]] = nodes.classes[tree.around[place]]
            nodes.settled[tree.nodes[inside]] = True
    return int(after)
