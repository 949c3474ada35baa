"""Helpers that let reading, the network, blending and writing overlap without sharing anything but queues."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

_POLL_SECONDS = 0.2


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


class _End:
    """The last item of a queue; holds the error that ended it, if any."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def prefetched(items: Iterable[T], depth: int) -> Generator[T]:
    """Run an iterable in a thread of its own, at most ``depth`` items ahead.

    Order is kept; an error in the thread is raised at its place in the order; leaving the loop early stops the thread.
    """
    waiting: queue.Queue[T | _End] = queue.Queue(maxsize=depth)
    stopped = threading.Event()

    def put(item: T | _End) -> bool:
        while not stopped.is_set():
            try:
                waiting.put(item, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False

    def produce() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(_End())
        except BaseException as error:  # noqa: BLE001  handed to the consumer, which raises it
            put(_End(error))

    thread = threading.Thread(target=produce, name="geoseg-read", daemon=True)
    thread.start()
    try:
        while not isinstance(item := waiting.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stopped.set()
        thread.join()


@contextmanager
def in_background(consume: Callable[[T], None], depth: int, name: str = "write") -> Iterator[Callable[[T], None]]:
    """Give a function that hands items to ``consume`` in a thread of its own, at most ``depth`` waiting.

    An error in the thread is raised by the next call or at the end. Leaving normally waits until all is consumed;
    leaving by an error drops what waits.
    """
    waiting: queue.Queue[T | _End] = queue.Queue(maxsize=depth)
    failed: list[BaseException] = []
    dropped = threading.Event()

    def work() -> None:
        while not isinstance(item := waiting.get(), _End):
            if failed or dropped.is_set():
                continue  # keep emptying the queue, so that nobody waits for room
            try:
                consume(item)
            except BaseException as error:  # noqa: BLE001  raised by the next call
                failed.append(error)
            del item  # not held while waiting for the next one

    def hand_over(item: T) -> None:
        if failed:
            raise failed[0]
        waiting.put(item)

    thread = threading.Thread(target=work, name=f"geoseg-{name}", daemon=True)
    thread.start()
    try:
        yield hand_over
    except BaseException:
        dropped.set()
        raise
    finally:
        waiting.put(_End())
        thread.join()
    if failed:
        raise failed[0]
