"""A class raster that is open, with all that decides which polygons it becomes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyproj

from geoseg import __version__
from geoseg.legend import Legend
from geoseg.memory import require_memory
from geoseg.polygons.filling import fill_holes
from geoseg.polygons.merging import merge_small
from geoseg.polygons.survey_bands import Strips
from geoseg.processors import cores
from geoseg.rasters import ClassRaster, ConfidenceRaster, open_class_raster, read_legend
from geoseg.tiling import Window
from geoseg.vectorization.companions import open_companion
from geoseg.vectorization.describing import Describer
from geoseg.vectorization.passes import Passes
from geoseg.vectorization.plan import Plan, make_plan, parse_crs
from geoseg.vectorization.reprojection import Reprojection, operations
from geoseg.vectorization.settings import Settings, find_class
from geoseg.vectorization.strips import label_strips

# Labels, marks, patch ids and what is traced of them, for each strip in flight.
_BYTES_PER_PIXEL = 40


@dataclass(frozen=True, slots=True)
class Job:
    """What is vectorized, and how.

    Attributes:
        source: The class raster.
        companion: The confidence raster, if there is one.
        settings: What the user chose.
        plan: What that means for this raster.
        crs: CRS of the polygons; None for the raster's own.
        describe: Makes features of polygons.
    """

    source: ClassRaster
    companion: ConfidenceRaster | None
    settings: Settings
    plan: Plan
    crs: pyproj.CRS | None
    describe: Describer

    @property
    def surveys(self) -> int:
        """How often all of the raster is looked at before the first strip can be traced."""
        return (self.plan.minima is not None) + (self.plan.fill_holes > 0)

    @property
    def steps(self) -> tuple[Window, ...]:
        """The strips, from top to bottom."""
        (height, width), rows = self.source.grid.shape, self.plan.rows
        return tuple(Window(top, 0, min(rows, height - top), width) for top in range(0, height, rows))

    def filtered(self, passes: Passes | None = None) -> Strips:
        """The labels, small patches merged and holes filled; ``passes`` is told of what is read."""
        strips, plan = label_strips(self.source), self.plan
        strips = strips if passes is None else passes.counted(strips)
        if plan.minima is not None:
            strips = merge_small(strips, self.source.grid.row_areas(), plan.minima)
        if plan.fill_holes > 0:
            strips = fill_holes(strips, self.source.grid.row_areas(), plan.fill_holes)
        return strips

    def require_memory(self, processes: int = 1) -> None:
        """See that there is memory for the strips that are traced at once, in so many processes.

        Raises:
            ResourceError: There is not.
        """
        width, rows = self.source.grid.width, self.plan.rows
        threads = self.settings.threads or max(1, cores() // processes)  # processes share the machine
        fewer = "fewer threads" if processes == 1 else "fewer workers or threads"
        require_memory(
            processes * width * rows * (threads + 2) * _BYTES_PER_PIXEL,
            f"vectorizing strips of {rows}×{width} pixels{f' in {processes} workers' if processes > 1 else ''}",
            f"close other programs, or give {fewer}",
        )

    def labels_fingerprint(self) -> dict[str, object]:
        """All that changes the filtered labels, as JSON."""
        return _plain({
            "geoseg": __version__,
            "raster": self.source.identity,
            "strip_rows": self.plan.rows,
            "min_area": self._minima(),
            "fill_holes": self.settings.fill_holes,
        })  # fmt: skip

    def fingerprint(self) -> dict[str, object]:
        """All that changes the polygons of a strip, as JSON; those of another fingerprint are not gone on with."""
        settings, wanted = self.settings, np.flatnonzero(self.plan.wanted).tolist()
        return self.labels_fingerprint() | _plain({
            "confidence": None if self.companion is None else self.companion.identity,
            "classes": None if settings.classes is None else wanted,
            "simplify": settings.simplify,
            "simplify_method": settings.simplify_method if settings.simplify else None,
            "smooth": settings.smooth,
            "max_vertices": settings.max_vertices,
            "to_crs": None if self.crs is None else self.crs.srs,  # its WKT is another with another PROJ
            "proj": None if self.crs is None else pyproj.proj_version_str,
            "operations": None if self.crs is None else operations(self.source.grid, self.crs),
        })  # fmt: skip

    def _minima(self) -> object:
        given = self.settings.min_area
        if not isinstance(given, Mapping):
            return given
        return {str(key if key == "*" else find_class(self.source.legend, key)): value for key, value in given.items()}


@contextmanager
def open_job(raster: str | Path, settings: Settings) -> Iterator[Job]:
    """Open a class raster and its confidence raster, and see that the settings suit them.

    Raises:
        ParameterError: The legend lacks a class that was named, or the raster cannot be brought into ``to_crs``.
        RasterError: ``raster`` is no class raster, or the confidence raster lies on another grid.
    """
    with ExitStack() as stack:
        source = stack.enter_context(open_class_raster(raster, _legend(settings)))
        companion = open_companion(stack, source, raster, settings.confidence)
        plan, crs = make_plan(settings, source.grid, source.legend), parse_crs(settings.to_crs, source.grid)
        reproject = None if crs is None else Reprojection(source.grid, crs)
        describe = Describer(source.grid, reproject, companion is not None, plan.max_vertices)
        yield Job(source, companion, settings, plan, crs, describe)


def _legend(settings: Settings) -> Legend | None:
    given = settings.legend
    return given if given is None or isinstance(given, Legend) else read_legend(given)


def _plain(value: dict[str, object]) -> dict[str, object]:
    plain: dict[str, object] = json.loads(json.dumps(value))
    return plain
