"""Values of a band counted as they come by, in memory that does not grow with them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 32
"""Of the histogram of a :class:`BandSurvey`."""

# Values at a time: counting takes eight bytes of each.
_PIECE = 1 << 20

_MOST = float(np.finfo(np.float32).max)
_FIRST_VALUE = {"bool": 0, "uint8": 0, "int8": -128, "uint16": 0, "int16": -32768}


@dataclass(frozen=True, slots=True)
class BandSurvey:
    """The finite samples of a band where there is data. All 0 where there are none.

    Attributes:
        count: How many.
        low: Smallest value.
        high: Largest value.
        mean: Mean.
        std: Standard deviation of the population.
        p01: 1st percentile: the smallest value that at least 1 % of the samples do not exceed. Exact up to 16 bits of
            integers, to 0.4 % of the value else.
        p99: 99th percentile.
        histogram: Samples in 32 equal steps from ``p01`` to ``p99``; the outer ones hold what lies beyond, too.
    """

    count: int
    low: float
    high: float
    mean: float
    std: float
    p01: float
    p99: float
    histogram: tuple[int, ...]

    @property
    def is_constant(self) -> bool:
        """Whether all samples are the same, and there are some."""
        return self.count > 0 and self.low == self.high


class ValueCounter:
    """Counts values of one type.

    Integers of up to 16 bits are counted each for itself; all others by the upper 16 bits of their float32 form: sign,
    exponent and the first 7 bits of the significand. What is beyond the range of float32 counts as its end.

    Args:
        dtype: NumPy name of the values' type.
    """

    def __init__(self, dtype: str) -> None:
        self._dtype = dtype
        self._counts = np.zeros(256 if dtype in ("bool", "uint8", "int8") else 65536, np.int64)
        self._moments = _Moments()

    def add(self, values: npt.NDArray[Any]) -> None:
        """Count values, all finite, in any shape."""
        flat = values.reshape(-1)
        for start in range(0, flat.size, _PIECE):
            piece = flat[start : start + _PIECE]
            self._counts += np.bincount(self._keys(piece), minlength=len(self._counts))
            if self._dtype not in _FIRST_VALUE:
                self._moments.add(_moments_of(np.clip(piece, -_MOST, _MOST).astype(np.float64)))

    def merge(self, other: ValueCounter) -> None:
        """Count what another one of the same type has counted."""
        self._counts += other._counts
        self._moments.add(other._moments)

    def summary(self) -> BandSurvey:
        """What was counted so far."""
        number = int(self._counts.sum())
        if not number:
            return BandSurvey(0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, (0,) * BINS)
        values, cumulated = self._bin_values(), np.cumsum(self._counts)
        moments = self._moments if self._moments.number else _moments_of(values, self._counts)
        ranks = [max(1, math.ceil(share * number)) for share in (0.01, 0.99)]
        p01, p99 = (float(np.clip(values[np.searchsorted(cumulated, r)], moments.low, moments.high)) for r in ranks)
        step = (p99 - p01) / BINS or 1.0
        bins = np.clip((values - p01) / step, 0, BINS - 1).astype(np.intp)
        histogram = tuple(np.bincount(bins, self._counts, BINS).astype(np.int64).tolist())
        std = math.sqrt(moments.spread / number)
        return BandSurvey(number, moments.low, moments.high, moments.mean, std, p01, p99, histogram)

    def _keys(self, values: npt.NDArray[Any]) -> npt.NDArray[np.integer[Any]]:
        """Numbers of bins."""
        if self._dtype in ("bool", "uint8"):
            return values.view(np.uint8)
        if self._dtype == "uint16":
            return values
        if self._dtype in _FIRST_VALUE:
            return values.astype(np.int32) - _FIRST_VALUE[self._dtype]
        bits = np.clip(values, -_MOST, _MOST).astype(np.float32).view(np.uint32)
        ordered: npt.NDArray[np.uint32] = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
        return ordered >> 16

    def _bin_values(self) -> npt.NDArray[np.float64]:
        """The value of each bin, or its middle."""
        keys = np.arange(len(self._counts))
        if self._dtype in _FIRST_VALUE:
            return keys.astype(np.float64) + _FIRST_VALUE[self._dtype]
        middle = (keys << 16 | 0x8000).astype(np.uint32)
        bits = np.where(middle >> 31, middle & np.uint32(0x7FFFFFFF), ~middle)
        # There are bins of infinity and NaN, in which nothing is ever counted; the smallest numbers count as zero.
        values = np.nan_to_num(bits.view(np.float32), nan=0.0).astype(np.float64)
        values[[0x7FFF, 0x8000]] = 0.0
        return values


@dataclass(slots=True)
class _Moments:
    """Number, mean, sum of squared distances from it, smallest and largest of a set of values."""

    number: int = 0
    mean: float = 0.0
    spread: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    def add(self, other: _Moments) -> None:
        """Join another set: Chan, Golub and LeVeque 1979, "Updating formulae", eq. 2.1."""
        if not other.number:
            return
        total, apart = self.number + other.number, other.mean - self.mean
        self.spread += other.spread + apart**2 * self.number * other.number / total
        self.mean += apart * other.number / total
        self.number = total
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)


def _moments_of(values: npt.NDArray[np.float64], counts: npt.NDArray[np.int64] | None = None) -> _Moments:
    """Of values that occur once, or as often as ``counts`` says."""
    if counts is not None:
        values, counts = values[counts > 0], counts[counts > 0]
    mean = float(np.average(values, weights=counts))
    away = (values - mean) ** 2
    spread = float(away.sum() if counts is None else (away * counts).sum())
    number = values.size if counts is None else int(counts.sum())
    return _Moments(number, mean, spread, float(values.min()), float(values.max()))
