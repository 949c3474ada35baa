"""Jobs that share workers: seats for their tasks, signs of life for all, and many scenes under way at once."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from crew_duties import Doubling
from distributed import Client
from scenes import SmoothNetwork, replace_network, write_scene, write_spec

from geoseg.distributed import Cluster, flights, open_crew
from geoseg.distributed.crew import Crew
from geoseg.distributed.flights import Flights
from geoseg.distributed.posts import Ground
from geoseg.distributed.seats import PER_WORKER, Seats
from geoseg.errors import ClusterError, LostError, RasterError
from geoseg.inference import Outcome, orders, predict_scenes, steps
from geoseg.threads import SCENE_THREAD, Abandoned

TILE, OVERLAP = 16, 6


def rings() -> tuple[list[str], Callable[[str], Callable[[], None]]]:
    """Who was woken, and what wakes them."""
    woken: list[str] = []
    return woken, lambda name: lambda: woken.append(name)


def test_seats_are_as_many_as_two_for_each_worker_and_whoever_waits_is_woken() -> None:
    woken, ring = rings()
    seats = Seats()
    seats.fit(1)
    first, second = seats.claim(), seats.claim()
    assert [first.take(ring("first")), second.take(ring("second")), second.take(ring("second"))] == [True, True, False]
    assert woken == []
    first.give()
    assert woken == ["second"]
    assert second.take(ring("second"))
    seats.fit(2)
    assert first.take(ring("first"))
    assert first.take(ring("first"))
    assert not first.take(ring("first"))
    assert first.take(ring("first"), anyway=True)


def test_the_first_job_has_all_seats_until_it_is_known_how_many_it_needs() -> None:
    woken, ring = rings()
    seats = Seats()
    seats.watch(ring("lanes"))
    seats.fit(3)
    assert seats.admit() is None  # nobody knows yet what a job is like
    first = seats.admit(anyway=True)
    assert first is not None
    assert first.take(ring("first"))  # an introduction
    first.give()
    first.rest()
    assert seats.admit() is None
    woken.clear()
    first.plan(1)
    assert woken == ["lanes"]
    others = [seats.admit() for _ in range(6)]
    assert [other is not None for other in others] == [True] * 5 + [False]
    assert first.take(ring("first"))
    first.rest()
    first.give()
    assert seats.admit() is not None
    assert seats.admit() is None


def test_no_job_is_begun_while_another_waits_for_a_seat_and_none_is_kept_for_one_that_fails() -> None:
    _, ring = rings()
    seats = Seats()
    seats.fit(1)
    large = seats.admit(anyway=True)
    assert large is not None
    large.plan(10)
    assert [large.take(ring("")) for _ in range(3)] == [True, True, False]
    large.give()
    assert seats.admit() is None
    assert large.take(ring(""))
    large.rest()
    large.give()
    other = seats.admit()
    assert other is not None
    assert seats.admit() is None
    other.settle()
    other.settle()
    again = seats.admit()
    assert again is not None
    assert seats.admit() is None


@contextmanager
def in_thread(do: Callable[[], Any]) -> Iterator[list[Any]]:
    """What it gave, or raised, once the block is left."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(do())
        except BaseException as error:  # noqa: BLE001 - it is looked at below
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield found
    finally:
        thread.join(60)


def values(crew: Crew, opening: Doubling, *items: Any) -> dict[Any, Any]:
    with crew.posted(opening) as post:
        return {e.item: e.report.value for e in crew.perform(post, deque(items)) if e.report is not None}


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are looked at often."""
    monkeypatch.setattr(flights, "LOOK_SECONDS", 0.05)


def test_jobs_in_several_threads_get_their_own_results_and_share_what_may_be_under_way(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, over, lock, now, most = Flights._send, Flights._over, threading.Lock(), [0], [0]

    def sent(self: Flights, *arguments: Any) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        send(self, *arguments)

    def ended(self: Flights, key: str) -> Any:
        with lock:
            now[0] -= 1
        return over(self, key)

    monkeypatch.setattr(Flights, "_send", sent)
    monkeypatch.setattr(Flights, "_over", ended)
    openings = [Doubling(tmp_path / str(number)) for number in range(4)]
    with open_crew(Cluster(client=client)) as crew:
        jobs = []
        for opening in openings:
            opening.folder.mkdir()
            jobs.append(in_thread(lambda opening=opening: values(crew, opening, *range(25))))  # type: ignore[misc]
        with jobs[0] as a, jobs[1] as b, jobs[2] as c, jobs[3] as d:
            pass
    assert a + b + c + d == [{n: 2 * n for n in range(25)}] * 4
    assert most == [2 * PER_WORKER]
    assert now == [0]
    for opening in openings:
        assert Counter(opening.noted("closed")) == Counter(opening.noted("opened"))


def test_what_a_job_opened_is_closed_though_the_worker_is_busy_with_another(client: Client, tmp_path: Path) -> None:
    ours, other = Doubling(tmp_path / "ours"), Doubling(tmp_path / "other")
    for opening in (ours, other):
        opening.folder.mkdir()
    with open_crew(Cluster(client=client)) as crew:
        with crew.posted(ours) as post:
            list(crew.perform(post, deque([1]), everywhere=True))
            busy = in_thread(lambda: values(crew, other, *((n, "slow") for n in range(12))))
            found = busy.__enter__()
            while len(other.noted("opened")) < 2:
                time.sleep(0.01)
        busy.__exit__(None, None, None)
        assert found == [{(n, "slow"): 2 * n for n in range(12)}]
        assert sorted(ours.noted("closed")) == sorted(ours.noted("opened"))
        assert len(ours.noted("opened")) == 2


def test_waiting_for_the_task_of_another_job_is_no_hanging(client: Client, tmp_path: Path, soon: None) -> None:
    with open_crew(Cluster(client=client, task_timeout=1)) as crew:
        slow = [(n, "slow") for n in range(12)]
        with (
            in_thread(lambda: values(crew, Doubling(tmp_path), *slow)) as one,
            in_thread(lambda: values(crew, Doubling(tmp_path), *slow)) as other,
        ):
            pass
        assert not crew.left_out
    assert one == other == [{(n, "slow"): 2 * n for n in range(12)}]


def test_what_waits_behind_a_task_that_hangs_of_another_job_goes_elsewhere(
    client: Client, tmp_path: Path, soon: None
) -> None:
    opening = Doubling(tmp_path)
    with open_crew(Cluster(client=client, task_timeout=1)) as crew:
        with (
            in_thread(lambda: values(crew, opening, (1, "hang"), 2)) as one,
            in_thread(lambda: values(crew, opening, *((n, "slow") for n in range(12)))) as other,
        ):
            pass
        assert len(crew.left_out) == 1
        (tmp_path / "go").touch()
    assert one == [{(1, "hang"): 2, 2: 4}]
    assert other == [{(n, "slow"): 2 * n for n in range(12)}]


def test_a_stopped_crew_ends_its_jobs(client: Client, tmp_path: Path, soon: None) -> None:
    with open_crew(Cluster(client=client)) as crew:
        with in_thread(lambda: values(crew, Doubling(tmp_path), *((n, "slow") for n in range(1000)))) as found:
            time.sleep(0.3)
            crew.stop()
        assert isinstance(found[0], Abandoned)


def test_a_worker_that_is_lost_while_a_job_is_told_to_all_does_not_end_it(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register, lost = client.register_plugin, [2]

    def losing(plugin: Any, name: str) -> Any:
        found = register(plugin, name=name)
        if lost[0]:
            lost[0] -= 1
            raise OSError("Timed out trying to connect")
        return found

    monkeypatch.setattr(client, "register_plugin", losing)
    with open_crew(Cluster(client=client)) as crew:
        assert values(crew, Doubling(tmp_path), 1, 2) == {1: 2, 2: 4}
        lost[0] = 9
        with pytest.raises(ClusterError, match="is lost; what is finished is kept"):
            values(crew, Doubling(tmp_path), 1)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve scenes, one of them broken, a model, and where the maps of two runs go."""
    replace_network(monkeypatch, SmoothNetwork(pause=0.002))
    generator = np.random.default_rng(4)
    (tmp_path / "scenes").mkdir()
    for number in range(12):
        values = generator.integers(1, 8, (40, 30)).astype(np.uint8)
        write_scene(tmp_path / "scenes" / f"{number:02}.tif", values)
    (tmp_path / "scenes" / "05.tif").write_bytes(b"II*\0 but no raster")
    write_spec(tmp_path / "m.safetensors")
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    return tmp_path


def mapped(folder: Path, name: str, **choices: Any) -> Iterator[Outcome]:
    return predict_scenes(
        [folder / "scenes"], folder / "m.safetensors", folder / name, tile_size=TILE, overlap=OVERLAP, **choices
    )


class Meeting:
    """Regions wait until those of two scenes are under way at once; notes where and when each was."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float = 30.0) -> None:
        self.inside: Counter[str] = Counter()
        self.together: set[str] = set()
        self.networks: set[int] = set()
        self._met = threading.Condition()
        region = orders._Worker._region

        def meeting(worker: Any, *arguments: Any) -> Any:
            scene = worker._job.scene.name
            with self._met:
                self.inside[scene] += 1
                self.networks.add(id(worker._predictor))
                if len(+self.inside) > 1:
                    self.together |= set(+self.inside)
                    self._met.notify_all()
                self._met.wait_for(lambda: self.together, timeout=seconds)
            try:
                return region(worker, *arguments)
            finally:
                with self._met:
                    self.inside[scene] -= 1

        monkeypatch.setattr(orders._Worker, "_region", meeting)


def test_small_scenes_are_computed_at_once_and_their_maps_are_those_of_one_process(
    folder: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = list(mapped(folder, "here"))
    with monkeypatch.context() as patch:
        meeting = Meeting(patch)
        there = list(mapped(folder, "there", client=client))
    names = [f"{number:02}.tif" for number in range(12)]
    assert [Path(outcome.scene).name for outcome in there] == names
    assert [outcome.scene for outcome in here] == [outcome.scene for outcome in there]
    assert [isinstance(outcome.error, RasterError) for outcome in there] == [name == "05.tif" for name in names]
    assert len(meeting.together) >= 2
    assert len(meeting.networks) <= 2  # one for each worker, for all scenes
    for outcome in here:
        if outcome.prediction is not None:
            labels = outcome.prediction.labels
            with rasterio.open(labels) as ours, rasterio.open(folder / "there" / labels.name) as theirs:
                np.testing.assert_array_equal(ours.read(), theirs.read())
                assert ours.tags()["GEOSEG_SEAMS"] == theirs.tags()["GEOSEG_SEAMS"]
    assert not list((folder / "there").glob("*.parts"))


def test_scenes_are_cut_for_their_share_of_the_workers_and_the_last_for_all(
    folder: Path, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(steps, "STEP_PIXELS", 1)
    (folder / "scenes" / "05.tif").unlink()
    with caplog.at_level(logging.INFO, "geoseg"):
        assert [outcome.error for outcome in mapped(folder, "there", client=client)] == [None] * 11
    plans = {
        record.threadName[-6:]: record.getMessage().partition(";")[0]
        for record in caplog.records
        if record.threadName and " of the tiles are " in record.getMessage()
    }
    whole = {f"{number:02}.tif": "1 region for 1 of 2 workers" for number in range(11) if number != 5}
    assert plans == whole | {"11.tif": "2 regions for 2 workers"}


def test_with_the_cluster_all_scenes_end(folder: Path, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    register = client.register_plugin

    def gone(plugin: Any, name: str) -> Any:
        if isinstance(plugin, Ground):
            return register(plugin, name=name)
        raise AttributeError("'NoneType' object has no attribute 'register_worker_plugin'")  # as Dask tells it

    monkeypatch.setattr(client, "register_plugin", gone)
    with pytest.raises(LostError, match="is lost; what is finished is kept"):
        list(mapped(folder, "there", client=client))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(SCENE_THREAD)]


def test_of_large_scenes_no_other_is_open_while_one_fills_the_workers(
    folder: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "STEP_PIXELS", 1)
    for path in (folder / "scenes").iterdir():
        path.unlink()
    for name in "abc":
        write_scene(folder / "scenes" / f"{name}.tif", np.full((240, 30), 3, np.uint8))
    lock, opened, beside = threading.Lock(), Counter[str](), []

    @contextmanager
    def progress(scene: str) -> Iterator[Callable[[int, int], None]]:
        def tell(done: int, total: int) -> None:
            with lock:
                if scene.endswith("a.tif") and done <= total // 2:
                    beside.append(sorted(opened))

        with lock:
            opened[scene] += 1
        yield tell

    outcomes = list(mapped(folder, "there", client=client, region_parts=1, progress=progress))
    assert [outcome.error for outcome in outcomes] == [None] * 3
    assert len(beside) > 5
    assert all(names == [str(folder / "scenes" / "a.tif")] for names in beside)


def test_ctrl_c_ends_all_scenes_and_their_parts_are_kept(
    folder: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "STEP_PIXELS", 1)
    list(mapped(folder, "here"))
    done = Counter[str]()

    @contextmanager
    def progress(scene: str) -> Iterator[Callable[[int, int], None]]:
        def tell(pixels: int, total: int) -> None:
            done[scene] = pixels
            if pixels and scene.endswith("03.tif"):
                raise KeyboardInterrupt

        yield tell

    def interrupted() -> list[Outcome]:
        with closing(mapped(folder, "there", client=client, region_parts=1, progress=progress)) as outcomes:
            return list(outcomes)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(SCENE_THREAD)]
    assert len(list((folder / "there").glob("*_landcover.tif"))) < 11
    assert list((folder / "there" / "03_landcover.tif.parts").glob("*.tif"))
    resumed = [o.prediction.resumed for o in mapped(folder, "there", client=client, overwrite=True) if o.prediction]
    assert 0 < max(resumed) < 1
    for path in (folder / "here").glob("*_landcover.tif"):
        with rasterio.open(path) as ours, rasterio.open(folder / "there" / path.name) as theirs:
            np.testing.assert_array_equal(ours.read(), theirs.read())


def test_outcomes_that_nobody_wants_are_not_made(folder: Path, client: Client) -> None:
    outcomes = mapped(folder, "there", client=client)
    next(outcomes)
    with suppress(GeneratorExit):
        outcomes.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(SCENE_THREAD)]
    assert len(list((folder / "there").glob("*_landcover.tif"))) < 11
