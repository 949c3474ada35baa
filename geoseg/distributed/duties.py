"""What a worker does, said without Dask: it opens once what its tasks share, and reports each in a few words."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from geoseg.errors import GeosegError
from geoseg.memory import keep_freed_memory
from geoseg.processors import limit_cores

T = TypeVar("T")

Tell = Callable[[list[Any]], None]
"""Sends plain values to the client while a task runs: a sign of life."""

Wanted = Callable[[], bool]
"""Whether anybody still waits for the task: its client may be gone, or another worker may have got it."""

Duty = Callable[[Any, Tell, Wanted], Any]
"""Does one task: what is to be done, in; a small value, out."""


class MisfitError(GeosegError):
    """A worker would not compute what the others do; the message says why."""


@dataclass
class Place:
    """A worker as what runs there sees it.

    Attributes:
        address: Of the worker.
        alone: Whether it is a process of its own, whose threads may be counted; not so in the client's own process.
        threads: How many threads Dask gives it.
    """

    address: str
    alone: bool
    threads: int
    _kept: dict[str, object] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    def keep(self, name: str, make: Callable[[], T], close: Callable[[T], None]) -> T:
        """What is made once and serves one duty after the other, such as a network."""
        if name not in self._kept:
            made = self._kept[name] = make()
            self._stack.callback(close, made)
        return self._kept[name]  # type: ignore[return-value]

    def settle(self) -> None:
        """Take the cores that a worker is given, and say in the client's log alone what is to be said."""
        if self.alone:
            limit_cores(self.threads)
            keep_freed_memory()
            logging.getLogger("geoseg").setLevel(logging.ERROR)

    def close(self) -> None:
        """Give back what was kept."""
        self._kept.clear()
        self._stack.close()


class Opening(Protocol):
    """A description, small and picklable, from which a worker opens what the tasks of a job share."""

    def open(self, place: Place) -> AbstractContextManager[Duty]:
        """Open it; left when the job is over."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a task was not done.

    Attributes:
        kind: Class of the error.
        text: What it says.
        expected: Whether geoseg raised it on purpose: another worker would raise it too.
        misfit: Whether it is the worker and not the task.
    """

    kind: str
    text: str
    expected: bool = False
    misfit: bool = False

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """From an error."""
        text = " ".join(str(error).split())
        return cls(
            type(error).__name__, text or "no message", isinstance(error, GeosegError), isinstance(error, MisfitError)
        )

    def __str__(self) -> str:
        return self.text if self.expected else f"{self.kind}: {self.text}"


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a task.

    Attributes:
        worker: Address of the worker.
        value: What the duty gave; None where it failed.
        failure: Why it failed.
    """

    worker: str
    value: Any = None
    failure: Failure | None = None
