"""Room for arrays: in memory, or in a file that has no name and goes with the process."""

from __future__ import annotations

import errno
import mmap
import os
import tempfile
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from geoseg.errors import OutputError, ResourceError

_GIB = 2**30

# The file grows by at least so much at a time: each time, it is mapped anew.
_GROWTH = 1 << 26


class Room(Protocol):
    """Gives out arrays of zeros."""

    def zeros(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> int:
        """Make room for an array; gives its number. Not for several threads at once.

        Raises:
            ResourceError: There is no room; the message gives the bytes.
        """

    def array(self, number: int) -> npt.NDArray[Any]:
        """The array of this number."""

    def close(self) -> None:
        """Give the room back; arrays that are still held stay good."""


class MemoryRoom:
    """In memory."""

    def __init__(self) -> None:
        self._arrays: list[npt.NDArray[Any]] = []

    def zeros(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> int:
        """See :class:`Room`."""
        try:
            self._arrays.append(np.zeros(shape, dtype))
        except MemoryError as error:
            needed = int(np.prod(shape)) * np.dtype(dtype).itemsize
            raise ResourceError(
                f"{needed / _GIB:.1f} GiB of memory for an image of {shape} are not there; give --set chips.cache=disk"
            ) from error
        return len(self._arrays) - 1

    def array(self, number: int) -> npt.NDArray[Any]:
        """See :class:`Room`."""
        return self._arrays[number]

    def close(self) -> None:
        """See :class:`Room`."""
        self._arrays.clear()


class FileRoom:
    """In a memory-mapped file.

    All arrays lie in one file, because each mapping keeps a file open and there are not enough of those for thousands
    of images. Its blocks are taken before they are written to: writing to a mapping on a full disk ends the process.

    Args:
        folder: Where; must exist.

    Raises:
        OutputError: No file can be made there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            # Without a name from the beginning, so that not even a killed process leaves it behind.
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  closed by close()
        except OSError as error:
            raise OutputError(f"no file can be made in {folder} ({error.strerror})") from error
        self._map: mmap.mmap | None = None
        self._size = self._end = 0
        self._layouts: list[tuple[tuple[int, ...], np.dtype[Any], int]] = []

    def zeros(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> int:
        """See :class:`Room`."""
        kind = np.dtype(dtype)
        begin = -(-self._end // mmap.PAGESIZE) * mmap.PAGESIZE
        end = begin + int(np.prod(shape)) * kind.itemsize
        if end > self._size:
            self._grow(max(end, self._size + _GROWTH))
        self._end = end
        self._layouts.append((shape, kind, begin))
        return len(self._layouts) - 1

    def array(self, number: int) -> npt.NDArray[Any]:
        """See :class:`Room`."""
        if self._map is None:
            raise ValueError("the room is closed")
        shape, kind, begin = self._layouts[number]
        return np.ndarray(shape, kind, buffer=self._map, offset=begin)

    def close(self) -> None:
        """See :class:`Room`."""
        self._map = None  # unmapped when the last array is gone
        self._file.close()

    def _grow(self, size: int) -> None:
        try:
            _take_blocks(self._file.fileno(), self._size, size)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise OutputError(f"{self._folder}: the decoded images cannot be kept ({error.strerror})") from error
            raise ResourceError(
                f"{self._folder} has no room for the decoded images: {size / _GIB:.2f} GiB were asked for; make room, "
                "set TMPDIR to a folder on another disk, or give --set chips.cache=none"
            ) from error
        self._size = size
        # Arrays on the old mapping see what is written to the new one.
        self._map = mmap.mmap(self._file.fileno(), size)


def _take_blocks(file: int, begin: int, end: int) -> None:
    """Extend a file by zeros that have their place on the disk."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, begin, end - begin)
        return
    zeros = bytes(1 << 20)
    os.lseek(file, begin, os.SEEK_SET)
    while begin < end:
        begin += os.write(file, zeros[: end - begin])
