"""The one scaling from stored pixel values to network input, for training, validation, prediction and export."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geoseg.errors import ParameterError


@dataclass(frozen=True, slots=True)
class BandStats:
    """Per-band mean and standard deviation, in the units the scene stores (0..255 for 8-bit imagery).

    Attributes:
        mean: One value a band.
        std: One positive value a band.

    Raises:
        ParameterError: Lengths differ, no band, or a value is not finite or not positive.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(float(v) for v in self.mean))
        object.__setattr__(self, "std", tuple(float(v) for v in self.std))
        if not self.mean or len(self.mean) != len(self.std):
            raise ParameterError(f"{len(self.mean)} band means but {len(self.std)} standard deviations")
        if not all(math.isfinite(v) for v in self.mean + self.std) or min(self.std) <= 0:
            raise ParameterError(f"band statistics must be finite and positive: mean {self.mean}, std {self.std}")

    def normalize(
        self,
        pixels: npt.NDArray[np.generic],
        present: npt.NDArray[np.bool_],
    ) -> npt.NDArray[np.float32]:
        """Scale to zero mean and unit variance; what is absent becomes 0, the mean.

        Args:
            pixels: (C, H, W), any real dtype, as stored.
            present: (H, W) or (C, H, W); False where a pixel or a single sample is no data.

        Returns:
            (C, H, W) float32, finite everywhere that ``pixels`` is finite or absent.
        """
        if pixels.shape[0] != len(self.mean):
            raise ParameterError(f"{pixels.shape[0]} bands given, statistics are for {len(self.mean)}")
        with np.errstate(over="ignore", invalid="ignore"):  # absent samples may hold anything, 1e300 and NaN included
            scaled = pixels.astype(np.float32)
        mean = np.asarray(self.mean, np.float32)[:, None, None]
        if not present.all():
            np.copyto(scaled, mean, where=~present)
        scaled -= mean
        scaled *= (1.0 / np.asarray(self.std, np.float64)).astype(np.float32)[:, None, None]
        return scaled
