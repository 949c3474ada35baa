"""Tasks on workers: few under way, opened once a worker, and done by another where a worker does not do."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from crew_duties import Doubling
from distributed import Client

from geoseg.distributed import Cluster, Report, flights, open_crew
from geoseg.distributed.crew import Crew
from geoseg.distributed.flights import Flights
from geoseg.distributed.posts import share_of
from geoseg.distributed.seats import PER_WORKER
from geoseg.errors import ClusterError


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are looked at often."""
    monkeypatch.setattr(flights, "LOOK_SECONDS", 0.05)


def reports(crew: Crew, opening: Doubling, *items: Any) -> dict[Any, Report]:
    """What came of each item."""
    with crew.posted(opening) as post:
        events = list(crew.perform(post, deque(items)))
    assert {e.item for e in events if e.told} == {e.item for e in events if e.report}
    found = [(e.item, e.report) for e in events if e.report is not None]
    assert len(dict(found)) == len(found) == len(items)
    return dict(found)


def values(found: dict[Any, Report]) -> dict[Any, Any]:
    return {item: report.value for item, report in found.items()}


def test_each_worker_opens_once_and_few_tasks_are_under_way(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening, most = Doubling(tmp_path), [0]
    send = Flights._send

    def counted(self: Flights, *arguments: Any, **options: Any) -> None:
        send(self, *arguments, **options)
        most[0] = max(most[0], len(self._flights))

    monkeypatch.setattr(Flights, "_send", counted)
    with open_crew(Cluster(client=client)) as crew:
        found = reports(crew, opening, *range(60))
        assert values(found) == {n: 2 * n for n in range(60)}
        again = reports(crew, opening, *range(5))
    assert most == [2 * PER_WORKER]
    assert len({report.worker for report in found.values()}) == 2
    used = Counter(report.worker for report in found.values()).keys() | {r.worker for r in again.values()}
    assert set(opening.noted("opened")) == used
    assert max(Counter(opening.noted("opened")).values()) <= 2  # for two jobs
    assert Counter(opening.noted("closed")) == Counter(opening.noted("opened"))
    assert sorted(opening.noted("kept")) == sorted(opening.noted("given")) == sorted(used)


def test_tasks_may_be_added_on_the_way(client: Client, tmp_path: Path) -> None:
    with open_crew(Cluster(client=client)) as crew, crew.posted(Doubling(tmp_path)) as post:
        items: deque[Any] = deque([1])
        found = []
        for event in crew.perform(post, items):
            if event.report is not None:
                found.append(event.report.value)
                if event.item < 5:
                    items.append(event.item + 1)
    assert found == [2, 4, 6, 8, 10]


def test_everywhere_is_once_on_each_worker(client: Client, tmp_path: Path) -> None:
    with open_crew(Cluster(client=client)) as crew, crew.posted(Doubling(tmp_path)) as post:
        events = list(crew.perform(post, deque([4]), everywhere=True))
        workers = crew.workers()
    assert sorted(e.report.worker for e in events if e.report) == sorted(workers)


def test_accidents_are_tried_again_elsewhere_and_refusals_are_not(client: Client, tmp_path: Path) -> None:
    with open_crew(Cluster(client=client)) as crew:
        found = reports(crew, Doubling(tmp_path), 1, (2, "fail"), (3, "fail once"), (4, "refuse"))
    assert (found[1].value, found[3, "fail once"].value) == (2, 6)
    failure, refusal = found[2, "fail"].failure, found[4, "refuse"].failure
    assert str(failure) == "RuntimeError: by accident"
    assert str(refusal) == "on purpose"


def test_a_worker_that_does_not_fit_is_left_out(
    client: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_crew(Cluster(client=client)) as crew, caplog.at_level(logging.WARNING, "geoseg"):
        found = reports(crew, Doubling(tmp_path), (1, "misfit"), *range(2, 12))
        [out] = crew.left_out
    assert values(found) == {(1, "misfit"): 2} | {n: 2 * n for n in range(2, 12)}
    assert f"worker {out} is left out: of another make" in caplog.messages
    assert found[1, "misfit"].worker != out


def test_what_a_worker_hangs_on_is_done_by_another(
    client: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture, soon: None
) -> None:
    opening = Doubling(tmp_path)
    with open_crew(Cluster(client=client, task_timeout=0.5)) as crew, caplog.at_level(logging.WARNING, "geoseg"):
        found = reports(crew, opening, (1, "hang"), *range(2, 9))
        [out] = crew.left_out
        (tmp_path / "go").touch()
        end = time.monotonic() + 20
        while not opening.noted("wanted") and time.monotonic() < end:
            time.sleep(0.02)
    assert values(found) == {(1, "hang"): 2} | {n: 2 * n for n in range(2, 9)}
    assert any(f"{out} is left out: no sign of life" in text for text in caplog.messages)
    assert opening.noted("wanted") == ["False"]  # it wakes up, and writes no more


def test_where_nobody_is_left_the_run_ends(
    client: Client, tmp_path: Path, soon: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flights, "ALONE_SECONDS", 0.3)
    with open_crew(Cluster(client=client)) as crew:
        crew.left_out |= crew.workers()
        with pytest.raises(ClusterError, match=r"no worker has been left for .* what is finished is kept"):
            reports(crew, Doubling(tmp_path), 1)


def test_slow_work_before_others_is_no_hanging(client: Client, tmp_path: Path, soon: None) -> None:
    """What waits behind a task of a worker that is alive waits longer than the limit."""
    with open_crew(Cluster(client=client, task_timeout=0.35)) as crew:
        found = reports(crew, Doubling(tmp_path), *((n, "slow") for n in range(10)))
        assert not crew.left_out
    assert values(found) == {(n, "slow"): 2 * n for n in range(10)}


def test_loading_for_longer_than_a_part_may_take_is_no_hanging(client: Client, tmp_path: Path, soon: None) -> None:
    with open_crew(Cluster(client=client, task_timeout=1)) as crew:
        found = reports(crew, Doubling(tmp_path, opens=1.6), *range(6))
        assert not crew.left_out
    assert values(found) == {n: 2 * n for n in range(6)}


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 2), (8, 3), (2, 5), (16, 4)])
def test_workers_of_one_machine_have_as_many_cores_each_and_none_in_common(cores: int, workers: int) -> None:
    shares = [share_of(tuple(range(100, 100 + cores)), i, workers) for i in range(workers)]
    assert len({len(share) for share in shares}) == 1
    assert len(shares[0]) == max(1, cores // workers)
    if workers <= cores:
        assert len({core for share in shares for core in share}) == workers * len(shares[0])


LEFT_BY_DASK = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""Sockets of its own that it does not close."""


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Crew]:
    """Two worker processes of this machine."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("DASK_LOGGING__DISTRIBUTED", "critical")
    with open_crew(Cluster(workers=2, task_timeout=6)) as crew:
        yield crew


@pytest.mark.slow
@LEFT_BY_DASK
def test_killed_and_frozen_processes_lose_their_tasks_to_others(
    processes: Crew, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "geoseg"):
        found = reports(processes, Doubling(tmp_path), (1, "die"), (2, "freeze"), *range(3, 20))
    assert values(found) == {(1, "die"): 2, (2, "freeze"): 4} | {n: 2 * n for n in range(3, 20)}
    assert len(processes.left_out) == 1
    assert any("no sign of life for 6 s" in text for text in caplog.messages)


@pytest.mark.slow
@LEFT_BY_DASK
def test_a_task_that_kills_every_worker_is_given_up(processes: Crew, tmp_path: Path) -> None:
    found = reports(processes, Doubling(tmp_path), (1, "die always"), *range(2, 9))
    failure = found.pop((1, "die always")).failure
    assert failure is not None
    assert "workers died of it" in str(failure)
    assert "out of memory" in str(failure)
    assert values(found) == {n: 2 * n for n in range(2, 9)}


@pytest.mark.slow
@LEFT_BY_DASK
def test_a_lost_scheduler_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, folder = tmp_path / "scheduler.json", str(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", folder)
    options = ["--scheduler-file", str(file)]
    scheduler = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_scheduler", *options, "--port", "0", "--no-dashboard"],
        stderr=subprocess.DEVNULL,
    )
    worker = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_worker", *options, "--no-nanny", "--no-dashboard"],
        stderr=subprocess.DEVNULL,
    )

    def until_the_scheduler_dies(crew: Crew, post: str) -> None:
        for event in crew.perform(post, deque([(n, "slow") for n in range(100)])):
            if event.report is not None:
                scheduler.kill()

    try:
        end = time.monotonic() + 60
        while not file.exists() and time.monotonic() < end:
            time.sleep(0.1)
        with (
            open_crew(Cluster(scheduler_file=file)) as crew,
            crew.posted(Doubling(tmp_path)) as post,
            pytest.raises(ClusterError, match=r"scheduler of .*scheduler\.json is lost; what is finished is kept"),
        ):
            until_the_scheduler_dies(crew, post)
    finally:
        for process in (worker, scheduler):
            process.kill()
            process.wait()
