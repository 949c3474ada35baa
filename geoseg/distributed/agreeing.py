"""Workers that are to make one thing together: what each says of itself is compared before any of them begins."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoseg.distributed.failing import raised
from geoseg.errors import ClusterError

if TYPE_CHECKING:  # Dask comes with it
    from geoseg.distributed.crew import Crew

_LISTED = 5

Fingerprint = Mapping[str, object]


def digest(fingerprint: Fingerprint) -> str:
    """A few characters for a fingerprint."""
    return hashlib.sha256(json.dumps(fingerprint, sort_keys=True).encode()).hexdigest()


def comparable(fingerprint: Fingerprint, loose: Collection[str]) -> dict[str, object]:
    """What of a fingerprint all workers have to share: all but what is ``loose``."""
    return {name: value for name, value in fingerprint.items() if name not in loose}


def whole_name(name: str | Path) -> str:
    """A name that means the same in another folder: local files by their whole path."""
    text, bar, layer = str(name).partition("|")
    path = Path(text)
    return f"{path.absolute()}{bar}{layer}" if path.exists() else str(name)


def introductions(crew: Crew, post: str, item: Any, *, all_of_them: bool) -> dict[str, Any]:
    """What workers say of themselves, by their address: all of them, or any one.

    Args:
        crew: The workers.
        post: The job.
        item: The task of saying so.
        all_of_them: Whether each is asked; those that do not answer are left out.

    Raises:
        GeosegError: One of them cannot open the job, or none answers.
    """
    found: dict[str, Any] = {}
    for event in crew.perform(post, deque([item]), everywhere=all_of_them):
        if event.report is None:
            continue
        failure, worker = event.report.failure, event.report.worker
        if failure is None:
            found[worker] = event.report.value
        elif failure.kind in ("Gone", "TimeoutError"):
            crew.leave_out(worker, str(failure))
        else:
            raise raised(failure.kind, f"worker {worker}: {failure}")
    if not found:
        raise ClusterError("no worker could open what the job needs; is any of them alive?")
    return found


def refuse_unlike(worker: str, found: Fingerprint, wanted: Fingerprint, mixable: Collection[str], what: str) -> None:
    """See that a worker would make what the others make.

    Args:
        worker: Its address.
        found: What it says.
        wanted: What the others say.
        mixable: What may differ where the user allows it.
        what: What they make, such as ``pixels``.

    Raises:
        ClusterError: It would not; the message names what differs.
    """
    names = _differences(found, wanted)
    if names:
        loose = all(name.partition(".")[0] in mixable for name, _ in names)
        remedy = "make them alike, or give --allow-mixed (allow_mixed=True)" if loose else "let all see the same"
        told = "; ".join(text for _, text in names[:_LISTED])
        raise ClusterError(f"worker {worker} would compute other {what} than the others: {told}; {remedy}")


def _differences(found: Fingerprint, wanted: Fingerprint, prefix: str = "") -> list[tuple[str, str]]:
    """(dotted name, what is there and what should be) of all that differs."""
    told: list[tuple[str, str]] = []
    for name in sorted({*found, *wanted}):
        old, new = found.get(name), wanted.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            told += _differences(old, new, f"{prefix}{name}.")
        elif old != new:
            told.append((f"{prefix}{name}", f"{prefix}{name} is {_short(old)} and not {_short(new)}"))
    return told


def _short(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)[:60]
