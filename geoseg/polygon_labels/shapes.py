"""Shapes of a vector file near a grid, as they stand in the file, and into the CRS of the grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyproj
import shapely
from pyproj.crs import CRS

from geoseg.errors import ParameterError, VectorError
from geoseg.grids import Grid
from geoseg.polygon_labels.layers import Bounds, Features, VectorLayer

_EDGE_POINTS = 65
# Edges are cut to this many pixels before they are reprojected: over so little, no projection bends them visibly.
_EDGE_PIXELS = 32
# Beyond so many points an edge is left longer, rather than that memory runs out.
_MOST_POINTS = 4_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Shapes:
    """Features of a layer that lie near a grid.

    Attributes:
        name: The file.
        features: As they stand in the file.
        crs: CRS of the file; None where coordinates are the grid's own.
        notes: What is noteworthy.
    """

    name: str
    features: Features
    crs: CRS | None
    notes: tuple[str, ...]


def shapes_near(layer: VectorLayer, grid: Grid) -> Shapes:
    """The features of a layer near a grid.

    Raises:
        VectorError: They cannot be read.
        ParameterError: File and grid do not both have a CRS.
    """
    crs, notes = _crs(layer.crs, grid, layer.name)
    return Shapes(layer.name, layer.read(_bounds_in(crs, grid)), crs, notes)


def meets(layer: VectorLayer, boxes: npt.NDArray[np.float64], grid: Grid) -> bool:
    """Whether any of the boxes of a layer's features comes near a grid.

    Raises:
        ParameterError: File and grid do not both have a CRS.
    """
    near = _bounds_in(_crs(layer.crs, grid, layer.name)[0], grid)
    if near is None:
        return bool(len(boxes))
    west, south, east, north = boxes.T
    return bool(((west <= near[2]) & (east >= near[0]) & (south <= near[3]) & (north >= near[1])).any())


def onto(polygons: npt.NDArray[np.object_], crs: CRS | None, grid: Grid, name: str) -> npt.NDArray[np.object_]:
    """Polygons of another CRS in that of the grid.

    Raises:
        VectorError: Some reach where the grid's CRS has no coordinates.
    """
    if crs is None or not len(polygons):
        return polygons
    assert grid.crs_wkt is not None
    change = pyproj.Transformer.from_crs(crs, CRS.from_wkt(grid.crs_wkt), always_xy=True)
    length = max(_pixel_in(crs, grid) * _EDGE_PIXELS, float(shapely.length(polygons).sum()) / _MOST_POINTS)
    dense = shapely.segmentize(polygons, length)
    moved = np.asarray(shapely.transform(dense, lambda p: np.column_stack(change.transform(*p.T))), object)
    lost = ~np.isfinite(shapely.bounds(moved)).all(axis=1)
    if lost.any():
        raise VectorError(
            f"{name}: {int(lost.sum())} polygons reach where the CRS of the raster has no coordinates; cut them to its "
            "surroundings first (ogr2ogr -clipsrc)"
        )
    invalid = ~shapely.is_valid(moved)
    moved[invalid] = shapely.make_valid(moved[invalid])
    return moved


def _crs(text: object, grid: Grid, name: str) -> tuple[CRS | None, tuple[str, ...]]:
    """The CRS to come from; None where the coordinates are the grid's own."""
    if grid.crs_wkt is None:
        if text is not None:
            raise ParameterError(f"{name} has a CRS and the raster has none; assign the raster's (gdal_edit.py -a_srs)")
        return None, ()
    if text is None:
        return None, (f"{name} has no CRS: its coordinates were taken for the raster's",)
    crs, own = CRS.from_user_input(text), CRS.from_wkt(grid.crs_wkt)
    if crs.equals(own, ignore_axis_order=True):
        return None, ()
    return crs, (f"{name} was reprojected from {crs.name} to {own.name}",)


def _bounds_in(crs: CRS | None, grid: Grid) -> Bounds | None:
    """What holds the grid in another CRS; None where that cannot be said, and all is read."""
    ring = _outline_in(crs, grid)
    if not np.isfinite(ring).all() or (crs is not None and crs.is_geographic and np.ptp(ring[:, 0]) > 180):
        return None
    (west, south), (east, north) = ring.min(axis=0).tolist(), ring.max(axis=0).tolist()
    room = 0.05 * max(east - west, north - south)
    return west - room, south - room, east + room, north + room


def _pixel_in(crs: CRS, grid: Grid) -> float:
    """About the side of a pixel in units of another CRS."""
    ring = _outline_in(crs, grid)
    steps = np.hypot(*np.diff(ring, axis=0).T)
    side = float(np.median(steps[np.isfinite(steps) & (steps > 0)])) * (_EDGE_POINTS - 1)
    return side / max(grid.shape)


def _outline_in(crs: CRS | None, grid: Grid) -> npt.NDArray[np.float64]:
    """(N, 2) x, y along the border of the grid, in its own CRS or another."""
    along = np.linspace(0, 1, _EDGE_POINTS)
    ends, far = np.zeros(_EDGE_POINTS), np.ones(_EDGE_POINTS)
    cols = np.concatenate([along, far, along[::-1], ends]) * grid.width
    rows = np.concatenate([ends, along, far, along[::-1]]) * grid.height
    ring = grid.to_world(np.column_stack([cols, rows]))
    if crs is None:
        return ring
    assert grid.crs_wkt is not None
    change = pyproj.Transformer.from_crs(CRS.from_wkt(grid.crs_wkt), crs, always_xy=True)
    return np.column_stack(change.transform(*ring.T))
