"""An error in any of the four threads, at any moment: it reaches the caller, nothing runs on, and the parts stay."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from scenes import FakePredictor, IdentityNetwork, replace_network, write_scene, write_spec

from geoseg.blending.accumulator import StripAccumulator
from geoseg.blending.stored import NOTHING
from geoseg.errors import ModelError
from geoseg.inference import assembly, estimate_prediction, predict, steps
from geoseg.inference.parts_sink import PartSink
from geoseg.inference.pipeline import FinishedRows
from geoseg.inference.scaling import first_showing, nearest
from geoseg.inference.seams import SeamCounter
from geoseg.legend import Legend
from geoseg.parts import Run, open_run
from geoseg.rasters import FileScene
from geoseg.tiling import TileGrid, Window

STAGES: dict[str, tuple[type, str]] = {
    "read": (FileScene, "read"),
    "submit": (FakePredictor, "submit"),
    "blend": (StripAccumulator, "add"),
    "finish": (StripAccumulator, "finished"),
    "write": (Run, "write"),
}
OPTIONS: dict[str, Any] = {"tile_size": 16, "overlap": 6, "confidence": True}


class BrokenError(Exception):
    """What goes wrong."""


def fail_at(call: int, function: Callable[..., Any], error: type[BaseException]) -> Callable[..., Any]:
    """A function that fails at one of its calls."""
    calls = itertools.count(1)

    def wrapped(*arguments: Any, **named: Any) -> Any:
        if next(calls) == call:
            raise error
        return function(*arguments, **named)

    return wrapped


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, Path]:
    """Scene, model and output."""
    monkeypatch.setattr(steps, "STEP_PIXELS", 1)
    replace_network(monkeypatch, IdentityNetwork())
    values = np.random.default_rng(3).integers(1, 8, (120, 40)).astype(np.uint8)
    return write_scene(tmp_path / "s.tif", values), write_spec(tmp_path / "m.safetensors"), tmp_path / "out.tif"


@pytest.mark.parametrize("error", [BrokenError, KeyboardInterrupt])
@pytest.mark.parametrize("call", [1, 2, 7])
@pytest.mark.parametrize("stage", STAGES)
def test_an_error_in_a_stage_leaves_its_parts_and_no_thread(
    job: tuple[Path, Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    call: int,
    error: type[BaseException],
) -> None:
    place, name = STAGES[stage]
    written: list[Window] = []
    real_write = Run.write

    def noted(run: Run, window: Window, *arguments: Any) -> None:
        real_write(run, window, *arguments)
        written.append(window)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "write", noted)
        patch.setattr(
            place, name, fail_at(call + (stage == "read"), getattr(place, name), error)
        )  # read for statistics
        with pytest.raises(error):
            predict(*job, **OPTIONS)
    assert not [t.name for t in threading.enumerate() if t.name.startswith("geoseg-")]
    assert not job[2].exists()
    assert len(list(job[2].parent.glob("out.tif.parts/*.tif"))) == len(written)

    done = predict(*job, **OPTIONS)
    assert done.resumed == pytest.approx(sum(w.height * w.width for w in written) / (120 * 40))
    with rasterio.open(job[0]) as scene, rasterio.open(done.labels) as labels:
        np.testing.assert_array_equal(labels.read(1), scene.read(1))


def test_what_is_under_way_is_waited_for_after_an_error(
    job: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the network would still read from tiles that are gone, and the next scene would share its requests."""
    submitted, waited = itertools.count(), itertools.count()
    real = FakePredictor.submit

    def submit(self: FakePredictor, tiles: Any) -> Callable[[], Any]:
        next(submitted)
        wait = real(self, tiles)

        def counted() -> Any:
            next(waited)
            return wait()

        return counted

    monkeypatch.setattr(FakePredictor, "in_flight", 5)
    monkeypatch.setattr(FakePredictor, "submit", submit)
    monkeypatch.setattr(StripAccumulator, "add", fail_at(2, StripAccumulator.add, BrokenError))
    with pytest.raises(BrokenError):
        predict(*job, **OPTIONS)
    assert next(submitted) == next(waited) > 2


# -- rows into parts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ids", [(1, 2, 3), (5, 6, 7), (2, 9, 4), (254,), (200, 7)])
def test_classes_get_their_ids_and_invalid_pixels_none(tmp_path: Path, ids: tuple[int, ...]) -> None:
    legend = Legend.from_records([{"id": i, "name": f"class {i}", "color": "#102030"} for i in ids])
    rng, window = np.random.default_rng(0), Window(0, 0, 12, 9)
    index = rng.integers(0, len(ids), (12, 9)).astype(np.uint8)
    valid = rng.random((12, 9)) > 0.3
    index[~valid] = NOTHING
    planes = np.stack([index, rng.integers(0, 251, (12, 9)).astype(np.uint8)])
    with open_run(tmp_path / "parts", {}, ("labels", "confidence")) as run:
        steps = (Window(0, 0, 5, 9), Window(0 + 5, 0, 7, 9))
        counter = SeamCounter(TileGrid(12, 9, 8, 2), "hann")
        sink = PartSink(run, steps, 2, legend, counter, lambda _: None, clipped=True)
        for top, bottom in ((0, 2), (2, 8), (8, 12)):
            rows = slice(top, bottom)
            sink.write(FinishedRows(Window(top, 0, bottom - top, 9), planes[:, rows], valid[rows]))
        labels, confidence = (np.concatenate([run.read(s, p) for s in steps]) for p in run.planes)
        run.finish()
    expected = np.where(valid, np.array([*ids, *[0] * 256], np.uint8)[index], 0)
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_array_equal(confidence, np.where(valid, planes[1], 255))
    assert window.height == len(labels)


def test_a_valid_pixel_without_a_score_is_a_mistake_unless_it_is_cut_off_later(tmp_path: Path) -> None:
    rows = FinishedRows(Window(0, 0, 2, 2), np.array([[[0, 1], [NOTHING, 0]]], np.uint8), np.ones((2, 2), bool))
    legend, counter = Legend.from_names(["a", "b"]), SeamCounter(TileGrid(2, 2, 2, 0), "hann")
    with open_run(tmp_path / "parts", {}, ("labels",)) as run:
        strict = PartSink(run, [rows.window], 1, legend, counter, lambda _: None, clipped=True)
        with pytest.raises(ModelError, match="1 pixels with data got no score"):
            strict.write(rows)
        PartSink(run, [rows.window], 1, legend, counter, lambda _: None, clipped=False).write(rows)
        np.testing.assert_array_equal(run.read(rows.window, "labels"), [[1, 2], [0, 1]])
        run.finish()


# -- other pixel sizes -------------------------------------------------------------------------------------------------


@given(st.integers(1, 200), st.integers(1, 200))
def test_first_showing_is_the_inverse_of_nearest(own: int, seen: int) -> None:
    showing = nearest(np.arange(own), own, seen)
    assert showing.min() >= 0
    assert showing.max() < seen
    for position in range(seen + 1):
        assert first_showing(position, own, seen) == np.searchsorted(showing, position)


def test_a_coarse_view_is_put_together_in_pieces(job: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of four million pixels at ten times the pixel size would be four hundred million of the scene."""
    scene, model, output = job
    whole = predict(scene, model, output, gsd=35.0, **OPTIONS)
    monkeypatch.setattr(steps, "STEP_PIXELS", 2**22)
    monkeypatch.setattr(assembly, "CHUNK_PIXELS", 7 * 40)
    sizes: list[int] = []
    real = assembly._final_validity

    def noted(job: Any, window: Window) -> Any:
        sizes.append(window.height * window.width)
        return real(job, window)

    monkeypatch.setattr(assembly, "_final_validity", noted)
    pieces = predict(scene, model, output.with_name("pieces.tif"), gsd=35.0, **OPTIONS)
    assert max(sizes) <= 7 * 40
    with rasterio.open(whole.labels) as a, rasterio.open(pieces.labels) as b:
        np.testing.assert_array_equal(a.read(), b.read())


def test_disk_is_that_of_a_map_on_the_scenes_own_grid(job: tuple[Path, Path, Path]) -> None:
    large = write_scene(job[0], np.ones((3000, 2000), np.uint8))
    native, coarse, fine = (
        estimate_prediction(large, job[1], job[2], tile_size=64, gsd=gsd).disk for gsd in ("native", 50.0, 5.0)
    )
    assert coarse == native < fine
