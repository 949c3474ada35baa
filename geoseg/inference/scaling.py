"""Where a scene and the same scene at another pixel size show the same ground. All in integers."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from geoseg.grids import Grid
from geoseg.tiling import Window

Position = TypeVar("Position", int, npt.NDArray[np.int64])


def nearest(position: Position, own: int, seen: int) -> Position:
    """The pixel, of ``seen`` along an axis, that holds the centre of pixel ``position`` of ``own``."""
    return (2 * position + 1) * seen // (2 * own)


def first_showing(position: int, own: int, seen: int) -> int:
    """The first pixel, of ``own`` along an axis, whose :func:`nearest` of ``seen`` is ``position`` or a later one."""
    return -(-(2 * own * position - seen) // (2 * seen))


def scaled(window: Window, own: Grid, seen: Grid) -> Window:
    """The pixels of the resampled scene that hold the centres of a window of the scene."""
    if own.shape == seen.shape:
        return window
    top, bottom = (nearest(r, own.height, seen.height) for r in (window.row_off, window.row_end - 1))
    left, right = (nearest(c, own.width, seen.width) for c in (window.col_off, window.col_end - 1))
    return Window(top, left, bottom + 1 - top, right + 1 - left)


def outwards(window: Window, seen: Grid, own: Grid) -> Window:
    """The pixels of the scene that a window of the resampled scene shows any of."""
    top, left = window.row_off * own.height // seen.height, window.col_off * own.width // seen.width
    bottom, right = -(-window.row_end * own.height // seen.height), -(-window.col_end * own.width // seen.width)
    return Window(top, left, bottom - top, right - left)
