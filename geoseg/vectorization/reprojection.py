"""Vertices in another CRS, each polygon in one piece."""

from __future__ import annotations

import math
import threading
import warnings

import numpy as np
import pyproj
from numpy.typing import NDArray
from pyproj.transformer import TransformerGroup

from geoseg.errors import ParameterError
from geoseg.grids import Grid

Points = NDArray[np.float64]

# Filters of warnings are those of the process, and workers may be threads of one.
_QUIET = threading.Lock()

# Points on a side of the lattice that stands for a raster, and halvings of its steps: 2**20 pixels are torn apart.
_LATTICE, _HALVINGS = 33, 20


class Reprojection:
    """Moves points from the CRS of a grid into another one. Threads may share it.

    A map is torn somewhere: at 180° of longitude most often. Longitudes go on beyond it, 179.9, 180.1, within half a
    turn of the middle of the raster; a projection cannot, and polygons from one end of the world to the other are no
    map.

    Args:
        grid: Of the raster.
        crs: A geographic or projected CRS.

    Raises:
        ParameterError: The raster crosses a line along which the projection is torn.
    """

    def __init__(self, grid: Grid, crs: pyproj.CRS) -> None:
        self._source = pyproj.CRS(grid.crs_wkt)
        self._crs = crs
        self._turn = _turn(crs) if crs.is_geographic else None
        self._middle = self._transform(grid.to_world(np.array([[grid.width / 2, grid.height / 2]])))[0, 0]
        if self._turn is None and self._tears(grid):
            raise ParameterError(
                f"the raster crosses the line along which {crs.srs} is torn (180° of longitude, mostly); choose a CRS "
                "that is whole there, or EPSG:4326, in which longitudes go on beyond 180"
            )

    def __call__(self, points: Points) -> Points:
        """The (N, 2) points in the other CRS.

        Raises:
            ParameterError: Some have no place there.
        """
        moved = self._transform(points)
        if not np.isfinite(moved).all():
            lost = int((~np.isfinite(moved).all(axis=1)).sum())
            raise ParameterError(
                f"{lost} of {len(moved)} vertices have no place in {self._crs.srs}; choose one that covers the raster"
            )
        if self._turn is not None and math.isfinite(self._middle):
            # Just below one half: what lies exactly at 180° from the middle stays on its own side.
            moved[:, 0] -= self._turn * np.round((moved[:, 0] - self._middle) / self._turn * (1 - 1e-9))
        return moved

    def _transform(self, points: Points) -> Points:
        # One for each call: transformers are not shared between threads.
        transformer = pyproj.Transformer.from_crs(self._source, self._crs, always_xy=True)
        return np.column_stack(transformer.transform(points[:, 0], points[:, 1]))

    def _tears(self, grid: Grid) -> bool:
        """Whether neighbours in the raster are far apart, however near each other they are chosen."""
        near, far = _lattice_steps(grid)
        near_moved, far_moved = self._transform(near), self._transform(far)
        whole = _lengths(near_moved, far_moved)
        for _ in range(_HALVINGS):
            middle = (near + far) / 2
            moved = self._transform(middle)
            first = (_lengths(near_moved, moved) > _lengths(moved, far_moved))[:, None]
            near, near_moved = np.where(first, near, middle), np.where(first, near_moved, moved)
            far, far_moved = np.where(first, middle, far), np.where(first, moved, far_moved)
        left = _lengths(near_moved, far_moved)
        return bool((np.isfinite(left) & (left > whole / 2)).any())


def operations(grid: Grid, crs: pyproj.CRS) -> dict[str, list[str]]:
    """Definitions of all that PROJ may do here to move points from a grid into ``crs``, by description.

    It takes the most accurate operation that it has the grids for, so the same PROJ moves points elsewhere, by metres,
    where another grid of a datum is installed or is to be had from the network.
    """
    found: dict[str, list[str]] = {}
    with _QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of grids that are missing
        group = TransformerGroup(pyproj.CRS(grid.crs_wkt), crs, always_xy=True)
    for transformer in group.transformers:
        found.setdefault(transformer.description, []).append(transformer.definition)
    return found


def _turn(crs: pyproj.CRS) -> float:
    """A full circle in units of a geographic CRS."""
    return 2 * math.pi / float(crs.axis_info[0].unit_conversion_factor or math.radians(1))


def _lattice_steps(grid: Grid) -> tuple[Points, Points]:
    """Begin and end of the steps along and across a lattice over the raster, (N, 2) each, in its CRS."""
    x, y = np.meshgrid(np.linspace(0, grid.width, _LATTICE), np.linspace(0, grid.height, _LATTICE))
    world = grid.to_world(np.column_stack([x.ravel(), y.ravel()])).reshape(_LATTICE, _LATTICE, 2)
    begins = [world[:, :-1].reshape(-1, 2), world[:-1].reshape(-1, 2)]
    ends = [world[:, 1:].reshape(-1, 2), world[1:].reshape(-1, 2)]
    return np.concatenate(begins), np.concatenate(ends)


def _lengths(begins: Points, ends: Points) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", over="ignore"):
        steps = ends - begins
        return np.asarray(np.hypot(steps[:, 0], steps[:, 1]))
