"""Runs: finished windows on disk, so that a job that is killed goes on where it was.

A run owns a folder beside its output. Each finished window is a *part*: a file written under a temporary name, flushed
to the disk and renamed, so that a part is there whole or not at all. The manifest says which parameters the parts were
made with; parts of other parameters are refused by name. One process at a time holds the folder.
"""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from geoseg.errors import OutputError, ParameterError
from geoseg.parts.folders import (
    MANIFEST,
    Contents,
    await_file,
    disk_errors,
    list_contents,
    locked,
    parse_part_name,
    part_name,
    temporary_name,
    write_durably,
)
from geoseg.parts.manifests import Manifest, check_own, check_same, new_manifest, read_manifest, write_manifest
from geoseg.parts.storage import Belonging, DamageError, decode, decode_notes, encode
from geoseg.tiling import Window
from geoseg.wording import listed

log = logging.getLogger("geoseg")

NO_NOTES: Mapping[str, object] = MappingProxyType({})
_AGAIN = "run the same command again to make it anew"


class Run:
    """Parts of one job, made by :func:`open_run`. Use it from one thread at a time.

    Attributes:
        id: 16 hexadecimal digits that no other run has; the same after each resumption.
        folder: Where its files are; also for the temporaries of the rasters made from them.
        planes: Names of the planes of each part; none where parts hold arrays, see :mod:`geoseg.parts.arrays`.
        created: Whether it begins now; False where it goes on.
    """

    def __init__(self, folder: Path, manifest: Manifest, parts: Mapping[Window, Path], created: bool) -> None:
        self.id = manifest.run
        self.folder = folder
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
    def done(self) -> frozenset[Window]:
        """Windows whose parts are complete."""
        return frozenset(self._parts)

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
        path = self.folder / part_name(self.id, window, len(data), self._suffix)
        with disk_errors(self.folder):
            write_durably(path, data)
        self._parts[window], self._notes[window] = path, dict(notes)
        self._kept = True

    def size(self, window: Window) -> int:
        """Bytes of the file of a part that is done."""
        return parse_part_name(self._parts[window].name)[2]

    def take(self, window: Window, size: int, notes: Mapping[str, object]) -> None:
        """Count a part that another process made, with what :meth:`write` was given there.

        Raises:
            OutputError: It is not to be seen here, or not whole.
        """
        path = self.folder / part_name(self.id, window, size, self._suffix)
        with disk_errors(path):
            await_file(path, size)
        self._parts[window], self._notes[window] = path, dict(notes)
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

    def finish(self) -> None:
        """Remove all that is the run's: its outputs are complete. The manifest goes last, the folder with the block.

        Raises:
            OutputError: A file cannot be removed.
        """
        with disk_errors(self.folder):
            contents = list_contents(self.folder)
            _clear(self.folder, contents)
        self._parts.clear()
        self._notes.clear()
        if contents.foreign:
            log.warning("%s stays: it holds files that are not of this run (%s)", self.folder, listed(contents.foreign))

    def belonging(self, window: Window) -> Belonging:
        """What a part says of itself."""
        return Belonging(self.id, window, self.planes)

    def content(self, window: Window) -> bytes:
        """The file of a part; an error where there is none, or where it cannot be read."""
        if window not in self._parts:
            raise ParameterError(f"there is no part of {window}; {len(self._parts)} others are done")
        path = self._parts[window]
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            del self._parts[window]
            raise OutputError(f"{path} is gone; {_AGAIN}") from error
        except OSError as error:
            if error.errno == errno.EIO:
                self._drop(window)
                raise OutputError(f"{path} lies on a failing disk and has been removed; {_AGAIN}") from error
            raise OutputError(f"{path} cannot be read ({error.strerror}); run the same command again") from error
        return data

    @contextmanager
    def soundness(self, window: Window) -> Iterator[None]:
        """A DamageError in this block removes the part, and becomes an OutputError."""
        path = self._parts[window]
        try:
            yield
        except DamageError as error:
            self._drop(window)
            raise OutputError(f"{path} is damaged ({error}) and has been removed; {_AGAIN}") from error

    def _drop(self, window: Window) -> None:
        path = self._parts.pop(window)
        self._notes.pop(window, None)
        with suppress(OSError):
            path.unlink()


@contextmanager
def open_run(
    folder: Path, fingerprint: Mapping[str, object], planes: Sequence[str], *, resume: bool = True
) -> Iterator[Run]:
    """Begin a run, or go on with the one that was left in ``folder``.

    However the block is left, the parts stay, unless :meth:`Run.finish` was called. A run that never wrote a part
    leaves nothing.

    Args:
        folder: Of the run alone; made where it is absent, beside the output.
        fingerprint: All that changes pixels, as JSON: parts of another fingerprint are not used.
        planes: Names of the planes of each part.
        resume: Whether to go on; else what an older run left is removed.

    Raises:
        ParameterError: It holds parts of other parameters; the message says which.
        OutputError: Another run holds it, it holds files that are not ours, or it cannot be written.
    """
    folder = Path(folder)
    wanted = new_manifest(fingerprint, planes)
    with disk_errors(folder):
        _check_own(folder)  # before a lock is put there
    with locked(folder):
        with disk_errors(folder):
            run = _begin(folder, wanted, resume)
        try:
            yield run
        finally:
            if not run.kept:
                with suppress(OSError):
                    _abandon(run)


def _check_own(folder: Path) -> Contents:
    """What lies in the folder of a run; an OutputError where that is not what it is."""
    contents = list_contents(folder)
    if contents.manifest:
        check_own(folder)
    elif contents.foreign:
        raise OutputError(
            f"{folder} holds files that are not geoseg's ({listed(contents.foreign)}), and the run needs a folder of "
            "its own there; move it or choose another output"
        )
    return contents


def _begin(folder: Path, wanted: Manifest, resume: bool) -> Run:
    contents = _check_own(folder)
    if resume and contents.manifest:
        found = read_manifest(folder)
        check_same(folder, found, wanted)
        for left in contents.temporaries:
            left.unlink()
        return Run(folder, found, dict(_complete(contents, found.run)), created=False)
    _clear(folder, contents)
    write_manifest(folder, wanted)
    return Run(folder, wanted, {}, created=True)


def _complete(contents: Contents, run: str) -> Iterator[tuple[Window, Path]]:
    """Parts of a run as long as they were written; others are removed, to be made anew."""
    for path in contents.parts:
        owner, window, size = parse_part_name(path.name)
        found = path.stat().st_size
        if owner == run and found == size:
            yield window, path
            continue
        if owner == run:
            log.warning("%s is cut short: %d bytes of %d; it is made anew", path, found, size)
        path.unlink()


def _abandon(run: Run) -> None:
    """Take a run without parts away."""
    _clear(run.folder, list_contents(run.folder))


def _clear(folder: Path, contents: Contents) -> None:
    """Remove all that is a run's, the manifest last: killed on the way, it is a run with fewer parts."""
    for path in (*contents.parts, *contents.temporaries):
        path.unlink()
    if contents.manifest:
        (folder / MANIFEST).unlink()
