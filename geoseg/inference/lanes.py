"""Scenes under way at once on the workers of a cluster: as many as fill them, and no more."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import Generic, TypeVar

from geoseg.inference.clustered import Clustered
from geoseg.threads import SCENE_THREAD, Abandoned

T = TypeVar("T")
R = TypeVar("R")

Work = Callable[[Clustered, T, Callable[[], None]], R]
"""Does one of several things on the workers; the function that it gets raises where all are to end."""

MOST = 64
"""Scenes that are open at once at most: each has files open, and is put together here."""

_LOOK_SECONDS = 1.0


def abreast(clustered: Clustered, items: Sequence[tuple[str, T]], work: Work[T, R]) -> Generator[R]:
    """Do something with each item, several at once, each in a thread of its own.

    The next one begins when the tasks of those before it no longer fill the workers, so that of large scenes there is
    one or two, and of small ones as many as it takes. Each is cut for its share of the workers, the last for all of
    them. Leaving the generator early ends all.

    Args:
        clustered: The workers.
        items: What for, with a name for the thread.
        work: What; an error that it raises ends all.

    Yields:
        Results in the order of the items.
    """
    lanes = _Lanes(clustered, items, work)
    try:
        for number in range(len(items)):
            yield lanes.result(number)
    finally:
        lanes.close()


class _Lanes(Generic[T, R]):
    def __init__(self, clustered: Clustered, items: Sequence[tuple[str, T]], work: Work[T, R]) -> None:
        self._clustered, self._work = clustered, work
        self._crew = clustered.crew
        self._waiting = deque(enumerate(items))
        self._open: dict[int, threading.Thread] = {}
        self._results: dict[int, R] = {}
        self._errors: list[BaseException] = []
        # As in geoseg.threads: nothing that Ctrl-C could leave locked.
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._crew.seats.watch(self._ring)

    def result(self, number: int) -> R:
        """Wait for a result, and begin what there is room for meanwhile."""
        while True:
            self._begin_some()
            if self._errors:
                raise self._errors[0]
            if number in self._results:
                return self._results.pop(number)
            try:
                self._bell.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                continue

    def close(self) -> None:
        """End what is under way."""
        self._crew.seats.watch(None)
        if self._open:
            self._crew.stop()
        for thread in list(self._open.values()):
            if thread.ident is not None:
                thread.join()

    def _begin_some(self) -> None:
        while self._waiting and len(self._open) < MOST:
            claim = self._crew.seats.admit(anyway=not self._open)
            if claim is None:
                return
            one = self._clustered.beside(claim, min(len(self._waiting), MOST))
            number, (name, item) = self._waiting.popleft()
            thread = threading.Thread(
                target=self._do, args=(number, item, one), name=f"{SCENE_THREAD}{name}", daemon=True
            )
            self._open[number] = thread
            thread.start()

    def _do(self, number: int, item: T, one: Clustered) -> None:
        try:
            with closing(one):
                self._results[number] = self._work(one, item, self._carry_on)
        except BaseException as error:  # noqa: BLE001 - raised where the results are waited for
            self._errors.append(error)
        finally:
            del self._open[number]
            self._ring()

    def _carry_on(self) -> None:
        if self._crew.stopped:
            raise Abandoned

    def _ring(self) -> None:
        self._bell.put(None)
