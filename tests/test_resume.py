"""A killed run goes on to the same pixels as an uninterrupted one, whenever it was killed; and what stops it."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from scenes import SmoothNetwork, replace_network, write_scene, write_spec

from geoseg.errors import OutputError, OutputExistsError, ParameterError
from geoseg.inference import predict, steps

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")

KILLS = 20
PARTS = 15  # of a whole run
TILE = 16
PAUSE = 0.006  # slow enough to be killed


def run(scene: Path, model: Path, output: Path, **options: Any) -> None:
    """Predict in a process of its own."""
    steps.STEP_PIXELS = 1
    replace_network(pytest.MonkeyPatch(), SmoothNetwork(PAUSE))
    predict(scene, model, output, tile_size=TILE, overlap=6, confidence=True, **options)


@pytest.fixture(scope="module")
def spawner() -> Iterator[Any]:
    """Starts processes that have imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["test_resume"])
    with pytest.MonkeyPatch.context() as patch:  # the server imports from there
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        process = context.Process(target=abs, args=(1,))
        process.start()
        process.join()
        yield context


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, Path]:
    """Scene, model and output."""
    monkeypatch.setattr(steps, "STEP_PIXELS", 1)
    replace_network(monkeypatch, SmoothNetwork(PAUSE))
    values = np.random.default_rng(1).integers(0, 8, (150, 70)).astype(np.uint8)
    values[30:60, 20:50] = 0
    scene = write_scene(tmp_path / "s.tif", values, nodata=0)
    return scene, write_spec(tmp_path / "m.safetensors"), tmp_path / "out.tif"


def pixels(output: Path) -> list[npt.NDArray[Any]]:
    found = []
    for path in (output, output.with_name(f"{output.stem}_confidence.tif")):
        with rasterio.open(path) as file:
            found.append(file.read(1))
    return found


def kill_after(spawner: Any, parts: int, seconds: float, *arguments: Path) -> bool:
    """Start a run and kill it that long after it has some parts; False where it was done before."""
    folder = arguments[-1].with_name(f"{arguments[-1].name}.parts")
    process = spawner.Process(target=run, args=arguments)
    process.start()
    while process.is_alive() and len(list(folder.glob("*.tif"))) < parts:
        time.sleep(0.001)
    process.join(seconds)
    alive = process.is_alive()
    if alive:
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    return bool(alive)


def wait_for_parts(folder: Path, count: int) -> None:
    for _ in range(3000):
        if len(list(folder.glob("*.tif"))) >= count:
            return
        time.sleep(0.01)
    raise AssertionError(f"no {count} parts in {folder}")


def test_killed_at_random_moments(spawner: Any, job: tuple[Path, Path, Path]) -> None:
    scene, model, output = job
    whole = spawner.Process(target=run, args=(scene, model, scene.with_name("whole.tif")))
    whole.start()
    whole.join()
    expected = pixels(scene.with_name("whole.tif"))

    chance = random.Random(7)
    killed = resumed = 0
    for _ in range(KILLS):
        alive = kill_after(spawner, chance.randrange(PARTS + 2), chance.uniform(0, 0.03), *job)
        killed += alive
        if output.exists():  # all of it, or nothing of that name
            np.testing.assert_array_equal(pixels(output)[0], expected[0])
        parts = output.with_name("out.tif.parts")
        if not output.exists() or (parts / "manifest.json").exists():
            resumed += predict(scene, model, output, tile_size=TILE, overlap=6, confidence=True).resumed > 0
        elif parts.exists():  # killed after its last act but one: all is done, and what is left holds nothing
            with pytest.raises(OutputExistsError):
                predict(scene, model, output, tile_size=TILE, overlap=6, confidence=True)
        for found, wanted in zip(pixels(output), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)
        assert not [p.name for p in output.parent.iterdir() if p.name.endswith((".parts", ".tmp"))]
        for path in output.parent.glob("out*"):
            path.unlink()
    assert killed > KILLS // 2
    assert resumed > KILLS // 4


def test_going_on_computes_only_what_is_missing(
    spawner: Any, job: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene, model, output = job
    process = spawner.Process(target=run, args=job)
    process.start()
    wait_for_parts(output.with_name("out.tif.parts"), 8)
    os.kill(process.pid, signal.SIGKILL)
    process.join()

    network = SmoothNetwork(PAUSE)
    replace_network(monkeypatch, network)
    told: list[int] = []
    done = predict(
        scene, model, output, tile_size=TILE, overlap=6, confidence=True, progress=lambda n, _: told.append(n)
    )
    assert done.resumed >= 0.5
    assert told[0] == round(done.resumed * 150 * 70)
    assert network.tiles <= 7 * (15 - 8 + 1)  # 7 tiles a row, and one row again for its overlap


def test_a_second_run_at_once_is_refused(spawner: Any, job: tuple[Path, Path, Path]) -> None:
    scene, model, output = job
    process = spawner.Process(target=run, args=job)
    process.start()
    try:
        wait_for_parts(output.with_name("out.tif.parts"), 1)
        with pytest.raises(OutputError, match=f"another run .*{process.pid}"):
            predict(scene, model, output, tile_size=TILE, overlap=6, confidence=True)
    finally:
        process.join()
    assert process.exitcode == 0
    assert output.exists()


@pytest.fixture
def interrupted(spawner: Any, job: tuple[Path, Path, Path]) -> tuple[Path, Path, Path]:
    """A job with some parts done."""
    process = spawner.Process(target=run, args=job)
    process.start()
    wait_for_parts(job[2].with_name("out.tif.parts"), 3)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    return job


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"overlap": 8}, "overlap was 6, is 8"),
        ({"blend": "crop"}, 'blend was "hann", is "crop"'),
        ({"value_range": (0, 5)}, "value_range"),
        ({"window": (0, 0, 50, 50)}, "window"),
        ({"confidence": False}, "planes"),
        ({"tta": "flips"}, "tta"),
    ],
)
def test_parts_of_other_parameters_are_refused_by_name(
    interrupted: tuple[Path, Path, Path], changed: dict[str, Any], named: str
) -> None:
    scene, model, output = interrupted
    options = {"tile_size": TILE, "overlap": 6, "confidence": True} | changed
    with pytest.raises(ParameterError, match="other parameters") as refusal:
        predict(scene, model, output, **options)
    assert named in str(refusal.value)
    assert "--no-resume" in str(refusal.value)


def test_a_changed_scene_and_a_changed_model_are_refused(interrupted: tuple[Path, Path, Path]) -> None:
    scene, model, output = interrupted
    options: dict[str, Any] = {"tile_size": TILE, "overlap": 6, "confidence": True}
    model = write_spec(model, temperature=2.0)
    with pytest.raises(ParameterError, match=r"models\.tiny"):
        predict(scene, model, output, **options)
    write_spec(model)
    write_scene(scene, np.full((150, 70), 3, np.uint8), nodata=0)
    with pytest.raises(ParameterError, match=r"scene\.(size|modified)"):
        predict(scene, model, output, **options)


def test_no_resume_starts_over(interrupted: tuple[Path, Path, Path]) -> None:
    scene, model, output = interrupted
    done = predict(scene, model, output, tile_size=TILE, overlap=8, confidence=True, resume=False)
    assert done.resumed == 0
    assert not output.with_name("out.tif.parts").exists()


def test_no_resume_keeps_older_parts_where_the_output_may_not_be_replaced(interrupted: tuple[Path, Path, Path]) -> None:
    scene, model, output = interrupted
    options: dict[str, Any] = {"tile_size": TILE, "overlap": 6, "confidence": True}
    write_scene(output, np.ones((3, 3), np.uint8))
    before = sorted(output.with_name("out.tif.parts").glob("*.tif"))
    with pytest.raises(OutputExistsError):
        predict(scene, model, output, resume=False, **options)
    assert sorted(output.with_name("out.tif.parts").glob("*.tif")) == before != []


def test_an_older_output_stands_until_the_new_one_is_complete(
    spawner: Any, job: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene, model, output = job
    predict(scene, model, output, tile_size=TILE, blend="crop", confidence=True)
    before = output.read_bytes()
    process = spawner.Process(target=run, args=job, kwargs={"overwrite": True})
    process.start()
    wait_for_parts(output.with_name("out.tif.parts"), 3)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert output.read_bytes() == before
    options: dict[str, Any] = {"tile_size": TILE, "overlap": 6, "confidence": True}
    with pytest.raises(OutputExistsError):
        predict(scene, model, output, **options)
    assert predict(scene, model, output, overwrite=True, **options).resumed > 0
    assert output.read_bytes() != before


def test_killed_between_two_outputs(job: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The confidence raster stands already, the labels do not: only they are made."""
    from geoseg.inference import assembly

    scene, model, output = job
    options: dict[str, Any] = {"tile_size": TILE, "overlap": 6, "confidence": True}
    confidence = output.with_name("out_confidence.tif")
    predict(scene, model, output, **options)
    expected = pixels(output)
    for path in (output, confidence):
        path.unlink()

    class Killed(BaseException):
        pass

    def stop(*_: Any, **__: Any) -> Any:
        raise Killed

    shutil.rmtree(output.with_name("out.tif.parts"), ignore_errors=True)
    for sidecar in output.parent.glob("out*.*"):
        sidecar.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(assembly, "write_class_raster", stop)
        with pytest.raises(Killed):
            predict(scene, model, output, **options)
    assert not output.exists()
    done = predict(scene, model, output, **options)
    assert done.resumed == 1
    for found, wanted in zip(pixels(output), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
