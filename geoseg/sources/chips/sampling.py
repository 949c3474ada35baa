"""Which chips a training sees: drawn at random, and yet the same for the same seed, epoch, step and rank."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geoseg.errors import ParameterError
from geoseg.legend import IGNORE_ID
from geoseg.sources.chips.cells import Cells
from geoseg.sources.ground import Positions, free_rectangles
from geoseg.tiling import Window

if TYPE_CHECKING:
    from geoseg.sources.chips.storing import Store
    from geoseg.sources.splits import Split
    from geoseg.sources.surveys import Survey
    from geoseg.sources.values import Sheet

# How often a chip is drawn again that lacks what it is to show.
_DRAWS = 10


@dataclass(frozen=True, slots=True)
class Chip:
    """A place to cut a sample from.

    Attributes:
        sheet: Number in the source.
        window: Inside the sheet; shorter than a chip where the sheet is.
    """

    sheet: int
    window: Window


class ChipSampler:
    """Draws chips from the training ground.

    A sheet is as likely as its share of the training ground, in a sheet all allowed places are, and a chip without any
    label is drawn again. A chip of the class-aware share is there for a class: the class is drawn evenly among those
    that the training ground has, then a cell of the survey as likely as its pixels of this class, then a chip that
    holds this cell or much of it, and the class.

    Args:
        store: The sheets, for their labels.
        split: What is trained on.
        survey: Where which class is.
        size: Side of a chip in pixels.
        seed: Of everything random.
        class_aware: Share of the chips that are there for a class, 0..1.

    Attributes:
        ground: Pixels of training ground, in sheets where a chip fits.

    Raises:
        ParameterError: No chip fits the training ground, or none of it has a label; or a number is out of range.
    """

    def __init__(
        self, store: Store, split: Split, survey: Survey, *, size: int, seed: int = 0, class_aware: float = 0.0
    ) -> None:
        if size < 1 or seed < 0 or not 0 <= class_aware <= 1:
            raise ParameterError(
                f"chips of {size} px, seed {seed}, class-aware share {class_aware}; give at least 1 px, a seed of 0 or "
                "more, and a share of 0..1"
            )
        self.size = size
        self._store, self._seed, self._class_aware = store, seed, class_aware
        grounds = _grounds(store.source.sheets, split, survey, size)
        self._places = {ground.sheet: ground.positions for ground in grounds}
        sheets = store.source.sheets
        self._cells = Cells([(g.sheet, sheets[g.sheet], survey.sheets[g.sheet], g.positions) for g in grounds])
        if not self._cells.classes:
            raise ParameterError(
                f"none of the {len(grounds)} training sheets has a labelled pixel where a chip of {size} px fits"
            )
        self._sheets = [ground.sheet for ground in grounds]
        self._ends = np.cumsum([ground.pixels for ground in grounds])
        self.ground = int(self._ends[-1])

    @property
    def per_epoch(self) -> int:
        """Chips that have as many pixels as the training ground."""
        return max(1, math.ceil(self.ground / self.size**2))

    def draw(self, epoch: int, step: int, rank: int, count: int) -> tuple[Chip, ...]:
        """The chips of a batch: always the same for the same numbers.

        Args:
            epoch: From 0.
            step: In the epoch, from 0.
            rank: Of the process among those that train together.
            count: How many.
        """
        rng = np.random.default_rng([self._seed, epoch, step, rank])
        return tuple(self._chip(rng) for _ in range(count))

    def _chip(self, rng: np.random.Generator) -> Chip:
        if rng.random() < self._class_aware:
            return self._chip_of(self._cells.draw_class(rng), rng)
        for _ in range(_DRAWS):
            place = int(rng.integers(self._ends[-1]))
            sheet = self._sheets[int(np.searchsorted(self._ends, place, side="right"))]
            chip = Chip(sheet, self._places[sheet].window(rng))
            if (self._store.indices(sheet, chip.window) != IGNORE_ID).any():
                return chip
        return self._chip_of(None, rng)

    def _chip_of(self, number: int | None, rng: np.random.Generator) -> Chip:
        """A chip with a class, or with any where no number is given; one that lies in a larger cell may miss it."""
        for left in reversed(range(_DRAWS)):
            sheet, cell = self._cells.draw(number, rng)
            positions = self._places[sheet]
            # To hold all of a cell that is about as large, a chip would have but one place.
            window = positions.window_with(_part(cell, max(1, self.size // 2), rng), rng) if left else None
            window = window or positions.window_with(cell, rng)
            if window is None:
                raise AssertionError(f"no chip at {cell} of sheet {sheet}, which was found to have one")
            chip = Chip(sheet, window)
            indices = self._store.indices(sheet, window)
            if (indices != IGNORE_ID if number is None else indices == number).any():
                break
        return chip


def _part(cell: Window, side: int, rng: np.random.Generator) -> Window:
    """A random window of a cell, with sides of at most ``side``."""
    height, width = min(side, cell.height), min(side, cell.width)
    row, col = (int(rng.integers(n + 1)) for n in (cell.height - height, cell.width - width))
    return Window(cell.row_off + row, cell.col_off + col, height, width)


@dataclass(frozen=True, slots=True)
class _Ground:
    """Training ground of a sheet, and where a chip fits in it."""

    sheet: int
    pixels: int
    positions: Positions


def _grounds(sheets: Sequence[Sheet], split: Split, survey: Survey, size: int) -> list[_Ground]:
    found, seen = list[_Ground](), list[int]()
    for number, (sheet, part) in enumerate(zip(sheets, split.sheets, strict=True)):
        if not part.trains or not survey.sheets[number].class_pixels.any():
            continue
        free = free_rectangles(sheet.height, sheet.width, part.closed)
        pixels = int(((free[:, 2] - free[:, 0]) * (free[:, 3] - free[:, 1])).sum())
        positions = Positions(sheet.height, sheet.width, part.closed, size)
        seen.append(pixels)
        if positions.count:
            found.append(_Ground(number, pixels, positions))
    if not found:
        raise ParameterError(
            f"no chip of {size} px fits the training ground: {len(seen)} labelled sheets with {sum(seen)} px outside "
            f"validation blocks and their buffers, {max(seen, default=0)} px at most in one; give a smaller "
            "chips.size, split.block or split.buffer, or more images"
        )
    return found
