"""Reading, the network, blending and writing, each in a thread of its own, joined by short queues."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from geoseg.blending.stored import Stored
from geoseg.inference.streaming import RowEnd, TileBatch, Walk, stream_tiles
from geoseg.normalization import BandStats
from geoseg.rasters import Scene
from geoseg.refinement import Crf
from geoseg.threads import Stopwatch, in_background, prefetched
from geoseg.tiling import Blend, TileGrid, Window

if TYPE_CHECKING:  # torch comes with them, and a scene that cannot be read should be refused before torch is loaded
    from geoseg.blending.accumulator import Arithmetic, StripAccumulator
    from geoseg.predictors import Predictor

STAGES = ("read", "network", "blend", "write")

_BATCHES_AHEAD = 4
_SCORES_AHEAD = 2
_ROWS_AHEAD = 2

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class FinishedRows:
    """Rows that nothing will change any more.

    Attributes:
        window: Where they are in the scene.
        planes: (P, h, w) uint8 in the order of ``Stored.planes``; None where no tile added anything.
        valid: (h, w) bool; None where no pixel is.
    """

    window: Window
    planes: npt.NDArray[np.uint8] | None
    valid: Bools | None


Finish = Callable[[RowEnd], Iterator[FinishedRows]]
"""Gives the rows that a tile row finishes."""


@dataclass(frozen=True, slots=True)
class Refining:
    """How blended rows are refined.

    Attributes:
        crf: The random field.
        stats: Scaling of samples to the colours that it compares.
    """

    crf: Crf
    stats: BandStats


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What all areas of a job share.

    Attributes:
        scene: Read in a thread of its own.
        predictor: Tiles to probabilities.
        grid: The scene's tile grid.
        blend: How overlapping tiles are weighted.
        batch: Tiles a call of the predictor.
        stored: What is kept of the scores.
        touches: Whether anything is wanted in a window; None where all is.
        inside: Which pixels of a window are wanted; None where all are.
        watch: Told how long each of :data:`STAGES` was busy.
        refining: How blended rows are refined; None where they are not. It counts as blending.
    """

    scene: Scene
    predictor: Predictor
    grid: TileGrid
    blend: Blend
    batch: int
    stored: Stored
    touches: Callable[[Window], bool] | None
    inside: Callable[[Window], Bools] | None
    watch: Stopwatch
    refining: Refining | None = None

    def run(self, area: Window, write: Callable[[FinishedRows], None]) -> None:
        """Predict an area and hand its rows to ``write`` as they become final, from top to bottom.

        Args:
            area: Inside the scene; the tile grid stays the scene's.
            write: Called in a thread of its own.
        """
        refining = self.refining
        around = area if refining is None else refining.crf.around(area, self.grid.height, self.grid.width)
        accumulator = self._accumulator(around)
        # What lies beside the area of interest is heard too.
        inside = self.inside if refining is None else None
        walk = Walk(self.grid, around, accumulator.final_rows, self.touches, inside, refining is not None)
        tiles = self.watch.timed(stream_tiles(self.scene, walk, self.batch), "read")

        def timed_write(rows: FinishedRows) -> None:
            with self.watch.running("write"):
                write(rows)

        with (
            in_background(timed_write, _ROWS_AHEAD, "write") as to_writer,
            self._finishing(accumulator, area, around) as finished,
            in_background(_Blender(accumulator, finished, self.watch, to_writer), _SCORES_AHEAD, "blend") as to_blender,
            # Inside all others: the reader stops before the scene is closed.
            closing(prefetched(tiles, _BATCHES_AHEAD)) as items,
            closing(self._scored(items)) as scored,
        ):
            for item in scored:
                to_blender(item)

    def _accumulator(self, area: Window) -> StripAccumulator:
        from geoseg.blending.accumulator import StripAccumulator

        predictor = self.predictor
        return StripAccumulator(
            self.grid, area, predictor.classes, predictor.planes, self.blend, _arithmetic(predictor.device)
        )

    @contextmanager
    def _finishing(self, accumulator: StripAccumulator, area: Window, around: Window) -> Iterator[Finish]:
        """What turns final scores into rows."""
        if self.refining is None:
            yield partial(_plainly, accumulator, self.stored)
            return
        from geoseg.inference.refining import Refined

        with Refined.open(
            self.refining, accumulator, self.stored, self.predictor, area, around, self.inside
        ) as refined:
            yield refined.finished

    def _scored(self, items: Iterator[TileBatch | RowEnd]) -> Generator[tuple[TileBatch, Any] | RowEnd]:
        """Batches with their scores, in order, as many under way at once as the predictor likes."""
        under_way: deque[tuple[TileBatch, Callable[[], Any]] | RowEnd] = deque()
        batches, most = 0, self.predictor.in_flight
        try:
            for item in items:
                under_way.append(item if isinstance(item, RowEnd) else (item, self._submitted(item)))
                batches += not isinstance(item, RowEnd)
                # Rows without a tile send none to wait for: what lies behind the last tile would pile up.
                while under_way and (batches >= most or len(under_way) > 2 * most or isinstance(under_way[0], RowEnd)):
                    done = self._waited_for(under_way.popleft())
                    batches -= not isinstance(done, RowEnd)
                    yield done
            while under_way:
                yield self._waited_for(under_way.popleft())
        finally:
            # After an error: the predictor reads from these tiles, and the next scene may use it too.
            for left in under_way:
                if not isinstance(left, RowEnd):
                    with suppress(Exception):
                        left[1]()

    def _submitted(self, item: TileBatch) -> Callable[[], Any]:
        from geoseg.predictors import Tiles

        keys = tuple((item.row, col) for col in item.cols)
        with self.watch.running("network"):
            return self.predictor.submit(Tiles(item.values, item.present, keys))

    def _waited_for(self, item: tuple[TileBatch, Callable[[], Any]] | RowEnd) -> tuple[TileBatch, Any] | RowEnd:
        if isinstance(item, RowEnd):
            return item
        with self.watch.running("network"):
            return item[0], item[1]()


class _Blender:
    """Adds scores and passes rows on; called in one thread."""

    def __init__(
        self,
        accumulator: StripAccumulator,
        finished: Finish,
        watch: Stopwatch,
        to_writer: Callable[[FinishedRows], None],
    ) -> None:
        self._accumulator = accumulator
        self._finished = finished
        self._watch = watch
        self._to_writer = to_writer

    def __call__(self, item: tuple[TileBatch, Any] | RowEnd) -> None:
        """Take scored tiles, or the end of a tile row."""
        if not isinstance(item, RowEnd):
            with self._watch.running("blend"):
                self._add(item[0].cols, item[1])
            return
        rows = self._finished(item)
        while True:
            with self._watch.running("blend"):
                finished = next(rows, None)
            if finished is None:
                break
            self._to_writer(finished)
        with self._watch.running("blend"):
            self._accumulator.advance()

    def _add(self, cols: Sequence[int], scores: Any) -> None:
        planes = scores.numpy() if scores.device.type == "cpu" else scores
        for k, col in enumerate(cols):
            self._accumulator.add(col, planes[k])


def _plainly(accumulator: StripAccumulator, stored: Stored, item: RowEnd) -> Iterator[FinishedRows]:
    """Rows as they were blended."""
    finished = accumulator.finished(stored)
    if finished is not None:
        yield FinishedRows(*finished, item.valid)


def _arithmetic(device: Any) -> Arithmetic:
    """Blending happens where the scores are."""
    if device.type == "cpu":
        from geoseg.blending.host import HostArithmetic

        return HostArithmetic()
    from geoseg.blending.device import DeviceArithmetic

    return DeviceArithmetic(device)
