"""Polygons of too many vertices, cut along a grid of pixels.

The grid's lines are where arcs are pinned (``pin_rows`` and ``pin_cols`` of the tracer), so every point at which a line
crosses a border is a vertex of both polygons beside it: cutting one of them opens no gap and leaves a valid coverage.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple, cast

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.polygons.shapes import Shapes

_MOST_CELL = 256


def cell_side(max_vertices: int) -> int:
    """Side in pixels of the cells to cut along: what lies in one cell never has more than ``max_vertices``.

    A polygon passes each of a cell's lattice points twice at most, where it touches itself.
    """
    side = 1
    while 2 * side < _MOST_CELL + 1 and 2 * (2 * side + 1) ** 2 <= max_vertices:
        side *= 2
    return side


def cut_shapes(shapes: Shapes, max_vertices: int) -> Shapes:
    """The same ground in polygons of at most ``max_vertices`` vertices.

    A polygon that has more is halved along the line of the grid that is nearest to the middle of its longer side, again
    and again. Its parts share its pixels by their areas, which is exact where borders are pixel edges.

    Args:
        shapes: Traced with ``pin_rows`` and ``pin_cols`` of ``cell_side(max_vertices)``; the exterior ring first.
        max_vertices: What :func:`cell_side` was asked for.
    """
    counts = np.diff(shapes.rings[shapes.polygons])
    large = np.flatnonzero(counts > max_vertices)
    if not len(large):
        return shapes
    cell = cell_side(max_vertices)
    parts = [_as_shapes(list(_halves(_whole(shapes, i), max_vertices, cell)), shapes, i) for i in large.tolist()]
    return Shapes.concatenate([shapes.take(np.flatnonzero(counts <= max_vertices)), *parts])


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a polygon. Its lone holes are kept apart: most are, and a cut elsewhere leaves them as they are.

    Attributes:
        outline: The part without its lone holes.
        holes: (N,) linear rings of holes that touch no other ring and no line that the polygon was cut along.
        sizes: (N,) their vertices.
        bounds: (N, 4) their min x, min y, max x, max y.
    """

    outline: shapely.Polygon
    holes: NDArray[np.object_]
    sizes: NDArray[np.int64]
    bounds: NDArray[np.float64]

    @property
    def vertices(self) -> int:
        """Vertices without the repeated ones that close rings."""
        repeated = 1 + len(self.outline.interiors)
        return int(shapely.get_num_coordinates(self.outline)) - repeated + int(self.sizes.sum())

    def polygon(self) -> shapely.Polygon:
        """The part with all its holes."""
        return _with_holes(self.outline, self.holes)

    def with_holes(self, outline: shapely.Polygon, chosen: NDArray[np.integer | np.bool_]) -> _Part:
        """Another outline with ``chosen`` of the holes."""
        return _Part(outline, self.holes[chosen], self.sizes[chosen], self.bounds[chosen])


def _whole(shapes: Shapes, index: int) -> _Part:
    first, last = shapes.polygons[index], shapes.polygons[index + 1]
    ends = shapes.rings[first : last + 1]
    points, sizes = shapes.points[ends[0] : ends[-1]], np.diff(ends)
    rings = shapely.linearrings(points, indices=np.repeat(np.arange(len(sizes)), sizes))
    _, vertex, visits = np.unique(points, axis=0, return_inverse=True, return_counts=True)
    touches = np.maximum.reduceat(visits[vertex.reshape(-1)], ends[:-1] - ends[0]) > 1
    lone = 1 + np.flatnonzero(~touches[1:])
    outline = shapely.polygons(rings[0], holes=rings[1 + np.flatnonzero(touches[1:])])
    return _Part(outline, rings[lone], sizes[lone], shapely.bounds(rings[lone]))


def _with_holes(outline: shapely.Polygon, holes: NDArray[np.object_]) -> shapely.Polygon:
    if not len(holes):
        return outline
    found = shapely.get_rings(outline)
    return cast("shapely.Polygon", shapely.polygons(found[0], holes=np.concatenate([found[1:], holes])))


def _halves(whole: _Part, max_vertices: int, cell: int) -> Iterator[shapely.Polygon]:
    """Parts with few enough vertices."""
    waiting = [whole]
    while waiting:
        part = waiting.pop()
        line = _line(part.outline.bounds, cell) if part.vertices > max_vertices else None
        if line is None:
            yield part.polygon()
        else:
            waiting.extend(_cut(part, line))


def _cut(part: _Part, line: _Line) -> Iterator[_Part]:
    """The parts on both sides of ``line``."""
    before = part.bounds[:, line.axis + 2] < line.at
    after = part.bounds[:, line.axis] > line.at
    outline = _with_holes(part.outline, part.holes[~before & ~after])
    for box, side in zip(line.boxes, (before, after), strict=True):
        cut = shapely.get_parts(shapely.intersection(outline, box))
        yield from _shared([p for p in cut if p.geom_type == "Polygon" and p.area > 0], part.with_holes(outline, side))


def _shared(outlines: list[shapely.Polygon], side: _Part) -> Iterator[_Part]:
    """Each outline with those of the holes of ``side`` that lie in it."""
    if len(outlines) == 1 or not len(side.holes):
        yield from (side.with_holes(outline, np.arange(len(side.holes))) for outline in outlines)
        return
    tree = shapely.STRtree(shapely.get_point(side.holes, 0))
    where, holes = tree.query(outlines, predicate="contains")
    order = np.argsort(where, kind="stable")
    bounds = np.searchsorted(where[order], np.arange(len(outlines) + 1))
    for outline, (begin, end) in zip(outlines, pairwise(bounds.tolist()), strict=True):
        yield side.with_holes(outline, holes[order[begin:end]])


class _Line(NamedTuple):
    """A line of the grid to cut along.

    Attributes:
        axis: 0 for x = ``at``, 1 for y = ``at``.
        at: Where.
        boxes: What lies before it and behind it.
    """

    axis: int
    at: float
    boxes: tuple[shapely.Polygon, shapely.Polygon]


def _line(bounds: tuple[float, float, float, float], cell: int) -> _Line | None:
    """The grid line to cut ``bounds`` along; None where no line passes through."""
    left, top, right, bottom = bounds
    x, y = _middle(left, right, cell), _middle(top, bottom, cell)
    if x is not None and (right - left >= bottom - top or y is None):
        side = [(x, at) for at in _crossings(top, bottom, cell)]
        return _Line(0, x, (_box(side, [(left, bottom), (left, top)]), _box(side, [(right, bottom), (right, top)])))
    if y is not None:
        side = [(at, y) for at in _crossings(left, right, cell)]
        return _Line(1, y, (_box(side, [(right, top), (left, top)]), _box(side, [(right, bottom), (left, bottom)])))
    return None


def _box(*sides: list[tuple[float, float]]) -> shapely.Polygon:
    return shapely.Polygon([point for side in sides for point in side])


def _crossings(low: float, high: float, cell: int) -> list[float]:
    """``low``, the grid's lines in between, and ``high``.

    Where lines cross, both sides of a cut get a vertex: another cut may end there on one side alone.
    """
    between = range((math.floor(low / cell) + 1) * cell, math.ceil(high / cell) * cell, cell)
    return [low, *map(float, between), high]


def _middle(low: float, high: float, cell: int) -> float | None:
    """The multiple of ``cell`` strictly between ``low`` and ``high`` that is nearest to their middle."""
    lowest, highest = math.floor(low / cell) + 1, math.ceil(high / cell) - 1
    nearest = min(max(round((low + high) / 2 / cell), lowest), highest)
    return float(nearest * cell) if lowest <= highest else None


def _as_shapes(parts: list[shapely.Polygon], shapes: Shapes, index: int) -> Shapes:
    """Parts of polygon ``index``, in the order of their first vertices."""
    parts.sort(key=lambda p: min((y, x) for x, y in p.exterior.coords))
    _, points, (ring_ends, polygon_ends) = shapely.to_ragged_array(parts)
    keep = np.ones(len(points), bool)
    keep[ring_ends[1:] - 1] = False  # here no ring repeats its first point
    rings = ring_ends - np.arange(len(ring_ends))
    pixels = _shares(shapely.area(parts), int(shapes.table.pixels[index]))
    table = replace(shapes.table.take(np.full(len(parts), index)), pixels=pixels)
    return Shapes(points[keep], rings.astype(np.int64), polygon_ends.astype(np.int64), table)


def _shares(areas: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """``total`` in whole numbers in proportion to ``areas``: exactly these where they are whole and sum to it."""
    exact = areas * (total / areas.sum())
    shares: NDArray[np.int64] = np.floor(exact + 1e-9).astype(np.int64)
    shares[np.argsort(shares - exact, kind="stable")[: total - int(shares.sum())]] += 1
    return shares
