"""The file format of outputs: georeferencing, Cloud-Optimized GeoTIFF, and what of a grid survives in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio.shutil
from rasterio.control import GroundControlPoint as RasterioPoint
from rasterio.crs import CRS
from rasterio.windows import Window as Rectangle

from geoseg.errors import OutputError
from geoseg.grids import Grid
from geoseg.rasters.opening import grid_of, open_dataset

BLOCK = 512
"""Side of a storage block in outputs."""

_BIG = 2 * 10**9


def georeference(grid: Grid) -> dict[str, Any]:
    """Arguments for rasterio. An identity transform is left out: GeoTIFF has no tag for it, and readers assume it."""
    crs = CRS.from_wkt(grid.crs_wkt) if grid.crs_wkt is not None else None
    if grid.gcps:
        return {"crs": crs, "gcps": [RasterioPoint(p.row, p.col, p.x, p.y, p.z) for p in grid.gcps]}
    return {"crs": crs} if grid.transform.is_identity else {"crs": crs, "transform": grid.transform}


def to_cog(stream: Path, cog: Path, grid: Grid, overviews: str) -> None:
    """Copy a GeoTIFF into a COG whose overviews are made by GDAL's resampling ``overviews``."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    rasterio.shutil.copy(
        stream, cog, driver="COG", compress="DEFLATE", blocksize=BLOCK, overview_resampling=overviews,
        num_threads=threads, bigtiff=bigtiff(grid),
    )  # fmt: skip


def bigtiff(grid: Grid) -> str:
    """Compressed files of over 4 GB fail at the end where GDAL decides by itself."""
    return "YES" if grid.height * grid.width * 4 / 3 > _BIG else "IF_SAFER"


def same_crs(cog: Path, grid: Grid) -> bool:
    """Read the grid back: whether its CRS is the same.

    Raises:
        OutputError: Anything else about it is not.
    """
    with open_dataset(cog) as dataset:
        found = grid_of(dataset, cog.name)
    if (found.transform, found.shape, found.gcps) != (grid.transform, grid.shape, grid.gcps):
        raise OutputError(f"the grid did not survive writing: {found} instead of {grid}; please report this")
    if found.crs_wkt is None or grid.crs_wkt is None:
        return found.crs_wkt == grid.crs_wkt
    return bool(CRS.from_wkt(found.crs_wkt) == CRS.from_wkt(grid.crs_wkt))


def check_pixels(cog: Path, counts: npt.NDArray[np.int64]) -> None:
    """Read all pixels back. A block that did not reach the disk would otherwise read as no data, silently.

    Args:
        cog: The finished file.
        counts: (256,) how many pixels of each value were written.

    Raises:
        OutputError: The file holds other values.
    """
    found = np.zeros(256, np.int64)
    with open_dataset(cog) as dataset:
        for top in range(0, dataset.height, BLOCK):
            rows = dataset.read(1, window=Rectangle(0, top, dataset.width, min(BLOCK, dataset.height - top)))
            found += np.bincount(rows.ravel(), minlength=256)
    if not np.array_equal(found, counts):
        raise OutputError(f"{np.abs(found - counts).sum() // 2} pixels did not reach the disk; is it full or failing?")
