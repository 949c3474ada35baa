"""vectorize(): a class raster in, a layer of polygons out."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Unpack

import numpy as np

from geoseg.distributed import Cluster, ClusterChoices, split_choices
from geoseg.errors import ParameterError
from geoseg.legend import Legend
from geoseg.rasters import refuse_inputs
from geoseg.tiling import Progress
from geoseg.vectorization.job import Job, open_job
from geoseg.vectorization.passes import Passes
from geoseg.vectorization.places import default_output, parts_places
from geoseg.vectorization.settings import Choices, Settings
from geoseg.vectorization.sinks import Sink, dissolving_sink, layer_sink
from geoseg.vectorization.strips import overlapped
from geoseg.vectorization.tracing import TracedStrip, join_strips, trace_strips
from geoseg.vectors import check_output, layer_names, write_vectors

_log = logging.getLogger("geoseg")


class AllChoices(Choices, ClusterChoices, total=False):
    """How a raster is vectorized, and where."""


def vectorize(
    raster: str | Path,
    output: str | Path | None = None,
    *,
    overwrite: bool = False,
    resume: bool = True,
    progress: Progress | None = None,
    **choices: Unpack[AllChoices],
) -> Path:
    """Turn a class raster into polygons that partition its valid area, styled and named for QGIS.

    Polygons are 4-connected patches of one class and follow pixel edges, unless they are simplified or smoothed; even
    then nothing overlaps and no gap opens. Attributes: ``class_id``, ``class_name``, ``area_m2``, ``perimeter_m``,
    ``pixel_count`` and, with a confidence raster, ``mean_confidence`` 0..1 (NULL for a polygon that has none). A raster
    without any georeference gives polygons in pixels, x = column and y = -row, which is where QGIS shows such a raster.

    The raster is streamed: memory grows with its width and with the polygons that are open, never with its height. On a
    cluster workers trace and this process joins: the polygons and their order are the same. What is traced lies in
    ``<output>.parts``, or in ``parts_folder``, until the output is complete, and the same call goes on from there.

    Args:
        raster: Any raster of one uint8 band, such as :func:`geoseg.predict` writes; 0 and nodata are no class.
        output: File to write: GeoPackage (.gpkg), FlatGeobuf (.fgb) or GeoParquet (.parquet); by default a GeoPackage
            beside ``raster``, in the current folder where that is behind a URL or ``/vsi``.
        overwrite: Replace an existing output as a whole.
        resume: On a cluster, go on with what an interrupted run left; else start over.
        progress: Told pixels done and in total.
        **choices: How, see :class:`~geoseg.vectorization.Settings`; and where, if not in this process: ``workers``,
            ``scheduler``, ``scheduler_file`` or ``client``, see :class:`~geoseg.distributed.Cluster`.

    Returns:
        The path of the output.

    Raises:
        ParameterError: A parameter is out of range.
        RasterError: ``raster`` is no class raster, or the confidence raster lies on another grid.
        OutputExistsError: ``output`` exists and ``overwrite`` is not given.
        OutputError: ``output`` cannot be written.
        ResourceError: The raster is too wide for this machine's memory.
        ClusterError: The cluster is not to be had, is lost, or its workers would make other polygons.
        UnfinishedError: Some strips cannot be traced on the cluster; all others are done and kept.
    """
    cluster, rest = split_choices(choices)
    settings = Settings.of(rest)
    target = Path(output) if output is not None else default_output(raster)
    check_output(target, overwrite)
    with ExitStack() as stack:
        job = stack.enter_context(open_job(raster, settings))
        companion = job.companion
        refuse_inputs([target], [*job.source.files, *(companion.files if companion else ())])
        if not job.source.grid.is_georeferenced:
            _log.warning("%s has no CRS: area_m2 and perimeter_m are in units of its coordinates", job.source.name)
        strips = stack.enter_context(_open_strips(cluster, job, raster, target, resume, progress))
        sink = stack.enter_context(_open_sink(target, job, overwrite))
        _write(job, strips, sink)
    return target


@contextmanager
def _open_strips(
    cluster: Cluster, job: Job, raster: str | Path, target: Path, resume: bool, progress: Progress | None
) -> Iterator[Iterable[TracedStrip]]:
    """The traced strips from top to bottom, made here or on a cluster; what they leave goes when the block ends."""
    if cluster.named:
        from geoseg.vectorization.clustered import open_clustered

        with open_clustered(cluster, job, raster, target, resume, progress) as strips:
            yield strips
    else:
        if job.settings.parts_folder is not None:
            raise ParameterError("parts_folder concerns a cluster; give workers, scheduler, scheduler_file or client")
        job.require_memory()
        _tell_leftovers(target)
        yield _trace_here(job, Passes(progress, *job.source.grid.shape, surveys=job.surveys))


def _tell_leftovers(target: Path) -> None:
    for place in parts_places(target, None):
        if place.folder.is_dir():
            said = "%s holds what a run on a cluster left; the same run with --workers 1 goes on from it"
            _log.warning(said, place.folder)


def _trace_here(job: Job, passes: Passes) -> Iterator[TracedStrip]:
    """Stream the raster through all steps."""
    strips = overlapped(job.filtered(passes), job.source.grid.height, job.plan.rows, job.companion)
    for strip in trace_strips(strips, job.plan, job.describe):
        yield strip
        passes.traced(strip.end)


@contextmanager
def _open_sink(target: Path, job: Job, overwrite: bool) -> Iterator[Sink]:
    """The output, which appears when the block ends without an error."""
    source, settings = job.source, job.settings
    shown = Legend(tuple(c for c in source.legend if job.plan.wanted[c.id]))
    ids = shown.ids if settings.split_by_class else ()
    with ExitStack() as stack:
        writer = stack.enter_context(
            write_vectors(
                target,
                shown,
                source.grid.crs_wkt if job.crs is None else job.crs.to_wkt(),
                layers=layer_names(target, shown, settings.split_by_class),
                multi=settings.dissolve,
                confidence=job.companion is not None,
                description=f"Land-cover polygons of {Path(source.name).name}",
                overwrite=overwrite,
            )
        )
        sink = layer_sink(writer, {class_id: layer for layer, class_id in enumerate(ids)})
        yield stack.enter_context(dissolving_sink(sink, target.parent)) if settings.dissolve else sink


def _write(job: Job, strips: Iterable[TracedStrip], sink: Sink) -> None:
    """Join the strips and write what is complete."""
    count = 0
    for batches in join_strips(strips, job.describe, job.source.grid.width):
        for batch in batches:
            job.source.refuse_unknown(np.unique(batch.table.class_id).tolist())
            sink(batch)
            count += len(batch)
    if not count:
        missing = "valid pixel" if job.plan.wanted[1:].all() else "pixel of the chosen classes"
        _log.warning("%s has no %s: the output holds no polygon", job.source.name, missing)
