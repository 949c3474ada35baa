"""Reading an area of interest: polygons of a vector file, brought onto the pixels of a scene."""

from __future__ import annotations

import logging
import math
import re
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError
from pyproj.crs import CRS

from geoseg.errors import MissingFileError, ParameterError, VectorError
from geoseg.grids import Grid
from geoseg.inference.areas import Area
from geoseg.inference.places import (
    Bounds,
    Floats,
    bounds_of,
    bounds_text,
    horizontal_crs,
    outline,
    scene_bounds,
    to_pixels,
    transformer,
)

_log = logging.getLogger("geoseg")

_listening = threading.Lock()  # what warnings are caught with belongs to all threads, and scenes may have one each

Polygons = npt.NDArray[np.object_]
_DEVIATION = 0.05
_ROUNDS = 8
_MOST_POINTS = 2_000_000
_MARGIN = 0.05
_FULL_TURN = 360.0
_ALL_LONGITUDES = (-540.0, 540.0)

_POLYGON, _MULTIPOLYGON, _COLLECTION = 3, 6, 7


def read_area(aoi: str | Path, grid: Grid) -> Area:
    """The polygons of a file that lie on a scene.

    Args:
        aoi: A vector file, or ``file|layername=name``; the first layer with geometries where none is named.
        grid: The scene's.

    Raises:
        MissingFileError: There is no such file.
        VectorError: It is no vector file, has no such layer, holds no polygon, or none on the scene.
        ParameterError: File and scene do not both have a CRS, or the scene has control points only.
    """
    if grid.gcps:
        raise ParameterError(
            "an area of interest needs a scene with a transform, and this one has ground control points; "
            "rectify it first (gdalwarp), or choose its part with a window"
        )
    name, layer = _file_and_layer(str(aoi))
    layer, info = _described(name, layer)
    crs = _crs_of(info["crs"], grid, name)
    near = None if crs is None else _extent_in(crs, grid)
    shapes = _read(name, layer, near)
    polygons = _repaired(_polygons_only(shapes, name), name)
    if crs is not None and near is not None:
        polygons = _clipped(polygons, near)
    polygons = _on_pixels(polygons, crs, grid, name)
    if not len(polygons):
        raise VectorError(_no_overlap(name, info, grid))
    return Area(polygons, grid.height)


def _file_and_layer(aoi: str) -> tuple[str, str | None]:
    name, _, rest = aoi.partition("|")
    found = re.fullmatch(r"layername=([^|]+)", rest)
    if rest and not Path(aoi).exists():
        if found is None:
            raise VectorError(f"{aoi!r}: what follows the | must be layername=NAME")
    else:
        name = aoi
    if not name.startswith("/vsi") and "://" not in name and not Path(name).exists():
        raise MissingFileError(f"{name} does not exist; give a vector file with polygons")
    with suppress(OSError), Path(name).open("rb") as file:
        if b"<OGRVRT" in file.read(1024) and not name.lower().endswith(".vrt"):
            raise VectorError(f"{name} is a VRT, which can make any other file be read; if you trust it, name it .vrt")
    return name, found[1] if found and name != aoi else None


def _described(name: str, layer: str | None) -> tuple[str, dict[str, object]]:
    """The layer that is read, and what pyogrio says of it."""
    try:
        if layer is None:
            found = [str(n) for n, kind in pyogrio.list_layers(name) if kind is not None]
            if not found:
                raise VectorError(f"{name} has no layer with geometries; give a vector file with polygons")
            layer = found[0]
            if len(found) > 1:
                _log.info("%s has the layers %s: %r is used; choose with |layername=", name, ", ".join(found), layer)
        return layer, dict(pyogrio.read_info(name, layer=layer, force_total_bounds=True))
    except DataLayerError as error:
        layers = ", ".join(str(n) for n, _ in pyogrio.list_layers(name))
        raise VectorError(f"{name} has no layer {layer!r}; it has {layers}") from error
    except DataSourceError as error:
        raise VectorError(f"{name} is not a vector file that can be read: {' '.join(str(error).split())}") from error


def _crs_of(text: object, grid: Grid, name: str) -> CRS | None:
    """The CRS to come from; None where the coordinates are the scene's own."""
    if grid.crs_wkt is None:
        if text is not None:
            raise ParameterError(
                f"{name} has a CRS and the scene has none; assign the scene's (gdal_edit.py -a_srs), or give polygons "
                "without CRS in the scene's own units"
            )
        return None
    if text is None:
        _log.warning("%s has no CRS: its coordinates are taken for the scene's", name)
        return None
    crs = horizontal_crs(str(text))
    return None if crs.equals(horizontal_crs(grid.crs_wkt), ignore_axis_order=True) else crs


def _extent_in(crs: CRS, grid: Grid) -> Bounds | None:
    """The scene and some room around it in another CRS; None where that CRS does not hold all of it."""
    assert grid.crs_wkt is not None
    own = horizontal_crs(grid.crs_wkt)
    margin = _MARGIN * max(grid.shape) + 2
    ring = transformer(own, crs)(grid.to_world(outline(grid.height, grid.width, margin)))
    if not np.isfinite(ring).all():
        return None
    if crs.is_geographic:
        ring[:, 0] = np.unwrap(ring[:, 0], period=_FULL_TURN)
    west, south, east, north = bounds_of(ring)
    room = _MARGIN * max(east - west, north - south)
    west, south, east, north = west - room, south - room, east + room, north + room
    if crs.is_geographic:
        poles = [sign * _FULL_TURN / 4 for sign in (-1, 1) if _holds_pole(crs, own, grid, sign, margin)]
        south, north = min([south, *poles]), max([north, *poles])
        if poles or own.is_geographic or west < -_FULL_TURN / 2 or east > _FULL_TURN / 2:
            west, east = _ALL_LONGITUDES
    return west, south, east, north


def _holds_pole(crs: CRS, own: CRS, grid: Grid, sign: int, margin: float) -> bool:
    pole = transformer(crs, own)(np.array([[0.0, sign * _FULL_TURN / 4]]))
    if not np.isfinite(pole).all():
        return False
    col, row = to_pixels(grid, pole)[0]
    return bool(-margin <= col <= grid.width + margin and -margin <= row <= grid.height + margin)


def _read(name: str, layer: str, near: Bounds | None) -> Polygons:
    """(N,) geometries, those that lie near only."""
    with _listening, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            _, _, wkb, _ = pyogrio.raw.read(name, layer=layer, columns=[], force_2d=True, bbox=near)
        except (DataSourceError, DataLayerError, ValueError) as error:
            raise VectorError(f"{name} cannot be read: {' '.join(str(error).split())}") from error
        shapes = np.asarray(shapely.from_wkb(wkb, on_invalid="ignore"), dtype=object)
    for warning in said:
        _log.info("%s: %s", name, " ".join(str(warning.message).split()))
    broken = int(((shapes == None) & (wkb != None)).sum())  # noqa: E711  elementwise
    if broken:
        raise VectorError(f"{name}: {broken} of its shapes cannot be decoded; repair it (ogr2ogr -makevalid)")
    return np.asarray(shapes[~(shapely.is_missing(shapes) | shapely.is_empty(shapes))], dtype=object)


def _polygons_only(shapes: Polygons, name: str) -> Polygons:
    kinds = shapely.get_type_id(shapes)
    wanted = (kinds == _POLYGON) | (kinds == _MULTIPOLYGON)
    if len(shapes) and not wanted.any():
        found = ", ".join(sorted({str(s.geom_type) for s in shapes}))
        raise VectorError(f"{name} holds {found} and no polygon; an area of interest is made of polygons")
    if not wanted.all():
        _log.warning("%s: %d shapes that are no polygons are left out", name, int((~wanted).sum()))
    return np.asarray(shapes[wanted], dtype=object)


def _repaired(polygons: Polygons, name: str) -> Polygons:
    invalid = ~shapely.is_valid(polygons)
    if invalid.any():
        _log.warning("%s: %d of %d polygons are invalid and are repaired", name, int(invalid.sum()), len(polygons))
    return _made_valid(polygons)


def _made_valid(polygons: Polygons) -> Polygons:
    """Valid polygons that cover the same ground; what collapses to a line is gone."""
    invalid = ~shapely.is_valid(polygons)
    if not invalid.any():
        return polygons
    pieces = shapely.get_parts(shapely.make_valid(polygons[invalid]))
    pieces = shapely.get_parts(pieces)  # a collection may hold a multipolygon
    areal = shapely.get_type_id(pieces) == _POLYGON
    return np.asarray(np.concatenate([polygons[~invalid], pieces[areal]]), dtype=object)


def _clipped(polygons: Polygons, bounds: Bounds) -> Polygons:
    """Cut off what lies far from the scene, where its CRS may have no coordinates."""
    box = shapely.box(*bounds)
    shapely.prepare(box)
    beyond = ~shapely.contains_properly(box, polygons)
    cut = shapely.get_parts(shapely.get_parts(shapely.intersection(polygons[beyond], box)))
    cut = cut[(shapely.get_type_id(cut) == _POLYGON) & ~shapely.is_empty(cut)]
    return np.asarray(np.concatenate([polygons[~beyond], cut]), dtype=object)


def _on_pixels(polygons: Polygons, crs: CRS | None, grid: Grid, name: str) -> Polygons:
    """Polygons in pixel coordinates that meet the scene."""
    if crs is not None and len(polygons):
        polygons = _in_scene_crs(polygons, crs, grid)
        lost = ~np.isfinite(shapely.bounds(polygons)).all(axis=1)
        if lost.any():
            raise VectorError(
                f"{name}: {int(lost.sum())} polygons reach where the scene's CRS has no coordinates; cut them to the "
                "surroundings of the scene first (ogr2ogr -clipsrc)"
            )
    if grid.is_geographic:
        turns = [
            shapely.transform(polygons, lambda p, t=turn: np.add(p, (t, 0))) for turn in (-_FULL_TURN, 0, _FULL_TURN)
        ]
        polygons = np.concatenate(turns)
    polygons = _made_valid(np.asarray(shapely.transform(polygons, lambda p: to_pixels(grid, p)), dtype=object))
    scene = shapely.box(0, 0, grid.width, grid.height)
    shapely.prepare(scene)
    # Not those that only touch it from outside.
    meets = shapely.intersects(scene, polygons) & ~shapely.touches(scene, polygons)
    return np.asarray(polygons[meets], dtype=object)


def _in_scene_crs(polygons: Polygons, crs: CRS, grid: Grid) -> Polygons:
    """Reproject; straight edges get points until they bend as they should, to a twentieth of a pixel."""
    assert grid.crs_wkt is not None
    change = transformer(crs, horizontal_crs(grid.crs_wkt))
    west, south, east, north = shapely.total_bounds(polygons)
    length = math.hypot(east - west, north - south) / 64
    shortest = shapely.length(polygons).sum() / _MOST_POINTS
    for _ in range(_ROUNDS):
        length = max(length, shortest)
        dense = shapely.segmentize(polygons, length)
        bend = _bend(dense, change, grid)
        if bend <= _DEVIATION or length == shortest:
            break
        length *= max(1 / 16, 0.9 * math.sqrt(_DEVIATION / bend))
    if grid.is_geographic and not crs.is_geographic:
        return _unwrapped(dense, change)
    return np.asarray(shapely.transform(dense, change), dtype=object)


def _bend(polygons: Polygons, change: Callable[[Floats], Floats], grid: Grid) -> float:
    """How far, in pixels, the middles of edges come to lie from the straight line between their ends."""
    points, owner = shapely.get_coordinates(shapely.get_rings(shapely.get_parts(polygons)), return_index=True)
    edges = np.flatnonzero(owner[1:] == owner[:-1])
    ends = change(points)
    along = _without_turns(ends[edges + 1] - ends[edges], grid)
    off = _without_turns(change((points[edges] + points[edges + 1]) / 2) - ends[edges] - along / 2, grid)
    pixels = np.hypot(*(to_pixels(grid, off) - to_pixels(grid, np.zeros((1, 2)))).T)
    return float(pixels[np.isfinite(pixels)].max(initial=0.0))


def _without_turns(steps: Floats, grid: Grid) -> Floats:
    """Steps from place to place: in degrees never more than half around."""
    if grid.is_geographic:
        steps[:, 0] = (steps[:, 0] + _FULL_TURN / 2) % _FULL_TURN - _FULL_TURN / 2
    return steps


def _unwrapped(polygons: Polygons, change: Callable[[Floats], Floats]) -> Polygons:
    """Reproject to longitudes without a jump at 180°."""

    def apply(points: Floats) -> Floats:
        found = change(points)
        if np.isfinite(found).all():
            found[:, 0] = np.unwrap(found[:, 0], period=_FULL_TURN)
        return found

    # One polygon at a time, its rings one after the other: each is continuous.
    return np.array([shapely.transform(p, apply) for p in shapely.get_parts(polygons)], dtype=object)


def _no_overlap(name: str, info: dict[str, object], grid: Grid) -> str:
    own = (grid.crs_wkt or '"no CRS"').split('"')[1]
    bounds = info["total_bounds"]
    extent = f" covers {bounds_text(bounds)} in {info['crs'] or 'no CRS'}" if isinstance(bounds, tuple) else ""
    return (
        f"no polygon of {name} lies on the scene: the file{extent}, the scene "
        f"{bounds_text(scene_bounds(grid))} in {own}; give west, south, east, north of the same place"
    )
