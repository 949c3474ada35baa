"""Shapes of a vector file near a grid, as they stand in the file, and into the CRS of the grid."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyogrio
import pyproj
import shapely
from pyogrio.errors import DataLayerError, DataSourceError
from pyproj.crs import CRS

from geoseg.errors import MissingFileError, ParameterError, VectorError
from geoseg.grids import Grid

SUFFIXES = (".gpkg", ".geojson", ".json", ".fgb", ".shp")
"""Names that end so are read as vectors."""

DEFAULT_FIELD = "class_id"

Bounds = tuple[float, float, float, float]

_EDGE_POINTS = 65
# Edges are cut to this many pixels before they are reprojected: over so little, no projection bends them visibly.
_EDGE_PIXELS = 32
# Beyond so many points an edge is left longer, rather than that memory runs out.
_MOST_POINTS = 4_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Shapes:
    """Shapes of a layer.

    Attributes:
        name: The file.
        field: Attribute that gives the class.
        shapes: (N,) geometries in the order of the file; None where there is none.
        fids: (N,) int64 numbers of the features.
        values: (N,) what ``field`` says.
        crs: CRS of the file; None where coordinates are the grid's own.
        notes: What is noteworthy.
    """

    name: str
    field: str
    shapes: npt.NDArray[np.object_]
    fids: npt.NDArray[np.int64]
    values: npt.NDArray[Any]
    crs: CRS | None
    notes: tuple[str, ...]


def is_vector(path: str | Path) -> bool:
    """Whether a name is that of a vector file."""
    return str(path).partition("|")[0].lower().endswith(SUFFIXES)


def read_shapes(path: str, grid: Grid, class_field: str | None) -> Shapes:
    """The shapes of a vector file near a grid.

    Raises:
        MissingFileError: There is no such file.
        VectorError: It cannot be read, or has no such layer or field.
        ParameterError: File and grid do not both have a CRS.
    """
    name, _, rest = path.partition("|")
    chosen = re.fullmatch(r"layername=([^|]+)", rest)
    if rest and chosen is None:
        raise VectorError(f"{path!r}: what follows the | must be layername=NAME")
    if not Path(name).is_file():
        raise MissingFileError(f"{name} does not exist; give a vector file with polygons")
    try:
        layer = _layer(name, chosen[1] if chosen else None)
        info = pyogrio.read_info(name, layer=layer)
        field = _field([str(f) for f in info["fields"]], class_field, name)
        crs, notes = _crs(info["crs"], grid, name)
        near = None if crs is None else _bounds_in(crs, grid)
        _, fids, wkb, columns = pyogrio.raw.read(
            name, layer=layer, columns=[field], force_2d=True, return_fids=True, bbox=near
        )
    except (DataSourceError, DataLayerError) as error:
        raise VectorError(f"{name} cannot be read: {' '.join(str(error).split())}") from error
    shapes = np.asarray(shapely.from_wkb(wkb, on_invalid="ignore"), object)
    broken = fids[shapely.is_missing(shapes) & np.array([w is not None for w in wkb], bool)]
    if broken.size:
        raise VectorError(
            f"{name}: {broken.size} of its shapes cannot be decoded, the first has fid {broken[0]}; repair it "
            "(ogr2ogr -makevalid)"
        )
    return Shapes(name, field, shapes, fids, columns[0], crs, notes)


def onto(polygons: npt.NDArray[np.object_], crs: CRS | None, grid: Grid, name: str) -> npt.NDArray[np.object_]:
    """Polygons of another CRS in that of the grid.

    Raises:
        VectorError: Some reach where the grid's CRS has no coordinates.
    """
    if crs is None:
        return polygons
    assert grid.crs_wkt is not None
    change = pyproj.Transformer.from_crs(crs, CRS.from_wkt(grid.crs_wkt), always_xy=True)
    length = max(_pixel_in(crs, grid) * _EDGE_PIXELS, float(shapely.length(polygons).sum()) / _MOST_POINTS)
    dense = shapely.segmentize(polygons, length)
    moved = np.asarray(shapely.transform(dense, lambda p: np.column_stack(change.transform(*p.T))), object)
    lost = ~np.isfinite(shapely.bounds(moved)).all(axis=1)
    if lost.any():
        raise VectorError(
            f"{name}: {int(lost.sum())} polygons reach where the CRS of the map has no coordinates; cut them to its "
            "surroundings first (ogr2ogr -clipsrc)"
        )
    invalid = ~shapely.is_valid(moved)
    moved[invalid] = shapely.make_valid(moved[invalid])
    return moved


def _layer(name: str, layer: str | None) -> str:
    layers = [str(n) for n, kind in pyogrio.list_layers(name) if kind is not None]
    if layer is None and len(layers) == 1:
        return layers[0]
    if layer in layers:
        return str(layer)
    if layer is None and layers:
        raise VectorError(f"{name} has the layers {', '.join(layers)}; choose one with '{name}|layername={layers[0]}'")
    raise VectorError(f"{name} has no layer {layer or 'with geometries'}; it has {', '.join(layers) or 'none'}")


def _field(fields: list[str], wanted: str | None, name: str) -> str:
    field = wanted or DEFAULT_FIELD
    if field not in fields:
        raise VectorError(
            f"{name} has no field {field!r}; its fields are {', '.join(fields) or 'none'}; name the one with the class "
            "with --class-field (class_field=...)"
        )
    return field


def _crs(text: object, grid: Grid, name: str) -> tuple[CRS | None, tuple[str, ...]]:
    """The CRS to come from; None where the coordinates are the grid's own."""
    if grid.crs_wkt is None:
        if text is not None:
            raise ParameterError(f"{name} has a CRS and the map has none; assign the map's (gdal_edit.py -a_srs)")
        return None, ()
    if text is None:
        return None, (f"{name} has no CRS: its coordinates were taken for the map's",)
    crs, own = CRS.from_user_input(text), CRS.from_wkt(grid.crs_wkt)
    if crs.equals(own, ignore_axis_order=True):
        return None, ()
    return crs, (f"{name} was reprojected from {crs.name} to {own.name}",)


def _bounds_in(crs: CRS, grid: Grid) -> Bounds | None:
    """What holds the grid in another CRS; None where that cannot be said, and all is read."""
    ring = _outline_in(crs, grid)
    if not np.isfinite(ring).all() or (crs.is_geographic and np.ptp(ring[:, 0]) > 180):
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


def _outline_in(crs: CRS, grid: Grid) -> npt.NDArray[np.float64]:
    """(N, 2) x, y along the border of the grid."""
    assert grid.crs_wkt is not None
    along = np.linspace(0, 1, _EDGE_POINTS)
    ends, far = np.zeros(_EDGE_POINTS), np.ones(_EDGE_POINTS)
    cols = np.concatenate([along, far, along[::-1], ends]) * grid.width
    rows = np.concatenate([ends, along, far, along[::-1]]) * grid.height
    change = pyproj.Transformer.from_crs(CRS.from_wkt(grid.crs_wkt), crs, always_xy=True)
    return np.column_stack(change.transform(*grid.to_world(np.column_stack([cols, rows])).T))
