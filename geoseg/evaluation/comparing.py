"""evaluate(): the strips, and what is counted in them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from geoseg.errors import ParameterError, RasterError
from geoseg.evaluation.references import Labels, open_reference
from geoseg.evaluation.report import write_report
from geoseg.evaluation.result import Evaluation
from geoseg.evaluation.tally import Tally
from geoseg.evaluation.thumbnails import Thumbnails
from geoseg.evaluation.worst import ErrorCells
from geoseg.grids import Grid
from geoseg.metrics import Calibration, Metrics, boundary_halo
from geoseg.rasters import (
    ClassRaster,
    ConfidenceRaster,
    open_class_raster,
    open_confidence_beside,
    open_named_confidence,
)
from geoseg.reports import Place, check_report, place_of
from geoseg.tiling import Progress, Window

_log = logging.getLogger("geoseg")

# Pixels compared at a time.
_STRIP_PIXELS = 1 << 24


def evaluate(
    prediction: str | Path,
    reference: str | Path,
    *,
    window: Window | None = None,
    class_field: str | None = None,
    outside: str | int | None = None,
    confidence: str | Path | None = None,
    boundary_tolerance: float = 2.0,
    report: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Compare a class raster with the truth.

    Pixels without data in either do not count; how many the map lacks is told. Everything is read in strips, so that
    memory does not depend on the height of the map.

    Args:
        prediction: Class raster to judge.
        reference: The truth. A class raster: colours may differ, ids and names may not, and a file that names no
            classes agrees by ids; one on another grid is read on that of the prediction by nearest neighbour, which
            the notes of the result tell. Or polygons (GeoPackage, GeoJSON, FlatGeobuf, Shapefile) in any CRS: a pixel
            has the class of the polygon that holds its centre, and of several the last in the file.
        window: Compare inside these pixels of the prediction only, such as ground that was not trained on.
        class_field: Attribute of the polygons with the class, by name or id; None takes ``class_id``.
        outside: Class, by name or id, of the ground without polygon; without it, that ground does not count.
        confidence: Confidence raster of the prediction, for the calibration error; without it the one that was made
            with the prediction, where it lies beside it.
        boundary_tolerance: Distance in pixels up to which borders agree, 0..64; see
            :mod:`geoseg.metrics.boundaries`.
        report: HTML file to write, with all figures, the confusion matrix, pictures of where the two differ,
            and the places where they differ most.
        overwrite: Replace an older report.
        progress: Told pixels done and in total.

    Raises:
        MissingFileError: A file is not there.
        RasterError: A file is no class raster, the reference cannot be brought onto the grid, or no pixel has data in
            both.
        VectorError: The polygons cannot be read, or none lies on the prediction.
        LegendError: The legends contradict each other, or polygons have classes that the map has not; lists which.
        ParameterError: The window reaches outside the prediction, or the tolerance is out of range.
        OutputExistsError: The report exists and ``overwrite`` is not given.
        OutputError: The report cannot be written.
    """
    boundary_halo(boundary_tolerance)  # refuses what is out of range, before any work
    if report is not None:
        check_report(Path(report), overwrite)
    with ExitStack() as stack:
        predicted = stack.enter_context(open_class_raster(prediction))
        area = _checked(window, predicted.grid)
        truth, legend, notes = open_reference(stack, reference, predicted, class_field=class_field, outside=outside)
        certainty = _confidence(stack, predicted, prediction, confidence)
        tally = Tally(legend, boundary_tolerance)
        sources = _Sources(predicted, truth, certainty)
        maps = None if report is None else _Maps(Thumbnails(area), ErrorCells(area))
        _count(sources, area, tally, maps, progress)
        if not tally.confusion.any():
            raise RasterError(
                f"there is nothing to compare: {tally.in_prediction} pixels of {predicted.name} and {tally.in_truth} "
                f"pixels of {truth.name} have a class, none in both; check that they show the same ground"
            )
        found = Evaluation(
            prediction=predicted.name,
            reference=truth.name,
            legend=legend,
            confusion=tally.confusion,
            metrics=Metrics.from_confusion(tally.confusion),
            reference_pixels=tally.in_truth,
            predicted_pixels=tally.in_prediction,
            notes=notes,
            boundary=tally.boundary(predicted.grid.ground_sample_distance()),
            calibration=None if certainty is None else Calibration.from_counts(tally.confidence),
        )
        if report is not None and maps is not None:
            worst = [_place(sources, cell) for cell in maps.errors.worst()]
            write_report(Path(report), found, maps.thumbnails, worst, _aspect(predicted.grid), overwrite)
            _log.info("report: %s", report)
        return found


@dataclass(frozen=True, slots=True)
class _Sources:
    """What is read: map, reference, and how sure the map is."""

    predicted: ClassRaster
    truth: Labels
    certainty: ConfidenceRaster | None


@dataclass(frozen=True, slots=True)
class _Maps:
    """What a report shows beside figures."""

    thumbnails: Thumbnails
    errors: ErrorCells


def _count(sources: _Sources, area: Window, tally: Tally, maps: _Maps | None, progress: Progress | None) -> None:
    """Read an area in strips, each with the rows around it that borders need."""
    done = 0
    for strip in _strips(area, sources.predicted.block_shape[0]):
        around = _widened(strip, area, tally.halo)
        rows = slice(strip.row_off - around.row_off, strip.row_end - around.row_off)
        t, p = sources.truth.read(around), sources.predicted.read(around)
        tally.add(t, p, rows, None if sources.certainty is None else sources.certainty.read(strip))
        if maps is not None:
            maps.thumbnails.add(t[rows], p[rows], strip.row_off)
            maps.errors.add(t[rows], p[rows], strip.row_off)
        done += strip.height * strip.width
        if progress is not None:
            progress(done, area.height * area.width)


def _place(sources: _Sources, window: Window) -> Place:
    """A piece of the map for the report, read again: pixels are not kept."""
    where = place_of(sources.predicted.grid, window)
    return Place(str(window), where, sources.truth.read(window), sources.predicted.read(window))


def _aspect(grid: Grid) -> float:
    """Width over height of a pixel on the ground."""
    down, across = grid.pixel_sides() or (1.0, 1.0)
    return across / down


def _confidence(
    stack: ExitStack, predicted: ClassRaster, prediction: str | Path, confidence: str | Path | None
) -> ConfidenceRaster | None:
    """The confidence raster that was given, or the one beside the prediction."""
    if confidence is not None:
        return open_named_confidence(stack, predicted, confidence)
    found, why = open_confidence_beside(stack, predicted, prediction)
    _log.info("%s%s", why, "" if found else ": no calibration error")
    return found


def _widened(strip: Window, area: Window, halo: int) -> Window:
    """A strip with the rows around it, as far as there are."""
    top, bottom = max(area.row_off, strip.row_off - halo), min(area.row_end, strip.row_end + halo)
    return Window(top, area.col_off, bottom - top, area.width)


def _strips(area: Window, block: int) -> Iterator[Window]:
    """Full-width bands of ``area`` of about a fixed number of pixels, ending on whole rows of storage blocks."""
    step = max(1, _STRIP_PIXELS // area.width // block) * block
    top = area.row_off
    while top < area.row_end:
        bottom = min((top // step + 1) * step, area.row_end)
        yield Window(top, area.col_off, bottom - top, area.width)
        top = bottom


def _checked(window: Window | None, grid: Grid) -> Window:
    """The window, or the whole grid."""
    if window is None:
        return Window(0, 0, grid.height, grid.width)
    if min(window.row_off, window.col_off) < 0 or window.row_end > grid.height or window.col_end > grid.width:
        raise ParameterError(f"the window ({window}) reaches outside the rasters of {grid.height}×{grid.width} pixels")
    return window
