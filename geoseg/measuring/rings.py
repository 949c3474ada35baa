"""Areas and perimeters of polygons given as arrays, compiled by Numba.

Every sum runs over one polygon, in the order of its vertices and from its own first vertex: the result of a polygon
does not depend on what it is measured with.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

from geoseg.measuring.planes import EqualArea

Floats = npt.NDArray[np.float64]
Offsets = npt.NDArray[np.int64]
Measures = tuple[Floats, Floats]


def measure_rings(points: Floats, rings: Offsets, polygons: Offsets) -> Measures:
    """Area and perimeter in the plane of the coordinates.

    Args:
        points: (V, 2) x, y. It does not matter whether a ring repeats its first point, nor which way it runs.
        rings: (R + 1,) int64, ring ``i`` is ``points[rings[i]:rings[i + 1]]``.
        polygons: (N + 1,) int64, polygon ``i`` is the rings ``polygons[i]`` to ``polygons[i + 1]``, its exterior first.

    Returns:
        Area without the holes and length of all rings, each (N,), in units of the coordinates.
    """
    area, perimeter = np.zeros(len(polygons) - 1), np.zeros(len(polygons) - 1)
    _measure(points, rings, polygons, area, perimeter)
    return area, perimeter


def measure_on_ellipsoid(plane: EqualArea, angles: Floats, rings: Offsets, polygons: Offsets) -> Measures:
    """Area and perimeter on an ellipsoid, of polygons with edges straight in its equal-area plane.

    Args:
        plane: The ellipsoid, and whether a pole is near.
        angles: (V, 2) longitude, latitude in radians.
        rings: As of :func:`measure_rings`.
        polygons: As of :func:`measure_rings`.

    Returns:
        Area in m² and perimeter in m, each (N,). Perimeters by the radii of curvature at the middle of each edge; in
        the plane near a pole.
    """
    if plane.pole:
        return measure_rings(plane.project(angles), rings, polygons)
    area, perimeter = np.zeros(len(polygons) - 1), np.zeros(len(polygons) - 1)
    _measure_angles(angles, plane.a, plane.e2, rings, polygons, area, perimeter)
    return area, perimeter


@njit(cache=True, nogil=True)
def _measure(points: Floats, rings: Offsets, polygons: Offsets, area: Floats, perimeter: Floats) -> None:
    for i in range(len(polygons) - 1):
        for r in range(polygons[i], polygons[i + 1]):
            size, length = _measure_ring(points, rings[r], rings[r + 1])
            area[i] += size if r == polygons[i] else -size
            perimeter[i] += length


@njit(cache=True, nogil=True)
def _measure_ring(points: Floats, lo: int, hi: int) -> tuple[float, float]:
    """Area and length of one ring, by the shoelace formula from its first point."""
    if lo == hi:
        return 0.0, 0.0
    x0, y0 = points[lo, 0], points[lo, 1]
    px, py, twice, length = 0.0, 0.0, 0.0, 0.0
    for k in range(lo + 1, hi):
        x, y = points[k, 0] - x0, points[k, 1] - y0
        twice += px * y - x * py
        length += math.sqrt((x - px) ** 2 + (y - py) ** 2)
        px, py = x, y
    return abs(twice) / 2, length + math.sqrt(px * px + py * py)


@njit(cache=True, nogil=True)
def _measure_angles(
    angles: Floats, a: float, e2: float, rings: Offsets, polygons: Offsets, area: Floats, perimeter: Floats
) -> None:
    for i in range(len(polygons) - 1):
        for r in range(polygons[i], polygons[i + 1]):
            size, length = _measure_angular_ring(angles, e2, rings[r], rings[r + 1])
            area[i] += a * a * (size if r == polygons[i] else -size)
            perimeter[i] += a * length


@njit(cache=True, nogil=True)
def _measure_angular_ring(angles: Floats, e2: float, lo: int, hi: int) -> tuple[float, float]:
    """Area and length of one ring on an ellipsoid of semi-major axis 1.

    Most edges run along a parallel or a meridian: what is known of a latitude is used again.
    """
    if lo == hi:
        return 0.0, 0.0
    x0, lat0 = angles[lo, 0], angles[lo, 1]
    y0 = _authalic(lat0, e2)
    px, py, plat, twice, length = 0.0, 0.0, lat0, 0.0, 0.0
    for k in range(lo + 1, hi):
        x, lat = angles[k, 0] - x0, angles[k, 1]
        y = py if lat == plat else _authalic(lat, e2) - y0
        twice += px * y - x * py
        length += _edge(x - px, plat, lat, e2)
        px, py, plat = x, y, lat
    return abs(twice) / 2, length + _edge(px, plat, lat0, e2)


@njit(cache=True, nogil=True)
def _authalic(lat: float, e2: float) -> float:
    """Half of Snyder's q; see :class:`geoseg.measuring.planes.EqualArea`."""
    s = math.sin(min(max(lat, -math.pi / 2), math.pi / 2))
    if e2 <= 0:
        return s
    e = math.sqrt(e2)
    return (1 - e2) * (s / (1 - e2 * s * s) + math.atanh(e * s) / e) / 2


@njit(cache=True, nogil=True)
def _edge(east: float, lat: float, end: float, e2: float) -> float:
    """Length of an edge by the radii of curvature at its middle latitude."""
    if east == 0 and lat == end:
        return 0.0
    middle = (lat + end) / 2
    sine = math.sin(middle)
    w2 = 1 - e2 * sine * sine
    w = math.sqrt(w2)
    along = (1 - e2) / (w2 * w) * (end - lat)
    if east == 0:
        return abs(along)
    across = math.sqrt(max(1 - sine * sine, 0.0)) / w * east
    return math.sqrt(along * along + across * across)
