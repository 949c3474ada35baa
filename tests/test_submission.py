"""Submissions: maps of a benchmark's test images, as the benchmark takes them."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from affine import Affine
from PIL import Image
from scenes import IdentityNetwork, replace_network, write_spec

from geoseg import write_submission
from geoseg.cli import main
from geoseg.datasets import dataset_info
from geoseg.errors import GeosegError, LegendError, MissingFileError, OutputExistsError, ParameterError, RasterError
from geoseg.grids import Grid
from geoseg.inference import predict_scenes
from geoseg.legend import Legend
from geoseg.rasters import write_class_raster
from geoseg.tiling import Window

SIDE = 14
LEGEND = dataset_info("loveda").legend
NAMES = ("4191", "4192", "5170")
Array = npt.NDArray[np.uint8]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """LoveDA's test split with three images, and nothing of the other splits."""
    for number, name in enumerate(NAMES):
        folder = tmp_path / "loveda/Test" / ("Rural" if number < 2 else "Urban") / "images_png"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.dstack([ids(number)] * 3)).save(folder / f"{name}.png")
    return tmp_path / "loveda"


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    """A plain PNG of ids for each image."""
    folder = tmp_path / "maps"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        Image.fromarray(ids(number)).save(folder / f"{name}.png")
    return folder


def ids(seed: int) -> Array:
    """(SIDE, SIDE) with every id of LoveDA, 1 .. 7."""
    return (
        np.random.default_rng(seed)
        .permutation(np.resize(np.arange(1, 8), SIDE * SIDE))
        .reshape(SIDE, SIDE)
        .astype(np.uint8)
    )


def write_map(path: Path, labels: Array, legend: Legend) -> None:
    grid = Grid(None, Affine.identity(), SIDE, SIDE)
    with write_class_raster(path, grid, legend) as writer:
        writer.write(Window(0, 0, SIDE, SIDE), labels)


def assert_submitted(folder: Path) -> None:
    """Each image's own labels, less one, under its own name, and nothing else."""
    assert sorted(path.name for path in folder.iterdir()) == [f"{name}.png" for name in NAMES]
    for number, name in enumerate(NAMES):
        with Image.open(folder / f"{name}.png") as written:
            assert (written.mode, written.size) == ("L", (SIDE, SIDE))
            np.testing.assert_array_equal(np.asarray(written), ids(number) - 1)


def test_from_test_images_to_a_submission_on_the_command_line(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """PNG images without place are mapped in one go; ids follow the legend, and the benchmark counts from 0."""
    replace_network(monkeypatch, IdentityNetwork())
    model = write_spec(tmp_path / "m.safetensors", classes=LEGEND.to_records(), bands=("red", "green", "blue"),
                       mean=(0.0,) * 3, std=(1.0,) * 3, value_range=(0.0, 255.0))  # fmt: skip
    folder = tmp_path / "maps"
    folder.mkdir()
    outcomes = list(predict_scenes([data / "Test/*/images_png/*.png"], model, folder, confidence=True))
    assert [outcome.error for outcome in outcomes] == [None] * len(NAMES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["geoseg", "submission", "loveda", "maps", "out", "--data-dir", str(data)])
    main_exit(0)
    assert capsys.readouterr().out == "out\n"
    assert_submitted(tmp_path / "out")


def main_exit(code: int) -> None:
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == code


def test_plain_rasters_of_ids_and_the_default_folder(
    data: Path, maps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    data.rename(tmp_path / "data/loveda")
    monkeypatch.chdir(tmp_path)
    told: list[tuple[int, int]] = []
    assert write_submission("loveda", maps, "out", progress=lambda *now: told.append(now)) == Path("out")
    assert_submitted(tmp_path / "out")
    assert told == [(k * SIDE**2, 3 * SIDE**2) for k in (1, 2, 3)]
    with pytest.raises(OutputExistsError, match="out exists"):
        write_submission("loveda", maps, "out")


def test_named_classes_are_matched_by_name(data: Path, maps: Path, tmp_path: Path) -> None:
    """A model may number its classes as it likes."""
    order = [7, 1, 6, 2, 5, 3, 4]
    mixed = Legend.from_names([LEGEND.names[i - 1].capitalize() for i in order])
    place = np.zeros(8, np.uint8)
    place[order] = np.arange(1, 8)
    for number, name in enumerate(NAMES):
        (maps / f"{name}.png").unlink()
        write_map(maps / f"{name}_landcover.tif", place[ids(number)], mixed)
    assert_submitted(write_submission("loveda", maps, tmp_path / "out", data_dir=data))


def missing(maps: Path) -> None:
    (maps / "4192.png").unlink()


def extra(maps: Path) -> None:
    for k in range(5):
        shutil.copy(maps / "4192.png", maps / f"{k}_landcover.png")


def double(maps: Path) -> None:
    shutil.copy(maps / "4192.png", maps / "4192_landcover.png")


def half_empty(maps: Path) -> None:
    labels = ids(1)
    labels[:7] = 0
    write_map(maps / "4192.tif", labels, LEGEND)
    missing(maps)


def foreign(maps: Path) -> None:
    write_map(maps / "4192.tif", ids(1), Legend.from_names([*LEGEND.names[:6], "vineyard"]))
    missing(maps)


def eight(maps: Path) -> None:
    Image.fromarray(ids(1) + np.uint8(1)).save(maps / "4192.png")


def small(maps: Path) -> None:
    Image.fromarray(ids(1)[:8]).save(maps / "4192.png")


def no_raster(maps: Path) -> None:
    (maps / "4192.png").write_bytes(b"no raster")


@pytest.mark.parametrize(
    ("spoil", "error", "complaint"),
    [
        (missing, ParameterError, "lacks maps of 4192; predict"),
        (extra, ParameterError, "has maps of no test image: 0, 1, 2 and 2 more; move"),
        (double, ParameterError, "has more than one map of 4192; leave"),
        (half_empty, RasterError, "no class at 98 of 196 pixels"),
        (foreign, LegendError, r"classes that the benchmark has not: 7 \(vineyard\); it has 1 \(background\), "),
        (eight, LegendError, r"not: 8 \(class 8\)"),
        (small, ParameterError, r"4192.png is uint8 \(8, 14\) up to 6; give uint8 \(14, 14\)"),
        (no_raster, RasterError, "4192.png"),
        (shutil.rmtree, MissingFileError, "maps is no folder"),
    ],
)
def test_what_does_not_fit_is_named_and_leaves_nothing(
    data: Path, maps: Path, tmp_path: Path, spoil: object, error: type[GeosegError], complaint: str
) -> None:
    assert callable(spoil)
    spoil(maps)
    with pytest.raises(error, match=complaint):
        write_submission("loveda", maps, tmp_path / "out/folder", data_dir=data)
    assert not list(tmp_path.glob("out/*"))


def test_only_a_benchmark_with_hidden_labels_takes_maps(maps: Path, tmp_path: Path) -> None:
    for name in ("inria", "landcoverai"):
        with pytest.raises(ParameterError, match=f"{name} test has no submission format; only loveda test has one"):
            write_submission(name, maps, tmp_path / "out", data_dir=tmp_path)
    with pytest.raises(ParameterError, match=re.escape("'lovedo'")):
        write_submission("lovedo", maps, tmp_path / "out")
    with pytest.raises(MissingFileError, match=r"Test\.zip"):
        write_submission("loveda", maps, tmp_path / "out", data_dir=tmp_path)
