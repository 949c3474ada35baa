"""What labelled imagery is: sheets, and the pixels of a window of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from geoseg.errors import ParameterError
from geoseg.grids import Grid
from geoseg.legend import Legend
from geoseg.tiling import Window

Role = Literal["train", "validation"]
"""What ground is for."""


class LeftOut(str):
    """A note about something that was given and is not used: users should see it as a warning."""

    __slots__ = ()


def told_apart(notes: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Notes of a source, and those about what it has left out."""
    plain = tuple(note for note in notes if not isinstance(note, LeftOut))
    return plain, tuple(note for note in notes if isinstance(note, LeftOut))


@dataclass(frozen=True, slots=True, eq=False)
class LabelledPixels:
    """A window of a sheet.

    Attributes:
        pixels: (C, h, w), as stored; anything where ``present`` is False.
        present: (h, w) or (C, h, w) bool: where there is data.
        indices: (h, w) uint8, indices of the legend in its order, 255 = ignore; always 255 where no band is present.
            254 stands for a label value that is none of the legend: a defect, for checks to count.
        unknown: Those label values, each with its number of pixels.
    """

    pixels: npt.NDArray[Any]
    present: npt.NDArray[np.bool_]
    indices: npt.NDArray[np.uint8]
    unknown: Mapping[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if len(shape) != 3 or self.indices.shape != shape[1:] or self.present.shape not in (shape, shape[1:]):
            raise ParameterError(
                f"pixels {shape}, present {self.present.shape} and labels {self.indices.shape} are not one window"
            )


@dataclass(frozen=True, slots=True)
class Sheet:
    """One image with its labels: described, without a handle or a pixel.

    Attributes:
        name: For messages and reports; unique in its source.
        height: Rows.
        width: Columns.
        grid: Where the pixels are; None where the image has no place.
        role: What its makers, or the user, meant it for; None leaves it open.
        subset: The named area it belongs to, of a dataset that has such.
        files: Where image and labels lie.
    """

    name: str
    height: int
    width: int
    grid: Grid | None = None
    role: Role | None = None
    subset: str | None = None
    files: tuple[Path, ...] = ()

    @property
    def window(self) -> Window:
        """All of it."""
        return Window(0, 0, self.height, self.width)


class Source(Protocol):
    """Labelled imagery of one legend, one order of bands and one sample type."""

    @property
    def name(self) -> str:
        """What it is called in messages and in the model file."""

    @property
    def legend(self) -> Legend:
        """The classes."""

    @property
    def band_names(self) -> tuple[str, ...]:
        """One a band, in order."""

    @property
    def dtype(self) -> str:
        """NumPy name of the samples' type."""

    @property
    def sheets(self) -> tuple[Sheet, ...]:
        """The images, in a fixed order."""

    @property
    def license(self) -> str:
        """Of images and labels; empty where nothing is known."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was matched, repaired, reprojected and assumed, each a sentence; :class:`LeftOut` what was not used."""

    def read(self, sheet: int, window: Window) -> LabelledPixels:
        """Read a window that lies inside the sheet; safe to call from several threads.

        Raises:
            GeosegError: The pixels or labels cannot be read; names the file.
        """


def ground_sample_distance(source: Source) -> float | None:
    """Median side of a pixel in metres over the sheets that have a place; None where none has."""
    sizes = [s.grid.ground_sample_distance() for s in source.sheets if s.grid is not None]
    known = [size for size in sizes if size is not None]
    return float(np.median(known)) if known else None
