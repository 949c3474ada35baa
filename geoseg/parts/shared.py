"""A run that several processes write: one holds it, and the others make parts that it takes over."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from geoseg.errors import OutputError
from geoseg.parts.folders import disk_errors, parse_part_name, parts_named
from geoseg.parts.manifests import Manifest, read_manifest
from geoseg.parts.runs import NO_NOTES, Run
from geoseg.tiling import Window

_SHARED = "put the output on a disk that all workers share"

Made = Callable[[Window, int, Mapping[str, object]], None]
"""Told window, bytes and notes of a part that is complete."""


class SharedRun(Run):
    """Some windows of a run that another process holds; made by :func:`join_run`."""

    def __init__(self, folder: Path, manifest: Manifest, parts: Mapping[Window, Path], made: Made) -> None:
        super().__init__(folder, manifest, parts, created=False)
        self._made = made

    def put(self, window: Window, data: bytes, notes: Mapping[str, object] = NO_NOTES) -> None:
        """See :meth:`Run.put`."""
        super().put(window, data, notes)
        self._made(window, self.size(window), notes)


def join_run(folder: Path, run: str, windows: Collection[Window], made: Made) -> SharedRun:
    """Make some parts of a run that another process holds.

    Args:
        folder: Of the run, on a disk that both see.
        run: Its id.
        windows: Those that are made here and nowhere else; of parts that are there already, these are known.
        made: Told of each part that is complete.

    Raises:
        OutputError: There is no such run.
    """
    try:
        with disk_errors(folder):
            manifest = read_manifest(folder)
            parts = dict(_found(folder, run, frozenset(windows)))
    except OutputError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise OutputError(f"{folder} is not to be seen here; {_SHARED}") from error
        raise
    if manifest.run != run:
        raise OutputError(f"{folder} holds another run here than where it was begun; {_SHARED}")
    return SharedRun(folder, manifest, parts, made)


def _found(folder: Path, run: str, windows: frozenset[Window]) -> Iterator[tuple[Window, Path]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(f"{run}_") and parts_named(entry.name):
                _, window, size = parse_part_name(entry.name)
                if window in windows and entry.stat().st_size == size:
                    yield window, Path(entry.path)
