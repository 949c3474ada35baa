"""A layer of a vector file: which features lie near a place, and what all of them are like, read in batches."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError

from geoseg.errors import MissingFileError, VectorError
from geoseg.polygon_labels.classes import plain_value

SUFFIXES = (".gpkg", ".geojson", ".json", ".fgb", ".shp")
"""Names that end so are read as vectors."""

DEFAULT_FIELD = "class_id"

Bounds = tuple[float, float, float, float]

# These have no index of their own: they are read once and held, as GDAL does itself, not once for every image.
_HELD = (".geojson", ".json")
_BATCH = 50_000
_POLYGONAL = (3, 6)


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Features of a layer.

    Attributes:
        shapes: (N,) geometries in the order of the file; None where there is none.
        fids: (N,) int64 numbers of the features.
        values: (N,) what the class field says; None without such a field.
    """

    shapes: npt.NDArray[np.object_]
    fids: npt.NDArray[np.int64]
    values: npt.NDArray[Any]

    def near(self, bounds: Bounds) -> Features:
        """Those whose bounding boxes meet ``bounds``."""
        west, south, east, north = shapely.bounds(self.shapes).T
        met = (west <= bounds[2]) & (east >= bounds[0]) & (south <= bounds[3]) & (north >= bounds[1])
        return Features(self.shapes[met], self.fids[met], self.values[met])


@dataclass(frozen=True, slots=True, eq=False)
class LayerSummary:
    """What all features of a layer are like.

    Attributes:
        count: Features.
        invalid: Features whose shape breaks the rules of polygons.
        areal: Features that are polygons.
        values: Class values, plain, and how often they occur; None for features without.
        boxes: (N, 4) west, south, east, north of each feature; NaN without shape.
    """

    count: int
    invalid: int
    areal: int
    values: Counter[int | str | None]
    boxes: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class VectorLayer:
    """A layer that has been found to be there; made by :func:`open_layer`.

    Attributes:
        name: The file.
        layer: The layer in it.
        field: Attribute with the class; None where none is read.
        crs: CRS as the file gives it.
        count: Number of features.
    """

    name: str
    layer: str
    field: str | None
    crs: str | None
    count: int
    _held: Features | None = None

    def read(self, bounds: Bounds | None) -> Features:
        """The features near ``bounds``, in coordinates of the file; all of them where None is given.

        Raises:
            VectorError: The file cannot be read, or holds shapes that cannot be decoded.
        """
        if self._held is not None:
            return self._held if bounds is None else self._held.near(bounds)
        return _read(self.name, self.layer, self.field, bbox=bounds)

    def summary(self) -> LayerSummary:
        """Go through all features once, a batch at a time.

        Raises:
            VectorError: As in :meth:`read`.
        """
        values: Counter[int | str | None] = Counter()
        invalid = areal = 0
        boxes: list[npt.NDArray[np.float64]] = [np.empty((0, 4))]
        for start in range(0, self.count, _BATCH):
            part = self._held or _read(
                self.name, self.layer, self.field, skip_features=start, max_features=min(_BATCH, self.count - start)
            )
            values.update(plain_value(v) for v in part.values.tolist())
            invalid += int((~shapely.is_valid(part.shapes) & ~shapely.is_missing(part.shapes)).sum())
            areal += int((np.isin(shapely.get_type_id(part.shapes), _POLYGONAL) & ~shapely.is_empty(part.shapes)).sum())
            boxes.append(shapely.bounds(part.shapes))
            if self._held is not None:
                break
        return LayerSummary(self.count, invalid, areal, values, np.concatenate(boxes))


def is_vector(path: str | Path) -> bool:
    """Whether a name is that of a vector file."""
    return str(path).partition("|")[0].lower().endswith(SUFFIXES)


def open_layer(path: str | Path, class_field: str | None, *, classed: bool = True) -> VectorLayer:
    """Find a layer of a vector file.

    Args:
        path: GeoPackage, GeoJSON, FlatGeobuf or Shapefile; ``file|layername=name`` where it has several layers.
        class_field: Attribute with the class; ``class_id``, as geoseg writes it, where None is given.
        classed: Whether the class is wanted at all.

    Raises:
        MissingFileError: There is no such file.
        VectorError: It cannot be read, or has no such layer or field.
    """
    name, _, rest = str(path).partition("|")
    chosen = re.fullmatch(r"layername=([^|]+)", rest)
    if rest and chosen is None:
        raise VectorError(f"{str(path)!r}: what follows the | must be layername=NAME")
    if not Path(name).is_file():
        raise MissingFileError(f"{name} does not exist; give a vector file with polygons")
    try:
        layer = _layer(name, chosen[1] if chosen else None)
        info = pyogrio.read_info(name, layer=layer, force_feature_count=True)
    except (DataSourceError, DataLayerError) as error:
        raise _unreadable(name, error) from error
    field = _field([str(f) for f in info["fields"]], class_field, name) if classed else None
    crs = None if info["crs"] is None else str(info["crs"])
    held = _read(name, layer, field) if name.lower().endswith(_HELD) else None
    return VectorLayer(name, layer, field, crs, int(info["features"]), held)


def field_names(path: str | Path) -> tuple[str, ...]:
    """The attributes of a vector file.

    Raises:
        MissingFileError: There is no such file.
        VectorError: It cannot be read, or has no such layer.
    """
    found = open_layer(path, None, classed=False)
    return tuple(map(str, pyogrio.read_info(found.name, layer=found.layer)["fields"]))


def _read(name: str, layer: str, field: str | None, **which: Any) -> Features:
    columns = [] if field is None else [field]
    try:
        _, fids, wkb, found = pyogrio.raw.read(
            name, layer=layer, columns=columns, force_2d=True, return_fids=True, **which
        )
    except (DataSourceError, DataLayerError) as error:
        raise _unreadable(name, error) from error
    shapes = np.asarray(shapely.from_wkb(wkb, on_invalid="ignore"), object)
    broken = fids[shapely.is_missing(shapes) & np.array([w is not None for w in wkb], bool)]
    if broken.size:
        raise VectorError(
            f"{name}: {broken.size} of its shapes cannot be decoded, the first has fid {broken[0]}; repair it "
            "(ogr2ogr -makevalid)"
        )
    return Features(shapes, fids, found[0] if found else np.full(len(shapes), None, object))


def _unreadable(name: str, error: Exception) -> VectorError:
    return VectorError(f"{name} cannot be read: {' '.join(str(error).split())}")


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
