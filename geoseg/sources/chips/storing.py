"""The images of a training, decoded once and kept."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from geoseg.errors import OutputError, ParameterError
from geoseg.legend import IGNORE_ID
from geoseg.memory import free_memory
from geoseg.mirroring import copy_tile, shown_between
from geoseg.sources.chips.planes import FileRoom, MemoryRoom, Room
from geoseg.sources.values import LabelledPixels, Sheet, Source
from geoseg.tiling import Window

Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]

Cache = Literal["auto", "ram", "disk", "none"]
"""Where decoded images are kept; see ``ChipConfig.cache``."""

_log = logging.getLogger("geoseg")

# Shares of what is free that decoded images may take: the network needs memory too.
_MEMORY_SHARE, _DISK_SHARE = 0.5, 0.8

_UNITS = ((2**30, "GiB"), (2**20, "MiB"))


class Store:
    """Decoded sheets of a source, for chips cut at random from several threads.

    Is filled as the sink of a survey, so that nothing is read twice. Where something is absent is kept only for sheets
    in which anything is. Samples that are NaN or infinite count as absent, as they do in prediction.

    Args:
        source: Labelled imagery.
        cache: ``ram``, ``disk``, ``none`` (reads the source again), or ``auto`` for the first of them with room.
        folder: For ``disk``; None = the system's folder for temporary files. Nothing is left in it.
        processes: On this machine that hold a store of this source at the same time, each its own.

    Attributes:
        source: As given.
        kind: ``ram``, ``disk`` or ``none``.

    Raises:
        ParameterError: There is no such cache.
        OutputError: The folder cannot be written to.
    """

    def __init__(
        self, source: Source, cache: Cache = "auto", *, folder: str | Path | None = None, processes: int = 1
    ) -> None:
        where = Path(folder) if folder is not None else Path(tempfile.gettempdir())
        self.source = source
        self.kind = _choose(source, where, processes) if cache == "auto" else cache
        self._room = _make_room(self.kind, where)
        self._sheets: dict[int, _Stored] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give memory and disk back."""
        self._sheets.clear()
        if self._room is not None:
            self._room.close()

    def write(self, sheet: int, window: Window, found: LabelledPixels) -> None:
        """Keep a window of a sheet; for :func:`~geoseg.sources.surveys.survey` to call.

        Raises:
            ResourceError: There is no room for the sheet; the message gives the bytes.
        """
        if self._room is None:
            return
        with self._lock:
            if sheet not in self._sheets:
                self._sheets[sheet] = _Stored(self._room, self.source, self.source.sheets[sheet])
            self._sheets[sheet].write(window, found)

    def read(self, sheet: int, window: Window) -> LabelledPixels:
        """A window inside a sheet. Not to be written to: it may be the store's own memory.

        Raises:
            GeosegError: The source is read again, and cannot be.
            ParameterError: The window reaches outside the sheet, or was never written.
        """
        _check_inside(self.source.sheets[sheet], window)
        if self._room is None:
            return _with_finite(self.source.read(sheet, window))
        return self._stored(sheet, window).read(window)

    def indices(self, sheet: int, window: Window) -> Bytes:
        """Labels of a window alone, as :meth:`read` gives them."""
        _check_inside(self.source.sheets[sheet], window)
        if self._room is None:
            return self.source.read(sheet, window).indices
        return self._stored(sheet, window).indices[_slices(window)]

    def read_mirrored(self, sheet: int, window: Window) -> LabelledPixels:
        """A window that may reach outside the sheet, which is mirrored at its borders as in prediction.

        Labels are mirrored too: whoever judges takes those inside the sheet alone.
        """
        whole = self.source.sheets[sheet]
        down = shown_between(window.row_off, window.row_end, whole.height)
        across = shown_between(window.col_off, window.col_end, whole.width)
        top, left = down.span.start, across.span.start
        found = self.read(sheet, Window(top, left, down.span.stop - top, across.span.stop - left))
        down = shown_between(window.row_off, window.row_end, whole.height, top)
        across = shown_between(window.col_off, window.col_end, whole.width, left)

        def laid(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
            tile = np.empty((*values.shape[:-2], window.height, window.width), values.dtype)
            copy_tile(values, down, across, tile)
            return tile

        return LabelledPixels(laid(found.pixels), laid(found.present), laid(found.indices))

    def _stored(self, sheet: int, window: Window) -> _Stored:
        stored = self._sheets.get(sheet)
        if stored is None or not stored.holds(window):
            raise ParameterError(
                f"{self.source.sheets[sheet].name}, {window}, was never written to the store; survey the source with "
                "the store as its sink, and leave out sheets with a defect"
            )
        return stored


class _Stored:
    """One sheet.

    Attributes:
        indices: (H, W).
    """

    def __init__(self, room: Room, source: Source, sheet: Sheet) -> None:
        shape = sheet.height, sheet.width
        self._room, self._shape = room, shape
        self._bands = len(source.band_names)
        self._pixels = room.zeros((self._bands, *shape), source.dtype)
        self._indices = room.zeros(shape, np.uint8)
        self._absent: int | None = None
        self._rows = np.zeros(sheet.height, np.bool_)

    @property
    def indices(self) -> Bytes:
        return self._room.array(self._indices)

    def holds(self, window: Window) -> bool:
        """Whether all rows of a window were written."""
        return bool(self._rows[window.row_off : window.row_end].all())

    def write(self, window: Window, found: LabelledPixels) -> None:
        place = _slices(window)
        found = _with_finite(found)
        self._room.array(self._pixels)[:, *place] = found.pixels
        self.indices[place] = found.indices
        if not found.present.all():
            self._absent_planes(found.present.ndim)[..., *place] = ~found.present
        self._rows[place[0]] = True

    def read(self, window: Window) -> LabelledPixels:
        place = _slices(window)
        pixels = self._room.array(self._pixels)[:, *place]
        if self._absent is None:
            present: Bools = np.broadcast_to(np.True_, pixels.shape[1:])
        else:
            present = ~self._room.array(self._absent)[..., *place]
        return LabelledPixels(pixels, present, self.indices[place])

    def _absent_planes(self, axes: int) -> Bools:
        """(H, W) or (C, H, W) where nothing is. Pages that are never written to take no memory."""
        found: Bools | None = None if self._absent is None else self._room.array(self._absent)
        if found is not None and found.ndim >= axes:
            return found
        self._absent = self._room.zeros(self._shape if axes == 2 else (self._bands, *self._shape), np.bool_)
        made: Bools = self._room.array(self._absent)
        if found is not None:
            made[:] = found
        return made


def _with_finite(found: LabelledPixels) -> LabelledPixels:
    """Samples that are no numbers are absent; a pixel without any band has no label."""
    if not np.issubdtype(found.pixels.dtype, np.floating):
        return found
    finite = np.isfinite(found.pixels)
    if finite.all():
        return found
    present = finite & found.present
    return LabelledPixels(found.pixels, present, np.where(present.any(axis=0), found.indices, np.uint8(IGNORE_ID)))


def _slices(window: Window) -> tuple[slice, slice]:
    return slice(window.row_off, window.row_end), slice(window.col_off, window.col_end)


def _check_inside(sheet: Sheet, window: Window) -> None:
    if min(window.row_off, window.col_off) < 0 or window.row_end > sheet.height or window.col_end > sheet.width:
        raise ParameterError(f"{window} reaches outside {sheet.name}, which has {sheet.height}×{sheet.width} pixels")


def _make_room(kind: str, folder: Path) -> Room | None:
    if kind not in ("ram", "disk", "none"):
        raise ParameterError(f"there is no cache {kind!r}; there are: auto, ram, disk, none")
    return None if kind == "none" else MemoryRoom() if kind == "ram" else FileRoom(folder)


def _choose(source: Source, folder: Path, processes: int) -> Literal["ram", "disk", "none"]:
    """Where the sheets have room, with a byte a pixel more for what may be absent."""
    pixels = sum(sheet.height * sheet.width for sheet in source.sheets)
    needed = pixels * (len(source.band_names) * np.dtype(source.dtype).itemsize + 2) * processes
    memory = free_memory()
    figures = f"{_size(needed)} of decoded images, {_size(memory)} of memory available"
    if memory is not None and needed <= _MEMORY_SHARE * memory:
        _log.info("%s: kept in memory", figures)
        return "ram"
    try:
        disk = shutil.disk_usage(folder).free
    except OSError as error:
        raise OutputError(f"{folder} cannot be looked at ({error.strerror}); set TMPDIR to another folder") from error
    figures += f", {_size(disk)} of disk free in {folder}"
    if needed <= _DISK_SHARE * disk:
        _log.info("%s: kept on disk", figures)
        return "disk"
    _log.warning("%s: read again for each chip, which is slow with large compressed blocks", figures)
    return "none"


def _size(count: int | None) -> str:
    if count is None:
        return "an unknown amount"
    unit, name = next(((u, n) for u, n in _UNITS if count >= u), _UNITS[-1])
    return f"{count / unit:.1f} {name}"
