"""Which values occur in uint8 pixels. ``np.bincount`` would widen every pixel to eight bytes first."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


def count_values(values: NDArray[np.uint8], valid: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(256,) how many pixels have each value, of (h, w) ``values`` where (h, w) ``valid``."""
    counts = np.zeros((_LANES, 256), np.int64)
    _count(np.ascontiguousarray(values).reshape(-1), np.ascontiguousarray(valid).reshape(-1), counts)
    return np.asarray(counts.sum(axis=0))


# Neighbouring pixels are mostly alike: one counter for all would wait for itself.
_LANES = 4


@njit(cache=True, nogil=True)
def _count(values: NDArray[np.uint8], valid: NDArray[np.bool_], counts: NDArray[np.int64]) -> None:
    for i in range(values.size):
        counts[i & (_LANES - 1), values[i]] += valid[i]
