"""One-dimensional windows, and what they weigh once all tiles that cover a position are counted."""

from __future__ import annotations

from typing import get_args

import numpy as np
import numpy.typing as npt

from geoseg.errors import ParameterError
from geoseg.tiling import Axis, Blend

Float = npt.NDArray[np.float32]

# MONAI's and nnU-Net's sigma of a Gaussian window, as a share of the tile.
_GAUSSIAN_SIGMA = 1 / 8


def window_1d(blend: Blend, axis: Axis) -> npt.NDArray[np.float64]:
    """Weight of a tile along one axis before normalisation.

    ``hann``, ``gaussian``, ``linear`` and ``uniform`` are positive everywhere; ``crop`` is 1 on the core, else 0.
    Hann is sin²(π·x), as in Pielawski and Wählby 2020 (https://doi.org/10.1371/journal.pone.0229839).

    Returns:
        (tile_size,) float64.

    Raises:
        ParameterError: Unknown blend.
    """
    size = axis.tile_size
    x = (np.arange(size) + 0.5) / size
    if blend == "hann":
        return np.asarray(np.sin(np.pi * x) ** 2)
    if blend == "gaussian":
        return np.asarray(np.exp(-0.5 * ((x - 0.5) / _GAUSSIAN_SIGMA) ** 2))
    if blend == "linear":
        return np.minimum(x, 1 - x)
    if blend == "uniform":
        return np.ones(size)
    if blend == "crop":
        inside = np.zeros(size)
        inside[axis.margin : axis.margin + axis.stride] = 1
        return inside
    raise ParameterError(f"unknown blend {blend!r}; choose one of {', '.join(get_args(Blend))}")


def tile_weights(blend: Blend, axis: Axis, i: int) -> Float:
    """Normalised weight of tile ``i`` at each of its positions.

    Identity: at every position of ``[0, axis.size)`` the weights of all tiles that cover it sum to 1.

    Returns:
        (tile_size,) float32; 0 at positions outside the axis.
    """
    window = window_1d(blend, axis)
    start, size = axis.start(i), axis.tile_size
    total = np.zeros(size)
    for j in axis.covering(start, start + size):
        shift = axis.start(j) - start
        total[max(0, shift) : size + min(0, shift)] += window[max(0, -shift) : size - max(0, shift)]
    weights = np.divide(window, total, out=np.zeros(size), where=total > 0)
    outside = np.arange(start, start + size)
    weights[(outside < 0) | (outside >= axis.size)] = 0
    return weights.astype(np.float32)
