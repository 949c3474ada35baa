"""vectorize(): a class raster in, a layer of polygons out."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Unpack

import numpy as np
import pyproj

from geoseg.errors import MissingFileError
from geoseg.legend import Legend
from geoseg.memory import require_memory
from geoseg.polygons.filling import fill_holes
from geoseg.polygons.merging import merge_small
from geoseg.polygons.survey_bands import Strips
from geoseg.rasters import ClassRaster, ConfidenceRaster, open_class_raster, read_legend, refuse_inputs
from geoseg.tiling import Progress
from geoseg.vectorization.companions import open_companion
from geoseg.vectorization.describing import Describer
from geoseg.vectorization.passes import Passes
from geoseg.vectorization.plan import Plan, make_plan, parse_crs
from geoseg.vectorization.reprojection import Reprojection
from geoseg.vectorization.settings import Choices, Settings
from geoseg.vectorization.sinks import Sink, dissolving_sink, layer_sink
from geoseg.vectorization.strips import label_strips, overlapped
from geoseg.vectorization.tracing import trace_strips
from geoseg.vectors import check_output, layer_names, write_vectors

# Labels, marks, patch ids and what is traced of them, for each strip in flight.
_BYTES_PER_PIXEL = 40

_log = logging.getLogger("geoseg")


def vectorize(
    raster: str | Path,
    output: str | Path | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    **choices: Unpack[Choices],
) -> Path:
    """Turn a class raster into polygons that partition its valid area, styled and named for QGIS.

    Polygons are 4-connected patches of one class and follow pixel edges, unless they are simplified or smoothed; even
    then nothing overlaps and no gap opens. Attributes: ``class_id``, ``class_name``, ``area_m2``, ``perimeter_m``,
    ``pixel_count`` and, with a confidence raster, ``mean_confidence`` 0..1 (NULL for a polygon that has none). A raster
    without any georeference gives polygons in pixels, x = column and y = -row, which is where QGIS shows such a raster.

    The raster is streamed: memory grows with its width and with the polygons that are open, never with its height.

    Args:
        raster: Any raster of one uint8 band, such as :func:`geoseg.predict` writes; 0 and nodata are no class.
        output: File to write: GeoPackage (.gpkg), FlatGeobuf (.fgb) or GeoParquet (.parquet); by default a GeoPackage
            beside ``raster``, in the current folder where that is behind a URL or ``/vsi``.
        overwrite: Replace an existing output as a whole.
        progress: Told pixels done and in total.
        **choices: How; see :class:`~geoseg.vectorization.Settings`.

    Returns:
        The path of the output.

    Raises:
        ParameterError: A parameter is out of range.
        RasterError: ``raster`` is no class raster, or the confidence raster lies on another grid.
        OutputExistsError: ``output`` exists and ``overwrite`` is not given.
        OutputError: ``output`` cannot be written.
        ResourceError: The raster is too wide for this machine's memory.
    """
    settings = Settings.of(choices)
    target = Path(output) if output is not None else _default_output(raster)
    check_output(target, overwrite)
    with ExitStack() as stack:
        source = stack.enter_context(open_class_raster(raster, _legend(settings)))
        companion = open_companion(stack, source, raster, settings.confidence)
        refuse_inputs([target], [*source.files, *(companion.files if companion else ())])
        plan, crs = make_plan(settings, source.grid, source.legend), parse_crs(settings.to_crs, source.grid)
        _check(source, plan)
        reproject = None if crs is None else Reprojection(source.grid, crs)
        describe = Describer(source.grid, reproject, companion is not None, plan.max_vertices)
        sink = stack.enter_context(_open_sink(target, source, companion, settings, plan, crs, overwrite))
        _run(source, companion, plan, describe, sink, progress)
    return target


def _legend(settings: Settings) -> Legend | None:
    given = settings.legend
    return given if given is None or isinstance(given, Legend) else read_legend(given)


def _default_output(raster: str | Path) -> Path:
    """Beside a local raster, in the current folder for one behind a URL or ``/vsi``."""
    name = str(raster)
    if not Path(name).name:
        raise MissingFileError(f"{name!r} names no file; name a raster")
    if "://" in name or name.startswith("/vsi"):
        return Path(Path(name.split("?", maxsplit=1)[0]).stem + ".gpkg")
    return Path(raster).with_suffix(".gpkg")


def _check(source: ClassRaster, plan: Plan) -> None:
    """See that the raster can be worked on."""
    width = source.grid.width
    require_memory(
        width * plan.rows * (plan.threads + 2) * _BYTES_PER_PIXEL,
        f"vectorizing strips of {plan.rows}×{width} pixels",
        "close other programs, or give fewer threads",
    )
    if not source.grid.is_georeferenced:
        _log.warning("%s has no CRS: area_m2 and perimeter_m are in units of its coordinates", source.name)


@contextmanager
def _open_sink(
    target: Path,
    source: ClassRaster,
    companion: ConfidenceRaster | None,
    settings: Settings,
    plan: Plan,
    crs: pyproj.CRS | None,
    overwrite: bool,
) -> Iterator[Sink]:
    """The output, which appears when the block ends without an error."""
    shown = Legend(tuple(c for c in source.legend if plan.wanted[c.id]))
    ids = shown.ids if settings.split_by_class else ()
    with ExitStack() as stack:
        writer = stack.enter_context(
            write_vectors(
                target,
                shown,
                source.grid.crs_wkt if crs is None else crs.to_wkt(),
                layers=layer_names(target, shown, settings.split_by_class),
                multi=settings.dissolve,
                confidence=companion is not None,
                description=f"Land-cover polygons of {Path(source.name).name}",
                overwrite=overwrite,
            )
        )
        sink = layer_sink(writer, {class_id: layer for layer, class_id in enumerate(ids)})
        yield stack.enter_context(dissolving_sink(sink, target.parent)) if settings.dissolve else sink


def _run(
    source: ClassRaster,
    companion: ConfidenceRaster | None,
    plan: Plan,
    describe: Describer,
    sink: Sink,
    progress: Progress | None,
) -> None:
    """Stream the raster through all steps."""
    height, width = source.grid.shape
    passes = Passes(progress, height, width, surveys=(plan.minima is not None) + (plan.fill_holes > 0))
    strips = overlapped(_filtered(source, plan, passes), height, plan.rows, companion)
    count = 0
    for traced in trace_strips(strips, plan, describe, width):
        for batch in traced.batches:
            source.refuse_unknown(np.unique(batch.table.class_id).tolist())
            sink(batch)
            count += len(batch)
        passes.traced(traced.rows)
    if not count:
        missing = "valid pixel" if plan.wanted[1:].all() else "pixel of the chosen classes"
        _log.warning("%s has no %s: the output holds no polygon", source.name, missing)


def _filtered(source: ClassRaster, plan: Plan, passes: Passes) -> Strips:
    """The labels, small patches merged and holes filled."""
    strips = passes.counted(label_strips(source))
    if plan.minima is not None:
        strips = merge_small(strips, source.grid.row_areas(), plan.minima)
    if plan.fill_holes > 0:
        strips = fill_holes(strips, source.grid.row_areas(), plan.fill_holes)
    return strips
