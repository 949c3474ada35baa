"""What is remembered of the parts of patches beside the seams of a raster, on disk where it is much."""

from __future__ import annotations

import tempfile
import weakref
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import OutputError

Ints = NDArray[np.int32]
Longs = NDArray[np.int64]

# What stays in memory before a file is made.
_IN_MEMORY = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Record:
    """The parts of one band that belong to patches beside its seams, and the groups they form.

    While a survey goes on, a group is what is known so far to be one patch, and its values are those down to this band.
    In a complete survey a group is a whole patch.

    Attributes:
        rim: (P,) int32, numbers of the parts, ascending.
        owners: (P,) int32, the group of each.
        following: (G,) int32, the group in the band below of each group; -1 for those that end in this band.
        values: (G, 3) int64: first pixel, pixels, area in units.
    """

    rim: Ints
    owners: Ints
    following: Ints
    values: Longs

    def resolved(self, below: Record) -> Record:
        """The same with groups that turn out to be one patch united, and the values of whole patches.

        Args:
            below: The record of the next band, resolved.
        """
        going = np.flatnonzero(self.following >= 0)
        following, values = self.following.copy(), self.values.copy()
        following[going] = below.united()[following[going]]
        values[going] = below.values[following[going]]
        resolved = Record(self.rim, self.owners, following, values)
        return replace(resolved, owners=resolved.united()[self.owners])

    def united(self) -> Ints:
        """(G,) int32: for each group the first one that is the same patch; in a resolved record."""
        same = np.arange(len(self.values), dtype=np.int32)
        going = np.flatnonzero(self.following >= 0)
        _, first, where = np.unique(self.following[going], return_index=True, return_inverse=True)
        same[going] = going[first][where]
        return same


class Records:
    """Records of the bands of a raster from top to bottom, in a temporary file without a name once they are many.

    Args:
        folder: Where the file is made; the system's folder for temporary files if None.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = str(folder or tempfile.gettempdir())
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=self._folder)  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._places: list[tuple[int, int, int]] = []
        self.complete = False

    def __len__(self) -> int:
        return len(self._places)

    def clear(self) -> None:
        """Forget what an interrupted survey left."""
        self._places = []

    def append(self, record: Record) -> None:
        """Add the record of the next band."""
        place = self._places[-1] if self._places else (0, 0, 0)
        begin = place[0] + _size(*place[1:]) if self._places else 0
        self._places.append((begin, len(record.rim), len(record.values)))
        self._write(len(self) - 1, record)

    def resolve(self) -> None:
        """Tell every group which patch it is, from the last band up."""
        below = None
        for index in reversed(range(len(self))):
            record = self[index]
            if below is not None:
                record = record.resolved(below)
                self._write(index, record)
            below = record
        self.complete = True

    def __getitem__(self, index: int) -> Record:
        begin, parts, groups = self._places[index]
        self._file.seek(begin)
        data = self._file.read(_size(parts, groups))
        values = np.frombuffer(data, np.int64, 3 * groups).reshape(groups, 3)
        ints = np.frombuffer(data, np.int32, offset=24 * groups)
        return Record(ints[:parts], ints[parts : 2 * parts], ints[2 * parts :], values)

    def _write(self, index: int, record: Record) -> None:
        try:
            self._file.seek(self._places[index][0])
            for array in (record.values, record.rim, record.owners, record.following):
                self._file.write(np.ascontiguousarray(array).tobytes())
            self._file.flush()
        except OSError as error:
            raise OutputError(
                f"what is known of patches cannot be kept in {self._folder} ({error.strerror}); make room there or "
                "name another folder for temporary files"
            ) from error


def _size(parts: int, groups: int) -> int:
    """Bytes of a record."""
    return 4 * (2 * parts + groups) + 24 * groups
