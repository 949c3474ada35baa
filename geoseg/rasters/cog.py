"""The file format of outputs: georeferencing, Cloud-Optimized GeoTIFF, and what of a grid survives in it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio.shutil
from affine import Affine
from rasterio.control import GroundControlPoint as RasterioPoint
from rasterio.crs import CRS
from rasterio.io import MemoryFile
from rasterio.windows import Window as Rectangle

from geoseg.errors import OutputError
from geoseg.grids import Grid
from geoseg.processors import cores
from geoseg.rasters.opening import GDAL_ERRORS, grid_of, open_dataset
from geoseg.rasters.overviews import Halve, add_levels, write_levels
from geoseg.tiling import Window

BLOCK = 512
"""Side of a storage block in outputs."""

_BIG = 2 * 10**9


def georeference(grid: Grid) -> dict[str, Any]:
    """Arguments for rasterio. An identity transform is left out: GeoTIFF has no tag for it, and readers assume it."""
    crs = CRS.from_wkt(grid.crs_wkt) if grid.crs_wkt is not None else None
    if grid.gcps:
        return {"crs": crs, "gcps": [RasterioPoint(p.row, p.col, p.x, p.y, p.z) for p in grid.gcps]}
    return {"crs": crs} if grid.transform.is_identity else {"crs": crs, "transform": grid.transform}


@dataclass(frozen=True, slots=True)
class Deflate:
    """How an output is compressed. Deflate, which every GDAL reads.

    Attributes:
        level: Measured on 4096×4096 maps, one thread: labels take 7.5 ms/Mpx at level 5 and 21 at 6, which makes files
            a fifth smaller.
        predictor: Store differences: confidence then takes 9.4 ms/Mpx at level 2 and a third less space than without
            at 6 (12 ms/Mpx); labels would grow.
    """

    level: int
    predictor: bool


def to_cog(stream: Path, base: Path, cog: Path, grid: Grid, halve: Halve, deflate: Deflate) -> None:
    """Copy a GeoTIFF into a COG with overviews.

    Args:
        stream: What has been written.
        base: Start of the names of temporaries.
        cog: The file to make.
        grid: Where it is.
        halve: Makes each level of the overviews from the one below.
        deflate: How it is compressed.
    """
    levels = write_levels(stream, base, halve, BLOCK, quick_compression())
    source = add_levels(stream, base, levels, grid) if levels else stream
    rasterio.shutil.copy(
        source, cog, driver="COG", compress="DEFLATE", level=deflate.level,
        predictor="YES" if deflate.predictor else "NO", blocksize=BLOCK, overviews="AUTO" if levels else "NONE",
        num_threads=cores(), bigtiff=bigtiff(grid),
    )  # fmt: skip
    for left in (source, stream, *levels):
        left.unlink(missing_ok=True)


@cache
def quick_compression() -> dict[str, Any]:
    """Options for files that only we read: zstd where this GDAL has it, else deflate: four times as slow."""
    zstd = {"compress": "zstd", "zstd_level": 1, "num_threads": cores()}
    shape = {"driver": "GTiff", "count": 1, "height": 1, "width": 1, "dtype": "uint8"}
    try:
        with MemoryFile() as memory, memory.open(**shape, transform=Affine.scale(2, -2), **zstd) as dataset:
            dataset.write(np.ones((1, 1, 1), np.uint8))
    except GDAL_ERRORS:
        return {"compress": "deflate", "zlevel": 1, "num_threads": cores()}
    return zstd


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


def checksum(values: npt.NDArray[np.uint8]) -> int:
    """CRC of (B, h, w) pixels."""
    result = 0
    for band in values:
        result = zlib.crc32(np.ascontiguousarray(band).data, result)
    return result


def check_pixels(cog: Path, checksums: Mapping[Window, int]) -> None:
    """Read all pixels back. A block that did not reach the disk would otherwise read as no data, silently.

    Args:
        cog: The finished file.
        checksums: What was written, by window, rows of blocks from top to bottom.

    Raises:
        OutputError: The file holds other values.
    """
    by_row = groupby(sorted(checksums, key=lambda w: (w.row_off, w.col_off)), key=lambda w: (w.row_off, w.height))
    with open_dataset(cog) as dataset:
        for (top, height), windows in by_row:
            values = dataset.read(window=Rectangle(0, top, dataset.width, height))
            for window in windows:
                if checksum(values[:, :, window.col_off : window.col_end]) != checksums[window]:
                    raise OutputError(f"{window} did not reach the disk as written; is it full or failing?")
