"""What a tile shows of a scene that is mirrored at its borders, and how that is copied: in training and prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from geoseg.tiling import Axis, mirror

# A scene of a few pixels is mirrored to and fro within a tile: from so many runs on they are gathered one by one.
_MOST_RUNS = 8


@dataclass(frozen=True, slots=True)
class Shown:
    """What a tile shows of a strip along one axis.

    Attributes:
        span: From the first position to the last.
        runs: Where in the tile, and what of the strip stands there: slices, forwards or backwards, because NumPy
            gathers single positions many times more slowly.
    """

    span: slice
    runs: tuple[tuple[slice, slice | npt.NDArray[np.intp]], ...]


def span_of(positions: Sequence[int]) -> tuple[int, int]:
    """(first, last + 1) of positions in any order."""
    return min(positions), max(positions) + 1


@lru_cache(maxsize=1024)
def shown(axis: Axis, i: int, origin: int) -> Shown:
    """What is read of an axis for tile ``i``, counted from ``origin``."""
    return runs_of([position - origin for position in axis.mirrored(i)])


@lru_cache(maxsize=1024)
def shown_between(start: int, end: int, size: int, origin: int = 0) -> Shown:
    """What positions ``start`` .. ``end`` − 1 show of an axis of ``size`` mirrored pixels, counted from ``origin``."""
    return runs_of([mirror(position, size) - origin for position in range(start, end)])


def runs_of(at: Sequence[int]) -> Shown:
    """What shows these positions, in this order."""
    first, end = span_of(at)
    runs, begin = [], 0
    for k in range(1, len(at) + 1):
        step = at[begin + 1] - at[begin] if k > begin + 1 else 0
        if k < len(at) and abs(at[k] - at[k - 1]) == 1 and step in (0, at[k] - at[k - 1]):
            continue
        last = at[k - 1] + (step or 1)
        runs.append((slice(begin, k), slice(at[begin], last if last >= 0 else None, step or 1)))
        begin = k
    if len(runs) > _MOST_RUNS:
        return Shown(slice(first, end), ((slice(None), np.asarray(at, np.intp)),))
    return Shown(slice(first, end), tuple(runs))


def copy_tile(strip: npt.NDArray[Any], down: Shown, across: Shown, tile: npt.NDArray[Any]) -> None:
    """Rows and columns of (..., h, w) into a tile."""
    for into_rows, rows in down.runs:
        for into_cols, cols in across.runs:
            # Slices before index arrays: a gather then copies a tile and never a strip.
            part = strip[..., rows, :][..., cols] if isinstance(rows, slice) else strip[..., cols][..., rows, :]
            tile[..., into_rows, into_cols] = part
