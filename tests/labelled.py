"""Labelled imagery in memory, for tests of what is made of a source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geoseg.errors import CorruptRasterError
from geoseg.grids import Grid
from geoseg.legend import Legend
from geoseg.sources import LabelledPixels, Role, Sheet
from geoseg.tiling import Window

Arrays = tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None, npt.NDArray[np.uint8] | None]
"""Pixels (C, H, W), where there is data (None = everywhere), indices of classes (None = the first everywhere)."""


class MemorySource:
    """A source of arrays.

    Args:
        legend: The classes.
        arrays: One sheet each; all of one dtype and one number of bands.
        grids: Where the sheets are.
        roles: What they are meant for.
        names: What they are called.
        subsets: Named areas.
        failing: Message of the error that reading a sheet raises.
        unknown: Label value that index 254 stands for.
        notes: What is said of it.

    Attributes:
        reads: (sheet, window) of everything that was read, in order.
    """

    name = "memory"
    license = "MIT"

    def __init__(
        self,
        legend: Legend,
        arrays: Sequence[Arrays],
        *,
        grids: Sequence[Grid | None] | None = None,
        roles: Sequence[Role | None] | None = None,
        names: Sequence[str] | None = None,
        subsets: Sequence[str | None] | None = None,
        failing: Mapping[int, str] | None = None,
        unknown: int = 99,
        notes: Sequence[str] = (),
    ) -> None:
        self.legend = legend
        self.notes = tuple(notes)
        self.reads: list[tuple[int, Window]] = []
        self._arrays = [_completed(*given) for given in arrays]
        self._failing = dict(failing or {})
        self._unknown = unknown
        n = len(arrays)
        sheets = zip(
            names or [f"sheet{i}" for i in range(n)], arrays, grids or [None] * n, roles or [None] * n,
            subsets or [None] * n, strict=True,
        )  # fmt: skip
        self.sheets = tuple(
            Sheet(name, pixels.shape[1], pixels.shape[2], grid, role, subset, (Path(f"{name}.tif"),))
            for name, (pixels, _, _), grid, role, subset in sheets
        )
        self.dtype = str(arrays[0][0].dtype)
        self.band_names = tuple(f"band {i + 1}" for i in range(len(arrays[0][0])))

    def read(self, sheet: int, window: Window) -> LabelledPixels:
        """Read a window that lies inside the sheet."""
        height, width = self.sheets[sheet].height, self.sheets[sheet].width
        assert 0 <= window.row_off < window.row_end <= height, window
        assert 0 <= window.col_off < window.col_end <= width, window
        if sheet in self._failing:
            raise CorruptRasterError(self._failing[sheet])
        self.reads.append((sheet, window))
        here = (..., slice(window.row_off, window.row_end), slice(window.col_off, window.col_end))
        pixels, present, indices = self._arrays[sheet]
        odd = int((indices[here] == 254).sum())
        return LabelledPixels(pixels[here], present[here], indices[here], {self._unknown: odd} if odd else {})


def _completed(
    pixels: npt.NDArray[Any], present: npt.NDArray[np.bool_] | None, indices: npt.NDArray[np.uint8] | None
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_], npt.NDArray[np.uint8]]:
    """With data everywhere where nothing else is said, and without labels where there is no data."""
    shape = pixels.shape[1:]
    present = np.ones(shape, np.bool_) if present is None else present
    indices = np.zeros(shape, np.uint8) if indices is None else indices
    anywhere = present.any(axis=0) if present.ndim == 3 else present
    return pixels, present, np.where(anywhere, indices, np.uint8(255))
