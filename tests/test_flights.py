"""Tasks under way, with a client and a clock of the test's own: what is never to end, and what time does to others."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from distributed import KilledWorker

from geoseg.distributed import Failure, Report, flights
from geoseg.distributed.crew import Crew
from geoseg.distributed.flights import TRIES, Event, Flights
from geoseg.distributed.posts import OPENED
from geoseg.distributed.seats import Seats
from geoseg.errors import ClusterError


class Clock:
    """Seconds that go on a little whenever somebody looks."""

    now = 0.0

    def monotonic(self) -> float:
        self.now += 0.001
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(flights, "time", found)
    monkeypatch.setattr(flights, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(flights, "ALONE_SECONDS", 1.0)
    return found


class Handle:
    """A future."""

    status = "pending"
    report: Report | None = None
    error: BaseException | None = None

    def __init__(self) -> None:
        self._callbacks: list[Callable[[Any], None]] = []

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._callbacks.append(callback)
        if self.report is not None:
            callback(self)

    def cancelled(self) -> bool:
        return False

    def exception(self, timeout: float) -> BaseException | None:  # noqa: ARG002 - Dask's signature
        return self.error

    def result(self, timeout: float) -> Report | None:  # noqa: ARG002 - Dask's signature
        return self.report

    def land(self, report: Report) -> None:
        self.status, self.report = "finished", report
        for callback in self._callbacks:
            callback(self)


class Workers:
    """Client and crew in one: ``begin`` is called with key, worker and handle of each task that is sent.

    Attributes:
        addresses: Of the workers that are there.
        sent: Where each task was allowed to go; None = anywhere.
        busy: Keys of tasks that are under way.
    """

    status = "running"
    stopped = False
    lost, alone = Crew.lost, Crew.alone

    def __init__(self, begin: Callable[[Workers, str, str, Handle], None], count: int, *, own: bool = False) -> None:
        self.client = self
        self.own, self.reason = own, ""
        self.cluster = SimpleNamespace(task_timeout=2.0, scheduler="tcp://here", scheduler_file=None)
        self.seats, self.heard, self.left_out = Seats(), cast("dict[str, float]", {}), cast("set[str]", set())
        self.addresses = [f"w{number}" for number in range(count)]
        self.sent: list[list[str] | None] = []
        self.busy: dict[str, str] = {}
        self._begin = begin

    def workers(self) -> frozenset[str]:
        found = frozenset(self.addresses) - self.left_out
        self.seats.fit(len(found))
        return found

    def leave_out(self, worker: str, why: str) -> None:
        if worker in self.left_out:
            return
        self.left_out.add(worker)
        self.reason = why
        if self.own:  # started anew
            self.addresses[self.addresses.index(worker)] = f"w{len(self.left_out) + 100}"

    def subscribe_topic(self, topic: str, hear: Callable[[tuple[float, Any]], None]) -> None:  # noqa: ARG002
        self._hear = hear

    def unsubscribe_topic(self, topic: str) -> None:
        pass

    def cancel(self, futures: list[Any], force: bool) -> None:
        pass

    def processing(self) -> dict[str, list[str]]:
        return {worker: [key for key, busy in self.busy.items() if busy == worker] for worker in self.addresses}

    def submit(self, *_: Any, key: str, workers: list[str] | None = None, **__: Any) -> Handle:
        self.sent.append(workers)
        handle = Handle()
        worker = (workers or self.addresses)[0]
        self.busy[key] = worker
        self._begin(self, key, worker, handle)
        return handle

    def tell(self, key: str, *values: Any) -> None:
        self._hear((time.time(), [key, self.busy[key], values]))


def under_way(workers: Workers, *items: Any, **options: str) -> Flights:
    return Flights(cast("Crew", workers), "post", deque(items), workers.seats.claim(), **options)


def misfit(workers: Workers, key: str, worker: str, handle: Handle) -> None:
    """None of them reaches the store."""
    del workers.busy[key]
    handle.land(Report(worker, failure=Failure("MisfitError", "the store is down", expected=True, misfit=True)))


@pytest.mark.parametrize("count", [1, 2])
def test_workers_of_our_own_are_not_started_anew_for_ever(clock: Clock, count: int) -> None:
    workers = Workers(misfit, count, own=True)
    [event] = list(under_way(workers, "a").events())
    assert event.report is not None
    assert str(event.report.failure) == "the store is down"
    assert len(workers.left_out) == TRIES


def test_where_all_were_left_out_the_error_says_why(clock: Clock) -> None:
    workers = Workers(misfit, 3)
    with pytest.raises(
        ClusterError, match=r"no worker has been left for 1 s, with 3 left out \(.*the store is down\); .* is kept"
    ):
        list(under_way(workers, "a", "b").events())
    assert [] not in workers.sent
    # Two are sent before anything is known, and to one that is left out nothing goes.
    assert all(where is None or not set(where) & {"w0"} for where in workers.sent)


def test_what_a_worker_told_counts_from_when_it_came(clock: Clock) -> None:
    """Whoever takes the events may be busy for longer than a worker may be silent."""
    begun: list[tuple[str, Handle]] = []

    def begin(workers: Workers, key: str, worker: str, handle: Handle) -> None:
        begun.append((key, handle))
        workers.tell(key, OPENED)
        workers.tell(key, "part", 0)

    workers, events = Workers(begin, 1), cast("list[Event]", [])
    for event in under_way(workers, "a").events():
        events.append(event)
        assert not workers.left_out
        [(key, handle)] = begun
        if len(events) == 1:
            for number in range(1, 9):
                clock.now += 0.5
                workers.tell(key, "part", number)
        elif len(events) == 9:
            handle.land(Report("w0", value="done"))
            del workers.busy[key]
    assert [event.told for event in events] == [*(["part", number] for number in range(9)), None]


def test_a_worker_that_is_silent_loses_its_task(clock: Clock) -> None:
    """The same, but the first worker tells nothing more."""

    def begin(workers: Workers, key: str, worker: str, handle: Handle) -> None:
        workers.tell(key, OPENED)
        if worker != "w0":
            del workers.busy[key]
            handle.land(Report(worker, value="done"))

    workers = Workers(begin, 2)
    [event] = [event for event in under_way(workers, "a").events() if event.report is not None]
    assert event.report is not None
    assert (event.report.worker, workers.left_out) == ("w1", {"w0"})
    assert clock.now > 2.0


@pytest.mark.parametrize("options", [{}, {"lighter": "fewer --threads"}])
def test_what_a_task_takes_less_memory_with_is_said_by_whoever_gives_it(clock: Clock, options: dict[str, str]) -> None:
    def die(workers: Workers, key: str, worker: str, handle: Handle) -> None:
        workers.tell(key, OPENED)
        handle.error, handle.status = KilledWorker(key, SimpleNamespace(address=worker), 3), "error"
        handle.add_done_callback = lambda callback: callback(handle)  # type: ignore[method-assign]

    [report] = [e.report for e in under_way(Workers(die, 1), "a", **options).events() if e.report is not None]
    lighter = options.get("lighter", "a smaller --tile-size or --batch")
    assert f"run out of memory: give {lighter}, or fewer workers on a machine" in str(report.failure)
