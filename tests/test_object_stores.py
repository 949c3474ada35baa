"""Parts in an object store: the promises of a folder of parts, kept where there are neither locks nor renames."""

from __future__ import annotations

import errno
import importlib
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from object_stores import BUCKET, objects, put, remove, server  # noqa: F401 - a fixture

from geoseg.errors import OutputError, ParameterError, StoreError
from geoseg.parts import join_run, leases, open_run
from geoseg.parts import objects as store_objects
from geoseg.parts.ahead import AHEAD, ReadAhead
from geoseg.parts.stores import inside, is_url, was_url
from geoseg.tiling import Window

WINDOWS = [Window(row, 0, 10, 20) for row in range(0, 80, 10)]
FINGERPRINT = {"model": "abc"}
LOCK = ".geoseg.lock"


def planes(window: Window) -> np.ndarray:
    return np.random.default_rng(window.row_off).integers(0, 9, (1, window.height, window.width)).astype(np.uint8)


@pytest.fixture(params=["memory", pytest.param("s3", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where parts are to be: a prefix of this test alone, whose name is full of what means something elsewhere."""
    if request.param == "s3":
        request.getfixturevalue("server")
    return f"{request.param}://{BUCKET}/{tmp_path.name} ü#/[a]*.tif.parts"


def begin(folder: Path, place: str, *windows: Window, **options: Any) -> str:
    """A run that wrote parts and was left."""
    with open_run(folder, FINGERPRINT, ["labels"], elsewhere=place, **options) as run:
        for window in windows:
            run.write(window, planes(window), {"row": window.row_off})
        return run.id


def parts_at(place: str) -> list[str]:
    return [name for name in objects(place) if name.endswith(".tif")]


def test_parts_come_back_and_the_next_run_goes_on(tmp_path: Path, place: str) -> None:
    first = begin(tmp_path / "p", place, *WINDOWS[:3])
    assert len(parts_at(place)) == 3
    assert not (tmp_path / "p").exists()
    with open_run(tmp_path / "p", FINGERPRINT, ["labels"], elsewhere=place) as run:
        assert (run.id, run.done, run.created) == (first, set(WINDOWS[:3]), False)
        run.foresee(WINDOWS)
        for window in WINDOWS[:3]:
            assert np.array_equal(run.read(window, "labels"), planes(window)[0])
            assert run.notes(window) == {"row": window.row_off}
        run.temporary("map.tif").write_bytes(b"half a map")
        run.finish()
    assert objects(place) == {}
    assert [path.name for path in (tmp_path / "p").iterdir()] == [path.name for path in (tmp_path / "p").glob(".map*")]
    begin(tmp_path / "p", place)
    assert not (tmp_path / "p").exists()  # what was left half-written went with the next run
    assert objects(place) == {}


def test_workers_make_parts_that_the_holder_takes(tmp_path: Path, place: str) -> None:
    made: list[tuple[Window, int, Any]] = []
    with open_run(tmp_path / "p", FINGERPRINT, ["labels"], elsewhere=place) as run:
        run.write(WINDOWS[0], planes(WINDOWS[0]))
        there = join_run(place, run.id, WINDOWS[:3], lambda *told: made.append(told))
        assert there.done == {WINDOWS[0]}
        there.write(WINDOWS[1], planes(WINDOWS[1]), {"x": 1})
        run.take(*made[0])
        assert np.array_equal(run.read(WINDOWS[1], "labels"), planes(WINDOWS[1])[0])
        with pytest.raises(OutputError, match=r"not to be seen here.*same bucket"):
            run.take(WINDOWS[2], 77, {})
        with pytest.raises(OutputError, match="another run here than where"):
            join_run(place, "0" * 16, WINDOWS, lambda *_: None)
    with pytest.raises(OutputError, match=r"is not to be seen here; workers need the same bucket"):
        join_run(f"{place}.none", run.id, WINDOWS, lambda *_: None)


def test_nothing_but_the_runs_own_objects_is_touched(tmp_path: Path, place: str) -> None:
    other = inside(place.rpartition("/")[0], "other.tif.parts")
    begin(tmp_path / "o", other, WINDOWS[0])
    before = objects(other)
    run_id = begin(tmp_path / "p", place, WINDOWS[0])
    put(f"{place}/notes.txt", b"mine")
    put(f"{place}/below/0123456789abcdef_0_0_1_1_4.tif", b"mine")
    stray = f"0123456789abcdef_0_0_1_1_{len(b'stray')}.tif"
    put(f"{place}/{stray}", b"stray")
    with open_run(tmp_path / "p", FINGERPRINT, ["labels"], elsewhere=place) as run:
        assert (run.id, run.done) == (run_id, {WINDOWS[0]})
        run.finish()
    assert objects(place) == {"notes.txt": b"mine", "below/0123456789abcdef_0_0_1_1_4.tif": b"mine"}
    assert objects(other) == before
    with pytest.raises(OutputError, match=r"not geoseg's \(below, notes.txt\)"):
        begin(tmp_path / "p", place)


@pytest.mark.parametrize("keep", [0, 100])
def test_parts_that_are_cut_short_or_damaged_are_made_anew(tmp_path: Path, place: str, keep: int) -> None:
    begin(tmp_path / "p", place, *WINDOWS[:3])
    short, broken = sorted(parts_at(place))[:2]
    whole = objects(place)
    put(f"{place}/{short}", whole[short][:keep])
    put(f"{place}/{broken}", whole[broken][:-9] + bytes(9))
    with open_run(tmp_path / "p", FINGERPRINT, ["labels"], elsewhere=place) as run:
        assert run.done == set(WINDOWS[1:3])
        run.foresee(WINDOWS)
        with pytest.raises(OutputError, match=r"is damaged .* has been removed"):
            run.read(WINDOWS[1], "labels")
        for window in WINDOWS[:2]:
            run.write(window, planes(window))
        for window in WINDOWS[:3]:
            assert np.array_equal(run.read(window, "labels"), planes(window)[0])
    assert len(objects(place)) == len(whole)


def test_other_parameters_are_refused_and_starting_over_clears(tmp_path: Path, place: str) -> None:
    begin(tmp_path / "p", place, WINDOWS[0])
    other = {"model": "xyz"}
    with (
        pytest.raises(ParameterError, match='model was "abc", is "xyz"'),
        open_run(tmp_path / "p", other, ["labels"], elsewhere=place),
    ):
        pass
    with open_run(tmp_path / "p", other, ["labels"], elsewhere=place, resume=False) as run:
        assert run.created
        assert parts_at(place) == []
    assert objects(place) == {}


def test_parts_beside_the_output_are_not_left_behind_in_silence(tmp_path: Path, place: str) -> None:
    with open_run(tmp_path / "p", FINGERPRINT, ["labels"]) as run:
        run.write(WINDOWS[0], planes(WINDOWS[0]))
    with pytest.raises(ParameterError, match="without --parts-folder"):
        begin(tmp_path / "p", place)
    begin(tmp_path / "p", place, WINDOWS[1], resume=False)
    assert not (tmp_path / "p").exists()
    assert len(parts_at(place)) == 1


def test_parts_in_another_folder(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    place = inside(tmp_path / "scratch", "p")
    begin(tmp_path / "p", place, WINDOWS[0])
    assert not (tmp_path / "p").exists()
    with open_run(tmp_path / "p", FINGERPRINT, ["labels"], elsewhere=place) as run:
        assert run.done == {WINDOWS[0]}
        run.finish()
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize("relative", [False, True])
def test_the_outputs_own_folder_is_no_place_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relative: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    place = inside("." if relative else tmp_path, "p")
    begin(tmp_path / "p", place, WINDOWS[0])
    with open_run(tmp_path / "p", FINGERPRINT, ["labels"]) as run:
        assert run.done == {WINDOWS[0]}
    with open_run(tmp_path / "p", FINGERPRINT, ["labels"], elsewhere=place) as run:
        assert run.done == {WINDOWS[0]}
        run.finish()
    assert not (tmp_path / "p").exists()


# One run at a time


def lock_of(place: str, **changes: Any) -> None:
    """A lock of somebody else."""
    holder = {"token": "x", "pid": 1, "host": "far", "machine": "", "since": "noon", "beat": time.time()}
    put(f"{place}/{LOCK}", json.dumps(holder | changes).encode())


def test_a_second_run_is_refused_and_told_who_is_first(tmp_path: Path, place: str) -> None:
    with open_run(tmp_path / "p", FINGERPRINT, ["labels"], elsewhere=place) as run:
        with pytest.raises(OutputError, match=rf"held by another run \(pid {os.getpid()} on .* since "):
            begin(tmp_path / "q", place)
        run.write(WINDOWS[0], planes(WINDOWS[0]))
    assert len(objects(place)) == 2
    lock_of(place)
    with pytest.raises(OutputError, match=r"pid 1 on far since noon.*10 min.*remove that object"):
        begin(tmp_path / "p", place)


def test_one_of_many_that_begin_together_gets_it(tmp_path: Path, place: str) -> None:
    together, inside_now, most, refused = threading.Barrier(6), [0], [0], [0]
    guard = threading.Lock()

    def enter(number: int) -> None:
        together.wait()
        try:
            with open_run(tmp_path / str(number), FINGERPRINT, ["labels"], elsewhere=place):
                with guard:
                    inside_now[0] += 1
                    most[0] = max(most[0], inside_now[0])
                time.sleep(0.2)
                with guard:
                    inside_now[0] -= 1
        except OutputError:
            with guard:
                refused[0] += 1

    threads = [threading.Thread(target=enter, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1
    assert refused[0] >= 1
    assert objects(place) == {}


def test_a_lock_that_was_left_is_taken_over(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(leases, "SETTLE_SECONDS", 0.01)
    lock_of(place, beat=time.time() - leases.STALE_SECONDS - 1)
    begin(tmp_path / "p", place, WINDOWS[0])
    assert "no sign of life for 10 min; taken over" in caplog.text
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    if sys.platform == "linux":
        lock_of(place, pid=ended.pid, machine=leases._machine())
        begin(tmp_path / "p", place, WINDOWS[1])
        assert "has ended without taking its lock away; taken over" in caplog.text
        lock_of(place, pid=ended.pid, machine="another")
        with pytest.raises(OutputError, match="held by another run"):
            begin(tmp_path / "p", place)
    put(f"{place}/{LOCK}", b"?")
    with pytest.raises(OutputError, match="lock is damaged"):
        begin(tmp_path / "p", place)


@pytest.mark.skipif(sys.platform != "linux", reason="whether a process lives is seen on Linux alone")
def test_a_process_that_may_not_be_seen_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = f"memory://{BUCKET}/{tmp_path.name}"
    monkeypatch.setattr(leases, "SETTLE_SECONDS", 0.01)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    lock_of(place, pid=ended.pid, machine=leases._machine())

    def not_allowed(pid: int, signal: int) -> None:
        assert (pid, signal) == (ended.pid, 0)
        raise PermissionError(errno.EPERM, "Operation not permitted")

    with monkeypatch.context() as patch:  # a process of another user, of which /proc tells nothing (hidepid=2)
        patch.setattr(leases.os, "kill", not_allowed)
        with pytest.raises(OutputError, match=f"held by another run .pid {ended.pid}"):
            begin(tmp_path / "p", place)
    begin(tmp_path / "p", place)


def test_what_is_gone_on_with_is_what_lies_there_once_it_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run looks at the place, another one starts over there and is stopped, and only then the first one has it."""
    place = f"memory://{BUCKET}/{tmp_path.name}"
    begin(tmp_path / "a", place, WINDOWS[0])
    held, others = store_objects.ObjectStore.held, list[str]()

    def held_late(store: store_objects.ObjectStore) -> Any:
        monkeypatch.setattr(store_objects.ObjectStore, "held", held)
        others.append(begin(tmp_path / "b", place, *WINDOWS[1:3], resume=False))
        return held(store)

    monkeypatch.setattr(store_objects.ObjectStore, "held", held_late)
    with open_run(tmp_path / "a", FINGERPRINT, ["labels"], elsewhere=place) as run:
        assert ([run.id], run.done) == (others, set(WINDOWS[1:3]))


HOLD = """
import sys, time
from pathlib import Path
import numpy as np
from geoseg.parts import open_run
from geoseg.tiling import Window
with open_run(Path(sys.argv[1]), {"model": "abc"}, ["labels"], elsewhere=sys.argv[2]) as run:
    run.write(Window(0, 0, 10, 20), np.zeros((1, 10, 20), np.uint8))
    print(run.id, flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="whether a process lives is seen on Linux alone")
@pytest.mark.usefixtures("server")
def test_a_run_of_another_process_is_refused_while_it_lives_and_gone_on_with_once_it_is_killed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = f"s3://{BUCKET}/{tmp_path.name}/p"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "p"), place], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        run_id = holder.stdout.readline().strip()
        with pytest.raises(OutputError, match=rf"held by another run \(pid {holder.pid} on "):
            begin(tmp_path / "q", place)
    finally:
        holder.kill()
        holder.communicate()
    assert LOCK in objects(place)
    assert begin(tmp_path / "p", place, WINDOWS[1]) == run_id
    assert "taken over" in caplog.text
    assert len(parts_at(place)) == 2
    assert LOCK not in objects(place)


def test_the_lock_is_renewed_and_its_loss_ends_the_run(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.05)
    with open_run(tmp_path / "p", FINGERPRINT, ["labels"], elsewhere=place) as run:
        run.write(WINDOWS[0], planes(WINDOWS[0]))
        first = json.loads(objects(place)[LOCK])["beat"]
        end = time.monotonic() + 10
        while json.loads(objects(place)[LOCK])["beat"] == first and time.monotonic() < end:
            time.sleep(0.02)
        assert json.loads(objects(place)[LOCK])["beat"] > first
        end = time.monotonic() + 10
        while not run.store._lease._lost and time.monotonic() < end:  # type: ignore[attr-defined]
            lock_of(place)  # again: a renewal that was under way may come over it
            time.sleep(0.02)
        with pytest.raises(OutputError, match="no longer of this run"):
            run.take(WINDOWS[0], run.size(WINDOWS[0]), {})
        with pytest.raises(OutputError, match="no longer of this run"):
            run.write(WINDOWS[1], planes(WINDOWS[1]))
        with pytest.raises(OutputError, match="no longer of this run"):
            run.finish()  # they are the other one's parts now
        assert len(parts_at(place)) == 1
        assert json.loads(objects(place)[LOCK])["token"] == "x"
    assert json.loads(objects(place)[LOCK])["token"] == "x"  # another's lock stays
    remove(f"{place}/{LOCK}")


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """The machine slept for so long: the clock says so, while no thread has done anything."""
    now = time.time
    monkeypatch.setattr(leases.time, "time", lambda: now() + seconds)


SLEPT = leases.STALE_SECONDS + 100


def test_a_run_that_slept_while_another_took_over_touches_nothing(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "SETTLE_SECONDS", 0.01)
    with open_run(tmp_path / "p", FINGERPRINT, ["labels"], elsewhere=place) as run:
        run.write(WINDOWS[0], planes(WINDOWS[0]))
        size = run.size(WINDOWS[0])
        later(monkeypatch, SLEPT)
        with open_run(tmp_path / "q", {"model": "xyz"}, ["labels"], elsewhere=place, resume=False) as other:
            other.write(WINDOWS[0], planes(WINDOWS[0]))
            before = objects(place)
            for use in (
                lambda: run.write(WINDOWS[1], planes(WINDOWS[1])),
                lambda: run.take(WINDOWS[0], size, {}),
                run.finish,
            ):
                run.store._lease._lost = False  # type: ignore[attr-defined] # each finds it out by itself
                with pytest.raises(OutputError, match="no longer of this run"):
                    use()
                assert objects(place) == before
            assert np.array_equal(other.read(WINDOWS[0], "labels"), planes(WINDOWS[0])[0])
            other.finish()
    assert objects(place) == {}


def test_a_run_that_slept_alone_goes_on_and_says_so(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_run(tmp_path / "p", FINGERPRINT, ["labels"], elsewhere=place) as run:
        later(monkeypatch, SLEPT)
        run.write(WINDOWS[0], planes(WINDOWS[0]))
        with pytest.raises(OutputError, match="held by another run"):
            begin(tmp_path / "q", place)
        assert run.done == {WINDOWS[0]}
        run.finish()
    assert objects(place) == {}


def test_before_a_run_removes_its_parts_it_asks_whose_they_are(tmp_path: Path, place: str) -> None:
    with open_run(tmp_path / "p", FINGERPRINT, ["labels"], elsewhere=place) as run:
        run.write(WINDOWS[0], planes(WINDOWS[0]))
        lock_of(place)  # a moment ago: no renewal was due since
        with pytest.raises(OutputError, match="no longer of this run"):
            run.finish()
        assert len(parts_at(place)) == 1
    remove(f"{place}/{LOCK}")
    with open_run(tmp_path / "p", FINGERPRINT, ["labels"], elsewhere=place, resume=False):
        lock_of(place)  # nor does it remove the manifest, of a run that never wrote a part
    assert set(objects(place)) == {LOCK, "manifest.json"}
    remove(f"{place}/{LOCK}")


def test_whose_a_place_is_is_asked_until_the_store_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = f"memory://{BUCKET}/{tmp_path.name}"
    monkeypatch.setattr(store_objects, "PAUSES", (0.01, 0.01))
    with open_run(tmp_path / "p", FINGERPRINT, ["labels"], elsewhere=place) as run:
        later(monkeypatch, SLEPT)
        for times, outcome in ((99, pytest.raises(StoreError, match="is the store up")), (2, nullcontext())):
            with monkeypatch.context() as patch:
                refusing = Refusing(run.store._files, "cat_file", EndpointConnectionError("no route"), times)  # type: ignore[attr-defined]
                patch.setattr(run.store, "_files", refusing)
                with outcome:
                    run.write(WINDOWS[0], planes(WINDOWS[0]))
            assert len(parts_at(place)) == (times == 2)


@pytest.mark.parametrize(("slept", "lost"), [(0.0, False), (SLEPT, True)])
def test_a_renewal_that_took_long_may_have_come_over_the_lock_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slept: float, lost: bool
) -> None:
    place = f"memory://{BUCKET}/{tmp_path.name}"
    replace = store_objects.ObjectStore.replace

    def replace_late(store: store_objects.ObjectStore, name: str, data: bytes) -> None:
        replace(store, name, data)
        if name == LOCK:
            later(monkeypatch, 30)

    with open_run(tmp_path / "p", FINGERPRINT, ["labels"], elsewhere=place) as run:
        run.write(WINDOWS[0], planes(WINDOWS[0]))
        later(monkeypatch, slept)
        monkeypatch.setattr(store_objects.ObjectStore, "replace", replace_late)
        with pytest.raises(OutputError, match="no longer of this run") if lost else nullcontext():
            run.finish()
        assert len(parts_at(place)) == lost
    if lost:
        remove(f"{place}/{LOCK}")


def test_a_renewal_that_outlasts_its_run_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    place = f"memory://{BUCKET}/{tmp_path.name}"
    monkeypatch.setattr(leases, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(leases, "_END_SECONDS", 0.01)
    under_way, answered = threading.Event(), threading.Event()
    replace = store_objects.ObjectStore.replace

    def hang(store: store_objects.ObjectStore, name: str, data: bytes) -> None:
        if name == LOCK:
            under_way.set()
            answered.wait(10)
        replace(store, name, data)

    with open_run(tmp_path / "p", FINGERPRINT, ["labels"], elsewhere=place) as run:
        run.write(WINDOWS[0], planes(WINDOWS[0]))
        monkeypatch.setattr(store_objects.ObjectStore, "replace", hang)
        thread = run.store._lease._thread  # type: ignore[attr-defined]
        assert under_way.wait(10)
    assert f"{place}/{LOCK} may come back and stay for 10 min" in caplog.text
    answered.set()
    thread.join(10)
    assert LOCK in objects(place)
    remove(f"{place}/{LOCK}")


def test_where_a_put_cannot_be_conditional_the_last_one_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = f"memory://{BUCKET}/{tmp_path.name}"
    monkeypatch.setattr(leases, "SETTLE_SECONDS", 0.05)
    monkeypatch.setattr(store_objects.ObjectStore, "create", lambda self, name, data: self.replace(name, data) is None)
    begin(tmp_path / "p", place, WINDOWS[0])
    monkeypatch.setattr(leases.time, "sleep", lambda _: lock_of(place))  # another one comes a moment later
    with pytest.raises(OutputError, match="held by another run"):
        begin(tmp_path / "p", place)
    remove(f"{place}/{LOCK}")


# What goes wrong


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("file:///tmp/parts", "cannot hold parts; give a folder"),
        ("simplecache::s3://bucket/parts", "cannot hold parts"),
        ("https://host/parts", "cannot hold parts"),
        ("nonsense://bucket/parts", "no place for parts .*nonsense"),
    ],
)
def test_places_that_hold_no_parts_are_refused(tmp_path: Path, place: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        begin(tmp_path / "p", place)
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_is_absent_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(importlib.import_module("fsspec.registry")._registry, "s3", raising=False)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ParameterError, match=r"needs a package that is absent \(Install s3fs.*\); pip install s3fs$"):
        begin(tmp_path / "p", "s3://bucket/parts")


def test_names() -> None:
    assert is_url("s3://bucket")
    assert not any(map(is_url, ("C:/maps", "C://maps", "maps", "/maps/s3", Path("maps"))))
    assert all(map(was_url, ("s3://bucket", "simplecache::s3://bucket", Path("s3://bucket"))))
    assert not any(map(was_url, ("C:/maps", "maps", "/maps/s3", Path("maps"))))
    assert inside("s3://bucket/a/", "map.tif.parts") == "s3://bucket/a/map.tif.parts"
    assert inside(Path("a"), "b") == str(Path("a/b"))
    with pytest.raises(ParameterError, match="has no name"):
        inside(" ", "b")


@pytest.mark.slow
@pytest.mark.usefixtures("server")
def test_a_bucket_that_is_not_there_and_credentials_that_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StoreError, match=r"s3://none/p/.geoseg.lock cannot be used .*bucket.*create the bucket"):
        begin(tmp_path / "p", "s3://none/p")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    with pytest.raises(StoreError, match=r"Unable to locate credentials.*AWS_PROFILE"):
        begin(tmp_path / "p", f"s3://{BUCKET}/p")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    assert list(tmp_path.iterdir()) == []


class EndpointConnectionError(Exception):
    """What botocore raises: no OSError."""


class Refusing:
    """The file system of a store, of which one request fails some times."""

    def __init__(self, files: Any, request: str, error: Exception, times: int) -> None:
        self._files, self._request, self._error, self.left = files, request, error, times

    def __getattr__(self, name: str) -> Any:
        def ask(*arguments: Any, **options: Any) -> Any:
            if name == self._request and self.left:
                self.left -= 1
                raise self._error
            return getattr(self._files, name)(*arguments, **options)

        return ask


@pytest.mark.parametrize(
    ("request_name", "use"),
    [
        ("pipe_file", lambda run: run.write(WINDOWS[1], planes(WINDOWS[1]))),
        ("cat_file", lambda run: run.read(WINDOWS[0], "labels")),
        ("info", lambda run: run.take(WINDOWS[0], run.size(WINDOWS[0]), {})),
        ("rm_file", lambda run: run.finish()),
    ],
)
def test_what_a_store_does_not_answer_is_asked_again(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch, request_name: str, use: Any
) -> None:
    monkeypatch.setattr(store_objects, "PAUSES", (0.01, 0.01))
    with open_run(tmp_path / "p", FINGERPRINT, ["labels"], elsewhere=place) as run:
        run.write(WINDOWS[0], planes(WINDOWS[0]))
        for error, tries in ((PermissionError("Access Denied"), 1), (ConnectionError("reset"), 3)):
            refusing = Refusing(run.store._files, request_name, error, 99)  # type: ignore[attr-defined]
            with monkeypatch.context() as patch:
                patch.setattr(run.store, "_files", refusing)
                with pytest.raises(OutputError, match=str(error)) as caught:
                    use(run)
            assert refusing.left == 99 - tries  # of what is not allowed no use in asking again
            assert "\n" not in str(caught.value)
        with monkeypatch.context() as patch:
            refusing = Refusing(run.store._files, request_name, ConnectionError("reset"), 2)  # type: ignore[attr-defined]
            patch.setattr(run.store, "_files", refusing)
            use(run)
        assert refusing.left == 0


def test_a_store_that_is_gone_when_a_run_ends_hides_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = f"memory://{BUCKET}/{tmp_path.name}"
    gone = EndpointConnectionError("no route")
    with (  # noqa: PT012 - it is the end of the block that is tested
        pytest.raises(ZeroDivisionError),
        monkeypatch.context() as patch,
        open_run(tmp_path / "p", FINGERPRINT, ["labels"], elsewhere=place) as run,
    ):
        patch.setattr(run.store, "_files", Refusing(run.store._files, "ls", gone, 99))  # type: ignore[attr-defined]
        _ = 1 // 0
    assert set(objects(place)) == {"manifest.json"}


def test_only_a_part_that_is_damaged_goes_and_not_one_that_a_busy_store_does_not_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3fs calls each answer that it does not know an EIO, which of a disk means that the part is lost."""
    place = f"memory://{BUCKET}/{tmp_path.name}"
    monkeypatch.setattr(store_objects, "PAUSES", (0.01, 0.01))
    busy = OSError(errno.EIO, "We encountered an internal error. Please try again.")
    with open_run(tmp_path / "p", FINGERPRINT, ["labels"], elsewhere=place) as run:
        run.write(WINDOWS[0], planes(WINDOWS[0]))
        with monkeypatch.context() as patch:
            patch.setattr(run.store, "_files", Refusing(run.store._files, "cat_file", busy, 99))  # type: ignore[attr-defined]
            with pytest.raises(OutputError, match=r"cannot be read \(.*internal error.*run the same command again"):
                run.read(WINDOWS[0], "labels")
        assert np.array_equal(run.read(WINDOWS[0], "labels"), planes(WINDOWS[0])[0])
        path = f"{place}/{parts_at(place)[0]}"
        put(path, objects(place)[parts_at(place)[0]][:-9] + bytes(9))
        run.foresee(())  # else it is known from before
        with monkeypatch.context() as patch:
            gone = EndpointConnectionError("no route")
            patch.setattr(run.store, "_files", Refusing(run.store._files, "rm_file", gone, 99))  # type: ignore[attr-defined]
            with pytest.raises(OutputError, match="is damaged"):
                run.read(WINDOWS[0], "labels")
        assert run.done == set()


# Reading ahead


def test_files_are_fetched_ahead_but_never_many() -> None:
    fetched: list[str] = []
    gate = threading.Semaphore(0)

    def fetch(name: str) -> bytes:
        gate.acquire()
        fetched.append(name)
        return name.encode()

    ahead = ReadAhead(fetch)
    names = [f"{number:02}" for number in range(20)]
    ahead.foresee(names)
    for _ in range(100):
        gate.release()
    assert ahead.read("00") == b"00"
    end = time.monotonic() + 10
    while len(fetched) < 1 + AHEAD and time.monotonic() < end:
        time.sleep(0.005)
    assert sorted(fetched) == names[: 1 + AHEAD]
    for name in names:
        for _ in range(3):  # one plane after the other
            assert ahead.read(name) == name.encode()
    assert sorted(fetched) == names
    assert ahead.read("05") == b"05"  # not kept: fetched anew
    assert len(fetched) == 21
    ahead.close()


def test_what_fails_ahead_fails_where_it_is_read() -> None:
    def fetch(name: str) -> bytes:
        if name == "b":
            raise FileNotFoundError(name)
        return b""

    ahead = ReadAhead(fetch)
    ahead.foresee("abc")
    assert ahead.read("a") == b""
    with pytest.raises(FileNotFoundError):
        ahead.read("b")
    assert ahead.read("c") == b""
    ahead.close()
