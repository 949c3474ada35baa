"""Tasks that make parts of a job, a window each: what they tell of them, and what becomes of windows that fail."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

from geoseg import errors
from geoseg.distributed.duties import Report
from geoseg.errors import ClusterError, CorruptRasterError, GeosegError, UnfinishedError
from geoseg.tiling import Window

_PART = "part"
_LISTED = 5

LOCAL_FAILURES = (CorruptRasterError.__name__, "KilledWorker", "TimeoutError")
"""Kinds of errors on purpose that concern a region alone; others would come up in every one."""


def tell_part(window: Window, size: int, notes: Mapping[str, object]) -> list[Any]:
    """What a worker tells of a part: its window, its bytes, its notes."""
    numbers = [int(n) for n in (window.row_off, window.col_off, window.height, window.width)]
    return [_PART, *numbers, size, dict(notes)]


def told_part(values: Sequence[Any]) -> tuple[Window, int, dict[str, object]]:
    """Window, bytes and notes of a part that a worker told of."""
    _, row, col, height, width, size, notes = values
    return Window(row, col, height, width), size, dict(notes)


@dataclass
class Tally:
    """What came of the regions of a job.

    Attributes:
        failed: Windows without a part, with the reason.
    """

    failed: list[tuple[Window, str]] = field(default_factory=list)

    def settle(self, region: Any, report: Report, done: Set[Window], tasks: deque[Any]) -> None:
        """Judge the end of a task. Of one that met a damaged block every step that is left is tried by itself.

        Args:
            region: A frozen dataclass with ``steps``, its windows.
            report: What became of it; its value is a mapping with ``error``: None, or kind and text.
            done: Windows that have parts.
            tasks: Where more are to be added.

        Raises:
            GeosegError: It failed by what would come up in every region.
        """
        failure = report.failure
        error = (report.value or {}).get("error")
        kind, text = (error or (None, "")) if failure is None else (failure.kind, str(failure))
        if kind not in (None, *LOCAL_FAILURES) and (failure is None or failure.expected):
            raise raised(kind, f"{text} (worker {report.worker})")
        missing = [step for step in region.steps if step not in done]
        if kind == CorruptRasterError.__name__ and len(region.steps) > 1:
            tasks.extend(replace(region, steps=(step,)) for step in missing)
        elif kind is not None:
            self.failed.extend((step, f"{text}, worker {report.worker}") for step in missing)

    def raise_failed(self, done: int, steps: int, place: object) -> None:
        """Name what failed.

        Args:
            done: Parts that are there.
            steps: Parts that should be.
            place: Where they are kept.

        Raises:
            UnfinishedError: Any.
        """
        if self.failed:
            told = [f"{window} ({why})" for window, why in self.failed[:_LISTED]]
            more = [f"and {len(self.failed) - _LISTED} more"] if len(self.failed) > _LISTED else []
            raise UnfinishedError(
                f"{len(self.failed)} of {steps} parts failed: {'; '.join(told + more)}. The other {done} are "
                f"kept in {place}; the same command makes what is missing"
            )


def raised(kind: str, text: str) -> GeosegError:
    """An error of a worker as this process raises it."""
    found = getattr(errors, kind, None)
    return found(text) if isinstance(found, type) and issubclass(found, GeosegError) else ClusterError(text)
