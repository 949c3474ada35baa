"""Tasks under way: a few for each worker, watched, and given to another where one does not come back."""

from __future__ import annotations

import queue
import secrets
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distributed import Future, KilledWorker

from geoseg.distributed.duties import Failure, Report
from geoseg.distributed.posts import OPENED, STARTED, key_of, perform
from geoseg.distributed.seats import Claim
from geoseg.threads import Abandoned

if TYPE_CHECKING:
    from geoseg.distributed.crew import Crew

LOOK_SECONDS = 1.0
"""How often the workers are looked at."""

ALONE_SECONDS = 120.0
"""How long there may be no worker at all."""

TRIES = 3
"""How many workers may hang on a task, and how many of our own may not do for it, before it is given up."""

# Without a limit of the user's: before and after it is known what a part takes.
_FIRST_LIMIT, _LEAST_LIMIT, _TIMES_LONGEST = 3600.0, 600.0, 10.0
_RESULT_SECONDS = 30
_KILLED = "KilledWorker"

LIGHTER = "a smaller --tile-size or --batch"
"""What a task takes less memory with."""


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to a task.

    Attributes:
        item: Its description.
        told: What it told while it runs; None at its end.
        report: What became of it; None while it runs.
    """

    item: Any
    told: list[Any] | None = None
    report: Report | None = None


@dataclass(slots=True)
class _Flight:
    """One task on its way.

    Attributes:
        item: Its description.
        future: Dask's handle.
        allowed: The only workers that may take it; None = any.
        tries: How often it was sent before.
        alive: When it was sent, or gave the last sign of life that was looked at.
        worker: Who began it.
        assigned: Who was seen to have it before that.
    """

    item: Any
    future: Future[Any]
    allowed: frozenset[str] | None
    tries: int
    alive: float
    worker: str | None = None
    assigned: str | None = None


class Flights:
    """All tasks of one job that are under way; used by one thread, beside those of other jobs in theirs.

    Args:
        crew: The workers.
        post: Name of the job.
        items: Descriptions of the tasks, taken from the left; more may be added while :meth:`events` goes on.
        claim: What says how many may be under way.
        lighter: What they take less memory with.
    """

    def __init__(self, crew: Crew, post: str, items: deque[Any], claim: Claim, lighter: str = LIGHTER) -> None:
        self._crew, self._client, self._post, self._items = crew, crew.client, post, items
        self._flights: dict[str, _Flight] = {}
        self._again: deque[tuple[Any, int, str | None]] = deque()  # item, how often it was sent, who shall not have it
        self._inbox: queue.SimpleQueue[tuple[str, str | None, Any]] = queue.SimpleQueue()
        self._claim, self._lighter = claim, lighter
        self._signs: dict[str, float] = {}  # when each task gave its last sign of life, whoever was busy here
        self._longest = 0.0
        self._left_out = frozenset(crew.left_out)
        self._workers = crew.workers()
        self._looked = self._peopled = time.monotonic()
        self._pinned = False
        self._client.subscribe_topic(post, self._hear)

    def events(self) -> Iterator[Event]:
        """Send tasks as others come back, until none is left.

        Raises:
            LostError: The scheduler is lost, or no worker is left.
            Abandoned: The crew was stopped.
        """
        while self._again or self._items or self._flights:
            if self._crew.stopped:
                raise Abandoned
            self._send_some()
            with suppress(queue.Empty):
                key, worker, what = self._inbox.get(timeout=LOOK_SECONDS)
                if key in self._flights:
                    yield from self._landed(key) if worker is None else self._told(key, worker, *what)
            if time.monotonic() - self._looked >= LOOK_SECONDS:
                yield from self._look()
                self._looked = time.monotonic()

    def send_everywhere(self, item: Any) -> None:
        """One task to each worker, and to no other."""
        self._pinned = True
        for worker in sorted(self._workers):
            self._claim.take(self._wake, anyway=True)
            self._send(item, 0, None, frozenset({worker}))

    def cancel(self) -> None:
        """Nobody wants what is still under way."""
        futures = [self._over(key).future for key in list(self._flights)]
        self._claim.rest()
        if self._client.status != "running":  # with the scheduler went what was under way
            return
        with suppress(Exception):
            if futures:
                self._client.cancel(futures, force=True)
            self._client.unsubscribe_topic(self._post)

    def _send_some(self) -> None:
        """As many as there are seats for; none without workers, as Dask would give it to those that are left out."""
        self._workers -= self._crew.left_out
        while self._workers and (self._again or self._items) and self._claim.take(self._wake):
            self._send(*(self._again.popleft() if self._again else (self._items.popleft(),)))
        if not (self._again or self._items):
            self._claim.rest()

    def _over(self, key: str) -> _Flight:
        """Nothing more is awaited of a task."""
        self._claim.give()
        self._signs.pop(key, None)
        return self._flights.pop(key)

    def _wake(self) -> None:
        """Called in any thread: there may be a seat."""
        self._inbox.put(("", None, None))

    def _hear(self, event: tuple[float, Any]) -> None:
        """Called in Dask's thread: a sign of life counts from when it comes, however late it is looked at."""
        (key, worker, values), came = event[1], time.monotonic()
        # To load a network may take longer than any part.
        more = max(0.0, _LEAST_LIMIT - self._limit()) if list(values) == [STARTED] else 0.0
        self._signs[key] = self._crew.heard[worker] = came + more
        self._inbox.put((key, worker, (list(values), came)))

    def _send(
        self, item: Any, tries: int = 0, without: str | None = None, allowed: frozenset[str] | None = None
    ) -> None:
        """Send a task, to another worker than ``without`` where there is one."""
        if allowed is None and (self._crew.left_out or without is not None):
            allowed = self._workers - {without} or self._workers
        token = secrets.token_hex(8)
        key = key_of(self._post, token)
        where: dict[str, Any] = {} if allowed is None else {"workers": sorted(allowed), "allow_other_workers": False}
        future = self._client.submit(perform, self._post, token, item, key=key, pure=False, **where)
        self._flights[key] = _Flight(item, future, allowed, tries, time.monotonic())
        future.add_done_callback(lambda _: self._inbox.put((key, None, None)))

    def _told(self, key: str, worker: str, values: list[Any], came: float) -> Iterator[Event]:
        flight = self._flights[key]
        since, flight.worker, flight.alive = flight.alive, worker, came
        if values not in ([STARTED], [OPENED]):
            self._longest = max(self._longest, came - since)
            yield Event(flight.item, told=values)

    def _landed(self, key: str) -> Iterator[Event]:
        flight = self._flights[key]
        report = self._report(flight)
        if report is None:  # its result was lost with a worker, and is made again
            flight.future.add_done_callback(lambda _: self._inbox.put((key, None, None)))
            return
        self._over(key)
        self._crew.heard[report.worker] = time.monotonic()
        failure = report.failure
        if failure is not None and failure.kind == _KILLED and self._is_bystander(flight):
            self._again.append((flight.item, flight.tries + 1, None))
        elif failure is None or self._pinned or (failure.expected and not failure.misfit):
            yield Event(flight.item, report=report)
        elif failure.misfit:
            self._crew.leave_out(report.worker, str(failure))
            if self._crew.own and flight.tries + 1 >= TRIES:  # started anew each time, they would never come to an end
                yield Event(flight.item, report=report)
            else:
                self._again.append((flight.item, flight.tries + self._crew.own, report.worker))
        elif flight.tries:
            yield Event(flight.item, report=report)
        else:
            self._again.append((flight.item, 1, report.worker))

    def _report(self, flight: _Flight) -> Report | None:
        """What became of a task that is over; None where that has to be computed again."""
        if flight.future.cancelled() or self._client.status != "running":
            raise self._crew.lost()
        last = flight.worker or "unknown"
        try:
            if flight.future.status != "error":
                report = flight.future.result(timeout=_RESULT_SECONDS)
                assert isinstance(report, Report)
                return report
            error = flight.future.exception(timeout=_RESULT_SECONDS)
        except TimeoutError:
            return None
        except Exception as unexpected:  # noqa: BLE001 - it concerns this task alone
            error = unexpected
        if isinstance(error, KilledWorker):
            text = (
                f"each of {error.allowed_failures + 1} workers died of it, the last of them {last}; mostly they run "
                f"out of memory: give {self._lighter}, or fewer workers on a machine"
            )
            flight.assigned = str(getattr(error.last_worker, "address", error.last_worker))
            return Report(last, failure=Failure(_KILLED, text, expected=True))
        return Report(last, failure=Failure.of(error or RuntimeError("no reason was given")))

    def _is_bystander(self, flight: _Flight) -> bool:
        """Whether a task only waited on workers that died: Dask blames all that they had."""
        return flight.worker != flight.assigned and flight.tries < TRIES

    def _look(self) -> Iterator[Event]:
        """See who is there, and who has not been heard of for too long."""
        if self._client.status != "running":
            raise self._crew.lost()
        self._workers, now = self._crew.workers(), time.monotonic()
        if self._workers:
            self._peopled = now
        elif now - self._peopled > ALONE_SECONDS:
            raise self._crew.alone(ALONE_SECONDS)
        for key, flight in list(self._flights.items()):
            if flight.allowed is not None and not flight.allowed & self._workers:
                self._over(key)
                if self._pinned:
                    text = "the worker is gone"
                    yield Event(flight.item, report=Report(min(flight.allowed), failure=Failure("Gone", text)))
                else:
                    self._again.append((flight.item, flight.tries, None))
        yield from self._overdue(now)

    def _overdue(self, now: float) -> Iterator[Event]:
        """Give up workers that hang, and give what they have to others; also those that another job has given up."""
        limit = self._limit()
        signs = {key: max(flight.alive, self._signs.get(key, 0.0)) for key, flight in self._flights.items()}
        late = {key: self._flights[key] for key, sign in signs.items() if now - sign > limit}
        out = self._crew.left_out - self._left_out
        if not late and not out:
            return
        self._left_out |= out
        for worker, keys in self._client.processing().items():
            if worker in out or any(self._hangs(late[key], worker, now, limit) for key in keys if key in late):
                self._crew.leave_out(worker, f"no sign of life for {limit:.0f} s")
                self._workers -= {worker}
                for key in keys:
                    if key in self._flights:
                        yield from self._taken_back(self._over(key), worker, limit)

    def _hangs(self, flight: _Flight, worker: str, now: float, limit: float) -> bool:
        """Whether it is the worker that makes a task late; it may have got it just now, or be busy with another."""
        if flight.worker == worker:
            return True
        if flight.assigned != worker:
            flight.assigned, flight.alive = worker, now
            return False
        return now - self._crew.heard.get(worker, 0.0) > limit

    def _taken_back(self, flight: _Flight, worker: str, limit: float) -> Iterator[Event]:
        with suppress(Exception):
            self._client.cancel([flight.future], force=True)
        tries = flight.tries + (flight.worker is not None)
        if self._pinned or tries >= TRIES:
            text = f"no sign of life for {limit:.0f} s, {tries} times, the last time on {worker}; see --task-timeout"
            yield Event(flight.item, report=Report(worker, failure=Failure("TimeoutError", text, expected=True)))
        else:
            self._again.append((flight.item, tries, worker))

    def _limit(self) -> float:
        """Seconds without a sign of life after which a worker is given up."""
        if self._crew.cluster.task_timeout is not None:
            return self._crew.cluster.task_timeout
        return max(_LEAST_LIMIT, _TIMES_LONGEST * self._longest) if self._longest else _FIRST_LIMIT
