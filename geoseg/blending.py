"""Overlapping tiles made one: windows that sum to 1 everywhere, and the accumulator that carries only a strip.

Each 1-D window is sampled at pixel centres and divided by the sum of all windows that cover a position, over the tiles
that really exist. A tile's 2-D weight is the outer product of two such vectors. So the weights of the tiles that cover
a pixel sum to 1, also at the borders of the scene, scores need no division afterwards, and no weight buffer exists.
"""

from __future__ import annotations

from typing import get_args

import numpy as np
import numpy.typing as npt

from geoseg.errors import ParameterError
from geoseg.tiling import Axis, Blend, TileGrid, Window

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


class StripAccumulator:
    """Adds weighted tile scores of one column panel and gives back rows as soon as they are final.

    Memory is ``classes × tile_size × panel width`` float32, whatever the height of the scene. Tiles must come in
    row-major order: the order of additions, and with it every bit of the result, is then the same for any batch size.

    Args:
        grid: The scene's tile grid.
        classes: Number of score planes.
        blend: How overlapping tiles are weighted.
        columns: ``(lo, hi)`` of the panel in scene columns; default is the whole width.
    """

    def __init__(self, grid: TileGrid, classes: int, blend: Blend, columns: tuple[int, int] | None = None) -> None:
        self._rows, self._cols = grid.rows, grid.cols
        self._blend = blend
        self._lo, self._hi = columns or (0, grid.width)
        self._scores = np.zeros((classes, min(grid.tile_size, grid.height), self._hi - self._lo), np.float32)
        self._row = 0
        self._col_weights = {c: tile_weights(blend, self._cols, c) for c in self.tile_columns}
        self._row_weights = tile_weights(blend, self._rows, 0)

    @property
    def tile_columns(self) -> range:
        """Tile columns that the panel needs, those of its neighbours included."""
        return self._cols.covering(self._lo, self._hi)

    def _base(self) -> int:
        """Scene row of the first buffered row."""
        return max(0, self._rows.start(self._row))

    def add(self, tile_col: int, scores: Float) -> None:
        """Add the scores of the tile at ``tile_col`` of the current tile row.

        Args:
            tile_col: One of :attr:`tile_columns`.
            scores: (classes, tile_size, tile_size) float32; overwritten.
        """
        size = self._rows.tile_size
        top, left = self._rows.start(self._row), self._cols.start(tile_col)
        row0, row1 = max(top, 0), min(top + size, self._rows.size)
        col0, col1 = max(left, self._lo), min(left + size, self._hi)
        if col0 >= col1:
            return
        part = scores[:, row0 - top : row1 - top, col0 - left : col1 - left]
        weight = np.outer(
            self._row_weights[row0 - top : row1 - top], self._col_weights[tile_col][col0 - left : col1 - left]
        )
        part *= weight
        base = self._base()
        self._scores[:, row0 - base : row1 - base, col0 - self._lo : col1 - self._lo] += part

    def finished(self) -> tuple[Window, Float] | None:
        """Rows that no later tile changes, once all tiles of the current tile row are in.

        Returns:
            The window in the scene, and (classes, window height, panel width) float32 scores that sum to 1 over the
            classes wherever every covering tile was added; a view that :meth:`advance` overwrites. None where no row is
            final yet: the first tile rows when tiles overlap by more than half.
        """
        base = self._base()
        count = self._rows.final_before(self._row) - base
        if count == 0:
            return None
        return Window(base, self._lo, count, self._hi - self._lo), self._scores[:, :count]

    def advance(self) -> None:
        """Go on to the next tile row, carrying only the rows that it still changes."""
        base = self._base()
        count = self._rows.final_before(self._row) - base
        held = self._scores.shape[1] - count
        for plane in self._scores:  # one at a time: NumPy copies what an overlapping assignment reads
            plane[:held] = plane[count:]
            plane[held:] = 0
        self._row += 1
        if self._row < len(self._rows):
            self._row_weights = tile_weights(self._blend, self._rows, self._row)


def decide(scores: Float) -> tuple[npt.NDArray[np.uint8], Float]:
    """The class with the highest score, and that score.

    Plane by plane, because ``argmax`` over the first axis of a large array is ten times slower. A tie goes to the class
    that comes first in the legend.

    Args:
        scores: (K, H, W) float32, K ≤ 254.

    Returns:
        (H, W) uint8 channel index, and (H, W) float32 score.
    """
    best = scores[0].copy()
    index = np.zeros(best.shape, np.uint8)
    for channel in range(1, scores.shape[0]):
        better = scores[channel] > best
        np.copyto(best, scores[channel], where=better)
        index[better] = channel
    return index, best
