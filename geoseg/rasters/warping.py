"""Class rasters of another grid, read as if they lay on the one that is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from rasterio.enums import MaskFlags, Resampling
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT

from geoseg.errors import RasterError
from geoseg.grids import Grid
from geoseg.legend import Legend
from geoseg.rasters.classes import ClassRaster, class_raster_of
from geoseg.rasters.opening import GDAL_ERRORS, environment, open_dataset, reason
from geoseg.rasters.reading import FileScene

# Grids count as one where no corner is further off than this share of a pixel: what other programs round away.
_GRID_TOLERANCE = 0.01


def same_grid(ours: Grid, theirs: Grid) -> bool:
    """Whether two rasters have their pixels in the same places, to a hundredth of a pixel."""
    if ours.shape != theirs.shape or ours.gcps != theirs.gcps:
        return False
    height, width = ours.shape
    corners = np.array([(0, 0), (width, 0), (0, height), (width, height)], np.float64)
    steps = [abs(v) for v in (ours.transform.a, ours.transform.b, ours.transform.d, ours.transform.e) if v]
    off = np.abs(ours.to_world(corners) - theirs.to_world(corners)).max()
    return bool(off <= _GRID_TOLERANCE * min(steps)) and ours == replace(theirs, transform=ours.transform)


@contextmanager
def open_class_raster_on(path: str | Path, grid: Grid, legend: Legend | None = None) -> Iterator[ClassRaster]:
    """Open a class raster on another grid, each pixel the class of the nearest one; no data beyond its edges.

    Through a warped VRT, so that a window is read from the part of the file that it shows. Within one CRS the nearest
    pixel is exact; between two, GDAL places it to an eighth of a pixel.

    Args:
        path: As in :func:`open_class_raster`.
        grid: Where the pixels shall lie.
        legend: As in :func:`open_class_raster`.

    Raises:
        MissingFileError: There is nothing under that name.
        RasterError: It is no class raster, or it cannot be brought onto the grid: one of the two has no CRS or lies by
            control points only, or its no data is stored in two ways, of which GDAL sees one.
    """
    with open_dataset(path) as dataset:
        source = class_raster_of(dataset, path, legend)
        _check_places(source, grid)
        _check_validity(dataset, source.name)
        try:
            with environment():
                vrt = WarpedVRT(
                    dataset,
                    crs=grid.crs_wkt,
                    transform=grid.transform,
                    height=grid.height,
                    width=grid.width,
                    resampling=Resampling.nearest,
                )
        except GDAL_ERRORS as error:
            raise RasterError(
                f"{source.name} cannot be brought onto {grid.summary()}: {reason(error)}; warp it with gdalwarp -r near"
            ) from error
        with vrt:
            yield ClassRaster(FileScene(vrt, path, None), source.legend, source.tags)


def _check_places(source: ClassRaster, grid: Grid) -> None:
    if source.grid.gcps or grid.gcps:
        raise RasterError(
            f"{source.name} ({source.grid.summary()}) is not on the grid that is asked for ({grid.summary()}), and one "
            "of them lies by ground control points only; rectify it with gdalwarp -r near"
        )
    if source.grid.crs_wkt is None or grid.crs_wkt is None:
        raise RasterError(
            f"{source.name} ({source.grid.summary()}) is not on the grid that is asked for ({grid.summary()}), and "
            "without a CRS of both it cannot be brought there; assign one (gdal_edit.py -a_srs)"
        )


def _check_validity(dataset: DatasetReader, name: str) -> None:
    """A validity band hides the nodata value from GDAL's warper: what it says is no data would become a class."""
    flags = dataset.mask_flag_enums[0]
    if dataset.nodatavals[0] is not None and MaskFlags.per_dataset in flags:
        raise RasterError(
            f"{name} has a nodata value ({dataset.nodatavals[0]:g}) and a validity band too, and GDAL warps by one of "
            "them only; bring it onto one (gdal_translate -mask none, if the nodata value says all)"
        )
