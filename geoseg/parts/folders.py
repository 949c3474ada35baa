"""The folder of a run: which of its files are ours, one writer at a time, and files that appear whole.

Nothing is removed but regular files under names that only a run gives. Links are never followed.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, SoftFileLock, Timeout

from geoseg.durable import sync
from geoseg.errors import GeosegError, OutputError
from geoseg.tiling import Window

MANIFEST = "manifest.json"
LOCK = ".geoseg.lock"
_OWNER = ".geoseg.owner.json"

# Run id, row_off, col_off, height, width, bytes of the file: a part that is cut short is seen without opening it.
_PART = re.compile(r"([0-9a-f]{16})_(\d+)_(\d+)_([1-9]\d*)_([1-9]\d*)_(\d+)\.(?:tif|npz)")
# Names of Run.temporary, of write_durably, and of the rasters that are finished here; GDAL adds suffixes of its own.
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.(.+\.)?tmp(\..+)?")

SEEN_SECONDS = 60.0
"""How long a file that another machine has written may take to show here; NFS keeps what it knew for 30 to 60 s."""

# An unlinked lock file makes the first try fail; whoever really waits for another run waits as long.
_LOCK_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Contents:
    """What lies in the folder of a run.

    Attributes:
        parts: Files named as parts, whole or not, and their bytes.
        temporaries: What a killed run left half-written.
        foreign: Names of everything else, but for manifest and lock.
        manifest: Whether there is a manifest.
    """

    parts: tuple[tuple[Path, int], ...] = ()
    temporaries: tuple[Path, ...] = ()
    foreign: tuple[str, ...] = ()
    manifest: bool = False


def list_contents(folder: Path) -> Contents:
    """Sort the files of a folder; an absent folder is empty, and what goes meanwhile is absent.

    Raises:
        OutputError: It is no folder of its own.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        kind = "a link" if folder.is_symlink() else "a file"
        raise OutputError(f"{folder} is {kind}, and the parts of the run need a folder there; remove or rename it")
    parts: list[tuple[Path, int]] = []
    temporaries: list[Path] = []
    foreign: list[str] = []
    manifest = False
    for entry in sorted(folder.iterdir()) if folder.exists() else ():
        try:
            status = entry.lstat()
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(status.st_mode):
            foreign.append(entry.name)
        elif entry.name == MANIFEST:
            manifest = True
        elif _PART.fullmatch(entry.name):
            parts.append((entry, status.st_size))
        elif _TEMPORARY.fullmatch(entry.name):
            temporaries.append(entry)
        elif entry.name not in {LOCK, _OWNER}:
            foreign.append(entry.name)
    return Contents(tuple(parts), tuple(temporaries), tuple(foreign), manifest)


def part_name(run: str, window: Window, size: int, suffix: str) -> str:
    """File name of a part of ``size`` bytes; the suffix is ``.tif`` or ``.npz``."""
    return f"{run}_{window.row_off}_{window.col_off}_{window.height}_{window.width}_{size}{suffix}"


def parts_named(name: str) -> bool:
    """Whether a file is named as a part."""
    return _PART.fullmatch(name) is not None


def parse_part_name(name: str) -> tuple[str, Window, int]:
    """Run id, window and bytes that the name of a part tells."""
    found = _PART.fullmatch(name)
    assert found is not None
    row, col, height, width, size = map(int, found.groups()[1:])
    return found[1], Window(row, col, height, width), size


def temporary_name(folder: Path, name: str) -> Path:
    """A name in ``folder`` that nobody uses and that the next run on the folder clears away."""
    return folder / f".{name[:150]}.{secrets.token_hex(4)}.tmp"


def write_durably(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all, also after a power cut."""
    temporary = temporary_name(path.parent, path.name)
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    with suppress(OSError):  # some network file systems cannot
        sync(path.parent)


def await_file(path: Path, size: int) -> None:
    """See that a file that another machine has written is whole; network file systems tell of it late.

    Raises:
        OutputError: It is not.
    """
    end = time.monotonic() + SEEN_SECONDS
    while True:
        with suppress(FileNotFoundError):
            if path.stat().st_size == size:
                return
        if time.monotonic() > end:
            raise OutputError(
                f"{path} was written by a worker but is not to be seen here: workers and this machine need to see the "
                "same folder; put the output on a disk that all of them share"
            )
        time.sleep(0.2)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """What the system refuses becomes an OutputError in one line."""
    try:
        yield
    except GeosegError:
        raise
    except OSError as error:
        why = error.strerror or " ".join(str(error).split())
        raise OutputError(f"{path} cannot be written ({why}); is the disk full or read-only?") from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make the folder where it is absent and hold it alone; one that is without manifest in the end goes again.

    The lock is the kernel's: it ends with the process, however that ends.

    Raises:
        OutputError: Another run holds it, or it cannot be made or locked.
    """
    with disk_errors(folder):
        lock = _acquire(folder)
        try:
            owner = {
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "since": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            }
            write_durably(folder / _OWNER, json.dumps(owner).encode())
        except BaseException:
            _release(folder, lock)
            raise
    try:
        yield
    finally:
        _release(folder, lock)


def _acquire(folder: Path) -> FileLock:
    for _ in range(3):  # a run that ends meanwhile takes the folder away
        with suppress(FileExistsError):
            folder.mkdir()
            with suppress(OSError):
                sync(folder.parent)
        lock = FileLock(folder / LOCK, thread_local=False)
        try:
            lock.acquire(timeout=_LOCK_SECONDS)
        except Timeout:
            raise OutputError(
                f"{folder} is being written by another run{_holder(folder)}; wait for it or stop it"
            ) from None
        except FileNotFoundError:
            if not folder.parent.is_dir():
                raise
            continue
        if isinstance(lock, SoftFileLock):  # what filelock turns into where there are no kernel locks
            lock.release(force=True)
            raise OutputError(f"the file system of {folder} has no locks, so two runs could mix; write to another disk")
        return lock
    raise OutputError(f"{folder} comes and goes: other runs write the same output; wait for them or stop them")


def _holder(folder: Path) -> str:
    try:
        owner = json.loads((folder / _OWNER).read_bytes())
        return f" (pid {int(owner['pid'])} on {str(owner['host'])[:60]} since {str(owner['since'])[:30]})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""  # it has only just begun


def _release(folder: Path, lock: FileLock) -> None:
    with suppress(OSError):
        (folder / _OWNER).unlink()
    over = not (folder / MANIFEST).exists()
    if over and os.name != "nt":
        # While it is still held: afterwards the name may be another run's lock.
        with suppress(OSError):
            (folder / LOCK).unlink()
        with suppress(OSError):  # whatever else is in it is not ours
            folder.rmdir()
    lock.release(force=True)
    if over and os.name == "nt":  # where an open file cannot go, nor one that another run has opened
        with suppress(OSError):
            (folder / LOCK).unlink(missing_ok=True)
            folder.rmdir()
