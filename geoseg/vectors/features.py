"""Polygons with their attributes as flat arrays, ready to be written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geoseg.vectors.pages import copy_bytes

SMALLEST = 9
"""Bytes of the smallest geometry in WKB: byte order, type, count of rings or parts."""


@dataclass(frozen=True, slots=True)
class Features:
    """N polygons, or multipolygons, with their attributes.

    Attributes:
        wkb: (B,) uint8, their geometries one after the other: little-endian ISO WKB, rings closed.
        offsets: (N + 1,) int64; geometry i is ``wkb[offsets[i]:offsets[i + 1]]``.
        class_id: (N,) int32, each a class of the legend.
        area_m2: (N,) float64.
        perimeter_m: (N,) float64.
        pixel_count: (N,) int64.
        mean_confidence: (N,) float64 0..1, NaN for a polygon that has none; None where no confidence is known.

    Raises:
        ValueError: The arrays do not fit each other.
    """

    wkb: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    class_id: NDArray[np.int32]
    area_m2: NDArray[np.float64]
    perimeter_m: NDArray[np.float64]
    pixel_count: NDArray[np.int64]
    mean_confidence: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        # Compiled code reads by these numbers without looking whether they lie inside the arrays.
        columns: list[NDArray[Any]] = [self.class_id, self.area_m2, self.perimeter_m, self.pixel_count]
        columns += [self.mean_confidence] if self.mean_confidence is not None else []
        if len(self.offsets) < 1 or any(c.shape != (len(self),) for c in columns):
            raise ValueError(
                f"{len(self)} polygons need as many values of each attribute, not {[len(c) for c in columns]}"
            )
        ends = self.offsets
        if ends[0] != 0 or ends[-1] != len(self.wkb) or (np.diff(ends) < SMALLEST).any():
            raise ValueError(f"offsets 0..{len(self.wkb)} must rise by at least {SMALLEST} bytes a polygon")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def take(self, indices: NDArray[np.intp]) -> Features:
        """The features at ``indices``, (M,), in that order."""
        begins, lengths = self.offsets[indices], self.offsets[indices + 1] - self.offsets[indices]
        offsets = np.concatenate([np.zeros(1, np.int64), lengths.cumsum()])
        wkb = np.empty(offsets[-1], np.uint8)
        gather_wkb(self.wkb, begins, offsets, wkb)
        return Features(
            wkb,
            offsets,
            self.class_id[indices],
            self.area_m2[indices],
            self.perimeter_m[indices],
            self.pixel_count[indices],
            None if self.mean_confidence is None else self.mean_confidence[indices],
        )


@njit(cache=True, nogil=True)
def gather_wkb(
    wkb: NDArray[np.uint8], begins: NDArray[np.int64], offsets: NDArray[np.int64], gathered: NDArray[np.uint8]
) -> None:
    """Copy whole geometries: numbers of single bytes would take sixteen times the memory.

    Args:
        wkb: (B,) where they are taken from.
        begins: (N,) where they begin there.
        offsets: (N + 1,) where they begin and end in ``gathered``.
        gathered: Output.
    """
    for i in range(len(begins)):
        copy_bytes(gathered, offsets[i], wkb, begins[i], begins[i] + offsets[i + 1] - offsets[i])
