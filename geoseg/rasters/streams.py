"""Pixels on their way into an output: block row by block row, counted and summed up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rasterio.io import DatasetWriter
from rasterio.windows import Window as Rectangle

from geoseg.errors import OutputError, ParameterError
from geoseg.rasters.cog import BLOCK, checksum
from geoseg.rasters.publishing import write_errors
from geoseg.tiling import Window

# Pixels counted at a time: the pairs are counted as 64-bit integers.
_COUNTED = 2**20


class RasterWriter:
    """Takes the pixels of an output, each exactly once. Made by ``write_class_raster`` and ``write_confidence_raster``.

    Rows are held until a row of storage blocks is full, so that each block is compressed once whatever the height of
    the windows. Use it from one thread at a time.

    Attributes:
        counts: (B, 256) int64, pixels written of each value in each band.
        checksums: CRC of what was written, by its window.
    """

    def __init__(self, dataset: DatasetWriter, path: Path, allowed: npt.NDArray[np.bool_]) -> None:
        self.counts = np.zeros((dataset.count, 256), np.int64)
        self.checksums: dict[Window, int] = {}
        self._dataset = dataset
        self._path = path
        self._allowed = allowed
        self._panels: dict[tuple[int, int], _Panel] = {}

    def write(self, window: Window, values: npt.NDArray[np.uint8]) -> None:
        """Write a window. Within a column panel (the same columns) windows come from top to bottom without gaps.

        Args:
            window: Inside the grid.
            values: (B, h, w) uint8; (h, w) does for one band.

        Raises:
            ParameterError: Wrong shape, type or value, or a window that is not the next of its panel.
            OutputError: The disk does not take it.
        """
        expected = (self._dataset.count, window.height, window.width)[values.ndim == 2 and self._dataset.count == 1 :]
        if values.dtype != np.uint8 or values.shape != expected:
            raise ParameterError(f"{window} needs {expected} uint8, not {values.shape} {values.dtype}")
        values = values.reshape(-1, window.height, window.width)
        panel = self._panel(window)
        counts = np.stack([count_values(band) for band in values])
        if (strange := np.argwhere(counts[:, ~self._allowed])).size:
            value = np.flatnonzero(~self._allowed)[strange[0, 1]]
            raise ParameterError(f"value {value} in {window} is not one that {self._path.name} may hold")
        self.counts += counts
        for top, rows in panel.take(values):
            full = Window(top, panel.col_off, rows.shape[1], panel.width)
            with write_errors(self._path):
                self._dataset.write(rows, window=Rectangle(full.col_off, full.row_off, full.width, full.height))
            self.checksums[full] = checksum(rows)

    def check_complete(self) -> None:
        """Raise OutputError unless every pixel has been written; lets go of the rows that were held."""
        missing = self._dataset.height * self._dataset.width - int(self.counts[0].sum())
        if missing:
            raise OutputError(f"{self._path} is incomplete: {missing} pixels were never written; nothing was kept")
        self._panels.clear()

    def _panel(self, window: Window) -> _Panel:
        height, width = self._dataset.height, self._dataset.width
        panel = self._panels.get((window.col_off, window.width))
        if panel is None:
            overlapping = any(window.col_off < lo + w and lo < window.col_end for lo, w in self._panels)
            if overlapping or window.col_off < 0 or window.col_end > width:
                raise ParameterError(
                    f"{window} overlaps columns of another panel or leaves the grid of {width} columns"
                )
            panel = _Panel(self._dataset.count, window.col_off, window.width, height)
            self._panels[window.col_off, window.width] = panel
        if window.row_off != panel.next_row or window.row_end > height:
            raise ParameterError(f"{window} does not follow row {panel.next_row - 1} of {height} rows")
        return panel


class _Panel:
    """A range of columns that fills from top to bottom; holds what does not fill a block row yet."""

    def __init__(self, bands: int, col_off: int, width: int, height: int) -> None:
        self.col_off = col_off
        self.width = width
        self.next_row = 0
        self._height = height
        self._held = np.empty((bands, min(BLOCK, height), width), np.uint8)

    def take(self, values: npt.NDArray[np.uint8]) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
        """Add (B, h, w) rows; yields (first row, rows) of each block row that is now full."""
        while values.shape[1]:
            top = self.next_row // BLOCK * BLOCK
            bottom = min(top + BLOCK, self._height)
            rows = values[:, : bottom - self.next_row]
            count = rows.shape[1]
            values = values[:, count:]
            if count == bottom - top:
                full = rows
            else:
                self._held[:, self.next_row - top :][:, :count] = rows
                full = self._held[:, : bottom - top]
            self.next_row += count
            if self.next_row == bottom:
                yield top, full


def count_values(values: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """(256,) how many of the values are 0, 1 .. 255.

    Counted in pairs, which takes half the time of ``np.bincount``.
    """
    flat = np.ascontiguousarray(values).reshape(-1)
    if flat.size < 2**17:
        return np.bincount(flat, minlength=256)
    counts = np.zeros(65536, np.int64)
    even = flat.size // 2 * 2
    for start in range(0, even, _COUNTED):
        counts += np.bincount(flat[start : min(start + _COUNTED, even)].view(np.uint16), minlength=65536)
    table = counts.reshape(256, 256)
    total: npt.NDArray[np.int64] = table.sum(axis=0) + table.sum(axis=1)
    total += np.bincount(flat[even:], minlength=256)
    return total
