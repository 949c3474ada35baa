"""Polygons with a class as a reference, drawn on the pixels of a map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import shapely
from rasterio.features import rasterize

from geoseg.errors import ParameterError, VectorError
from geoseg.evaluation.classes import class_ids, id_of
from geoseg.evaluation.shapes import Shapes, onto, read_shapes
from geoseg.grids import Grid
from geoseg.legend import NODATA_ID, Legend
from geoseg.tiling import Window

_NAMED = 5
_POLYGONAL = (3, 6)


@dataclass(frozen=True, slots=True, eq=False)
class PolygonReference:
    """Polygons as labels; made by :func:`open_polygons`.

    A pixel has the class of the polygon that holds its centre; of several, the last one in the file.

    Attributes:
        name: The file.
        grid: Where the pixels are.
        legend: The classes: those of the map.
        notes: What was repaired, reprojected and left out.
        polygons: (N,) polygons in the CRS of ``grid``, in the order of the file.
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


def open_polygons(
    path: str | Path, grid: Grid, legend: Legend, *, class_field: str | None = None, outside: str | int | None = None
) -> PolygonReference:
    """Read the polygons of a vector file that lie on a grid.

    Args:
        path: GeoPackage, GeoJSON, FlatGeobuf or Shapefile, in any CRS; ``file|layername=name`` where it has several
            layers.
        grid: Where they are drawn.
        legend: The classes, by name or id in ``class_field``.
        class_field: Attribute with the class; ``class_id``, as geoseg writes it, where None is given.
        outside: Class, by name or id, of the ground without polygon; None leaves it out of the comparison.

    Raises:
        MissingFileError: There is no such file.
        VectorError: It cannot be read, has no such layer or field, or no polygon on the grid.
        LegendError: A class is not in the legend.
        ParameterError: File and grid do not both have a CRS, or the grid lies by ground control points only.
    """
    if grid.gcps:
        raise ParameterError(
            "polygons need a map with a transform, and this one has control points; rectify it (gdalwarp -r near)"
        )
    fill = NODATA_ID if outside is None else id_of(outside, legend)
    shapes = read_shapes(str(path), grid, class_field)
    ids, notes = class_ids(shapes.values, legend, f"{shapes.name}, field {shapes.field!r}")
    notes = [*shapes.notes, *notes]
    polygons, kept = _areas(shapes, notes)
    polygons = onto(polygons, shapes.crs, grid, shapes.name)
    meets = shapely.intersects(polygons, _frame(grid))
    if not meets.any():
        raise VectorError(
            f"no polygon of {shapes.name} lies on the map ({grid.summary()}); give a reference of the same ground"
        )
    polygons, ids = polygons[meets], ids[kept][meets]
    notes.append(f"{len(polygons)} polygons of {shapes.name} were drawn; where they overlap, the later one counts")
    if outside is not None:
        notes.append(f"ground without polygon counts as {legend.name_of(fill)!r}")
    tree = shapely.STRtree(polygons)
    return PolygonReference(shapes.name, grid, legend, tuple(notes), polygons, ids, fill, tree)


def _areas(shapes: Shapes, notes: list[str]) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.intp]]:
    """Valid polygons, and which shapes they are; tells in ``notes`` what is repaired or left out."""
    found = shapes.shapes.copy()
    invalid = np.flatnonzero(~shapely.is_valid(found))
    if invalid.size:
        why = shapely.is_valid_reason(found[invalid[0]]).split("[")[0]
        notes.append(
            f"{invalid.size} of {len(found)} shapes of {shapes.name} are invalid and were repaired: "
            f"fid {_listed(shapes.fids[invalid])} (the first: {why})"
        )
        found[invalid] = [_polygonal(shape) for shape in shapely.make_valid(found[invalid])]
    areal = np.isin(shapely.get_type_id(found), _POLYGONAL) & ~shapely.is_empty(found)
    if not areal.all():
        left = np.flatnonzero(~areal)
        notes.append(
            f"{left.size} of {len(found)} shapes of {shapes.name} are no polygons or have no area and were left out: "
            f"fid {_listed(shapes.fids[left])}"
        )
    if not areal.any():
        raise VectorError(f"{shapes.name} has no polygon where the map lies; a reference is made of polygons")
    return found[areal], np.flatnonzero(areal)


def _polygonal(shape: shapely.Geometry) -> shapely.Geometry:
    """The polygons in a repaired shape, which may hold lines too."""
    parts = shapely.get_parts(shapely.get_parts(shape))
    return shapely.multipolygons(parts[shapely.get_type_id(parts) == _POLYGONAL[0]])


def _frame(grid: Grid) -> shapely.Geometry:
    height, width = grid.shape
    return shapely.polygons(grid.to_world(np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float64)))


def _listed(fids: Sequence[int] | npt.NDArray[np.int64]) -> str:
    more = f" and {len(fids) - _NAMED} more" if len(fids) > _NAMED else ""
    return ", ".join(str(int(f)) for f in fids[:_NAMED]) + more
