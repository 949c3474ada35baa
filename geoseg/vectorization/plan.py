"""What the user chose, in terms of the raster at hand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyproj
from numpy.typing import NDArray

from geoseg.choices import Simplification
from geoseg.errors import ParameterError
from geoseg.grids import Grid
from geoseg.legend import Legend
from geoseg.polygons.cutting import cell_side
from geoseg.processors import cores
from geoseg.vectorization.settings import Settings, find_class
from geoseg.vectorization.strips import strip_height

PIN_ROWS = 256
"""Borders that are changed keep their place at every row that is a multiple of this: so strips are independent."""

_OTHERS = "*"


@dataclass(frozen=True, slots=True)
class Plan:
    """How a raster becomes polygons.

    Attributes:
        rows: Rows of a strip.
        pin_rows: Rows at which arcs are pinned; 0 for none.
        pin_cols: Columns at which arcs are pinned; 0 for none.
        tolerance: Of simplification, in pixels.
        method: Of simplification.
        smooth: Cuttings of corners.
        wanted: (256,) bool, classes that become polygons.
        minima: (256,) float64, smallest area in m² of a patch of each class; None where all are 0.
        fill_holes: Largest area in m² of a hole that is filled, itself excluded.
        max_vertices: Of a polygon; None for any number.
        threads: Threads that trace.
    """

    rows: int
    pin_rows: int
    pin_cols: int
    tolerance: float
    method: Simplification
    smooth: int
    wanted: NDArray[np.bool_]
    minima: NDArray[np.float64] | None
    fill_holes: float
    max_vertices: int | None
    threads: int

    @property
    def reshapes(self) -> bool:
        """Whether borders leave the pixel edges."""
        return self.tolerance > 0 or self.smooth > 0


def make_plan(settings: Settings, grid: Grid, legend: Legend) -> Plan:
    """The plan for a raster on ``grid`` with the classes of ``legend``.

    Raises:
        ParameterError: The legend lacks a class that was named.
    """
    cell = 0 if settings.max_vertices is None else cell_side(settings.max_vertices)
    reshapes = settings.simplify > 0 or settings.smooth > 0
    pin_rows = cell or (PIN_ROWS if reshapes else 0)
    return Plan(
        rows=strip_height(grid.height, grid.width, pin_rows, settings.strip_height),
        pin_rows=pin_rows,
        pin_cols=cell,
        tolerance=settings.simplify / pixel_side(grid),
        method=settings.simplify_method,
        smooth=settings.smooth,
        wanted=_wanted(settings, legend),
        minima=_minima(settings, legend) if settings.has_minima else None,
        fill_holes=settings.fill_holes,
        max_vertices=settings.max_vertices,
        threads=settings.threads or cores(),
    )


def pixel_side(grid: Grid) -> float:
    """Side of a square as large as a pixel: metres on the ground, CRS units without CRS."""
    return grid.ground_sample_distance() or math.sqrt(abs(grid.transform.determinant))


def parse_crs(text: str | None, grid: Grid) -> pyproj.CRS | None:
    """The CRS to give the polygons in; None for the raster's own.

    Raises:
        ParameterError: It is none, or none of a map, or the raster has none to start from.
    """
    if text is None:
        return None
    if not grid.is_georeferenced:
        raise ParameterError(f"to_crs {text} needs a raster with a CRS; set one first (gdal_edit.py -a_srs EPSG:...)")
    try:
        crs = pyproj.CRS.from_user_input(text)
    except pyproj.exceptions.CRSError as error:
        reason = " ".join(str(error).split())[:100]
        raise ParameterError(f"to_crs {text!r} is no CRS ({reason}); give one such as EPSG:4326") from error
    if not (crs.is_geographic or crs.is_projected):
        raise ParameterError(f"to_crs {text} is a {crs.type_name}, not one of a map; give one such as EPSG:4326")
    return crs


def _wanted(settings: Settings, legend: Legend) -> NDArray[np.bool_]:
    wanted = np.zeros(256, bool)
    if settings.classes is None:
        wanted[1:] = True  # values that the legend does not name included: they are an error, not a gap
    else:
        wanted[[find_class(legend, key) for key in settings.classes]] = True
    return wanted


def _minima(settings: Settings, legend: Legend) -> NDArray[np.float64]:
    given = settings.min_area if isinstance(settings.min_area, Mapping) else {_OTHERS: settings.min_area}
    minima = np.full(256, float(given.get(_OTHERS, 0.0)))
    for key, value in given.items():
        if key != _OTHERS:
            minima[find_class(legend, key)] = value
    return minima
