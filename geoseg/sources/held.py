"""What is kept open or decoded between two reads, shared by threads."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """Results of slow calls, the last of them; whoever asks for what another thread is making waits for it.

    Args:
        limit: The sum of weights that is kept; the last result is kept whatever it weighs.
        weigh: Of a result; 1 by default.
    """

    def __init__(self, limit: float, weigh: Callable[[T], float] | None = None) -> None:
        self._limit = limit
        self._weigh = weigh or (lambda _: 1.0)
        self._lock = threading.Lock()
        self._found: OrderedDict[Hashable, Future[T]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` gave for ``key`` before, else what it gives now; its errors are not kept."""
        with self._lock:
            future = self._found.get(key)
            mine = future is None
            if future is None:
                future = self._found[key] = Future()
            self._found.move_to_end(key)
        if mine:
            self._make(key, future, make)
        return future.result()

    def _make(self, key: Hashable, future: Future[T], make: Callable[[], T]) -> None:
        try:
            future.set_result(make())
        except BaseException as error:  # noqa: BLE001  for whoever waits
            with self._lock:
                self._found.pop(key, None)
            future.set_exception(error)
            return
        with self._lock:
            done = [(k, self._weigh(f.result())) for k, f in self._found.items() if f.done() and not f.exception()]
            total = sum(weight for _, weight in done)
            for old, weight in done[:-1]:
                if total > self._limit:
                    del self._found[old]
                    total -= weight


class Handles(Generic[T]):
    """Open files, each in the hands of one thread at a time, for which GDAL makes no exception.

    Args:
        opener: Opens the file of a key.
        idle: Files that stay open while nobody reads them.
    """

    def __init__(self, opener: Callable[[str], AbstractContextManager[T]], idle: int = 16) -> None:
        self._opener = opener
        self._most = idle
        self._lock = threading.Lock()
        self._idle: list[tuple[str, T, ExitStack]] = []
        self._process = os.getpid()

    @contextmanager
    def borrow(self, key: str) -> Iterator[T]:
        """A file that nobody else reads until it is given back."""
        handle, stack = self._taken(key) or self._opened(key)
        try:
            yield handle
        except BaseException:
            stack.close()
            raise
        with self._lock:
            self._idle.append((key, handle, stack))
            oldest = self._idle.pop(0) if len(self._idle) > self._most else None
        if oldest is not None:
            oldest[2].close()

    def _opened(self, key: str) -> tuple[T, ExitStack]:
        stack = ExitStack()
        return stack.enter_context(self._opener(key)), stack

    def _taken(self, key: str) -> tuple[T, ExitStack] | None:
        with self._lock:
            if self._process != os.getpid():  # a forked process must not read through its parent's files
                self._process, self._idle = os.getpid(), []
            for place in reversed(range(len(self._idle))):
                if self._idle[place][0] == key:
                    _, handle, stack = self._idle.pop(place)
                    return handle, stack
        return None
