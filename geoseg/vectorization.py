"""From a class raster to a GeoPackage of land-cover polygons."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray

from geoseg.errors import MissingFileError, ParameterError, RasterError
from geoseg.geopackage import LayerWriter, check_geopackage, write_geopackage
from geoseg.grids import Grid
from geoseg.legend import Legend
from geoseg.memory import require_memory
from geoseg.polygons import (
    Features,
    Geometries,
    Patches,
    label_patches,
    merge_small,
    simplify_coverage,
    sum_by_patch,
)
from geoseg.rasters import ClassRaster, ConfidenceRaster, open_class_raster, open_confidence, refuse_inputs
from geoseg.tiling import Progress, Window
from geoseg.tracing import trace_patches

CONFIDENCE_TAG = "GEOSEG_CONFIDENCE"
"""TIFF tag of a class raster that names the confidence raster made with it."""

RUN_TAG = "GEOSEG_RUN"
"""TIFF tag by which the rasters of one prediction know each other."""

# Labels, patch ids and the temporary arrays of the labelling; polygons come on top, by what the map holds.
_BYTES_PER_PIXEL = 16

# Polygons written at once: enough to make the cost of a writing small, few enough for little memory.
_BATCH = 50_000

_log = logging.getLogger("geoseg")


def vectorize(
    raster: str | Path,
    output: str | Path | None = None,
    *,
    confidence: str | Path | None = None,
    min_area: float = 0.0,
    simplify: float = 0.0,
    strip_height: int = 1024,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Turn a class raster into polygons that partition its valid area, in a styled GeoPackage.

    Polygons are 4-connected patches of one class and follow pixel edges, unless ``simplify`` is given. Attributes:
    ``class_id``, ``class_name``, ``area_m2``, ``perimeter_m``, ``pixel_count`` and, with a confidence raster,
    ``mean_confidence`` 0..1 (NULL for a polygon that has none). A raster without any georeference gives polygons in
    pixels, x = column and y = -row, which is where QGIS shows such a raster.

    Args:
        raster: Class raster, such as :func:`geoseg.predict` writes; 0 and nodata are no class.
        output: GeoPackage to write; by default beside ``raster`` with the suffix ``.gpkg``, in the current folder where
            that is behind a URL or ``/vsi``.
        confidence: Confidence raster on the same grid; by default the one made with ``raster``, where it still lies
            beside it.
        min_area: Patches below this area in m² (CRS units² without CRS) merge into the neighbour with the longest
            shared border.
        simplify: Simplify shared borders by about this many metres (CRS units without CRS): corners that cut off less
            than its square go. The outer border and the border to no data stay.
        strip_height: Rows traced at once; changes memory and speed, never the polygons.
        overwrite: Replace an existing output as a whole.
        progress: Told pixels done and in total.

    Returns:
        The path of the GeoPackage.

    Raises:
        ParameterError: A parameter is out of range.
        RasterError: ``raster`` is no class raster, or ``confidence`` lies on another grid.
        OutputExistsError: ``output`` exists and ``overwrite`` is not given.
        OutputError: ``output`` cannot be written.
        ResourceError: The raster does not fit into memory.
    """
    _check_parameters(min_area, simplify, strip_height)
    target = Path(output) if output is not None else _default_output(raster)
    check_geopackage(target, overwrite)
    with ExitStack() as stack:
        source = stack.enter_context(open_class_raster(raster))
        companion = _open_companion(stack, source, raster, confidence)
        refuse_inputs([target], [*source.files, *(companion.files if companion else ())])
        _check_memory(source)
        patches = _find_patches(source, strip_height, min_area)
        means = _mean_confidence(patches, companion, strip_height) if companion else None
        about = f"Land-cover polygons of {Path(source.name).name}"
        layer = stack.enter_context(
            write_geopackage(target, source.legend, source.grid.crs_wkt, description=about, overwrite=overwrite)
        )
        describe = _Describer(source.grid, source.legend, patches, means)
        _write(layer, describe, _trace(patches, source.grid, simplify, strip_height, progress))
    return target


def _default_output(raster: str | Path) -> Path:
    """Beside a local raster, in the current folder for one behind a URL or ``/vsi``."""
    name = str(raster)
    if "://" in name or name.startswith("/vsi"):
        return Path(Path(name.split("?", maxsplit=1)[0]).stem + ".gpkg")
    return Path(raster).with_suffix(".gpkg")


def _check_parameters(min_area: float, simplify: float, strip_height: int) -> None:
    for name, value in (("min_area", min_area), ("simplify", simplify)):
        if not (math.isfinite(value) and value >= 0):
            raise ParameterError(f"{name} is {value}; give 0 for none, or a positive number")
    if strip_height < 1:
        raise ParameterError(f"strip_height is {strip_height}; at least one row is traced at once")


def _open_companion(
    stack: ExitStack, source: ClassRaster, raster: str | Path, confidence: str | Path | None
) -> ConfidenceRaster | None:
    """The confidence raster that was named, or the one that the class raster names and that lies beside it."""
    if confidence is not None:
        opened = stack.enter_context(open_confidence(confidence))
        if opened.grid != source.grid:
            raise RasterError(
                f"{opened.name} ({opened.grid.summary()}) is not on the grid of {source.name} "
                f"({source.grid.summary()}); give the confidence raster that was made with it"
            )
        return opened
    # A name, never a path: a raster must not make us read a file elsewhere.
    name = Path(source.tags.get(CONFIDENCE_TAG, "")).name
    beside = Path(raster).with_name(name) if name else None
    if beside is None:
        return None
    try:
        opened = stack.enter_context(open_confidence(beside))
    except MissingFileError:
        _log.info("%s names the confidence raster %s, which is not beside it: no mean_confidence", source.name, name)
        return None
    if opened.grid != source.grid or opened.tags.get(RUN_TAG) != source.tags.get(RUN_TAG):
        _log.warning("%s is not of the run that made %s and is not used: no mean_confidence", beside, source.name)
        return None
    _log.info("mean_confidence from %s", beside)
    return opened


def _check_memory(source: ClassRaster) -> None:
    height, width = source.grid.shape
    require_memory(
        height * width * _BYTES_PER_PIXEL,
        f"vectorizing {height}×{width} pixels",
        "close other programs, or cut the raster (gdal_translate -srcwin)",
    )


def _find_patches(source: ClassRaster, strip_height: int, min_area: float) -> Patches:
    """The patches to become polygons, those below ``min_area`` merged."""
    patches = label_patches(_read_labels(source, strip_height))
    unknown = set(np.unique(patches.classes[1:]).tolist()) - set(source.legend.ids)
    if unknown:
        raise RasterError(
            f"{source.name} has values that its legend does not name: {', '.join(map(str, sorted(unknown)))}; "
            "complete the legend, or remove it"
        )
    if not len(patches):
        _log.warning("%s has no valid pixel: the GeoPackage holds no polygon", source.name)
    if not source.grid.is_georeferenced:
        _log.warning("%s has no CRS: area_m2 and perimeter_m are in units of its coordinates", source.name)
    if min_area > 0:
        found = len(patches)
        patches = merge_small(patches, source.grid.row_areas(), min_area)
        _log.info("%d patches; %d after merging those below %g m²", found, len(patches), min_area)
    return patches


def _read_labels(source: ClassRaster, strip_height: int) -> NDArray[np.uint8]:
    labels = np.empty(source.grid.shape, np.uint8)
    for window in _strips(source.grid, strip_height):
        labels[window.row_off : window.row_end] = source.read(window)
    return labels


def _mean_confidence(patches: Patches, confidence: ConfidenceRaster, strip_height: int) -> NDArray[np.float64]:
    """(N + 1,) mean confidence of each patch over the pixels that have one; NaN where none has."""
    sums, counts = np.zeros(len(patches) + 1), np.zeros(len(patches) + 1)
    for window in _strips(confidence.grid, strip_height):
        values = confidence.read(window)
        ids = patches.ids[window.row_off : window.row_end]
        sums += sum_by_patch(ids, len(patches), np.nan_to_num(values, nan=0.0))
        counts += sum_by_patch(ids, len(patches), np.isfinite(values).astype(np.float32))
    means = np.full(len(sums), np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means


def _strips(grid: Grid, strip_height: int) -> Iterator[Window]:
    for top in range(0, grid.height, strip_height):
        yield Window(top, 0, min(strip_height, grid.height - top), grid.width)


def _trace(
    patches: Patches, grid: Grid, simplify: float, strip_height: int, progress: Progress | None
) -> Iterator[tuple[NDArray[np.int64], Geometries]]:
    """Batches of patch ids and polygons in pixel coordinates."""
    ids, polygons = [], []
    for rows, some_ids, some_polygons in trace_patches(patches, strip_height):
        if simplify > 0:
            ids.append(some_ids)
            polygons.append(some_polygons)
        else:
            yield some_ids, some_polygons
        if progress is not None:
            progress(rows * grid.width, grid.height * grid.width)
    if simplify > 0:  # a border is simplified once, for both its sides: that takes the whole layer, in one order
        all_ids = np.concatenate(ids)
        order = np.argsort(all_ids)
        yield all_ids[order], simplify_coverage(np.concatenate(polygons)[order], simplify / _pixel_size(grid))


def _pixel_size(grid: Grid) -> float:
    """Side of a square as large as a pixel: metres on the ground, CRS units without CRS."""
    return grid.ground_sample_distance() or math.sqrt(abs(grid.transform.determinant))


def _write(layer: LayerWriter, describe: _Describer, batches: Iterator[tuple[NDArray[np.int64], Geometries]]) -> None:
    nothing = np.zeros(0, np.int64), np.zeros(0, object)
    layer.write(describe(*nothing))  # creates the layer, also where no polygon follows
    for ids, polygons in _rebatch(batches):
        layer.write(describe(ids, polygons))


def _rebatch(batches: Iterator[tuple[NDArray[np.int64], Geometries]]) -> Iterator[tuple[NDArray[np.int64], Geometries]]:
    """The same patches in the same order, ``_BATCH`` at a time: each writing opens and syncs the file."""
    ids, polygons = np.zeros(0, np.int64), np.zeros(0, object)
    for more_ids, more_polygons in batches:
        ids, polygons = np.concatenate([ids, more_ids]), np.concatenate([polygons, more_polygons])
        while len(ids) >= _BATCH:
            yield ids[:_BATCH], polygons[:_BATCH]
            ids, polygons = ids[_BATCH:], polygons[_BATCH:]
    if len(ids):
        yield ids, polygons


class _Describer:
    """Turns polygons in pixel coordinates into features in the world."""

    def __init__(self, grid: Grid, legend: Legend, patches: Patches, means: NDArray[np.float64] | None) -> None:
        self._grid = grid
        self._patches = patches
        self._means = means
        self._names = np.full(256, "", object)
        for c in legend:
            self._names[c.id] = c.name

    def __call__(self, ids: NDArray[np.int64], polygons: Geometries) -> Features:
        # A grid turns pixel rows downwards: what was clockwise is not any more. Exterior rings go counter-clockwise.
        world = shapely.orient_polygons(shapely.transform(polygons, self._to_world))
        area, perimeter = self._grid.measure(world)
        class_id = self._patches.classes[ids]
        return Features(
            polygons=world,
            class_id=class_id.astype(np.int32),
            class_name=self._names[class_id],
            area_m2=area,
            perimeter_m=perimeter,
            pixel_count=self._patches.pixels[ids],
            mean_confidence=None if self._means is None else self._means[ids],
        )

    def _to_world(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        # QGIS shows a raster that has no place at all with its first row at y = 0 and y upwards: so do we.
        nowhere = self._grid.transform == Affine.identity() and not self._grid.gcps
        return points * (1, -1) if nowhere else self._grid.to_world(points)
