"""Prediction on Dask: the pixels of the local run, whatever the regions are, and what does not do is told by name."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from distributed import Client
from distributing import OVERLAP, TILE, run, same, small_job
from scenes import FakePredictor, SmoothNetwork, replace_network, write_scene

from geoseg.distributed import Cluster
from geoseg.errors import ClusterError, CorruptRasterError, ModelError, ParameterError, UnfinishedError
from geoseg.inference import clustered, network, predict_scenes, steps
from geoseg.rasters.reading import FileScene


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, Path]:
    """Scene, model and folder; the scene is cut into panels too."""
    monkeypatch.setattr(steps, "PANEL_BYTES", 4 * 7 * TILE * 40)
    return small_job(tmp_path, monkeypatch)


@pytest.mark.parametrize("region_parts", [None, 1, 2, 100])
def test_pixels_and_seams_are_those_of_the_local_run(
    job: tuple[Path, Path, Path], client: Client, region_parts: int | None
) -> None:
    told: list[tuple[int, int]] = []
    local = run(job, "local.tif")
    there = run(job, "there.tif", client=client, region_parts=region_parts, progress=lambda *done: told.append(done))
    assert same(local, there)
    assert told[0] == (0, 90 * 70)
    assert told[-1] == (90 * 70, 90 * 70)
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert not (job[2] / "there.tif.parts").exists()


def test_all_that_chooses_pixels_reaches_the_workers(job: tuple[Path, Path, Path], client: Client) -> None:
    choices: dict[str, Any] = {"window": (7, 9, 70, 41), "blend": "crop", "gsd": 14.0}
    assert same(run(job, "local.tif", **choices), run(job, "there.tif", client=client, region_parts=1, **choices))


def test_a_run_begun_here_is_finished_there_and_the_other_way_round(
    job: tuple[Path, Path, Path], client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(job, "whole.tif")

    def stopping(done: int, total: int) -> None:
        if done > total // 3:
            raise KeyboardInterrupt

    for name, first, then in (("a.tif", {}, {"client": client}), ("b.tif", {"client": client}, {})):
        with pytest.raises(KeyboardInterrupt):
            run(job, name, progress=stopping, **first)  # type: ignore[arg-type]
        assert any((job[2] / f"{name}.parts").glob("*.tif"))
        assert same(whole, run(job, name, **then))  # type: ignore[arg-type]


def test_many_scenes_share_a_cluster(job: tuple[Path, Path, Path], client: Client) -> None:
    scene, model, folder = job
    write_scene(folder / "t.tif", np.full((40, 30), 3, np.uint8))
    (folder / "bad.tif").write_text("no raster")
    (folder / "maps").mkdir()
    found = list(predict_scenes(
        [scene, folder / "bad.tif", folder / "t.tif"], model, folder / "maps", client=client,
        tile_size=TILE, overlap=OVERLAP, confidence=True,
    ))  # fmt: skip
    assert [outcome.error is None for outcome in found] == [True, False, True]
    assert same(run(job, "local.tif"), folder / "maps" / "s_landcover.tif")


@pytest.mark.parametrize("region_parts", [None, 1])
def test_a_damaged_block_fails_alone_and_is_named(
    job: tuple[Path, Path, Path], client: Client, monkeypatch: pytest.MonkeyPatch, region_parts: int | None
) -> None:
    read = FileScene.read

    def failing(self: FileScene, window: Any) -> Any:
        if window.row_off <= 45 < window.row_end and window.height < self.grid.height:
            raise CorruptRasterError(f"block of rows 45..45 of {self.name} cannot be decoded")
        return read(self, window)

    with monkeypatch.context() as patch:
        patch.setattr(FileScene, "read", failing)
        with pytest.raises(UnfinishedError, match=r"of \d+ parts failed: rows .*block of rows 45.*worker inproc.*kept"):
            run(job, "there.tif", client=client, region_parts=region_parts)
    parts = [path.name.split("_") for path in (job[2] / "there.tif.parts").glob("*.tif")]
    rows = {int(row) for _, row, *_ in parts}
    assert min(rows) == 0
    assert max(rows) > 60  # what lies below is kept, however the regions are
    assert same(run(job, "local.tif"), run(job, "there.tif", client=client))


def test_what_fails_everywhere_ends_the_run_at_once(
    job: tuple[Path, Path, Path], client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        raise ModelError("its weights are damaged")

    replace_network(monkeypatch, broken)
    with pytest.raises(ModelError, match=r"weights are damaged \(worker inproc"):
        run(job, "there.tif", client=client)
    assert not (job[2] / "there.tif.parts").exists()


def test_workers_that_would_compute_other_pixels_are_refused(
    job: tuple[Path, Path, Path], client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each worker loads a network of its own; here the second one gets another version."""
    versions = iter(["1", "2", "1", "2"])
    lock = threading.Lock()

    def load(job: Any, _: object) -> FakePredictor:
        made = FakePredictor(SmoothNetwork(), job)
        with lock:
            made.identity = {"backend": "fake", "version": next(versions)}
        return made

    monkeypatch.setattr(network, "load_network", load)
    refused = r"worker inproc.*network\.version is \"[12]\" and not \"[12]\".*--allow-mixed"
    with pytest.raises(ClusterError, match=refused):
        run(job, "there.tif", client=client)
    mixed = run(job, "there.tif", client=client, allow_mixed=True)
    monkeypatch.undo()
    assert mixed.exists()


def test_another_geoseg_or_another_file_of_the_model_is_refused(
    job: tuple[Path, Path, Path], client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geoseg.distributed.crew.__version__", "9.9")
    with pytest.raises(ClusterError, match=r"geoseg is 9\.9 here but not on worker inproc.*--allow-mixed"):
        run(job, "there.tif", client=client)
    monkeypatch.undo()
    order = clustered.Order

    class Stale(order):  # type: ignore[misc, valid-type]
        @classmethod
        def of(cls, *arguments: Any) -> Any:
            made = order.of(*arguments)
            return order(made.scenes, ((made.models[0][0], "0" * 64),), made.output, made.settings)

    monkeypatch.setattr(clustered, "Order", Stale)
    with pytest.raises(ClusterError, match=r"worker inproc.*m\.safetensors there is another file"):
        run(job, "there.tif", client=client)


def test_where_to_compute_is_said_once() -> None:
    with pytest.raises(ParameterError, match="workers and scheduler both"):
        Cluster(workers=2, scheduler="tcp://host:8786")
    with pytest.raises(ParameterError, match="0 workers"):
        Cluster(workers=0)
    with pytest.raises(ParameterError, match="concern a cluster"):
        Cluster(region_parts=2)
    with pytest.raises(ParameterError, match="task_timeout"):
        Cluster(workers=2, task_timeout=0)


def test_a_scheduler_that_is_not_there_is_named(job: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geoseg.distributed.clusters._CONNECT_SECONDS", 0.3)
    with pytest.raises(ClusterError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        run(job, "there.tif", scheduler="tcp://127.0.0.1:9")
    with pytest.raises(ClusterError, match="there is no scheduler file"):
        run(job, "there.tif", scheduler_file=job[2] / "none.json")
