"""evaluate(): a map against a reference, pixel by pixel, each pixel once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geoseg.errors import LegendError, ParameterError, RasterError
from geoseg.grids import Grid
from geoseg.legend import NODATA_ID, ClassDef, Legend
from geoseg.metrics import Metrics, confusion_matrix
from geoseg.rasters import ClassRaster, open_class_raster
from geoseg.tiling import Progress, Window

# Pixels compared at a time.
_STRIP_PIXELS = 1 << 24

# Grids count as one where no corner is further off than this share of a pixel: what other programs round away.
_GRID_TOLERANCE = 0.01

# A class that its file gives no name to.
_NO_NAME = re.compile(r"class \d+")


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """How well a map agrees with a reference.

    Attributes:
        prediction: Name of the map.
        reference: Name of the reference.
        legend: The classes, in the order of the matrix and of the metrics.
        confusion: (K, K) int64 pixel counts; rows are the reference, columns the map.
        metrics: What follows from it.
        reference_pixels: Pixels with a class in the reference.
        predicted_pixels: Pixels with a class in the map.
    """

    prediction: str
    reference: str
    legend: Legend
    confusion: npt.NDArray[np.int64]
    metrics: Metrics
    reference_pixels: int
    predicted_pixels: int

    @property
    def compared_pixels(self) -> int:
        """Pixels with a class in both: what the metrics are about."""
        return self.metrics.pixels

    @property
    def missing_share(self) -> float:
        """Share of the reference, 0..1, where the map has no data: what the metrics are silent about."""
        return 1 - self.compared_pixels / self.reference_pixels

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is undefined is ``null``."""
        return {
            "prediction": self.prediction,
            "reference": self.reference,
            **self.metrics.to_dict(self.legend),
            "reference_pixels": self.reference_pixels,
            "predicted_pixels": self.predicted_pixels,
            "missing_share": self.missing_share,
            "confusion": self.confusion.tolist(),
        }

    def __str__(self) -> str:
        """A table for people."""
        m = self.metrics
        width = max(len("class"), *(len(name) for name in self.legend.names))
        head = f"{'class':<{width}}  {'IoU':>6}  {'F1':>6}  {'precision':>9}  {'recall':>6}  {'share':>7}"
        rows = [
            f"{c.name:<{width}}  {_figure(i):>6}  {_figure(f):>6}  {_figure(p):>9}  {_figure(r):>6}"
            f"  {n / m.pixels:>7.1%}"
            for c, i, f, p, r, n in zip(self.legend, m.iou, m.f1, m.precision, m.recall, m.support, strict=True)
        ]
        overall = (
            f"mean IoU {_figure(m.mean_iou)}, overall accuracy {_figure(m.overall_accuracy)}, "
            f"class-average accuracy {_figure(m.mean_accuracy)}, kappa {_figure(m.kappa)}"
        )
        counted = f"{m.pixels:,} pixels compared; {self.missing_share:.1%} of the reference has no prediction"
        return "\n".join([head, *rows, overall, counted])


def evaluate(
    prediction: str | Path,
    reference: str | Path,
    *,
    window: Window | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Compare a class raster with the truth.

    Pixels without data in either do not count; how many the map lacks is told. The rasters are read in strips, so that
    memory does not depend on their height.

    Args:
        prediction: Class raster to judge.
        reference: Class raster with the truth, on the same grid. Colours may differ; ids and names may not. A file
            that names no classes agrees by ids.
        window: Compare inside these pixels only, such as ground that was not trained on.
        progress: Told pixels done and in total.

    Raises:
        MissingFileError: A file is not there.
        RasterError: A file is no class raster, the grids differ, or no pixel has data in both.
        LegendError: The legends contradict each other; lists where.
        ParameterError: The window reaches outside the rasters.
    """
    with open_class_raster(prediction) as predicted, open_class_raster(reference) as truth:
        _check_grids(predicted, truth)
        legend = _shared_legend(predicted, truth)
        area = _checked(window, predicted.grid)
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
        return Evaluation(
            predicted.name, truth.name, legend, confusion, Metrics.from_confusion(confusion), in_truth, in_prediction
        )


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


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


def _check_grids(predicted: ClassRaster, truth: ClassRaster) -> None:
    ours, theirs = predicted.grid, truth.grid
    if not _same_grid(ours, theirs):
        raise RasterError(
            f"{truth.name} ({theirs.summary()}) is not on the grid of {predicted.name} ({ours.summary()}); "
            "bring the reference onto the grid of the prediction with gdalwarp -r near"
        )


def _same_grid(ours: Grid, theirs: Grid) -> bool:
    if ours.shape != theirs.shape or ours.gcps != theirs.gcps:
        return False
    height, width = ours.shape
    corners = np.array([(0, 0), (width, 0), (0, height), (width, height)], np.float64)
    steps = [abs(v) for v in (ours.transform.a, ours.transform.b, ours.transform.d, ours.transform.e) if v]
    off = np.abs(ours.to_world(corners) - theirs.to_world(corners)).max()
    return bool(off <= _GRID_TOLERANCE * min(steps)) and ours == replace(theirs, transform=ours.transform)


def _shared_legend(predicted: ClassRaster, truth: ClassRaster) -> Legend:
    """The legend of both: one holds all classes of the other, since files without a legend show only what occurs.

    Raises:
        LegendError: Lists the classes that differ.
    """
    ours, theirs = ({c.id: c for c in raster.legend} for raster in (predicted, truth))
    problems = [
        f"{i} is {ours[i].name!r} here and {theirs[i].name!r} there"
        for i in sorted(ours.keys() & theirs.keys())
        if not _one_class(ours[i], theirs[i])
    ]
    if ours.keys() - theirs.keys() and theirs.keys() - ours.keys():
        problems += [
            f"{i} ({classes[i].name}) is only {where}"
            for classes, other, where in ((ours, theirs, "here"), (theirs, ours, "there"))
            for i in sorted(classes.keys() - other.keys())
        ]
    if problems:
        raise LegendError(
            f"the legends of {predicted.name} (here) and {truth.name} (there) contradict each other: class "
            f"{'; class '.join(problems)}; give the reference the ids and names of the prediction"
        )
    fuller = predicted.legend if ours.keys() >= theirs.keys() else truth.legend
    named = {c.id: c for c in (*truth.legend, *predicted.legend) if not _NO_NAME.fullmatch(c.name)}
    return Legend(tuple(named.get(c.id, c) for c in fuller))


def _one_class(a: ClassDef, b: ClassDef) -> bool:
    return a.name == b.name or bool(_NO_NAME.fullmatch(a.name) or _NO_NAME.fullmatch(b.name))
