"""evaluate(): the strips, and what is counted in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from geoseg.errors import ParameterError, RasterError
from geoseg.evaluation.references import open_reference
from geoseg.evaluation.result import Evaluation
from geoseg.grids import Grid
from geoseg.legend import NODATA_ID
from geoseg.metrics import Metrics, confusion_matrix
from geoseg.rasters import open_class_raster
from geoseg.tiling import Progress, Window

# Pixels compared at a time.
_STRIP_PIXELS = 1 << 24


def evaluate(
    prediction: str | Path,
    reference: str | Path,
    *,
    window: Window | None = None,
    class_field: str | None = None,
    outside: str | int | None = None,
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
        progress: Told pixels done and in total.

    Raises:
        MissingFileError: A file is not there.
        RasterError: A file is no class raster, the reference cannot be brought onto the grid, or no pixel has data in
            both.
        VectorError: The polygons cannot be read, or none lies on the prediction.
        LegendError: The legends contradict each other, or polygons have classes that the map has not; lists which.
        ParameterError: The window reaches outside the prediction.
    """
    with ExitStack() as stack:
        predicted = stack.enter_context(open_class_raster(prediction))
        area = _checked(window, predicted.grid)
        truth, legend, notes = open_reference(stack, reference, predicted, class_field=class_field, outside=outside)
        confusion = np.zeros((len(legend), len(legend)), np.int64)
        in_truth = in_prediction = done = 0
        for strip in _strips(area, predicted.block_shape[0]):
            t, p = truth.read(strip), predicted.read(strip)
            confusion += confusion_matrix(t, p, legend.ids)
            in_truth += int(np.count_nonzero(t != NODATA_ID))
            in_prediction += int(np.count_nonzero(p != NODATA_ID))
            done += t.size
            if progress is not None:
                progress(done, area.height * area.width)
        if not confusion.any():
            raise RasterError(
                f"there is nothing to compare: {in_prediction} pixels of {predicted.name} and {in_truth} pixels of "
                f"{truth.name} have a class, none in both; check that they show the same ground"
            )
        metrics = Metrics.from_confusion(confusion)
        return Evaluation(predicted.name, truth.name, legend, confusion, metrics, in_truth, in_prediction, notes)


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
