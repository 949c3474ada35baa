"""Label values of one raster on the pixels of another: each that of the nearest pixel, whatever kind of no data."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj

from geoseg.grids import Grid
from geoseg.rasters import Scene
from geoseg.tiling import Window

Values = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]

# Pixels that are placed at once.
_CHUNK = 2**20


def read_nearest(scene: Scene, grid: Grid, window: Window) -> tuple[Values, Bools]:
    """Read the first band of a scene on a grid.

    The same pixel has the same value whatever window it is read with.

    Args:
        scene: With a CRS and a transform.
        grid: With a CRS and a transform.
        window: Of ``grid``.

    Returns:
        (h, w) values, and where there are any: not beyond the scene's border, and not where it has no data.

    Raises:
        CorruptRasterError: A block cannot be decoded.
    """
    values = np.zeros((window.height, window.width), scene.dtype)
    valid = np.zeros(values.shape, np.bool_)
    step = max(1, _CHUNK // window.width)
    for top in range(0, window.height, step):
        rows = min(step, window.height - top)
        part = Window(window.row_off + top, window.col_off, rows, window.width)
        values[top : top + rows], valid[top : top + rows] = _read_part(scene, grid, part)
    return values, valid


def lonlat_box(grid: Grid) -> tuple[float, float, float, float] | None:
    """West, south, east, north of a grid in degrees; None where it has no CRS or its place cannot be said so."""
    if grid.crs_wkt is None:
        return None
    along = np.linspace(0, 1, 17)
    cols, rows = (v.ravel() for v in np.meshgrid(along * grid.width, along * grid.height))
    x, y = _change(grid.crs_wkt, "EPSG:4326").transform(*grid.to_world(np.column_stack([cols, rows])).T)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())


def _read_part(scene: Scene, grid: Grid, window: Window) -> tuple[Values, Bools]:
    rows, cols = _positions(scene.grid, grid, window)
    inside = (rows >= 0) & (rows < scene.grid.height) & (cols >= 0) & (cols < scene.grid.width)
    values, valid = np.zeros(rows.shape, scene.dtype), np.zeros(rows.shape, np.bool_)
    if inside.any():
        rows, cols = rows[inside].astype(np.int64), cols[inside].astype(np.int64)
        top, left = int(rows.min()), int(cols.min())
        found = scene.read(Window(top, left, int(rows.max()) - top + 1, int(cols.max()) - left + 1))
        values[inside] = found.values[0][rows - top, cols - left]
        valid[inside] = found.valid[rows - top, cols - left]
    return values.reshape(window.height, window.width), valid.reshape(window.height, window.width)


def _positions(theirs: Grid, ours: Grid, window: Window) -> tuple[Values, Values]:
    """Rows and columns in another grid of the centres of a window's pixels, as whole numbers in float64."""
    cols, rows = np.meshgrid(
        np.arange(window.col_off, window.col_end) + 0.5, np.arange(window.row_off, window.row_end) + 0.5
    )
    x, y = ours.to_world(np.column_stack([cols.ravel(), rows.ravel()])).T
    assert ours.crs_wkt is not None
    assert theirs.crs_wkt is not None
    if ours.crs_wkt != theirs.crs_wkt:
        x, y = _change(ours.crs_wkt, theirs.crs_wkt).transform(x, y)
    t = ~theirs.transform
    with np.errstate(invalid="ignore"):
        return np.floor(t.d * x + t.e * y + t.f), np.floor(t.a * x + t.b * y + t.c)


@lru_cache(64)
def _change(source: str, target: str) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(source, target, always_xy=True)
