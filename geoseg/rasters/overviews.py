"""Overviews of uint8 rasters: each level half of the one below it, by majority or by mean of 2×2 pixels.

GDAL's own cost more than all else that finishing a raster takes. Where 2×2 pixels have one majority, both give the
same; between values as frequent this takes the first.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.shutil
from affine import Affine
from rasterio.io import DatasetReader, DatasetWriter
from rasterio.windows import Window as Rectangle

from geoseg.grids import Grid
from geoseg.rasters.opening import open_dataset

Bytes = npt.NDArray[np.uint8]
Halve = Callable[[Bytes, int], Bytes]
"""(2h, 2w) pixels and the no-data value to (h, w) pixels."""

# Rows halved at a time, so that what is computed with stays in the processor's cache.
_ROWS = 64


def halve_by_majority(pixels: Bytes, nodata: int) -> Bytes:
    """The most frequent value of each 2×2 pixels, of several the first; no data only where all four are.

    Args:
        pixels: (2h, 2w) uint8.
        nodata: The value that is none.

    Returns:
        (h, w) uint8.
    """
    quarters = _quarters(pixels)
    result = quarters[0].copy()
    mixed = _where_mixed(quarters)
    a, b, c, d = (v.ravel()[mixed] for v in quarters)
    first = np.where(a != nodata, a, np.where(b != nodata, b, np.where(c != nodata, c, d)))
    second = np.where((b != nodata) & ((b == c) | (b == d)), b, np.where((c != nodata) & (c == d), c, first))
    result.ravel()[mixed] = np.where((a != nodata) & ((a == b) | (a == c) | (a == d)), a, second)
    return result


def halve_by_mean(pixels: Bytes, nodata: int) -> Bytes:
    """The mean of each 2×2 pixels that are data, halves rounded up; as :func:`halve_by_majority`."""
    quarters = _quarters(pixels)
    a, b, c, d = quarters
    result: Bytes = ((a.astype(np.uint16) + b + c + d + 2) >> 2).astype(np.uint8)
    voids = [v == nodata for v in quarters]
    # Four times no data gives no data already.
    void = np.flatnonzero((voids[0] | voids[1] | voids[2] | voids[3]) & ~(voids[0] & voids[1] & voids[2] & voids[3]))
    values = np.stack([v.ravel()[void] for v in quarters]).astype(np.uint16)
    valid = values != nodata
    count = valid.sum(axis=0, dtype=np.uint16)
    result.ravel()[void] = ((values * valid).sum(axis=0, dtype=np.uint16) + count // 2) // count
    return result


def write_levels(stream: Path, base: Path, halve: Halve, block: int, options: dict[str, Any]) -> list[Path]:
    """Write the levels of a raster, finest first, until one fits a block: files ``<base>.<level>.tmp``.

    Args:
        stream: A uint8 GeoTIFF with a no-data value.
        base: Start of the names.
        halve: How 2×2 pixels become one.
        block: Side of the storage blocks.
        options: Compression.

    Returns:
        The files; none where the raster is a block or less.
    """
    levels: list[Path] = []
    source = stream
    while True:
        with open_dataset(source) as finer:
            if max(finer.shape) <= block:
                return levels
            levels.append(source := Path(f"{base}.{len(levels)}.tmp"))
            _write_level(finer, source, halve, block, options)


def add_levels(stream: Path, base: Path, levels: list[Path], grid: Grid) -> Path:
    """A VRT ``<base>.vrt.tmp`` that is the raster, on the same grid, and has the files as its overviews."""
    path = Path(f"{base}.vrt.tmp")
    rasterio.shutil.copy(stream, path, driver="VRT")
    tree = ET.parse(path)
    for element, point in zip(tree.getroot().iter("GCP"), grid.gcps, strict=True):  # GDAL writes 13 digits of them
        exact = {"Pixel": point.col, "Line": point.row, "X": point.x, "Y": point.y, "Z": point.z}
        element.attrib.update({name: repr(value) for name, value in exact.items()})
    for band in tree.getroot().iter("VRTRasterBand"):
        for level in levels:
            overview = ET.SubElement(band, "Overview")
            ET.SubElement(overview, "SourceFilename", relativeToVRT="1").text = level.name
            ET.SubElement(overview, "SourceBand").text = band.get("band")
    tree.write(path, encoding="utf-8")
    return path


def _write_level(finer: DatasetReader, path: Path, halve: Halve, block: int, options: dict[str, Any]) -> None:
    height, width = (-(-side // 2) for side in finer.shape)
    with ExitStack() as stack:
        # A transform, because rasterio warns of rasters without one.
        coarser = stack.enter_context(
            rasterio.open(
                path, "w", driver="GTiff", height=height, width=width, count=finer.count, dtype="uint8",
                nodata=finer.nodata, transform=Affine.scale(2, -2), tiled=True, blockxsize=block, blockysize=block,
                interleave="band", photometric="MINISBLACK", bigtiff="IF_SAFER", **options,
            )
        )  # fmt: skip
        for band in finer.indexes:
            for top in range(0, height, block):
                _write_rows(finer, coarser, band, range(top, min(top + block, height)), halve)


def _write_rows(finer: DatasetReader, coarser: DatasetWriter, band: int, rows: range, halve: Halve) -> None:
    """Write one row of blocks, from the two that it covers, one after the other."""
    halved = np.empty((len(rows), coarser.width), np.uint8)
    nodata = int(finer.nodata)
    block_row = coarser.block_shapes[0][0]
    for top in range(2 * rows.start, min(2 * rows.stop, finer.height), block_row):
        count = min(block_row, finer.height - top)
        pixels = finer.read(band, window=Rectangle(0, top, finer.width, count))
        if count % 2 or finer.width % 2:
            pixels = np.pad(pixels, ((0, count % 2), (0, finer.width % 2)), mode="edge")
        into = halved[top // 2 - rows.start :]
        for row in range(0, len(pixels), _ROWS):
            few = halve(pixels[row : row + _ROWS], nodata)
            into[row // 2 :][: len(few)] = few
    coarser.write(halved, band, window=Rectangle(0, rows.start, coarser.width, len(rows)))


def _quarters(pixels: Bytes) -> tuple[Bytes, Bytes, Bytes, Bytes]:
    """Top left, top right, bottom left and bottom right of each 2×2 pixels, as contiguous arrays."""
    top, bottom = (np.ascontiguousarray(pixels[row::2]).view("<u2") for row in (0, 1))
    # Sixteen bits at a time: taking every other byte is three times slower.
    a, b, c, d = (v.astype(np.uint8) for v in (top & 0xFF, top >> 8, bottom & 0xFF, bottom >> 8))
    return a, b, c, d


def _where_mixed(quarters: tuple[Bytes, Bytes, Bytes, Bytes]) -> npt.NDArray[np.intp]:
    a, b, c, d = quarters
    return np.flatnonzero((a != b) | (a != c) | (a != d))
