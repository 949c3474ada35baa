"""Pixels of any type and number of bands as pictures for the eye."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from geoseg.errors import ParameterError
from geoseg.normalization import BandStats

# Standard deviations around the mean that are spread over the screen: between them lie all but 2 % of a normal
# distribution on either side.
_SPREAD = 2.05

_CELL = 8
_PALE = (233, 214)

_COLORS = (("red", "r"), ("green", "g"), ("blue", "b"))


@dataclass(frozen=True, slots=True)
class Previewer:
    """Makes pictures of windows of one source, all stretched alike, so that they can be compared.

    Attributes:
        stats: Of the training ground.
        value_range: Smallest and largest value that training saw: nothing beyond it is spread over the screen.
        band_names: One a band. Those called red, green and blue are shown; else the first three; of one or two, the
            first in grey.
    """

    stats: BandStats
    value_range: tuple[float, float]
    band_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.band_names) != len(self.stats.mean):
            raise ParameterError(f"{len(self.band_names)} band names but statistics of {len(self.stats.mean)} bands")

    def picture(self, pixels: npt.NDArray[Any], present: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
        """A picture of a window.

        Args:
            pixels: (C, h, w), as stored.
            present: (h, w) or (C, h, w); where there is data.

        Returns:
            (h, w, 3) uint8 red, green, blue; a pale chequer where a band that is shown has no data.
        """
        if len(pixels) != len(self.band_names):
            raise ParameterError(f"{len(pixels)} bands given, the picture is made of {len(self.band_names)}")
        bands = shown_bands(self.band_names)
        shown = pixels[bands]
        there = present if present.ndim == 2 else present[bands].all(axis=0)
        there = there & np.isfinite(shown).all(axis=0)
        levels = [self._stretched(band, number, there) for band, number in zip(shown, bands, strict=True)]
        return np.where(there[..., None], np.dstack(levels), _chequer(*there.shape)[..., None])

    def _stretched(self, band: npt.NDArray[Any], number: int, there: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
        """(h, w) one band to 0..255; anything where there is no data."""
        low, high = self._limits(number)
        values = np.where(there, band, 0).astype(np.float64)
        return np.rint(np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)

    def _limits(self, number: int) -> tuple[float, float]:
        """The values of a band that become black and white."""
        mean, reach = self.stats.mean[number], _SPREAD * self.stats.std[number]
        low, high = max(mean - reach, self.value_range[0]), min(mean + reach, self.value_range[1])
        return (low, high) if low < high else (mean - reach, mean + reach)


def preview(
    pixels: npt.NDArray[Any],
    present: npt.NDArray[np.bool_],
    stats: BandStats,
    value_range: tuple[float, float],
    band_names: Sequence[str],
) -> npt.NDArray[np.uint8]:
    """One picture of a window; see :class:`Previewer`."""
    return Previewer(stats, value_range, tuple(band_names)).picture(pixels, present)


def shown_bands(names: Sequence[str]) -> list[int]:
    """The three bands that are shown as red, green and blue."""
    plain = [name.strip().lower() for name in names]
    named = [next((i for i, name in enumerate(plain) if name in words), None) for words in _COLORS]
    if None not in named:
        return [i for i in named if i is not None]
    return [0, 1, 2] if len(names) >= 3 else [0, 0, 0]


def _chequer(height: int, width: int) -> npt.NDArray[np.uint8]:
    rows, cols = np.arange(height)[:, None] // _CELL, np.arange(width) // _CELL
    return np.where((rows + cols) % 2, np.uint8(_PALE[0]), np.uint8(_PALE[1]))
