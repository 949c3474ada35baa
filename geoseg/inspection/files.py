"""info(): look into a file and say what it holds."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
from pyogrio.errors import DataSourceError
from pyproj import CRS
from pyproj.exceptions import CRSError
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.io import DatasetReader

from geoseg.config import ModelSpec
from geoseg.errors import GeosegError, MissingFileError, VectorError
from geoseg.inspection.records import (
    BandInfo,
    ClassRasterInfo,
    ClassShare,
    LayerInfo,
    ModelInfo,
    SceneInfo,
    VectorInfo,
)
from geoseg.legend import NODATA_ID
from geoseg.models import read_spec
from geoseg.models.table import PAPERS
from geoseg.models.tiles import default_overlap, default_tile_size
from geoseg.rasters import CONFIDENCE_SCALE, ClassRaster, Scene, open_class_raster, open_scene
from geoseg.rasters.opening import display_name, grid_of, open_dataset
from geoseg.tiling import TileGrid, Window

_log = logging.getLogger("geoseg")

_SQLITE = b"SQLite format 3\x00"
_VECTOR_SUFFIXES = (".fgb", ".geojson", ".gml", ".json", ".kml", ".parquet", ".shp")
_TAG_PREFIX = "GEOSEG_"
_TILE_SIZE, _OVERLAP = 512, 128
_STRIP_ROWS = 512
_MASK_SOURCES = {
    MaskFlags.nodata: "the nodata tag",
    MaskFlags.alpha: "the alpha band",
    MaskFlags.per_dataset: "a mask band",
}


def info(path: str | Path) -> SceneInfo | ClassRasterInfo | VectorInfo | ModelInfo:
    """Look into a file.

    Args:
        path: A scene, a class raster, a GeoPackage or other vector file, or a model file; rasters may be remote.

    Returns:
        A record of its kind, which prints as text.

    Raises:
        MissingFileError: There is no such file.
        RasterError: No format that geoseg knows, or damaged.
        VectorError: A vector file that cannot be read.
        ModelError: A model file that is not ours.
    """
    name, local = str(path), Path(path)
    if _is_remote(name):
        return _raster_info(name)
    if not local.exists():
        raise MissingFileError(f"{name} does not exist")
    if local.suffix.lower() == ".safetensors":
        return _model_info(name)
    if _starts_with(local, _SQLITE):
        return _vector_info(name, "GeoPackage")
    if local.suffix.lower() in _VECTOR_SUFFIXES:
        return _vector_info(name, "vector file")
    return _raster_info(name)


def _is_remote(name: str) -> bool:
    return "://" in name or name.startswith("/vsi")


def _size(name: str) -> int | None:
    return None if _is_remote(name) or not Path(name).is_file() else Path(name).stat().st_size


def _starts_with(path: Path, signature: bytes) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(signature)) == signature


def _raster_info(name: str) -> SceneInfo | ClassRasterInfo:
    with open_dataset(name) as source:
        common = _common(name, source)
        validity = _validity(source)
        is_map = _is_class_raster(source)
        kind = "confidence raster" if source.scales[0] == CONFIDENCE_SCALE else "raster"
    if is_map:
        with open_class_raster(name) as raster:
            return _class_raster_info(raster, common)
    with open_scene(name) as scene:
        return _scene_info(scene, common | {"kind": kind}, validity)


def _is_class_raster(source: DatasetReader) -> bool:
    """Ours by its tag, another's by one 8-bit band with a palette."""
    if f"{_TAG_PREFIX}LEGEND" in source.tags():
        return True
    return bool(source.count == 1 and source.dtypes[0] == "uint8" and source.colorinterp[0] == ColorInterp.palette)


def _common(name: str, source: DatasetReader) -> dict[str, Any]:
    grid = grid_of(source, name)
    tags = {k: v for k, v in source.tags().items() if k.startswith(_TAG_PREFIX) and k != f"{_TAG_PREFIX}LEGEND"}
    return {
        "path": display_name(name),
        "size_bytes": _size(name),
        "driver": source.driver,
        "height": grid.height,
        "width": grid.width,
        "crs": _crs_name(grid.crs_wkt),
        "transform": tuple(grid.transform)[:6],
        "gcps": len(grid.gcps),
        "gsd": grid.ground_sample_distance(),
        "dtype": ", ".join(dict.fromkeys(source.dtypes)),
        "nodata": tuple(source.nodatavals),
        "block_shape": tuple(source.block_shapes[0]),
        "compression": source.compression.value if source.compression else None,
        "overviews": tuple(source.overviews(1)),
        "tags": tags,
    }


def _validity(source: DatasetReader) -> tuple[str, ...]:
    flags = {flag for band in source.mask_flag_enums for flag in band}
    if MaskFlags.alpha in flags:
        flags.discard(MaskFlags.per_dataset)  # GDAL sets both for an alpha band
    found = [text for flag, text in _MASK_SOURCES.items() if flag in flags]
    if any(np.issubdtype(np.dtype(dtype), np.floating) for dtype in source.dtypes if not dtype.startswith("complex")):
        found.append("NaN")
    return tuple(found)


def _crs_name(crs: str | None) -> str | None:
    """``WGS 84 / UTM zone 33N (EPSG:32633)``."""
    if not crs:
        return None
    try:
        parsed = CRS.from_user_input(crs)
    except CRSError:
        return "unknown to PROJ"
    authority = parsed.to_authority()
    return f"{parsed.name} ({':'.join(authority)})" if authority else parsed.name


def _scene_info(scene: Scene, common: dict[str, Any], validity: tuple[str, ...]) -> SceneInfo:
    pixels = scene.sample()
    bands = []
    for number, name, values, present in zip(scene.bands, scene.band_names, pixels.values, pixels.present, strict=True):
        low, high = np.percentile(values[present], [1, 99]).tolist() if present.any() else (None, None)
        bands.append(BandInfo(number, name, low, high))
    return SceneInfo(
        **common,
        bands=tuple(bands),
        validity=validity,
        valid_share=float(pixels.valid.mean()),
        tiles=len(TileGrid(scene.grid.height, scene.grid.width, _TILE_SIZE, _OVERLAP)),
    )


def _class_raster_info(raster: ClassRaster, common: dict[str, Any]) -> ClassRasterInfo:
    counts = np.zeros(256, np.int64)
    height, width = raster.grid.height, raster.grid.width
    for top in range(0, height, _STRIP_ROWS):
        strip = raster.read(Window(top, 0, min(_STRIP_ROWS, height - top), width))
        counts += np.bincount(strip.ravel(), minlength=256)
    nodata_pixels = int(counts[NODATA_ID])
    counts[NODATA_ID] = 0
    total = max(int(counts.sum()), 1)
    known = {c.id: c for c in raster.legend}
    ids = sorted({*known, *np.flatnonzero(counts).tolist()})
    shares = [
        ClassShare(
            id=i,
            name=known[i].name if i in known else "not in the legend",
            color=known[i].color if i in known else "",
            pixels=int(counts[i]),
            share=int(counts[i]) / total,
        )
        for i in ids
    ]
    return ClassRasterInfo(kind="class raster", **common, classes=tuple(shares), nodata_pixels=nodata_pixels)


def _model_info(name: str) -> ModelInfo:
    spec = read_spec(name)
    side = default_tile_size(spec)
    return ModelInfo(
        kind="model",
        path=name,
        size_bytes=_size(name),
        spec=spec,
        receptive_radius=_receptive_radius(spec),
        default_tile_size=side,
        default_overlap=default_overlap(spec, side),
    )


def _receptive_radius(spec: ModelSpec) -> int | None:
    """That of one of geoseg's own networks, which is built without weights to tell."""
    name = spec.architecture.lower()
    if name not in PAPERS:  # own networks; asked before torch is needed
        return None
    from geoseg.models.own import radius_of_options  # late: torch comes with it

    try:
        return radius_of_options(name, spec.options)
    except GeosegError as error:
        _log.warning("the network of model %r cannot be built: %s", spec.name, error)
        return None


def _vector_info(name: str, kind: str) -> VectorInfo:
    try:
        names = [str(layer) for layer, geometry in pyogrio.list_layers(name) if layer != "layer_styles"]
        layers = tuple(_layer_info(name, layer) for layer in names)
    except DataSourceError as error:
        raise VectorError(f"{name} is not a vector file that can be read: {error}") from error
    if not layers:
        raise VectorError(f"{name} holds no vector layer")
    return VectorInfo(kind=kind, path=name, size_bytes=_size(name), layers=layers)


def _layer_info(name: str, layer: str) -> LayerInfo:
    found = pyogrio.read_info(name, layer=layer, force_feature_count=True)
    kinds = ("text" if dtype == "object" else str(dtype) for dtype in found["dtypes"])
    fields = dict(zip(map(str, found["fields"]), kinds, strict=True))
    return LayerInfo(
        name=layer,
        geometry=found["geometry_type"],
        features=int(found["features"]),
        crs=_crs_name(found["crs"]),
        fields=fields,
        style=_style_name(Path(name), layer),
    )


def _style_name(path: Path, layer: str) -> str | None:
    """The default style of a layer in a GeoPackage's ``layer_styles``."""
    if not _starts_with(path, _SQLITE):
        return None
    query = "SELECT styleName FROM layer_styles WHERE f_table_name = ? ORDER BY useAsDefault DESC"
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'layer_styles'").fetchone():
            return None
        row = database.execute(query, (layer,)).fetchone()
    return str(row[0]) if row else None
