"""Parts of a run that workers make: what the jobs that are given out in regions have in common, on both sides."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoseg.distributed import MisfitError, Tell, Wanted
from geoseg.distributed.failing import tell_part, told_part
from geoseg.errors import GeosegError, StoreError
from geoseg.parts import Run, is_begun, is_url, join_run
from geoseg.threads import Abandoned
from geoseg.tiling import Window

_log = logging.getLogger("geoseg")


@dataclass(frozen=True, slots=True)
class Region:
    """A task: make the parts of some neighbouring steps.

    Attributes:
        run: Id of the run.
        steps: From top to bottom.
        digest: Of the fingerprint that the run was begun with.
        mixed: Whether workers may differ in what a user may allow.
    """

    run: str
    steps: tuple[Window, ...]
    digest: str
    mixed: bool


def look_at_parts(place: str | Path) -> None:
    """See that a worker reaches the store of the parts: what it lacks would come up with its first part.

    Raises:
        MisfitError: It does not.
    """
    if is_url(place):
        try:
            is_begun(place)
        except GeosegError as error:
            raise MisfitError(str(error)) from error


def make_parts(
    place: str | Path, region: Region, tell: Tell, wanted: Wanted, make: Callable[[Run], None], *, noted: bool
) -> dict[str, Any]:
    """On a worker: make the parts of a region that are not there.

    Args:
        place: Where the parts go, a folder or a URL.
        region: The task.
        tell: Told of each part.
        wanted: Whether somebody still waits for them.
        make: Puts what is missing into the run.
        noted: Whether parts have notes that the client asks for.

    Returns:
        ``parts``: what was told of each; ``error``: None, or kind and text.

    Raises:
        MisfitError: The store is not reached; others may reach it.
        Abandoned: Nobody waits any more.
    """
    made: list[list[Any]] = []

    def note(window: Window, size: int, notes: Mapping[str, object]) -> None:
        made.append(tell_part(window, size, notes))
        tell(made[-1])
        if not wanted():
            raise Abandoned

    error = None
    try:
        run = join_run(place, region.run, region.steps, note)
        for step in region.steps:
            if step in run.done:  # of a worker that was lost on the way
                note(step, run.size(step), run.notes(step) if noted else {})
        make(run)
    except StoreError as found:
        raise MisfitError(str(found)) from found
    except GeosegError as found:
        error = [type(found).__name__, str(found)]
    return {"parts": made, "error": error}


def take_parts(run: Run, parts: Iterable[Sequence[Any]]) -> Iterator[Window]:
    """On the client: take over parts that a worker told of; gives those that are new, which is to be gone through."""
    for values in parts:
        window, size, notes = told_part(values)
        if window not in run.done:
            run.take(window, size, notes)
            yield window


@contextmanager
def interruptible(run: Run, what: str) -> Iterator[None]:
    """Say how many of ``what`` an interrupted run keeps."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, Abandoned):
        if run.done:
            _log.info("%d %s stay in %s; the same parameters go on from there", len(run.done), what, run.store)
        raise
