"""The accumulator that carries only a strip: weighted tile scores in, rows that nothing will change any more out."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from geoseg.blending.stored import Stored
from geoseg.blending.windows import tile_weights
from geoseg.tiling import Blend, TileGrid, Window

Bytes = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float32]
Place = tuple[int, int]


class Arithmetic(Protocol):
    """Where score planes lie and how they are added: :mod:`~geoseg.blending.host`, :mod:`~geoseg.blending.device`."""

    def zeros(self, shape: tuple[int, int, int]) -> Any:
        """(planes, rows, columns) of zeros."""

    def add(self, sums: Any, at: Place, scores: Any, part: Place, down: Float, across: Float) -> None:
        """Add weighted scores in place."""

    def carry(self, sums: Any, rows: int) -> None:
        """Move up by ``rows``."""

    def store(self, sums: Any, rows: tuple[int, int], classes: int, stored: Stored) -> Bytes:
        """Rows of scores as bytes."""


class StripAccumulator:
    """Adds weighted tile scores of one area and gives back rows as soon as they are final.

    Memory is ``planes × tile_size × width of the area`` float32, whatever its height. Tiles must come in row-major
    order: the order of additions, and with it every bit of the result, is then the same for any batch size and for any
    area that holds a pixel.

    Args:
        grid: The scene's tile grid.
        area: The pixels that are wanted; the tiles that cover any of them are :attr:`tile_rows` × :attr:`tile_cols`.
        classes: Number of classes.
        planes: Score planes of a tile: the classes, and what uncertainty adds.
        blend: How overlapping tiles are weighted.
        arithmetic: Where the scores are.
    """

    def __init__(
        self, grid: TileGrid, area: Window, classes: int, planes: int, blend: Blend, arithmetic: Arithmetic
    ) -> None:
        self._rows, self._cols = grid.rows, grid.cols
        self._area = area
        self._classes = classes
        self._blend = blend
        self._arithmetic = arithmetic
        self.tile_rows = self._rows.covering(area.row_off, area.row_end)
        self.tile_cols = self._cols.covering(area.col_off, area.col_end)
        self._sums = arithmetic.zeros((planes, min(grid.tile_size, grid.height), area.width))
        self._col_weights = {c: tile_weights(blend, self._cols, c) for c in self.tile_cols}
        self._filled = 0  # the scene row before which a tile has added anything
        self._enter(self.tile_rows[0])

    def _enter(self, row: int) -> None:
        self._row = row
        self._row_weights = tile_weights(self._blend, self._rows, row)

    def final_rows(self, row: int) -> tuple[int, int]:
        """(first, last + 1) of the rows of the area that are final once tile row ``row`` is in, and not before.

        Equal where there are none: the first tile rows when tiles overlap by more than half.
        """
        end = self._area.row_end if row == self.tile_rows[-1] else self._rows.final_before(row)
        lo = max(self._base(row), self._area.row_off)
        return lo, max(lo, min(end, self._area.row_end))

    def _base(self, row: int) -> int:
        """Scene row of the first buffered row while tile row ``row`` is added."""
        return max(0, self._rows.start(row))

    def add(self, tile_col: int, scores: Any) -> None:
        """Add the scores of the tile at ``tile_col`` of the current tile row.

        Args:
            tile_col: One of :attr:`tile_cols`.
            scores: (planes, T, T) float32, of the arithmetic's kind: of the tile, or the network's map of all that was
                read for it, less what the network eats.
        """
        size = self._rows.tile_size
        down, across = self._rows.shift(self._row), self._cols.shift(tile_col)
        top, left = self._rows.start(self._row), self._cols.start(tile_col)
        row0, row1 = max(top, 0), min(top + size, self._rows.size)
        col0, col1 = max(left, self._area.col_off), min(left + size, self._area.col_end)
        base, first = self._base(self._row), self._area.col_off
        self._arithmetic.add(
            self._sums,
            (row0 - base, col0 - first),
            scores,
            (row0 - top + down, col0 - left + across),
            self._row_weights[row0 - top : row1 - top],
            self._col_weights[tile_col][col0 - left : col1 - left],
        )
        self._filled = max(self._filled, row1)

    def finished(self, stored: Stored) -> tuple[Window, Bytes | None] | None:
        """Rows that no later tile changes, once all tiles of the current tile row are in.

        Returns:
            The window in the scene, and (P, h, w) uint8 in the order of :meth:`Stored.planes`: the index of the class
            with the highest score, a tie going to the first in the legend, 255 where no tile covers; then the planes
            asked for, 0..250 for 0..1. None for the array where no tile added anything to these rows. None altogether
            where :meth:`final_rows` has none.
        """
        final = self.final_scores()
        if final is None or final[1] is None:
            return final
        lo, hi = final[0].row_off - self._base(self._row), final[0].row_end - self._base(self._row)
        return final[0], self._arithmetic.store(self._sums, (lo, hi), self._classes, stored)

    def final_scores(self) -> tuple[Window, Any | None] | None:
        """As :meth:`finished`, but the scores of these rows as they are: (planes, h, w), until :meth:`advance`."""
        base = self._base(self._row)
        lo, hi = self.final_rows(self._row)
        if hi <= lo:
            return None
        window = Window(lo, self._area.col_off, hi - lo, self._area.width)
        return window, None if self._filled <= lo else self._sums[:, lo - base : hi - base]

    def stored(self, scores: Any, stored: Stored) -> Bytes:
        """(planes, h, w) scores as :meth:`finished` gives them."""
        return self._arithmetic.store(scores, (0, scores.shape[1]), self._classes, stored)

    def advance(self) -> None:
        """Go on to the next tile row, carrying only the rows that it still changes."""
        if self._row == self.tile_rows[-1]:
            return
        base, row = self._base(self._row), self._row + 1
        if self._filled > base:
            self._arithmetic.carry(self._sums, self._base(row) - base)
        self._enter(row)
