"""Helpers that let stages of a job overlap in threads without sharing anything but queues."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")

SCENE_THREAD = "scene "
"""What the name of a thread begins with that works on one scene of many; its name follows."""


class Stopwatch:
    """Adds up how long each stage of a job was busy; each stage runs in one thread.

    Attributes:
        seconds: By stage.
    """

    def __init__(self, stages: Iterable[str]) -> None:
        self.seconds = dict.fromkeys(stages, 0.0)

    @contextmanager
    def running(self, stage: str) -> Iterator[None]:
        """Count the time of this block as the stage's."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - begin

    def timed(self, items: Iterable[T], stage: str) -> Generator[T]:
        """The same items; the time it takes to make them is the stage's."""
        iterator = iter(items)
        try:
            while True:
                with self.running(stage):
                    try:
                        item = next(iterator)
                    except StopIteration:
                        return
                yield item
        finally:
            if isinstance(iterator, Generator):
                iterator.close()


class Abandoned(Exception):  # noqa: N818  no error but a way to stop
    """Ends what runs in a thread whose items nobody needs any more."""


class _End:
    """The last item of a queue; holds the error that ended it, if any."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class _Channel(Generic[T]):
    """Items from one thread to another, at most ``depth`` waiting.

    A signal that raises in the main thread, Ctrl-C above all, may come between any two lines of Python. Inside
    ``queue.Queue`` it can leave a lock held, or wake a thread that waits no longer: then the next one waits for ever.
    Here each step is one call of ``SimpleQueue``, which is written in C and whole or not at all.

    Args:
        depth: Items that may wait.
    """

    def __init__(self, depth: int) -> None:
        self._items: queue.SimpleQueue[T | _End] = queue.SimpleQueue()
        self._room: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.closed = False
        for _ in range(depth):
            self._room.put(None)

    def put(self, item: T | _End) -> bool:
        """Wait for room and add an item; False where the channel is closed, and nobody would take it."""
        self._room.get()
        if self.closed:
            self._room.put(None)
            return False
        self._items.put(item)
        return True

    def get(self) -> T | _End:
        """Wait for the next item."""
        item = self._items.get()
        self._room.put(None)
        return item

    def end(self) -> None:
        """Add the last item, without waiting for room."""
        self._items.put(_End())

    def close(self) -> None:
        """Take no more items, and wake whoever waits for room."""
        self.closed = True
        self._room.put(None)


def prefetched(items: Iterable[T], depth: int) -> Generator[T]:
    """Run an iterable in a thread of its own, at most ``depth`` items ahead.

    Order is kept; an error in the thread is raised at its place in the order; leaving the loop early stops the thread.
    """
    channel = _Channel[T](depth)

    def produce() -> None:
        try:
            for item in items:
                if not channel.put(item):
                    return
            channel.put(_End())
        except BaseException as error:  # noqa: BLE001  handed to the consumer, which raises it
            channel.put(_End(error))

    thread = threading.Thread(target=produce, name="geoseg-read", daemon=True)
    try:
        thread.start()
        while not isinstance(item := channel.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        channel.close()
        _join(thread)


@contextmanager
def in_background(consume: Callable[[T], None], depth: int, name: str = "write") -> Iterator[Callable[[T], None]]:
    """Give a function that hands items to ``consume`` in a thread of its own, at most ``depth`` waiting.

    An error in the thread is raised by the next call or at the end. Leaving normally waits until all is consumed;
    leaving by an error drops what waits.
    """

    def consume_all(items: Iterator[T]) -> None:
        for item in items:
            consume(item)
            del item  # not held while waiting for the next one

    with drained_in_background(consume_all, depth, name) as hand_over:
        yield hand_over


@contextmanager
def drained_in_background(
    consume_all: Callable[[Iterator[T]], None], depth: int, name: str = "write"
) -> Iterator[Callable[[T], None]]:
    """Give a function that hands items to the iterator of ``consume_all``, which runs in a thread of its own.

    As :func:`in_background`, for what wants to be fed. Where the block is left by an error, the iterator raises
    :class:`Abandoned`, so that nothing half is completed.
    """
    channel = _Channel[T](depth)
    draining = _Draining(channel, consume_all)
    thread = threading.Thread(target=draining.run, name=f"geoseg-{name}", daemon=True)
    try:
        thread.start()
        yield draining.hand_over
        channel.end()
        _join(thread)
    except BaseException:
        channel.close()
        raise
    finally:
        channel.end()
        _join(thread)
    draining.raise_error()


class _Draining(Generic[T]):
    """The thread of :func:`drained_in_background` and what it shares with the one that feeds it."""

    def __init__(self, channel: _Channel[T], consume_all: Callable[[Iterator[T]], None]) -> None:
        self._channel = channel
        self._consume_all = consume_all
        self._error: BaseException | None = None
        self._ended = False

    def run(self) -> None:
        try:
            self._consume_all(self._items())
        except BaseException as error:  # noqa: BLE001  raised by the next call
            self._error = error
        while not self._ended and not isinstance(self._channel.get(), _End):
            pass  # keep emptying the channel, so that nobody waits for room

    def hand_over(self, item: T) -> None:
        self.raise_error()
        self._channel.put(item)

    def raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _items(self) -> Iterator[T]:
        while not isinstance(item := self._channel.get(), _End):
            if self._channel.closed:
                raise Abandoned
            yield item
            del item  # not held while waiting for the next one
        self._ended = True
        if self._channel.closed:
            raise Abandoned


def _join(thread: threading.Thread) -> None:
    """Wait for the end of a thread; one whose start was interrupted may not know yet that it runs."""
    if thread.ident is not None:
        thread.join()
