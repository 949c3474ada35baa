"""A scene that is an array in memory, whole or a part of it; see :class:`geoseg.rasters.Scene`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geoseg.errors import ParameterError
from geoseg.grids import Grid
from geoseg.rasters import Pixels
from geoseg.rasters.scenes import refuse_outside
from geoseg.rasters.validity import judge, never_absent
from geoseg.tiling import Window

Values = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class ArrayScene:
    """The grid and the bands of a scene, and of its samples none, some or all.

    Attributes:
        name: For messages.
        grid: Where the pixels of the whole scene are.
        dtype: NumPy name of the samples' type.
        bands: Numbers of the bands that are read, from 1.
        band_names: Of those.
        nodata: Nodata value of each of those, None without.
        missing: The same as the samples hold it; None where none can.
        values: (C, h, w) samples of those; None for what is known before any sample is read.
        window: Where they are in the scene; None without.
    """

    name: str
    grid: Grid
    dtype: str
    bands: tuple[int, ...]
    band_names: tuple[str, ...]
    nodata: tuple[float | None, ...]
    missing: tuple[np.generic | None, ...]
    values: Values | None = None
    window: Window | None = None

    @property
    def block_shape(self) -> tuple[int, int]:
        """The scene: an array in memory has no blocks."""
        return self.grid.shape

    @property
    def files(self) -> frozenset[Path]:
        """None."""
        return frozenset()

    @property
    def notices(self) -> tuple[str, ...]:
        """None."""
        return ()

    @property
    def always_valid(self) -> bool:
        """Whether every sample is data, whatever it is."""
        return never_absent(self.dtype, self.missing)

    @property
    def identity(self) -> dict[str, object]:
        """Its name and shape: what an array holds is known to who computes it alone."""
        return {"array": self.name, "shape": list(self.grid.shape), "bands": list(self.bands)}

    def holding(self, values: Values, window: Window) -> ArrayScene:
        """The same scene with the samples of a window.

        Args:
            values: (C, h, w) of :attr:`bands`.
            window: Where they are.
        """
        assert values.shape == (len(self.bands), window.height, window.width), (values.shape, window)
        return replace(self, values=values.astype(self.dtype, copy=False), window=window)

    def read(self, window: Window) -> Pixels:
        """Samples of a window.

        Raises:
            ParameterError: They are not held.
        """
        refuse_outside(window, self.grid, self.name)
        values, held = self.values, self.window
        if (
            values is None
            or held is None
            or not (held.row_off <= window.row_off and window.row_end <= held.row_end)
            or not (held.col_off <= window.col_off and window.col_end <= held.col_end)
        ):
            raise ParameterError(f"{self.name}: {window} is not among what is held ({held}); please report this")
        top, left = window.row_off - held.row_off, window.col_off - held.col_off
        samples = values[:, top : top + window.height, left : left + window.width]
        return judge(samples, self.missing, np.empty((0, window.height, window.width), np.uint8), None)

    def sample(self, max_side: int = 512) -> Pixels:
        """Samples from all over what is held, at most about ``max_side`` squared; one that is absent where none is."""
        if self.values is None:
            return Pixels(
                np.zeros((len(self.bands), 1, 1), self.dtype),
                np.ones((1, 1), np.bool_),
                np.zeros((len(self.bands), 1, 1), np.bool_),
            )
        step = max(1, -(-max(self.values.shape[1:]) // max_side))
        samples = self.values[:, ::step, ::step]
        return judge(samples, self.missing, np.empty((0, *samples.shape[1:]), np.uint8), None)
