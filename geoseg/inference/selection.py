"""Which part of a scene is predicted: a rectangle of pixels, and an area of interest within it."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pyproj.crs import CRS

from geoseg.errors import ParameterError, VectorError
from geoseg.grids import Grid
from geoseg.inference.aoi import read_area
from geoseg.inference.areas import Area
from geoseg.inference.places import (
    bounds_of,
    bounds_text,
    horizontal_crs,
    outline,
    scene_bounds,
    to_pixels,
    transformer,
)
from geoseg.tiling import Window

_log = logging.getLogger("geoseg")

_SNAP = 1e-3
"""A rectangle that exceeds a pixel edge by less than this share of a pixel ends there: coordinates are rounded."""

_LOOKED_AT = 2**24
_FULL_TURN = 360.0


@dataclass(frozen=True, slots=True)
class Selection:
    """A part of a scene; made by :func:`select`.

    Attributes:
        scene: Grid of the whole scene.
        window: The pixels that are predicted and written.
        area: The area of interest; None where all of the window is of interest.
    """

    scene: Grid
    window: Window
    area: Area | None = None

    @property
    def grid(self) -> Grid:
        """Where the pixels of the window are: the grid of the output."""
        return self.scene.part(self.window)

    @property
    def has_aoi(self) -> bool:
        """Whether there is an area of interest."""
        return self.area is not None

    @property
    def is_whole(self) -> bool:
        """Whether it is the scene with nothing left out."""
        return self.area is None and (self.window.height, self.window.width) == self.scene.shape

    @property
    def identity(self) -> dict[str, object]:
        """What tells it from others, as JSON."""
        window = self.window
        return {
            "window": [window.row_off, window.col_off, window.height, window.width],
            "aoi": None if self.area is None else self.area.identity,
        }

    def inside(self, window: Window) -> npt.NDArray[np.bool_]:
        """(h, w) bool, whether the centre of a pixel lies in the area of interest; all True without one.

        Args:
            window: Any pixels of the scene. Windows that partition another give, put together, what it gives.
        """
        if self.area is None:
            return np.ones((window.height, window.width), np.bool_)
        return self.area.inside(window)

    def touches(self, window: Window) -> bool:
        """Whether the area of interest meets the inside of a rectangle; where it does not, nothing is ``inside``.

        Args:
            window: Any pixels of the scene, such as the core of a tile.
        """
        return self.area is None or self.area.touches(window)


def select(
    grid: Grid,
    *,
    aoi: str | Path | None = None,
    bbox: tuple[float, float, float, float] | None = None,
    bbox_crs: str | None = None,
    window: tuple[int, int, int, int] | None = None,
) -> Selection:
    """Choose a part of a scene.

    Args:
        grid: The scene's.
        aoi: Vector file with polygons in any CRS, or ``file|layername=name``: only pixels whose centre lies in one.
        bbox: West, south, east, north: only this rectangle, snapped outwards to whole pixels.
        bbox_crs: CRS of ``bbox``, such as ``EPSG:4326``; default is the scene's. In degrees, west > east crosses 180°.
        window: First row, first column, height, width in pixels: only this rectangle.

    Raises:
        MissingFileError: There is no such vector file.
        VectorError: It gives no polygon on the part that is chosen.
        ParameterError: A rectangle is none, lies outside the scene, or does not go with the other parameters.
    """
    if bbox is not None and window is not None:
        raise ParameterError("bbox and window both choose a rectangle; give one of them")
    if bbox_crs is not None and bbox is None:
        raise ParameterError(f"bbox_crs {bbox_crs} is the CRS of a bbox, and none is given")
    if bbox is not None:
        chosen = _bbox_window(grid, bbox, bbox_crs)
    elif window is not None:
        chosen = _clipped_window(grid, window)
    else:
        chosen = Window(0, 0, grid.height, grid.width)
    if aoi is None:
        return Selection(grid, chosen)
    area = read_area(aoi, grid)
    _refuse_empty(area, chosen, grid, aoi)
    return Selection(grid, chosen, area)


def _clipped_window(grid: Grid, window: tuple[int, int, int, int]) -> Window:
    row, col, height, width = window
    if height < 1 or width < 1:
        raise ParameterError(f"window {_listed(window)} is no rectangle; give first row, first column, height, width")
    wanted = Window(int(row), int(col), int(height), int(width))
    rows = max(0, wanted.row_off), min(grid.height, wanted.row_end)
    cols = max(0, wanted.col_off), min(grid.width, wanted.col_end)
    if rows[0] >= rows[1] or cols[0] >= cols[1]:
        raise ParameterError(f"window ({wanted}) lies outside the scene of {grid.height}×{grid.width} pixels")
    clipped = Window(rows[0], cols[0], rows[1] - rows[0], cols[1] - cols[0])
    if clipped != wanted:
        _log.warning("window (%s) reaches outside the scene: only %s are read", wanted, clipped)
    return clipped


def _bbox_window(grid: Grid, bbox: tuple[float, float, float, float], bbox_crs: str | None) -> Window:
    if grid.gcps:
        raise ParameterError(
            "a bbox needs a scene with a transform, and this one has ground control points; rectify it first "
            "(gdalwarp), or give a window in pixels"
        )
    crs = _bbox_crs(grid, bbox_crs)
    west, south, east, north = _checked(bbox, crs if crs is not None else _own_crs(grid))
    # The ring of a rectangle, in its own units: x and y along its border.
    ring = np.add(outline(north - south, east - west), (west, south))
    if crs is not None:
        assert grid.crs_wkt is not None
        ring = transformer(crs, horizontal_crs(grid.crs_wkt))(ring)
        ring = ring[np.isfinite(ring).all(axis=1)]
    if grid.is_geographic and ring.size:
        ring = _nearest_turn(ring, grid)
    pixels = to_pixels(grid, ring)
    if pixels.size:
        rows, cols = _snapped(pixels[:, 1], grid.height), _snapped(pixels[:, 0], grid.width)
        if rows is not None and cols is not None:
            return Window(rows[0], cols[0], rows[1] - rows[0], cols[1] - cols[0])
    where = f" in {bbox_crs}" if bbox_crs else ""
    raise ParameterError(
        f"bbox {bounds_text((west, south, east, north))}{where} lies outside the scene, which covers "
        f"{_scene_text(grid, crs)}; give west,south,east,north"
    )


def _bbox_crs(grid: Grid, bbox_crs: str | None) -> CRS | None:
    """The CRS to come from; None where it is the scene's own."""
    if bbox_crs is None:
        return None
    crs = horizontal_crs(bbox_crs)
    if grid.crs_wkt is None:
        raise ParameterError(
            f"the scene has no CRS, so a bbox in {bbox_crs} cannot be placed; give it in its own units"
        )
    return None if crs.equals(horizontal_crs(grid.crs_wkt), ignore_axis_order=True) else crs


def _own_crs(grid: Grid) -> CRS | None:
    return None if grid.crs_wkt is None else horizontal_crs(grid.crs_wkt)


def _checked(bbox: tuple[float, float, float, float], crs: CRS | None) -> tuple[float, float, float, float]:
    """West < east and south < north, also across 180°."""
    if not all(map(math.isfinite, bbox)):
        raise ParameterError(f"bbox {_listed(bbox)} is no rectangle; give west,south,east,north")
    west, south, east, north = (float(v) for v in bbox)
    if west > east and crs is not None and crs.is_geographic:
        east += _FULL_TURN
    if not (west < east and south < north):
        raise ParameterError(
            f"bbox {_listed(bbox)} is empty: west must be less than east and south than north; "
            "give west,south,east,north"
        )
    return west, south, east, north


def _nearest_turn(ring: npt.NDArray[np.float64], grid: Grid) -> npt.NDArray[np.float64]:
    """Longitudes without a jump, on that side of 180° where the scene is."""
    found = np.array(ring)
    found[:, 0] = np.unwrap(found[:, 0], period=_FULL_TURN)
    west, _, east, _ = scene_bounds(grid)
    middle = (found[:, 0].min() + found[:, 0].max()) / 2
    found[:, 0] += _FULL_TURN * round(((west + east) / 2 - middle) / _FULL_TURN)
    return found


def _snapped(positions: npt.NDArray[np.float64], size: int) -> tuple[int, int] | None:
    """The pixels of an axis that positions span, outwards; None where the axis has none of them."""
    low, high = float(positions.min()), float(positions.max())
    first, end = math.floor(low + _SNAP), math.ceil(high - _SNAP)
    if first >= end:
        first, end = math.floor(low), math.ceil(high)
    first, end = max(0, first), min(size, end)
    return (first, end) if first < end else None


def _scene_text(grid: Grid, crs: CRS | None) -> str:
    """The scene's bounds in the units of a bbox."""
    if crs is None:
        return bounds_text(scene_bounds(grid))
    assert grid.crs_wkt is not None
    ring = transformer(horizontal_crs(grid.crs_wkt), crs)(grid.to_world(outline(grid.height, grid.width)))
    return bounds_text(bounds_of(ring))


def _refuse_empty(area: Area, chosen: Window, grid: Grid, aoi: str | Path) -> None:
    """See that there is something to predict, where that is soon known."""
    bounds = area.bounds(chosen)
    if bounds is None or not area.touches(bounds):
        raise VectorError(f"no polygon of {aoi} lies on the part of the scene that is chosen ({chosen})")
    if bounds.height * bounds.width <= _LOOKED_AT and not area.inside(bounds).any():
        gsd = grid.ground_sample_distance()
        size = "" if gsd is None else f" of {gsd:.3g} m"
        raise VectorError(f"no pixel{size} has its centre in a polygon of {aoi} ({bounds}); widen the area (buffer)")


def _listed(values: tuple[float, ...]) -> str:
    return ",".join(f"{v:.10g}" for v in values)
