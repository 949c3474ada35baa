"""Polygons with a class, drawn on the pixels of a grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import shapely
from rasterio.features import rasterize

from geoseg.errors import ParameterError, VectorError
from geoseg.grids import Grid
from geoseg.legend import NODATA_ID, Legend
from geoseg.polygon_labels.classes import class_ids, id_of
from geoseg.polygon_labels.layers import VectorLayer, open_layer
from geoseg.polygon_labels.shapes import Shapes, onto, shapes_near
from geoseg.tiling import Window
from geoseg.wording import listed

Overlapping = Literal["last", "first", "smallest", "legend"]

_COUNTS: Mapping[Overlapping, str] = {
    "last": "the later one",
    "first": "the earlier one",
    "smallest": "the smallest",
    "legend": "the class that comes last in the legend",
}
_NAMED = 5
_POLYGONAL = (3, 6)


@dataclass(frozen=True, slots=True, eq=False)
class PolygonLabels:
    """Polygons as labels; made by :func:`open_polygon_labels`.

    A pixel has the class of the polygon that holds its centre; of several, that which was drawn last.

    Attributes:
        name: The file.
        grid: Where the pixels are.
        legend: The classes.
        notes: What was repaired, reprojected and left out.
        polygons: (N,) polygons in the CRS of ``grid``, in the order of drawing.
        ids: (N,) uint8 their classes; 0 where the file gives none.
        outside: Class of the ground without polygon; 0 where nothing is known of it.
    """

    name: str
    grid: Grid
    legend: Legend
    notes: tuple[str, ...]
    polygons: npt.NDArray[np.object_]
    ids: npt.NDArray[np.uint8]
    outside: int
    _tree: shapely.STRtree

    def read(self, window: Window) -> npt.NDArray[np.uint8]:
        """(h, w) uint8 class ids, 0 = no data."""
        here = self.grid.part(window)
        corners = np.array([(0, 0), (window.width, 0), (window.width, window.height), (0, window.height)], np.float64)
        near = np.sort(self._tree.query(shapely.polygons(here.to_world(corners)), predicate="intersects"))
        if not near.size:
            return np.full(here.shape, self.outside, np.uint8)
        drawn = [(shape, int(i)) for shape, i in zip(self.polygons[near], self.ids[near], strict=True)]
        return np.asarray(rasterize(drawn, here.shape, fill=self.outside, transform=here.transform, dtype="uint8"))


def open_polygon_labels(
    path: str | Path | VectorLayer,
    grid: Grid,
    legend: Legend,
    *,
    class_field: str | None = None,
    outside: str | int | None = None,
    overlapping: Overlapping = "last",
    meanings: Mapping[int | str, int] | None = None,
    needed: bool = True,
) -> PolygonLabels:
    """Read the polygons of a vector file that lie on a grid.

    Args:
        path: GeoPackage, GeoJSON, FlatGeobuf or Shapefile, in any CRS; ``file|layername=name`` where it has several
            layers. Or a layer that is open: for many grids and one file. All polygons of a layer without field are of
            the class that ``meanings`` gives for ``""``.
        grid: Where they are drawn.
        legend: The classes, by name or id in ``class_field``.
        class_field: Attribute with the class; ``class_id``, as geoseg writes it, where None is given.
        outside: Class, by name or id, of the ground without polygon; None: nothing is known of it.
        overlapping: Which polygon counts where several lie.
        meanings: Ids of values that the legend does not know, or that mean something else here; 0 for no class.
        needed: Refuse a file without polygon on the grid.

    Raises:
        MissingFileError: There is no such file.
        VectorError: It cannot be read, has no such layer or field, or no polygon on the grid.
        LegendError: A class is not in the legend.
        ParameterError: File and grid do not both have a CRS, or the grid lies by ground control points only.
    """
    fill = NODATA_ID if outside is None else id_of(outside, legend)
    layer = path if isinstance(path, VectorLayer) else open_layer(path, class_field)
    shapes, polygons, kept, notes = _on_grid(layer, grid, needed)
    if layer.field is None:
        ids = np.full(len(kept), (meanings or {})[""], np.uint8)
    else:
        where = f"{layer.name}, field {layer.field!r}"
        ids, more = class_ids(shapes.features.values, legend, where, meanings)
        ids, notes = ids[kept], [*notes, *more]
    notes.append(
        f"{len(polygons)} polygons of {layer.name} were drawn; where they overlap, {_COUNTS[overlapping]} counts"
    )
    if outside is not None:
        notes.append(f"ground without polygon counts as {legend.name_of(fill)!r}")
    order = _order(polygons, ids, legend, overlapping)
    polygons, ids = polygons[order], ids[order]
    return PolygonLabels(layer.name, grid, legend, tuple(notes), polygons, ids, fill, shapely.STRtree(polygons))


def open_area(path: str | Path | VectorLayer, grid: Grid) -> PolygonLabels:
    """Read an area of interest: labels that are 1 inside the polygons of a file and 0 outside; classes do not matter.

    Raises:
        MissingFileError: There is no such file.
        VectorError: It cannot be read, or has no such layer.
        ParameterError: File and grid do not both have a CRS, or the grid lies by ground control points only.
    """
    layer = path if isinstance(path, VectorLayer) else open_layer(path, None, classed=False)
    return open_polygon_labels(layer, grid, Legend.from_names(["inside"]), meanings={"": 1}, needed=False)


def _on_grid(
    layer: VectorLayer, grid: Grid, needed: bool
) -> tuple[Shapes, npt.NDArray[np.object_], npt.NDArray[np.intp], list[str]]:
    """Shapes near a grid, those of them that are polygons and lie on it, which these are, and what is noteworthy."""
    if grid.gcps:
        raise ParameterError(
            "polygons need a raster with a transform, and this one has control points; rectify it (gdalwarp -r near)"
        )
    shapes = shapes_near(layer, grid)
    notes = list(shapes.notes)
    polygons, kept = _areas(shapes, notes)
    if needed and len(shapes.features.shapes) and not len(polygons):
        raise VectorError(f"{layer.name} has no polygon where the raster lies; labels are made of polygons")
    polygons = onto(polygons, shapes.crs, grid, layer.name)
    on = shapely.intersects(polygons, _frame(grid))
    if needed and not on.any():
        raise VectorError(
            f"no polygon of {layer.name} lies on the raster ({grid.summary()}); give polygons of the same ground"
        )
    return shapes, polygons[on], kept[on], notes


def _order(
    polygons: npt.NDArray[np.object_], ids: npt.NDArray[np.uint8], legend: Legend, overlapping: Overlapping
) -> npt.NDArray[np.intp]:
    """Which polygon is drawn first, second, ...: the last one shows. Ties keep the order of the file."""
    if overlapping == "last":
        return np.arange(len(ids))
    if overlapping == "first":
        return np.arange(len(ids))[::-1]
    if overlapping == "smallest":
        return np.argsort(-shapely.area(polygons), kind="stable")
    rank = {class_id: place for place, class_id in enumerate(legend.ids)}
    return np.argsort(np.array([rank.get(int(i), -1) for i in ids], np.int64), kind="stable")


def _areas(shapes: Shapes, notes: list[str]) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.intp]]:
    """Valid polygons, and which shapes they are; tells in ``notes`` what is repaired or left out."""
    found, fids = shapes.features.shapes.copy(), shapes.features.fids
    invalid = np.flatnonzero(~shapely.is_valid(found))
    if invalid.size:
        why = shapely.is_valid_reason(found[invalid[0]]).split("[")[0]
        notes.append(
            f"{invalid.size} of {len(found)} shapes of {shapes.name} are invalid and were repaired: "
            f"fid {listed(fids[invalid], _NAMED)} (the first: {why})"
        )
        found[invalid] = [_polygonal(shape) for shape in shapely.make_valid(found[invalid])]
    areal = np.isin(shapely.get_type_id(found), _POLYGONAL) & ~shapely.is_empty(found)
    if not areal.all():
        left = np.flatnonzero(~areal)
        notes.append(
            f"{left.size} of {len(found)} shapes of {shapes.name} are no polygons or have no area and were left out: "
            f"fid {listed(fids[left], _NAMED)}"
        )
    return found[areal], np.flatnonzero(areal)


def _polygonal(shape: shapely.Geometry) -> shapely.Geometry:
    """The polygons in a repaired shape, which may hold lines too."""
    parts = shapely.get_parts(shapely.get_parts(shape))
    return shapely.multipolygons(parts[shapely.get_type_id(parts) == _POLYGONAL[0]])


def _frame(grid: Grid) -> shapely.Geometry:
    height, width = grid.shape
    return shapely.polygons(grid.to_world(np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float64)))
