"""Border pixels and their matches, compiled."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit


@njit(cache=True, nogil=True)
def mark_borders(labels: npt.NDArray[np.uint8], compared: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """(h, w) the class of each border pixel, 0 elsewhere; only pixels where ``compared`` take part."""
    height, width = labels.shape
    marked = np.zeros((height, width), np.uint8)
    for row in range(height):
        for col in range(width):
            if not compared[row, col]:
                continue
            own = labels[row, col]
            if (
                (row > 0 and compared[row - 1, col] and labels[row - 1, col] != own)
                or (row + 1 < height and compared[row + 1, col] and labels[row + 1, col] != own)
                or (col > 0 and compared[row, col - 1] and labels[row, col - 1] != own)
                or (col + 1 < width and compared[row, col + 1] and labels[row, col + 1] != own)
            ):
                marked[row, col] = own
    return marked


@njit(cache=True, nogil=True)
def count_matches(
    ours: npt.NDArray[np.uint8],
    theirs: npt.NDArray[np.uint8],
    around: npt.NDArray[np.int64],
    top: int,
    bottom: int,
    counts: npt.NDArray[np.int64],
) -> None:
    """Add, by class, the border pixels of ``ours`` in some rows to ``counts[0]``, and those that match to ``[1]``.

    Args:
        ours: (h, w) what :func:`mark_borders` gives.
        theirs: (h, w), the same of the other labels.
        around: (N, 2) steps down and across at which a match is looked for.
        top: First row that is counted.
        bottom: Row after the last.
        counts: (2, 256) int64.
    """
    height, width = ours.shape
    for row in range(top, bottom):
        for col in range(width):
            own = ours[row, col]
            if own == 0:
                continue
            counts[0, own] += 1
            for step in range(len(around)):
                r, c = row + around[step, 0], col + around[step, 1]
                if 0 <= r < height and 0 <= c < width and theirs[r, c] == own:
                    counts[1, own] += 1
                    break
