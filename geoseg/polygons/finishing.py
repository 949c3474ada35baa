"""The form that polygons are given out in: one way to write each, and its bytes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from geoseg.polygons.shapes import Offsets, Points, Shapes

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Longs = npt.NDArray[np.int64]

_POLYGON, _MULTIPOLYGON = 3, 6  # OGC 06-103r4, table 7
_HEAD = 9  # byte order, type, number of parts
_POINT = 16


def normalized(shapes: Shapes) -> Shapes:
    """The same polygons, each written in the one way that does not depend on how it came to be.

    The exterior comes first, then the holes in the order of their first vertices by (y, x). Each ring begins at its
    first vertex by (y, x) and has its face on the left as seen on the screen, where y points down: exteriors run
    counter-clockwise there, holes clockwise. The order of the polygons stays.
    """
    lengths, total = np.diff(shapes.rings), len(shapes.rings) - 1
    area, first = np.empty(total), np.empty(total, np.int64)
    _survey(shapes.points, shapes.rings, area, first)
    order = np.arange(total)
    _put_exteriors_first(shapes.polygons, np.abs(area), order)
    _order_holes(shapes, area, first, order)
    rings = np.concatenate([np.zeros(1, np.int64), lengths[order].cumsum()])
    points = np.empty_like(shapes.points)
    exterior = np.zeros(total, np.bool_)
    exterior[shapes.polygons[:-1]] = True
    _turn(shapes.points, shapes.rings, first, order, (area[order] < 0) != exterior, rings, points)
    return Shapes(points, rings, shapes.polygons, shapes.table)


def to_wkb(points: Points, rings: Offsets, polygons: Offsets) -> tuple[Bytes, Offsets]:
    """Polygons as little-endian ISO WKB: exteriors counter-clockwise, holes clockwise.

    Args:
        points: (V, 2) float64 x, y in the world; rings do not repeat their first point.
        rings: (R + 1,) int64, where rings begin in ``points``.
        polygons: (N + 1,) int64, where polygons begin in ``rings``; the exterior first.

    Returns:
        (B,) uint8 and (N + 1,) int64: polygon ``i`` is the bytes from ``offsets[i]`` to ``offsets[i + 1]``.
    """
    area = np.empty(len(rings) - 1)
    _survey(points, rings, area, np.empty(len(rings) - 1, np.int64))
    first_point = rings[polygons]
    size = _HEAD + (4 + _POINT) * np.diff(polygons) + _POINT * np.diff(first_point)
    offsets = np.concatenate([np.zeros(1, np.int64), size.cumsum()])
    content = np.empty(offsets[-1], np.uint8)
    raw = np.ascontiguousarray(points, "<f8").view(np.uint8).reshape(-1, _POINT)
    _write(raw, rings, polygons, area, offsets, content)
    return content, offsets


def multi_wkb(content: Bytes, offsets: Offsets, groups: Offsets) -> tuple[Bytes, Offsets]:
    """Groups of polygons as little-endian ISO WKB multipolygons.

    Args:
        content: (B,) uint8, the polygons as :func:`to_wkb` gives them.
        offsets: (N + 1,) int64, where they begin.
        groups: (G + 1,) int64, group ``i`` is the polygons ``groups[i]`` to ``groups[i + 1]``.

    Returns:
        As of :func:`to_wkb`, of G multipolygons.
    """
    packed_offsets = offsets[groups] + _HEAD * np.arange(len(groups)) - offsets[groups[0]]
    packed = np.empty(packed_offsets[-1], np.uint8)
    _pack(content, offsets, groups, packed_offsets, packed)
    return packed, packed_offsets


def _order_holes(shapes: Shapes, area: Floats, first: Longs, order: Longs) -> None:
    """Sort the holes of polygons that have more than one; those are few, or few polygons have many."""
    count = np.diff(shapes.polygons)
    many = np.flatnonzero(count > 2)
    if not len(many):
        return
    lengths = count[many] - 1
    before = lengths.cumsum() - lengths
    at = np.arange(lengths.sum()) + np.repeat(shapes.polygons[many] + 1 - before, lengths)
    holes = order[at]
    vertex = shapes.points[first[holes]]
    # Where two holes begin at one point, which only simplified ones can, the area decides.
    order[at] = holes[np.lexsort((np.abs(area[holes]), vertex[:, 0], vertex[:, 1], np.repeat(many, lengths)))]


@njit(cache=True, nogil=True)
def _survey(points: Points, rings: Offsets, area: Floats, first: Longs) -> None:
    """Twice the signed area of each ring (counter-clockwise positive where y points up); its first vertex by (y, x)."""
    for i in range(len(rings) - 1):
        lo, hi = rings[i], rings[i + 1]
        x0, y0, best, total = points[lo, 0], points[lo, 1], lo, 0.0
        px, py = 0.0, 0.0
        bx, by = x0, y0
        for k in range(lo + 1, hi):
            ax, ay = points[k, 0], points[k, 1]
            if ay < by or (ay == by and ax < bx):
                best, bx, by = k, ax, ay
            x, y = ax - x0, ay - y0
            total += px * y - x * py
            px, py = x, y
        area[i], first[i] = total, best


@njit(cache=True, nogil=True)
def _put_exteriors_first(polygons: Offsets, size: Floats, order: Longs) -> None:
    """The exterior is the largest ring of a polygon."""
    for i in range(len(polygons) - 1):
        lo, best = polygons[i], polygons[i]
        for r in range(lo + 1, polygons[i + 1]):
            if size[r] > size[best]:
                best = r
        order[lo], order[best] = best, lo


@njit(cache=True, nogil=True)
def _turn(
    points: Points,
    rings: Offsets,
    first: Longs,
    order: Longs,
    backwards: npt.NDArray[np.bool_],
    new_rings: Offsets,
    turned: Points,
) -> None:
    """Copy rings so that each begins at its first vertex; ``backwards`` where it has to run the other way."""
    for i in range(len(order)):
        ring = order[i]
        lo, hi, at = rings[ring], rings[ring + 1], new_rings[i]
        step = -1 if backwards[i] else 1
        k = first[ring]
        for _ in range(hi - lo):
            turned[at, 0], turned[at, 1] = points[k, 0], points[k, 1]
            at += 1
            k += step
            if k == hi:
                k = lo
            elif k < lo:
                k = hi - 1


@njit(cache=True, nogil=True)
def _write(raw: Bytes, rings: Offsets, polygons: Offsets, area: Floats, offsets: Offsets, content: Bytes) -> None:
    for i in range(len(polygons) - 1):
        lo, hi, at = polygons[i], polygons[i + 1], offsets[i]
        _head(content, at, _POLYGON, hi - lo)
        at += _HEAD
        for r in range(lo, hi):
            at = _write_ring(raw, rings[r], rings[r + 1], (area[r] > 0) == (r == lo), content, at)


@njit(cache=True, nogil=True)
def _write_ring(raw: Bytes, lo: int, hi: int, forwards: bool, content: Bytes, at: int) -> int:
    """A ring from its first point, closed; where the next thing goes."""
    _number(content, at, hi - lo + 1)
    at += 4
    for k in range(lo, hi + 1):
        source = k if forwards else hi + lo - k
        _copy_point(raw, lo if source == hi else source, content, at)
        at += _POINT
    return at


@njit(cache=True, nogil=True)
def _copy_point(raw: Bytes, source: int, content: Bytes, at: int) -> None:
    for b in range(_POINT):
        content[at + b] = raw[source, b]


@njit(cache=True, nogil=True)
def _pack(content: Bytes, offsets: Offsets, groups: Offsets, packed_offsets: Offsets, packed: Bytes) -> None:
    for i in range(len(groups) - 1):
        at = packed_offsets[i]
        _head(packed, at, _MULTIPOLYGON, groups[i + 1] - groups[i])
        packed[at + _HEAD : packed_offsets[i + 1]] = content[offsets[groups[i]] : offsets[groups[i + 1]]]


@njit(cache=True, nogil=True)
def _head(content: Bytes, at: int, kind: int, count: int) -> None:
    content[at] = 1  # little-endian
    _number(content, at + 1, kind)
    _number(content, at + 5, count)


@njit(cache=True, nogil=True)
def _number(content: Bytes, at: int, value: int) -> None:
    """An unsigned 32-bit integer."""
    for b in range(4):
        content[at + b] = np.uint8((value >> (8 * b)) & 255)
