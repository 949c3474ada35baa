"""A run that several processes write: one holds it, and the others make parts that it takes over."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from geoseg.errors import OutputError
from geoseg.parts.folders import MANIFEST
from geoseg.parts.manifests import Manifest, parse_manifest
from geoseg.parts.runs import NO_NOTES, Run
from geoseg.parts.stores import Store, is_url, store_at
from geoseg.tiling import Window

_SHARED = "put the output on a disk that all workers share, or its parts in an object store (--parts-folder)"
_REACHED = "workers need the same bucket of the same store; compare their credentials and its address"

Made = Callable[[Window, int, Mapping[str, object]], None]
"""Told window, bytes and notes of a part that is complete."""


class SharedRun(Run):
    """Some windows of a run that another process holds; made by :func:`join_run`."""

    def __init__(self, folder: Path, store: Store, manifest: Manifest, parts: Mapping[Window, str], made: Made) -> None:
        super().__init__(folder, store, manifest, parts, created=False)
        self._made = made

    def put(self, window: Window, data: bytes, notes: Mapping[str, object] = NO_NOTES) -> None:
        """See :meth:`Run.put`."""
        super().put(window, data, notes)
        self._made(window, self.size(window), notes)


def join_run(place: str | Path, run: str, windows: Collection[Window], made: Made) -> SharedRun:
    """Make some parts of a run that another process holds.

    Args:
        place: Where its parts are: a folder on a disk that both see, or a URL.
        run: Its id.
        windows: Those that are made here and nowhere else; of parts that are there already, these are known.
        made: Told of each part that is complete.

    Raises:
        OutputError: There is no such run.
    """
    store, remedy = store_at(place), _REACHED if is_url(place) else _SHARED
    try:
        with store.errors():
            manifest = parse_manifest(store.read(MANIFEST), store.named(MANIFEST))
            parts = dict(store.found(run, frozenset(windows)))
    except OutputError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise OutputError(f"{store} is not to be seen here; {remedy}") from error
        raise
    if manifest.run != run:
        raise OutputError(f"{store} holds another run here than where it was begun; {remedy}")
    return SharedRun(Path(place), store, manifest, parts, made)
