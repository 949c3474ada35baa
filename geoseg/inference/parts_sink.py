"""Finished rows into parts: class ids and stored confidence, a file a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple

import numpy as np
import numpy.typing as npt

from geoseg.blending.stored import NOTHING
from geoseg.errors import ModelError
from geoseg.inference.pipeline import FinishedRows
from geoseg.inference.seams import SeamCounter
from geoseg.legend import NODATA_ID, Legend
from geoseg.parts import Run
from geoseg.rasters import CONFIDENCE_NODATA
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
        self._ids = _id_table(legend)
        self._seams = seams
        self._done = done
        self._clipped = clipped
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
                self._store(rows.planes[:, part], rows.valid[part], held[:, top - step.row_off :][:, :count])
            top += count
            self._done(count * step.width)
            if top == step.row_end:
                self._close(step, held)

    def _current(self) -> tuple[Window, Bytes]:
        if self._step is None or self._held is None:
            self._step = next(self._steps)
            self._held = np.full((self._planes, self._step.height, self._step.width), CONFIDENCE_NODATA, np.uint8)
            self._held[0] = NODATA_ID
        return self._step, self._held

    def _store(self, planes: Bytes, valid: npt.NDArray[np.bool_], held: Bytes) -> None:
        """Put blended rows, (P, h, w), where they are held."""
        uncovered = valid & (planes[0] == NOTHING)
        if uncovered.any():
            if self._clipped:
                raise ModelError(
                    f"{np.count_nonzero(uncovered)} pixels with data got no score from the network; please report this"
                )
            valid = valid & ~uncovered
        if isinstance(self._ids, np.uint8):
            np.add(planes[0], self._ids, out=held[0])
        else:
            held[0] = self._ids[planes[0]]
        held[1:] = planes[1:]
        if not valid.all():
            invalid = ~valid
            np.copyto(held[0], NODATA_ID, where=invalid)
            np.copyto(held[1:], CONFIDENCE_NODATA, where=invalid)

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


def _id_table(legend: Legend) -> np.uint8 | Bytes:
    """(256,) ids by class index; where they follow one another only the first: adding is ten times faster."""
    ids = np.array(legend.ids, np.uint8)
    if np.array_equal(ids, np.arange(ids[0], ids[0] + len(ids))):
        return np.uint8(ids[0])
    table = np.full(256, NODATA_ID, np.uint8)
    table[: len(ids)] = ids
    return table
