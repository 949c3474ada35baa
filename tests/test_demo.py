"""The demo, reduced to seconds, and the pictures it draws."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import typer
from matplotlib.image import imread
from scenes import UTM, write_scene
from typer.testing import CliRunner

from geoseg.cli import demo as demo_module
from geoseg.cli.demo import Demo, demo, run_demo
from geoseg.errors import GeosegError, OutputError, OutputExistsError, ParameterError
from geoseg.grids import Grid
from geoseg.legend import Legend
from geoseg.models import read_spec
from geoseg.pictures import (
    CONFIDENCE_COLORS,
    Panel,
    draw_overview,
    picture_confidence,
    picture_labels,
    picture_scene,
)
from geoseg.rasters import open_class_raster, open_scene, write_class_raster, write_confidence_raster
from geoseg.tiling import Window


def _small(folder: Path, **changes: object) -> Demo:
    return run_demo(folder, **{"size": 512, "steps": 6, "goal": 0.0, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    return _small(tmp_path_factory.mktemp("demo") / "new" / "folder")


def test_everything_is_there_and_fits_together(done: Demo) -> None:
    with (
        open_scene(done.scene) as scene,
        open_class_raster(done.labels) as labels,
        open_class_raster(done.truth) as truth,
    ):
        assert labels.grid == scene.grid == truth.grid
        assert labels.legend == truth.legend
        everywhere = Window(0, 0, 512, 512)
        np.testing.assert_array_equal(labels.read(everywhere) > 0, truth.read(everywhere) > 0)
        valid = int((truth.read(everywhere) > 0).sum())
    polygons = geopandas.read_file(done.polygons, layer="landcover")
    assert polygons.pixel_count.sum() == valid
    assert polygons.mean_confidence.between(0, 1).all()
    assert 0 <= done.mean_iou <= 1
    assert done.seconds.keys() == {"scene", "training", "prediction", "polygons", "evaluation", "picture"}
    assert imread(done.picture).shape[1] > 1500


def test_model_says_what_it_is(done: Demo) -> None:
    spec = read_spec(done.model)
    assert (spec.name, spec.architecture, spec.bands) == ("demo", "unet", ("red", "green", "blue"))
    assert spec.gsd == pytest.approx(0.5, rel=0.01)
    assert "seed 0" in spec.training_data
    assert spec.license
    assert spec.purpose


def test_folder_says_what_lies_in_it(done: Demo) -> None:
    text = (done.folder / "README.txt").read_text(encoding="utf-8")
    for path in (done.scene, done.truth, done.model, done.labels, done.confidence, done.polygons, done.picture):
        assert path.is_file()
        assert f"\n{path.name} " in text


def test_a_second_run_gives_the_same_and_a_bad_map_fails_loudly(done: Demo) -> None:
    with rasterio.open(done.labels) as file:
        before = file.read()
    (done.folder / "my_project.qgz").touch()
    done.picture.unlink()
    with pytest.raises(GeosegError, match=r"mean IoU of 0\.\d+ .* below 0\.80: run it with more --steps"):
        _small(done.folder, goal=demo_module.GOAL)
    with rasterio.open(done.labels) as file:
        np.testing.assert_array_equal(file.read(), before)
    assert done.picture.is_file()
    assert (done.folder / "my_project.qgz").is_file()


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "scene.tif").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"no demo wrote \(scene\.tif\); give another --folder"):
        _small(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["scene.tif"]
    assert (tmp_path / "scene.tif").read_text() == "mine"


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "demo").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        _small(tmp_path / "demo")


def test_too_small_to_test(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="512 or more"):
        _small(tmp_path, size=511)
    assert not list(tmp_path.iterdir())


def _run_command(monkeypatch: pytest.MonkeyPatch, done: Demo, *arguments: str) -> str:
    monkeypatch.setattr(demo_module, "run_demo", lambda *_args, **_kwargs: done)
    app = typer.Typer()
    app.command()(demo)
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.stdout


def test_command_prints_the_results(monkeypatch: pytest.MonkeyPatch, done: Demo) -> None:
    lines = _run_command(monkeypatch, done).splitlines()
    assert lines == [str(p) for p in (done.labels, done.confidence, done.polygons, done.model, done.picture)]


def test_command_prints_json(monkeypatch: pytest.MonkeyPatch, done: Demo) -> None:
    record = json.loads(_run_command(monkeypatch, done, "--json"))
    assert record["mean_iou"] == done.mean_iou
    assert record["polygons"] == str(done.polygons)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_full_demo_reaches_its_goal(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "geoseg", "demo", "--folder", str(tmp_path / "demo"), "--json"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout)["mean_iou"] >= 0.80


def test_picture_of_a_scene_is_the_scene(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(1, 255, (3, 20, 30)).astype(np.uint8)
    values[:, 0, 0] = 0
    picture = picture_scene(write_scene(tmp_path / "s.tif", values, nodata=0))
    np.testing.assert_array_equal(picture[..., :3], values.transpose(1, 2, 0))
    assert picture[0, 0, 3] == 0
    assert (picture[..., 3] == 255).sum() == 20 * 30 - 1
    assert max(picture_scene(tmp_path / "s.tif", max_side=10).shape[:2]) == 10


def test_picture_of_other_types_is_stretched(tmp_path: Path) -> None:
    values = np.linspace(-3, 9000, 400, dtype=np.float32).reshape(1, 20, 20)
    values[0, 3, 3] = np.nan
    picture = picture_scene(write_scene(tmp_path / "s.tif", values))
    assert picture[..., 0].min() == 0
    assert picture[..., 0].max() == 255
    np.testing.assert_array_equal(picture[..., 0], picture[..., 2])
    assert picture[3, 3, 3] == 0


@pytest.mark.parametrize("max_side", [100, 10, 7])
def test_pictures_of_maps(tmp_path: Path, max_side: int) -> None:
    legend = Legend.from_names(["a", "b"], ["#112233", "#445566"])
    grid, everywhere = Grid(None, UTM, 40, 25), Window(0, 0, 40, 25)
    labels = np.random.default_rng(0).integers(0, 3, (40, 25)).astype(np.uint8)
    stored = np.where(labels == 0, 255, 250).astype(np.uint8)
    with write_class_raster(tmp_path / "l.tif", grid, legend) as writer:
        writer.write(everywhere, labels)
    with write_confidence_raster(tmp_path / "c.tif", grid) as writer:
        writer.write(everywhere, stored)
    colours = picture_labels(tmp_path / "l.tif", max_side=max_side)
    confidence = picture_confidence(tmp_path / "c.tif", max_side=max_side)
    assert max(colours.shape[:2]) <= max_side
    assert colours.shape == confidence.shape
    assert {tuple(c) for c in colours.reshape(-1, 4).tolist()} == {
        (0, 0, 0, 0), (0x11, 0x22, 0x33, 255), (0x44, 0x55, 0x66, 255),
    }  # fmt: skip
    np.testing.assert_array_equal(confidence[..., 3] == 0, colours[..., 3] == 0)


def test_overview_can_be_saved_with_and_without_everything() -> None:
    picture = np.full((40, 60, 4), 200, np.uint8)
    legend = Legend.from_names(["a", "b"])
    plain = draw_overview([Panel("one", picture)])
    full = draw_overview(
        [Panel("one", picture), Panel("two", picture, CONFIDENCE_COLORS)], legend, title="T", note="n", divide_at=0.5
    )
    for figure in (plain, full):
        figure.savefig(file := io.BytesIO(), dpi=40)
        assert file.getvalue().startswith(b"\x89PNG")
    assert [text.get_text() for text in full.legends[0].get_texts()] == ["a", "b"]
