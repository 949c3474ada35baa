"""Reading all of a source once: what its values and labels are, and which sheets cannot be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from geoseg.errors import GeosegError, ResourceError
from geoseg.legend import IGNORE_ID
from geoseg.sources.surveys.band_values import ValueCounter
from geoseg.sources.surveys.records import CELL, SheetSurvey, Survey, cell_side
from geoseg.sources.values import LabelledPixels, Sheet, Source
from geoseg.threads import prefetched
from geoseg.tiling import Progress, Window

Sink = Callable[[int, Window, LabelledPixels], None]
"""Takes strips: the number of the sheet, where the strip is in it, and what it holds."""

UNKNOWN = 254
"""Index that stands for a label value that is none of the legend."""

# Three strips are held at a time: one that is read, one that waits, one that is counted.
_STRIP_PIXELS = 1 << 23
_BLOCK = 512


def survey(source: Source, sink: Sink | None = None, progress: Progress | None = None) -> Survey:
    """Read each sheet once, in strips of bounded memory, and count what it holds.

    A sheet that cannot be read is noted with its error, and the survey goes on.

    Args:
        source: Labelled imagery.
        sink: Is given each strip: whole rows, from top to bottom, sheet after sheet. Of a sheet that cannot be read to
            its end, which the result tells, it may have been given some. The arrays are never written to again.
        progress: Told (pixels done, pixels in total).

    Raises:
        ResourceError: A strip needs more memory than there is.
        Exception: Whatever ``sink`` raises.
    """
    total = sum(sheet.height * sheet.width for sheet in source.sheets)
    together = [ValueCounter(source.dtype) for _ in source.band_names]
    surveys: list[SheetSurvey] = []
    done = 0
    for number, window, found in prefetched(_strips(source), 1):
        sheet = source.sheets[number]
        if window.row_off == 0:
            tally = _SheetTally(source, sheet)
        if isinstance(found, str):
            surveys.append(SheetSurvey.failed(found, len(source.legend), cell_side(sheet.height, sheet.width)))
        else:
            tally.add(window, found)
            if sink is not None:
                sink(number, window, found)
            if window.row_end == sheet.height:
                surveys.append(tally.summary())
                for ours, theirs in zip(together, tally.counters, strict=True):
                    ours.merge(theirs)
        done += window.height * window.width
        if progress is not None:
            progress(done, total)
    return Survey(tuple(surveys), tuple(counter.summary() for counter in together))


def strip_windows(sheet: Sheet) -> list[Window]:
    """Whole rows, about 8 million pixels each, that end on the borders of cells, and of storage blocks if possible."""
    rows = _STRIP_PIXELS // sheet.width
    rows = max(CELL, rows // _BLOCK * _BLOCK or rows // CELL * CELL)
    return [
        Window(top, 0, min(rows, sheet.height - top), sheet.width) for top in range(0, sheet.height, rows)
    ]  # fmt: skip


def _strips(source: Source) -> Iterator[tuple[int, Window, LabelledPixels | str]]:
    """Each strip of each sheet with what it holds; where it has an error, its message with the rest of the sheet."""
    for number, sheet in enumerate(source.sheets):
        for window in strip_windows(sheet):
            try:
                found = source.read(number, window)
            except ResourceError:
                raise
            except GeosegError as error:
                yield number, _rest(sheet, window), str(error)
                break
            misfit = _misfit(source, sheet, window, found)
            if misfit:
                yield number, _rest(sheet, window), misfit
                break
            yield number, window, found


def _rest(sheet: Sheet, window: Window) -> Window:
    return Window(window.row_off, 0, sheet.height - window.row_off, sheet.width)


def _misfit(source: Source, sheet: Sheet, window: Window, found: LabelledPixels) -> str | None:
    """What is wrong with the form of what was read."""
    wanted = (len(source.band_names), window.height, window.width)
    if found.pixels.shape != wanted:
        return f"{sheet.name} gives {found.pixels.shape} samples for a window of {wanted} (bands, rows, columns)"
    if found.pixels.dtype != source.dtype:
        return f"{sheet.name} holds {found.pixels.dtype}, the other images {source.dtype}; convert it"
    return None


class _SheetTally:
    """Counts one sheet, strip by strip.

    Attributes:
        counters: Values of each band.
    """

    def __init__(self, source: Source, sheet: Sheet) -> None:
        self.counters = [ValueCounter(source.dtype) for _ in source.band_names]
        self._classes = len(source.legend)
        self._cell = cell_side(sheet.height, sheet.width)
        self._size = sheet.height * sheet.width
        self._rows: list[npt.NDArray[np.uint16]] = []
        self._pixels = self._not_finite = self._ignored = self._odd = 0
        self._unknown: Counter[int] = Counter()

    def add(self, window: Window, strip: LabelledPixels) -> None:
        """Count a strip."""
        present = strip.present
        anywhere = present.any(axis=0) if present.ndim == 3 else present
        complete = bool(anywhere.all())
        self._pixels += anywhere.size if complete else int(np.count_nonzero(anywhere))
        for number, counter in enumerate(self.counters):
            self._add_band(counter, strip.pixels[number], present[number] if present.ndim == 3 else present)
        unlabelled = strip.indices == IGNORE_ID
        self._ignored += int(np.count_nonzero(unlabelled if complete else unlabelled & anywhere))
        self._unknown.update(strip.unknown)
        for top in range(0, window.height, self._cell):
            counts = self._count_cells(strip.indices[top : top + self._cell])
            self._odd += int(counts[:, UNKNOWN].sum())
            self._rows.append(counts[:, : self._classes].astype(np.uint16))

    def summary(self) -> SheetSurvey:
        """What was counted."""
        cells = np.stack(self._rows)
        return SheetSurvey(
            pixels=self._pixels,
            absent=self._size - self._pixels,
            not_finite=self._not_finite,
            bands=tuple(counter.summary() for counter in self.counters),
            class_pixels=cells.sum(axis=(0, 1), dtype=np.int64),
            ignored=self._ignored,
            unknown=dict(sorted(self._unknown.items())),
            unknown_pixels=self._odd,
            cells=cells,
            cell=self._cell,
        )

    def _add_band(self, counter: ValueCounter, values: npt.NDArray[np.generic], data: npt.NDArray[np.bool_]) -> None:
        if np.issubdtype(values.dtype, np.floating):
            finite = np.isfinite(values)
            self._not_finite += values.size - int(np.count_nonzero(finite))
            data = data & finite
        counter.add(values if data.all() else values[data])

    def _count_cells(self, indices: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        """(cells, 256) pixels of each index in one row of cells."""
        columns = np.arange(indices.shape[1]) // self._cell
        keys = columns[None] * 256 + indices
        return np.bincount(keys.ravel(), minlength=(int(columns[-1]) + 1) * 256).reshape(-1, 256)
