"""Which plane to measure a scene in, and where on the ellipsoid its points lie."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyproj
from pyproj.crs import CRS

from geoseg.measuring.planes import EqualArea, quadrilateral_areas

Floats = npt.NDArray[np.float64]

MAX_AREA_DISTORTION = 0.005
"""A projection that changes areas by more than this somewhere in the scene is measured on the ellipsoid instead."""


def choose_plane(
    crs: CRS, cells: Floats, middle: Floats, metres_per_unit: float, is_near: Callable[[float, float], bool]
) -> EqualArea | None:
    """The plane to measure a scene in; None where its CRS itself is good enough, or there is none that says.

    Args:
        crs: The CRS of the scene, without its height.
        cells: (N, 4, 2) corners in the CRS of small rectangles that stand for the scene.
        middle: (2,) x, y of the middle of the scene.
        metres_per_unit: Of a projected CRS.
        is_near: Whether a point x, y of the CRS is within a scene's size.
    """
    if crs.ellipsoid is None or not (crs.is_geographic or crs.is_projected):
        return None
    a, b = crs.ellipsoid.semi_major_metre, crs.ellipsoid.semi_minor_metre
    cylinder = EqualArea(a, 1.0 - (b / a) ** 2, 0)
    if crs.is_geographic:
        return cylinder
    angles = to_angles(crs, cells.reshape(-1, 2), middle)
    if not np.isfinite(angles).all():
        return None  # parts of the scene lie outside the projection: the plane is all there is
    plane = EqualArea(a, cylinder.e2, _pole_nearby(crs, is_near))
    planar = quadrilateral_areas(cells) * metres_per_unit**2
    true = quadrilateral_areas(plane.project(angles).reshape(-1, 4, 2))
    return plane if np.abs(planar / true - 1).max() > MAX_AREA_DISTORTION else None


def to_angles(crs: CRS, points: Floats, middle: Floats) -> Floats:
    """Longitude, latitude in radians of (N, 2) x, y in the CRS; longitudes continuous around ``middle``, (2,) x, y."""
    if crs.is_geographic:
        return np.asarray(points * _radians(crs))
    assert crs.geodetic_crs is not None
    transformer = pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
    lon, lat = transformer.transform(*np.vstack([middle, points]).T)
    lon, lat = np.asarray(lon) * _radians(crs.geodetic_crs), np.asarray(lat) * _radians(crs.geodetic_crs)
    # Just below one half: what lies exactly at 180° from the middle stays on its own side.
    lon -= 2 * math.pi * np.round((lon - lon[0]) / (2 * math.pi) * (1 - 1e-9))
    return np.column_stack([lon, lat])[1:]


def _pole_nearby(crs: CRS, is_near: Callable[[float, float], bool]) -> int:
    """1 or -1 where the north or south pole is a point near the scene: longitudes fail there; else 0."""
    assert crs.geodetic_crs is not None
    to_crs = pyproj.Transformer.from_crs(crs.geodetic_crs, crs, always_xy=True)
    quarter = math.pi / 2 / _radians(crs.geodetic_crs)
    for pole in (1, -1):
        x, y = to_crs.transform(np.array([0, quarter]), np.full(2, pole * quarter))
        if np.isfinite([x, y]).all() and max(np.ptp(x), np.ptp(y)) < 1e-3 and is_near(x[0], y[0]):
            return pole
    return 0


def _radians(crs: CRS) -> float:
    """Radians in one unit of a geographic CRS."""
    return float(crs.axis_info[0].unit_conversion_factor or math.radians(1))
