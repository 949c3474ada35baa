"""The file format of outputs: georeferencing, Cloud-Optimized GeoTIFF, and what of a grid survives in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import rasterio.shutil
from rasterio.control import GroundControlPoint as RasterioPoint
from rasterio.crs import CRS

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
        found = grid_of(dataset, str(cog))
    if (found.transform, found.shape, found.gcps) != (grid.transform, grid.shape, grid.gcps):
        raise OutputError(f"the grid did not survive writing: {found} instead of {grid}; please report this")
    if found.crs_wkt is None or grid.crs_wkt is None:
        return found.crs_wkt == grid.crs_wkt
    return bool(CRS.from_wkt(found.crs_wkt) == CRS.from_wkt(grid.crs_wkt))
