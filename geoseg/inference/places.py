"""Coordinates of a scene: to pixels, to other CRSs, along borders, and in messages."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyproj
from pyproj.crs import CRS

from geoseg.errors import ParameterError
from geoseg.grids import Grid

Floats = npt.NDArray[np.float64]
Bounds = tuple[float, float, float, float]

_EDGE_POINTS = 513


def transformer(source: CRS, target: CRS) -> Callable[[Floats], Floats]:
    """(N, 2) x, y to x, y of another CRS; not finite where that cannot be."""
    change = pyproj.Transformer.from_crs(source, target, always_xy=True)

    def apply(points: Floats) -> Floats:
        return np.column_stack(change.transform(points[:, 0], points[:, 1]))

    return apply


def to_pixels(grid: Grid, points: Floats) -> Floats:
    """(N, 2) col, row of world coordinates."""
    t = grid.transform
    x, y = points[:, 0] - t.c, points[:, 1] - t.f
    return np.column_stack([(t.e * x - t.b * y) / t.determinant, (t.a * y - t.d * x) / t.determinant])


def horizontal_crs(text: str) -> CRS:
    """A CRS from WKT, ``EPSG:4326`` or the like.

    Raises:
        ParameterError: It is none.
    """
    try:
        return CRS.from_user_input(text)
    except pyproj.exceptions.CRSError as error:
        raise ParameterError(f"{text!r} is no CRS: {' '.join(str(error).split())[:200]}") from error


def outline(height: float, width: float, margin: float = 0.0) -> Floats:
    """(N, 2) x, y along the border of a rectangle that begins at 0, 0, widened on all sides."""
    along = np.linspace(0, 1, _EDGE_POINTS)
    ends, far = np.zeros(_EDGE_POINTS), np.ones(_EDGE_POINTS)
    x, y = np.concatenate([along, far, along[::-1], ends]), np.concatenate([ends, along, far, along[::-1]])
    return np.column_stack([x * (width + 2 * margin) - margin, y * (height + 2 * margin) - margin])


def bounds_text(bounds: Bounds) -> str:
    """Four coordinates for a message."""
    return ", ".join(f"{v:.10g}" for v in bounds)


def scene_bounds(grid: Grid) -> Bounds:
    """West, south, east, north of a scene."""
    return bounds_of(grid.to_world(outline(grid.height, grid.width)))


def bounds_of(points: Floats) -> Bounds:
    """Least x, least y, greatest x, greatest y of (N, 2) points."""
    (west, south), (east, north) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return west, south, east, north
