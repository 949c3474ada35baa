"""How many tasks may be under way: jobs that run at once on the same workers share that number."""

from __future__ import annotations

import threading
from collections.abc import Callable

PER_WORKER = 2
"""Tasks under way for each worker: one that runs, and one that waits for it."""


class Seats:
    """As many as tasks may be under way on all workers together; may be used from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._limit = self._taken = 0
        self._usual: int | None = None  # tasks of the job that was planned last
        self._refused: dict[Claim, Callable[[], None]] = {}
        self._watching: Callable[[], None] | None = None

    def fit(self, workers: int) -> None:
        """So many workers are there now."""
        with self._lock:
            more = PER_WORKER * workers > self._limit
            self._limit = PER_WORKER * workers
            if more:
                self._wake()

    def watch(self, watching: Callable[[], None] | None) -> None:
        """Whom to tell, in any thread, that there may be room for another job."""
        with self._lock:
            self._watching = watching

    def claim(self) -> Claim:
        """For a job that takes seats as it comes to them."""
        return Claim(self, self._lock, held=0)

    def admit(self, *, anyway: bool = False) -> Claim | None:
        """A claim for another job; None while those that are there fill all workers, or may do so.

        It holds as many seats as the tasks of the job before it were; the first of all holds every seat.

        Args:
            anyway: Whether it gets one even so, because there is no other job that would ever free a seat.
        """
        with self._lock:
            free = self._limit - self._taken
            if not anyway and (self._refused or free < 1 or self._usual is None):
                return None
            held = max(1, free if self._usual is None else min(free, self._usual))
            self._taken += held
            return Claim(self, self._lock, held)

    def _take(self, claim: Claim, wake: Callable[[], None]) -> bool:
        if self._taken >= self._limit:
            self._refused[claim] = wake
            return False
        self._refused.pop(claim, None)
        self._taken += 1
        return True

    def _give(self, count: int) -> None:
        self._taken -= count
        if count:
            self._wake()

    def _forget(self, claim: Claim) -> None:
        if self._refused.pop(claim, None) is not None:
            self._wake()

    def _wake(self) -> None:
        for wake in (*self._refused.values(), *([self._watching] if self._watching else [])):
            wake()


class Claim:
    """The seats of one job.

    Args:
        seats: Of all jobs.
        lock: Theirs.
        held: How many are kept for its tasks before there are any.
    """

    def __init__(self, seats: Seats, lock: threading.Lock, held: int) -> None:
        self._seats, self._lock = seats, lock
        self._used, self._held = 0, held
        self._planned = held == 0

    def plan(self, tasks: int) -> None:
        """So many tasks there will be: keep no more seats than that."""
        with self._lock:
            self._seats._usual = max(1, tasks)
            self._planned = True
            self._keep(tasks)

    def take(self, wake: Callable[[], None], *, anyway: bool = False) -> bool:
        """A seat for one more task.

        Args:
            wake: Called, in any thread, when it is worth trying again.
            anyway: Whether it is given even where none is free.
        """
        with self._lock:
            if self._used >= self._held:
                if anyway:
                    self._seats._taken += 1
                elif not self._seats._take(self, wake):
                    return False
            self._used += 1
            return True

    def give(self) -> None:
        """One task is over."""
        with self._lock:
            self._used -= 1
            if self._used >= self._held:
                self._seats._give(1)

    def rest(self) -> None:
        """No task waits to be sent."""
        with self._lock:
            self._seats._forget(self)
            if self._planned:
                self._keep(0)

    def settle(self) -> None:
        """The job is over: it keeps no seat without a task."""
        with self._lock:
            self._seats._forget(self)
            self._keep(0)

    def _keep(self, count: int) -> None:
        """Hold at most so many."""
        held = min(self._held, count)
        free, self._held = max(self._held, self._used) - max(held, self._used), held
        self._seats._give(free)
