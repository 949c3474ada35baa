"""Between blending and writing: final scores become refined rows. Torch comes with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from geoseg.blending.accumulator import StripAccumulator
from geoseg.blending.stored import Stored
from geoseg.inference.pipeline import FinishedRows, Refining
from geoseg.inference.streaming import RowEnd
from geoseg.normalization import BandStats
from geoseg.predictors import Predictor
from geoseg.refinement.strips import Rows, StripRefiner, workers
from geoseg.tiling import Window

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Refined:
    """The rows of an area, from the scores around it.

    Attributes:
        accumulator: Blends what is around the area.
        stored: What is kept of the scores.
        refiner: Of the area.
        stats: Scaling of samples to colours.
        predictor: Where the scores come from.
        inside: Which pixels of a window are wanted; None where all are.
    """

    accumulator: StripAccumulator
    stored: Stored
    refiner: StripRefiner
    stats: BandStats
    predictor: Predictor
    inside: Callable[[Window], Bools] | None

    @classmethod
    @contextmanager
    def open(
        cls,
        refining: Refining,
        accumulator: StripAccumulator,
        stored: Stored,
        predictor: Predictor,
        area: Window,
        around: Window,
        inside: Callable[[Window], Bools] | None,
    ) -> Iterator[Refined]:
        """With its threads, until the block is left."""
        with workers(predictor.device) as executor:
            refiner = StripRefiner(area, around, predictor.classes, refining.crf, predictor.device, executor)
            yield cls(accumulator, stored, refiner, refining.stats, predictor, inside)

    def finished(self, item: RowEnd) -> Iterator[FinishedRows]:
        """Rows of the area that the end of a tile row finishes; a few less than are blended, for want of their halo."""
        final = self.accumulator.final_scores()
        if final is None:
            return
        for window, scores, known in self.refiner.add(self._rows(*final, item)):
            valid = known.cpu().numpy()
            if self.inside is not None:
                valid = valid & self.inside(window)  # not in place: blocks further down have yet to see these rows
            if not valid.any():
                yield FinishedRows(window, None, None)
                continue
            planes = scores.numpy() if scores.device.type == "cpu" else scores
            yield FinishedRows(window, self.accumulator.stored(planes, self.stored), valid)

    def _rows(self, window: Window, scores: Any | None, item: RowEnd) -> Rows:
        """What the refiner takes; nothing but zeros where there is no data."""
        if scores is None or item.valid is None or item.samples is None:
            shape = window.height, window.width
            return Rows.empty(self.predictor.planes, len(self.stats.mean), shape, self.predictor.device)
        return Rows.of(scores, self.stats.normalize(*item.samples), item.valid, self.predictor.device)
