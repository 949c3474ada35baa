"""Where the parts of a run lie: a folder that all who make them see, or an object store."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from geoseg.errors import ParameterError
from geoseg.parts.folders import (
    await_file,
    disk_errors,
    list_contents,
    locked,
    parse_part_name,
    parts_named,
    write_durably,
)
from geoseg.tiling import Window

# At least two characters: one is a drive of Windows. Chains such as simplecache::s3:// too, to be refused.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]+:/(?P<slash>/)?")


@dataclass(frozen=True, slots=True)
class Listing:
    """What lies where the parts of a run lie, by name.

    Attributes:
        parts: What is named as a part, whole or not, and its bytes.
        temporaries: What a killed run left half-written.
        foreign: Everything else, but for manifest and lock.
        manifest: Whether there is a manifest.
    """

    parts: tuple[tuple[str, int], ...] = ()
    temporaries: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    manifest: bool = False


class Store(Protocol):
    """Files of a run, by name. Each appears whole or not at all; ``str`` of it says where they are."""

    def named(self, name: str) -> str:
        """How a file is called in messages."""

    def listing(self) -> Listing:
        """What is there; nothing where the place itself is not."""

    def found(self, run: str, windows: Collection[Window]) -> Iterator[tuple[Window, str]]:
        """Which windows of a run have whole parts, and their names."""

    def read(self, name: str) -> bytes:
        """A whole file.

        Raises:
            FileNotFoundError: There is none.
            OSError: It cannot be read.
        """

    def foresee(self, names: Sequence[str]) -> None:
        """Files that will be read, in this order; some may be left out."""

    def write(self, name: str, data: bytes) -> None:
        """Make or replace a file; when this returns, it survives a power cut."""

    def await_file(self, name: str, size: int) -> None:
        """See that a file that another machine has written is whole.

        Raises:
            OutputError: It is not.
        """

    def remove(self, names: Sequence[str]) -> None:
        """Remove files, all at once or in this order; one that has gone is gone."""

    def held(self) -> AbstractContextManager[None]:
        """Hold the place alone, and make it where it is absent.

        Raises:
            OutputError: Another run holds it, or it cannot be held.
        """

    def errors(self, name: str = "") -> AbstractContextManager[None]:
        """What the system refuses in this block becomes an OutputError in one line."""


def is_url(place: str | Path) -> bool:
    """Whether a place is one of an object store, and not a folder."""
    found = _URL.match(str(place))
    return found is not None and found["slash"] is not None


def was_url(place: str | Path) -> bool:
    """Whether a place is a URL, or was one before it became a path, in which two slashes are one."""
    return _URL.match(str(place)) is not None


def store_at(place: str | Path) -> Store:
    """The store at a path or a URL.

    Raises:
        ParameterError: The URL is of a kind that holds no parts, or its package is not installed.
        OutputError: Its store is not to be had.
    """
    if not is_url(place):
        return FolderStore(Path(place))
    from geoseg.parts.objects import ObjectStore

    return ObjectStore(str(place))


def inside(place: str | Path, name: str) -> str:
    """A place below another.

    Raises:
        ParameterError: The other has no name.
    """
    text = str(place)
    if not text.strip():
        raise ParameterError("the folder for parts has no name; give a folder or a URL such as s3://bucket/prefix")
    return f"{text.rstrip('/')}/{name}" if is_url(text) else str(Path(text) / name)


def is_begun(place: str | Path) -> bool:
    """Whether a run has been begun at a place.

    Raises:
        ParameterError: As :func:`store_at`.
        OutputError: It cannot be looked at.
    """
    store = store_at(place)
    with store.errors():
        return store.listing().manifest


class FolderStore:
    """A folder: its files are flushed to the disk and renamed, and the kernel's lock holds it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __str__(self) -> str:
        return str(self.folder)

    def named(self, name: str) -> str:
        """See :class:`Store`."""
        return str(self.folder / name)

    def listing(self) -> Listing:
        """See :class:`Store`."""
        contents = list_contents(self.folder)
        return Listing(
            tuple((path.name, size) for path, size in contents.parts),
            tuple(path.name for path in contents.temporaries),
            contents.foreign,
            contents.manifest,
        )

    def found(self, run: str, windows: Collection[Window]) -> Iterator[tuple[Window, str]]:
        """See :class:`Store`."""
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name.startswith(f"{run}_") and parts_named(entry.name):
                    _, window, size = parse_part_name(entry.name)
                    with suppress(FileNotFoundError):  # the run's holder may remove one meanwhile
                        if window in windows and entry.stat().st_size == size:
                            yield window, entry.name

    def read(self, name: str) -> bytes:
        """See :class:`Store`."""
        return (self.folder / name).read_bytes()

    def foresee(self, names: Sequence[str]) -> None:
        """See :class:`Store`; the system reads ahead by itself."""

    def write(self, name: str, data: bytes) -> None:
        """See :class:`Store`."""
        with disk_errors(self.folder):
            write_durably(self.folder / name, data)

    def await_file(self, name: str, size: int) -> None:
        """See :class:`Store`."""
        path = self.folder / name
        with disk_errors(path):
            await_file(path, size)

    def remove(self, names: Sequence[str]) -> None:
        """See :class:`Store`."""
        for name in names:
            (self.folder / name).unlink(missing_ok=True)

    def held(self) -> AbstractContextManager[None]:
        """See :class:`Store`."""
        return locked(self.folder)

    def errors(self, name: str = "") -> AbstractContextManager[None]:
        """See :class:`Store`."""
        return disk_errors(self.folder / name)
