"""Prediction whose parts lie in an object store: the pixels of the local run, and what is left is gone on with."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from distributed import Client
from distributing import OVERLAP, REAL_CHOICES, TILE, real_job, run, same, small_job
from object_stores import BUCKET, objects, put, server  # noqa: F401 - a fixture
from own_networks import one_thread  # noqa: F401 - as each worker has: the sums of torch depend on it
from scenes import write_scene
from typer.testing import CliRunner

from geoseg import teamwork
from geoseg.cli.app import app
from geoseg.errors import ClusterError, OutputError, OutputExistsError, ParameterError, StoreError
from geoseg.inference import predict, predict_scenes, steps
from geoseg.parts import objects as store_objects


@pytest.fixture
def place(tmp_path: Path) -> Iterator[str]:
    """A prefix of this test alone, in the memory of this process."""
    url = f"memory://{BUCKET}/{tmp_path.name}"
    yield url
    assert objects(url) == {}


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, Path]:
    """Scene, model and folder."""
    return small_job(tmp_path, monkeypatch)


def stopping(done: int, total: int) -> None:
    if done > total // 3:
        raise KeyboardInterrupt


@pytest.mark.parametrize("where", ["here", "cluster"])
def test_the_map_is_that_of_parts_beside_it_and_an_interrupted_run_goes_on(
    job: tuple[Path, Path, Path], client: Client, place: str, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    options: dict[str, Any] = {"parts_folder": place} | ({"client": client} if where == "cluster" else {})
    caplog.set_level(logging.INFO, "geoseg")
    local = run(job, "local.tif")
    with pytest.raises(KeyboardInterrupt):
        run(job, "there.tif", progress=stopping, **options)
    left = [name for name in objects(f"{place}/there.tif.parts") if name.endswith(".tif")]
    assert left
    assert not (job[2] / "there.tif.parts").exists()
    assert f"finished parts stay in {place}/there.tif.parts" in caplog.text
    with pytest.raises(ParameterError, match=r"parameters.blend was .hann., is .crop."):
        run(job, "there.tif", blend="crop", **options)
    shares: list[float] = []
    there = run(job, "there.tif", progress=lambda done, total: shares.append(done / total), **options)
    assert shares[0] > 0
    assert same(local, there)
    with pytest.raises(OutputExistsError):
        run(job, "there.tif", **options)
    assert sorted(path.name for path in job[2].glob("*.parts")) == []


def test_many_scenes_keep_their_parts_apart(job: tuple[Path, Path, Path], client: Client, place: str) -> None:
    scene, model, folder = job
    write_scene(folder / "t.tif", np.full((40, 30), 3, np.uint8))
    (folder / "maps").mkdir()
    choices: dict[str, Any] = {"tile_size": TILE, "overlap": OVERLAP, "confidence": True, "parts_folder": place}
    found = list(predict_scenes([scene, folder / "t.tif"], model, folder / "maps", client=client, **choices))
    assert [outcome.error for outcome in found] == [None, None]
    assert same(run(job, "local.tif"), folder / "maps" / "s_landcover.tif")


def test_two_runs_do_not_mix(job: tuple[Path, Path, Path], client: Client, place: str) -> None:
    refused: list[str] = []

    def another(done: int, total: int) -> None:
        if done and not refused:
            (job[2] / "other").mkdir()
            with pytest.raises(OutputError, match="held by another run") as caught:
                run((*job[:2], job[2] / "other"), "there.tif", parts_folder=place)
            refused.append(str(caught.value))

    there = run(job, "there.tif", client=client, parts_folder=place, progress=another)
    assert len(refused) == 1
    assert same(run(job, "local.tif"), there)


def test_a_worker_that_cannot_reach_the_store_is_left_out(
    job: tuple[Path, Path, Path], client: Client, place: str, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Here the first one that takes a region."""
    from distributed import get_worker

    seen: list[str] = []
    join = teamwork.join_run

    def joining(*arguments: Any) -> Any:
        found = join(*arguments)
        seen.append(get_worker().address)

        def failing(name: str, _: bytes) -> None:
            raise StoreError(f"{name} cannot be used (no route to host)")

        if seen[-1] == seen[0]:
            monkeypatch.setattr(found.store, "write", failing)
        return found

    monkeypatch.setattr(teamwork, "join_run", joining)
    there = run(job, "there.tif", client=client, parts_folder=place, region_parts=1)
    assert f"worker {seen[0]} is left out" in caplog.text
    assert "no route to host" in caplog.text
    assert same(run(job, "local.tif"), there)


def test_a_worker_without_the_package_is_named_before_any_work(
    job: tuple[Path, Path, Path], client: Client, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = store_objects.ObjectStore.listing

    def absent(self: store_objects.ObjectStore) -> Any:
        import threading

        if "Worker" in threading.current_thread().name or "Dask" in threading.current_thread().name:
            raise ParameterError("s3://bucket needs a package that is absent; pip install s3fs")
        return begun(self)

    monkeypatch.setattr(store_objects.ObjectStore, "listing", absent)
    with pytest.raises(ClusterError, match=r"worker inproc.*pip install s3fs"):
        run(job, "there.tif", client=client, parts_folder=place)


@pytest.mark.parametrize("output", ["s3://bucket/map.tif", Path("s3://bucket/map.tif"), "/vsis3/bucket/map.tif"])
def test_a_map_in_a_store_is_refused_and_told_what_may_lie_there(
    job: tuple[Path, Path, Path], output: str | Path
) -> None:
    with pytest.raises(ParameterError, match=r"s3.* lies in an object store.*--parts-folder"):
        predict(job[0], job[1], output)


def test_the_command_line(job: tuple[Path, Path, Path], place: str) -> None:
    scene, model, folder = job
    command = ["predict", str(scene), "-m", str(model), "-o", str(folder / "a.tif"), "--tile-size", str(TILE)]
    done = CliRunner().invoke(app, [*command, "--parts-folder", place])
    assert done.exit_code == 0, done.output
    assert (folder / "a.tif").exists()
    failed = CliRunner().invoke(app, [*command, "--overwrite", "--parts-folder", "https://host/parts"])
    assert isinstance(failed.exception, ParameterError)


# A real server, and workers of their own


@pytest.fixture
def job_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A scene of many parts, and a real network."""
    monkeypatch.setattr(steps, "STEP_PIXELS", 1)  # the client plans the parts
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("DASK_LOGGING__DISTRIBUTED", "critical")
    return real_job(tmp_path, (500, 200), (slice(200, 300), slice(40, 150)))


@pytest.mark.slow
@pytest.mark.usefixtures("server")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Dask leaves sockets of its own open
def test_scene_and_parts_in_a_bucket_and_workers_that_see_nothing_else_of_the_client(
    job_for_others: tuple[Path, Path], tmp_path: Path
) -> None:
    scene, model = job_for_others
    local = predict(scene, model, tmp_path / "local.tif", **REAL_CHOICES).labels
    prefix = f"{BUCKET}/{tmp_path.name}"
    put(f"s3://{prefix}/s.tif", scene.read_bytes())
    scene.unlink()
    where: dict[str, Any] = {"parts_folder": f"s3://{prefix}/parts", "workers": 2, "region_parts": 2}
    here = {"parts_folder": where["parts_folder"]}
    with pytest.raises(KeyboardInterrupt):
        predict(f"/vsis3/{prefix}/s.tif", model, tmp_path / "there.tif", progress=stopping, **REAL_CHOICES, **here)
    assert [name for name in objects(f"s3://{prefix}/parts/there.tif.parts") if name.endswith(".tif")]
    there = predict(f"/vsis3/{prefix}/s.tif", model, tmp_path / "there.tif", **REAL_CHOICES, **where)
    assert there.resumed > 0
    assert same(local, there.labels)
    assert list(objects(f"s3://{prefix}")) == ["s.tif"]
    assert fsspec.filesystem("s3").exists(f"{prefix}/s.tif")
