"""What a survey of labelled imagery tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from geoseg.sources.surveys.band_values import BandSurvey

CELL = 64
"""Side in pixels of a cell of a large sheet."""


@dataclass(frozen=True, slots=True, eq=False)
class SheetSurvey:
    """What was seen in one sheet.

    Attributes:
        pixels: With data in any band.
        absent: Without data.
        not_finite: Samples that are NaN or infinite.
        bands: One a band.
        class_pixels: (K,) int64, pixels of each class.
        ignored: Pixels with data and without label.
        unknown: Label values that are none of the legend, with their pixels, where the source told the values.
        unknown_pixels: All of these pixels.
        cells: (rows, cols, K) uint16, pixels of each class in squares of ``cell`` pixels, from the upper left corner.
        cell: Side of a cell; cells of the last row and column may be smaller.
        defect: Why the sheet cannot be used; then all else is empty. None where it can.
    """

    pixels: int
    absent: int
    not_finite: int
    bands: tuple[BandSurvey, ...]
    class_pixels: npt.NDArray[np.int64]
    ignored: int
    unknown: Mapping[int, int]
    unknown_pixels: int
    cells: npt.NDArray[np.uint16]
    cell: int
    defect: str | None = None

    @classmethod
    def failed(cls, defect: str, classes: int, cell: int) -> SheetSurvey:
        """Of a sheet that cannot be used."""
        nothing, cells = np.zeros(classes, np.int64), np.zeros((0, 0, classes), np.uint16)
        return cls(0, 0, 0, (), nothing, 0, {}, 0, cells, cell, defect)

    @property
    def labelled(self) -> int:
        """Pixels with a class."""
        return int(self.class_pixels.sum())


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """What was seen in all sheets.

    Attributes:
        sheets: One a sheet of the source, in its order.
        bands: Values of all usable sheets together, one a band.
        class_pixels: (K,) int64.
        unknown: Label values that are none of the legend, with their pixels.
    """

    sheets: tuple[SheetSurvey, ...]
    bands: tuple[BandSurvey, ...]
    class_pixels: npt.NDArray[np.int64] = field(init=False)
    unknown: Mapping[int, int] = field(init=False)

    def __post_init__(self) -> None:
        unknown: Counter[int] = Counter()
        for sheet in self.sheets:
            unknown.update(sheet.unknown)
        object.__setattr__(self, "unknown", dict(sorted(unknown.items())))
        object.__setattr__(self, "class_pixels", sum((s.class_pixels for s in self.sheets), np.int64(0)))

    @property
    def readable(self) -> tuple[int, ...]:
        """Numbers of the sheets that can be used."""
        return tuple(number for number, sheet in enumerate(self.sheets) if sheet.defect is None)


def cell_side(height: int, width: int) -> int:
    """Side of the cells of a sheet: 64 pixels, less where the sheet is small; at least 8."""
    side = CELL
    while side > 8 and min(height, width) < 16 * side:
        side //= 2
    return side
