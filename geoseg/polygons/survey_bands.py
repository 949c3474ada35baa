"""Rows of a raster as runs of equal labels, the parts of patches they make up, and areas as whole numbers.

Areas are whole numbers of a unit that is chosen by the size of the raster: their sums are exact and do not depend on
the order of summation, hence not on strips.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geoseg.errors import ParameterError
from geoseg.polygons.labelling import Runs, find_runs, number_runs

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int32]
Longs = NDArray[np.int64]

Strips = Callable[[], Iterator[Bytes]]
"""Restartable strips of labels: each call gives (h, w) uint8 strips of one raster, top to bottom, of any heights."""

# Pixels that are looked at together, but for rows that are very wide; every one may be a patch of its own, and then
# takes up to 200 bytes.
_BAND_PIXELS = 1 << 20
_FEWEST_ROWS = 32

# An area that misses the minimum by less than this share misses it by rounding.
_ROUNDING = 1e-9

# Areas of everything stay below this many units, which leaves room for sums.
_MOST_UNITS = 2.0**61


@dataclass(frozen=True, slots=True)
class AreaUnits:
    """Areas as whole numbers.

    Attributes:
        rows: (H,) int64, area of one pixel of each row, in units.
        scale: Units in one m².
        rounding: Share of an area by which it may be off.
    """

    rows: Longs
    scale: float
    rounding: float

    @classmethod
    def fitting(cls, row_areas: NDArray[np.float64], width: int) -> AreaUnits:
        """The finest units in which all pixels of (H,) ``row_areas`` in m² can be summed."""
        scale = 2.0 ** math.floor(math.log2(_MOST_UNITS / (width * float(row_areas.sum()))))
        rows = np.maximum(np.rint(row_areas * scale), 1).astype(np.int64)
        return cls(rows, scale, _ROUNDING + float(0.5 / rows.min()))

    def thresholds(self, areas: NDArray[np.float64]) -> Longs:
        """What an area must reach, in units, to count as one of ``areas`` m²."""
        return np.minimum(np.ceil(areas * self.scale * (1 - self.rounding)), 2 * _MOST_UNITS).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Parts:
    """What is known of N patches or parts of them, numbered from 1; row 0 stands for no data. Each array is (N + 1,).

    Attributes:
        classes: uint8, class ids.
        first: int64, the first pixel in row-major order: row * width + column.
        pixels: int64, pixel counts.
        areas: int64, in units.
    """

    classes: Bytes
    first: Longs
    pixels: Longs
    areas: Longs


@dataclass(frozen=True, slots=True)
class Band:
    """Some rows of a raster, as runs of equal labels.

    Attributes:
        width: Columns.
        last: Whether the raster ends with these rows.
        runs: The maximal runs.
        numbers: (R,) int32, the part of each run; 0 = no data.
        parts: The parts; in a surveyed band, what is known of the whole patch of each.
        goes_on: (N + 1,) bool, parts that reach the last row of the band while the raster goes on.
    """

    width: int
    last: bool
    runs: Runs
    numbers: Ints
    parts: Parts
    goes_on: NDArray[np.bool_]


def restrip(strips: Strips, height: int) -> Strips:
    """The same raster in strips of ``height`` rows; the last one may have fewer.

    Raises:
        ParameterError: When the result is read: strips differ in width.
    """

    def restripped() -> Iterator[Bytes]:
        waiting: list[Bytes] = []
        rows, width = 0, -1
        for strip in strips():
            width = strip.shape[1] if width < 0 else width
            if strip.shape[1] != width:
                raise ParameterError(f"strips of {width} and {strip.shape[1]} columns; give strips of one width")
            while rows + len(strip) >= height:
                yield _joined([*waiting, strip[: height - rows]])
                strip, waiting, rows = strip[height - rows :], [], 0
            if len(strip):
                waiting.append(strip.copy())  # the source may use its buffer again
                rows += len(strip)
        if waiting:
            yield _joined(waiting)

    return restripped


def _joined(strips: list[Bytes]) -> Bytes:
    return strips[0] if len(strips) == 1 else np.concatenate(strips)


def read_bands(
    strips: Strips, row_areas: NDArray[np.float64], rows: int | None = None
) -> Iterator[tuple[Band, AreaUnits]]:
    """The raster in bands of ``rows`` rows, or of as many as suit its width, with the units of their areas.

    Args:
        strips: The raster.
        row_areas: (H,) area of one pixel of each row in m².
        rows: Rows of a band.

    Raises:
        ParameterError: The strips do not have the H rows, or differ in width.
    """
    first = next((strip for strip in strips() if strip.size), None)
    if first is None:
        return
    width, top = first.shape[1], 0
    units = AreaUnits.fitting(row_areas, width)
    for strip in restrip(strips, rows or max(_FEWEST_ROWS, _BAND_PIXELS // width))():
        bottom = top + len(strip)
        if bottom > len(row_areas):
            raise ParameterError(
                f"{bottom} rows of labels or more but areas for {len(row_areas)}; give an area for each row"
            )
        yield _band(strip, top, units, last=bottom == len(row_areas)), units
        top = bottom
    if top < len(row_areas):
        raise ParameterError(f"{top} rows of labels but areas for {len(row_areas)}; give an area for each row")


def _band(labels: Bytes, top: int, units: AreaUnits, *, last: bool) -> Band:
    height, width = labels.shape
    runs = find_runs(labels)
    numbers, roots = number_runs(runs, 0)
    parts = _measure(runs, numbers, roots, units.rows[top : top + height], top * width, width)
    goes_on = np.zeros(len(roots) + 1, np.bool_)
    if not last:
        goes_on[numbers[runs.rows[-2] :]] = True
        goes_on[0] = False
    return Band(width, last, runs, numbers, parts, goes_on)


def _measure(runs: Runs, numbers: Ints, roots: Ints, row_areas: Longs, first_pixel: int, width: int) -> Parts:
    """Parts of a band whose first pixel has the number ``first_pixel``."""
    total = len(roots) + 1
    parts = Parts(np.zeros(total, np.uint8), *(np.zeros(total, np.int64) for _ in range(3)))
    _sum_runs(runs, numbers, row_areas, parts.pixels, parts.areas)
    row = np.searchsorted(runs.rows, roots, side="right") - 1
    parts.classes[1:] = runs.labels[roots]
    parts.first[1:] = first_pixel + row * width + runs.starts[roots]
    return parts


@njit(cache=True, nogil=True)
def _sum_runs(runs: Runs, numbers: Ints, row_areas: Longs, pixels: Longs, areas: Longs) -> None:
    starts, rows = runs.starts, runs.rows
    for r in range(len(row_areas)):
        for run in range(rows[r], rows[r + 1] - 1):
            part = numbers[run]
            if part:
                length = np.int64(starts[run + 1]) - starts[run]
                pixels[part] += length
                areas[part] += length * row_areas[r]
