"""Temporary files of runs that were killed, told from those of runs that live by a lock that dies with its run."""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: what killed runs left stays there
    fcntl = None  # type: ignore[assignment]

_LOCK = ".lock"


@contextmanager
def temporary_base(path: Path) -> Iterator[Path]:
    """A beginning of hidden names beside ``path`` that nobody uses; whatever starts with it is removed in the end.

    What earlier runs with the same output began and were killed over is removed first.
    """
    base = path.with_name(f".{path.stem[:150]}.{secrets.token_hex(4)}")
    _remove_leftovers(path)
    lock = _lock(_lock_of(base, path))
    try:
        yield base
    finally:
        _remove(base)
        if lock is not None:
            os.close(lock)


def _lock_of(base: Path, path: Path) -> Path:
    return base.with_name(base.name + path.suffix.lower() + _LOCK)


def _lock(file: Path) -> int | None:
    """A locked file that says which machine we are; None where there are no locks: then nobody cleans up after us."""
    if fcntl is None:
        return None
    descriptor = None
    try:
        descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, socket.gethostname().encode())
    except OSError:
        file.unlink(missing_ok=True)
        if descriptor is not None:
            os.close(descriptor)
        return None
    return descriptor


def _remove_leftovers(path: Path) -> None:
    """Remove what begins like a lock that nobody holds, of this machine: locks of others may not reach here."""
    if fcntl is None:
        return
    stem, suffix = re.escape(path.stem[:150]), re.escape(path.suffix.lower())
    pattern = re.compile(rf"(\.{stem}\.[0-9a-f]{{8}}){suffix}{re.escape(_LOCK)}")
    for file in _files(path.parent):
        match = pattern.fullmatch(file.name)
        if match is None:
            continue
        with suppress(OSError):  # held, gone, or someone else's
            descriptor = os.open(file, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.read(descriptor, 1024) == socket.gethostname().encode():
                    _remove(path.with_name(match[1]))
            finally:
                os.close(descriptor)


def _remove(base: Path) -> None:
    """Remove all files whose names begin with that of ``base``, the lock last."""
    files = [file for file in _files(base.parent) if file.name.startswith(base.name)]
    for file in sorted(files, key=lambda file: file.suffix == _LOCK):
        file.unlink(missing_ok=True)


def _files(folder: Path) -> list[Path]:
    """What is seen in a folder; one that can only be written into shows nothing."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []
