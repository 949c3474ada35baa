"""Runs: finished windows that are stored, so that a job that is killed goes on where it was.

A run owns a folder beside its output. Each finished window is a *part*: a file that is there whole or not at all, in
that folder or in another store. The manifest says which parameters the parts were made with; parts of other parameters
are refused by name. One process at a time holds them.
"""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from geoseg.errors import OutputError, ParameterError
from geoseg.parts.folders import MANIFEST, disk_errors, parse_part_name, part_name, temporary_name
from geoseg.parts.manifests import Manifest
from geoseg.parts.storage import Belonging, DamageError, decode, decode_notes, encode
from geoseg.parts.stores import Store
from geoseg.tiling import Window
from geoseg.wording import listed

log = logging.getLogger("geoseg")

NO_NOTES: Mapping[str, object] = MappingProxyType({})
_AGAIN = "run the same command again to make it anew"


class Run:
    """Parts of one job, made by :func:`~geoseg.parts.open_run`. Use it from one thread at a time.

    Attributes:
        id: 16 hexadecimal digits that no other run has; the same after each resumption.
        folder: Beside the output, for the temporaries of what is made from the parts.
        store: Where the parts are: in that folder, or elsewhere.
        planes: Names of the planes of each part; none where parts hold arrays, see :mod:`geoseg.parts.arrays`.
        created: Whether it begins now; False where it goes on.
    """

    def __init__(
        self, folder: Path, store: Store, manifest: Manifest, parts: Mapping[Window, str], created: bool
    ) -> None:
        self.id = manifest.run
        self.folder = folder
        self.store = store
        self.planes = manifest.planes
        self.created = created
        self._parts = dict(parts)
        self._kept = not created
        self._suffix = ".tif" if manifest.planes else ".npz"
        self._notes: dict[Window, dict[str, object]] = {}

    @property
    def kept(self) -> bool:
        """Whether a part was ever made, by this process or one before it."""
        return self._kept

    @property
    def done(self) -> Set[Window]:
        """Windows whose parts are complete: as they are now, and no copy, for it is asked once for each part."""
        return self._parts.keys()

    def write(self, window: Window, planes: npt.NDArray[np.uint8], notes: Mapping[str, object] = NO_NOTES) -> None:
        """Make a part; when this returns, it survives a power cut.

        Args:
            window: Not done yet, and inside the first quadrant: offsets of 0 and more.
            planes: (P, h, w) uint8, in the order of the run's planes.
            notes: What else is to be known about the part, as JSON.

        Raises:
            ParameterError: An argument does not fit.
            OutputError: The disk does not take it; nothing of the part is kept.
        """
        expected = (len(self.planes), window.height, window.width)
        if planes.dtype != np.uint8 or planes.shape != expected:
            raise ParameterError(f"the part of {window} needs {expected} uint8, not {planes.shape} {planes.dtype}")
        if window.row_off < 0 or window.col_off < 0 or window in self._parts:
            raise ParameterError(f"the part of {window} is {'done' if window in self._parts else 'outside the scene'}")
        try:
            notes = json.loads(json.dumps(dict(notes), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ParameterError(f"the notes of {window} must be JSON: {error}") from error
        with disk_errors(self.folder):
            data = encode(self.belonging(window), np.ascontiguousarray(planes), notes)
        self.put(window, data, notes)

    def put(self, window: Window, data: bytes, notes: Mapping[str, object] = NO_NOTES) -> None:
        """Make a part, as :meth:`write` does, of bytes that hold what :meth:`belonging` says."""
        name = part_name(self.id, window, len(data), self._suffix)
        self.store.write(name, data)
        self._parts[window], self._notes[window] = name, dict(notes)
        self._kept = True

    def size(self, window: Window) -> int:
        """Bytes of the file of a part that is done."""
        return parse_part_name(self._parts[window])[2]

    def take(self, window: Window, size: int, notes: Mapping[str, object]) -> None:
        """Count a part that another process made, with what :meth:`write` was given there.

        Raises:
            OutputError: It is not to be seen here, or not whole.
        """
        name = part_name(self.id, window, size, self._suffix)
        self.store.await_file(name, size)
        self._parts[window], self._notes[window] = name, dict(notes)
        self._kept = True

    def read(self, window: Window, plane: str, rows: tuple[int, int] | None = None) -> npt.NDArray[np.uint8]:
        """Pixels of a part, (h, w) uint8, compared with their checksums.

        Args:
            window: One of ``done``.
            plane: One of ``planes``.
            rows: First row and the row behind the last one, counted from the top of the part; all without it.

        Raises:
            ParameterError: There is no such part, plane or row.
            OutputError: It is damaged, and has been removed: another run makes it anew.
        """
        lo, hi = (0, window.height) if rows is None else rows
        if plane not in self.planes or not 0 <= lo < hi <= window.height:
            raise ParameterError(f"the part of {window} has no rows {lo}..{hi - 1} of a plane {plane!r}")
        data = self.content(window)
        with self.soundness(window):
            return decode(data, self.belonging(window), plane, (lo, hi))

    def notes(self, window: Window) -> Mapping[str, object]:
        """What was noted when a part was written.

        Raises:
            ParameterError: There is no such part.
            OutputError: It is damaged, and has been removed: another run makes it anew.
        """
        if window not in self._notes:
            data = self.content(window)
            with self.soundness(window):
                self._notes[window] = decode_notes(data, self.belonging(window))
        return MappingProxyType(self._notes[window])

    def temporary(self, name: str) -> Path:
        """A name in the folder that nobody uses; what is left under it goes with the folder, or with the next run."""
        return temporary_name(self.folder, name)

    def foresee(self, windows: Iterable[Window]) -> None:
        """Windows whose parts will be read, in this order; a store that is far away fetches them ahead."""
        self.store.foresee([self._parts[window] for window in windows if window in self._parts])

    def unnoted(self, windows: Iterable[Window]) -> list[Window]:
        """Those whose notes are not known before their parts are read."""
        return [window for window in windows if window not in self._notes]

    def finish(self) -> None:
        """Remove all that is the run's: its outputs are complete. The manifest goes last, the folder with the block.

        Raises:
            OutputError: A file cannot be removed.
        """
        with self.store.errors():
            foreign = clear(self.store)
        self._parts.clear()
        self._notes.clear()
        if foreign:
            log.warning("%s stays: it holds files that are not of this run (%s)", self.store, listed(foreign))

    def belonging(self, window: Window) -> Belonging:
        """What a part says of itself."""
        return Belonging(self.id, window, self.planes)

    def content(self, window: Window) -> bytes:
        """The file of a part; an error where there is none, or where it cannot be read."""
        if window not in self._parts:
            raise ParameterError(f"there is no part of {window}; {len(self._parts)} others are done")
        name = self._parts[window]
        where = self.store.named(name)
        try:
            data = self.store.read(name)
        except FileNotFoundError as error:
            del self._parts[window]
            raise OutputError(f"{where} is gone; {_AGAIN}") from error
        except OSError as error:
            if error.errno == errno.EIO:
                self._drop(window)
                raise OutputError(f"{where} lies on a failing disk and has been removed; {_AGAIN}") from error
            why = error.strerror or " ".join(str(error).split())
            raise OutputError(f"{where} cannot be read ({why}); run the same command again") from error
        return data

    @contextmanager
    def soundness(self, window: Window) -> Iterator[None]:
        """A DamageError in this block removes the part, and becomes an OutputError."""
        where = self.store.named(self._parts[window])
        try:
            yield
        except DamageError as error:
            self._drop(window)
            raise OutputError(f"{where} is damaged ({error}) and has been removed; {_AGAIN}") from error

    def _drop(self, window: Window) -> None:
        name = self._parts.pop(window)
        self._notes.pop(window, None)
        with suppress(OSError), self.store.errors():
            self.store.remove([name])


def clear(store: Store) -> tuple[str, ...]:
    """Remove all that is a run's, the manifest last: killed on the way, it is a run with fewer parts.

    Returns:
        What is not a run's, and stays.
    """
    listing = store.listing()
    store.remove([*(name for name, _ in listing.parts), *listing.temporaries])
    if listing.manifest:
        store.remove([MANIFEST])
    return listing.foreign
