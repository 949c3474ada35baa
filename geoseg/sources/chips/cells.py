"""Where each class is, as far as chips reach."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from geoseg.tiling import Window

if TYPE_CHECKING:
    from geoseg.sources.ground import Positions
    from geoseg.sources.surveys import SheetSurvey
    from geoseg.sources.values import Sheet


class Cells:
    """The survey's cells of several sheets.

    Args:
        members: Number of each sheet, the sheet, what was seen in it, and where chips may be.

    Attributes:
        classes: Numbers of the classes that occur where a chip gets to.
    """

    def __init__(self, members: Sequence[tuple[int, Sheet, SheetSurvey, Positions]]) -> None:
        self._grids = [_CellGrid(*member) for member in members]
        pixels = np.stack([grid.totals for grid in self._grids])
        self.classes: tuple[int, ...] = tuple(int(k) for k in np.flatnonzero(pixels.any(axis=0)))
        self._ends = np.cumsum(pixels, axis=0)
        self._ends_of_any = np.cumsum(pixels.sum(axis=1))

    def draw_class(self, rng: np.random.Generator) -> int:
        """A class, all being as likely."""
        return self.classes[int(rng.integers(len(self.classes)))]

    def draw(self, number: int | None, rng: np.random.Generator) -> tuple[int, Window]:
        """(sheet, cell), as likely as the cell's pixels of the class, or of all where no number is given."""
        grid = self._grids[_drawn(self._ends_of_any if number is None else self._ends[:, number], rng)]
        return grid.sheet, grid.window(_drawn(np.cumsum(grid.counts(number)), rng))


class _CellGrid:
    """The cells of a sheet.

    Attributes:
        sheet: Its number.
        totals: (K,) int64, pixels of each class in the cells that a chip gets to.
    """

    def __init__(self, number: int, sheet: Sheet, found: SheetSurvey, positions: Positions) -> None:
        self.sheet, self._size, self._side, self._cells = number, (sheet.height, sheet.width), found.cell, found.cells
        tops, lefts = (np.arange(n, dtype=np.int64) * found.cell for n in found.cells.shape[:2])
        bottoms, rights = (
            np.minimum(starts + found.cell, size) for starts, size in zip((tops, lefts), self._size, strict=True)
        )
        near = positions.reach(tops, bottoms, lefts, rights)
        self._near = None if near.all() else near
        self.totals: npt.NDArray[np.int64] = found.cells[near].sum(axis=0, dtype=np.int64)

    def counts(self, number: int | None) -> npt.NDArray[np.int64]:
        """(cells,) pixels of a class, or of all; 0 where no chip gets to."""
        counts = self._cells.sum(axis=2) if number is None else self._cells[..., number]
        return (counts if self._near is None else counts * self._near).ravel().astype(np.int64)

    def window(self, cell: int) -> Window:
        """Where a cell is."""
        row, col = (n * self._side for n in divmod(cell, self._cells.shape[1]))
        return Window(row, col, min(self._side, self._size[0] - row), min(self._side, self._size[1] - col))


def _drawn(ends: npt.NDArray[np.int64], rng: np.random.Generator) -> int:
    """An index, as likely as its share; ``ends`` are running sums of counts, not all of them 0."""
    return int(np.searchsorted(ends, rng.integers(ends[-1]), side="right"))
