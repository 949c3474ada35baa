"""Finished rows into parts: class ids and stored confidence, a file a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple

import numpy as np
import numpy.typing as npt

from geoseg.inference.pipeline import FinishedRows
from geoseg.inference.seams import SeamCounter
from geoseg.inference.storing import Storing, no_data
from geoseg.legend import Legend
from geoseg.parts import Run
from geoseg.tiling import Window

Bytes = npt.NDArray[np.uint8]

LABELS = "labels"
"""Name of the first plane of a part."""


class PartSink:
    """Collects the rows of a step and writes them as one part. Used by one thread.

    Args:
        run: Where the parts go.
        steps: The steps of one area from top to bottom; the rows come in this order without gaps.
        planes: Planes of a part.
        legend: Maps class indices to ids.
        seams: Counts what is written.
        done: Told how many pixels were taken.
        clipped: Whether a valid pixel that no tile covered is a mistake; not so where an outer area is cut off later.
        open_below: Row where the whole job begins, where the run does not know what others make: a part further down
            without one above is then noted as ``open``, and its seam to that one is still to be counted.
    """

    def __init__(
        self,
        run: Run,
        steps: Sequence[Window],
        planes: int,
        legend: Legend,
        seams: SeamCounter,
        done: Callable[[int], None],
        *,
        clipped: bool,
        open_below: int | None = None,
    ) -> None:
        self._run = run
        self._steps = iter(steps)
        self._planes = planes
        self._storing = Storing(legend, clipped=clipped)
        self._seams = seams
        self._done = done
        self._open_below = open_below
        self._above: Bytes | None = None
        self._step: Window | None = None
        self._held: Bytes | None = None

    def write(self, rows: FinishedRows) -> None:
        """Take the next rows; invalid pixels become no data."""
        top = rows.window.row_off
        while top < rows.window.row_end:
            step, held = self._current()
            count = min(rows.window.row_end, step.row_end) - top
            if rows.planes is not None and rows.valid is not None:
                first = top - rows.window.row_off
                part = slice(first, first + count)
                self._storing.put(rows.planes[:, part], rows.valid[part], held[:, top - step.row_off :][:, :count])
            top += count
            self._done(count * step.width)
            if top == step.row_end:
                self._close(step, held)

    def _current(self) -> tuple[Window, Bytes]:
        if self._step is None or self._held is None:
            self._step = next(self._steps)
            self._held = no_data(self._planes, self._step.height, self._step.width)
        return self._step, self._held

    def _close(self, step: Window, held: Bytes) -> None:
        counts = self._seams.count(step, held[0])
        if self._above is None:
            self._above = _last_row_above(self._run, step)
        if self._above is not None:
            counts = counts + self._seams.count_between(step.row_off, self._above, held[0, 0])
        notes: dict[str, object] = {"seams": astuple(counts)}
        if self._above is None and self._open_below is not None and step.row_off > self._open_below:
            notes["open"] = True
        self._above = held[0, -1].copy()
        self._run.write(step, held, notes)
        self._step = self._held = None


def _last_row_above(run: Run, step: Window) -> Bytes | None:
    """(w,) labels of the row above a step, where an interrupted run has left them."""
    for above in run.done:
        if (above.row_end, above.col_off, above.width) == (step.row_off, step.col_off, step.width):
            [last] = run.read(above, LABELS, rows=(above.height - 1, above.height))
            return np.asarray(last, np.uint8)
    return None
