from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from affine import Affine

from geoseg.disk import estimate_disk, require_disk
from geoseg.errors import OutputError, ResourceError
from geoseg.grids import Grid
from geoseg.legend import Legend
from geoseg.parts import open_run
from geoseg.rasters import open_class_raster, write_class_raster, write_confidence_raster
from geoseg.tiling import Window

GIB = 2**30


def test_the_estimate_grows_with_pixels_and_bands():
    empty = estimate_disk(0, ["labels"])
    assert 0 < empty < 2**25
    assert estimate_disk(0, ["labels", "confidence", "entropy"]) == empty
    labels = estimate_disk(10**9, ["labels"]) - empty
    both = estimate_disk(10**9, ["labels", "confidence"]) - empty
    assert 0 < labels < both
    assert estimate_disk(2 * 10**9, ["labels"]) - empty == 2 * labels
    assert estimate_disk(10**9, ["labels", "confidence", "Water"]) - empty == 2 * both - labels
    assert isinstance(estimate_disk(123, ["labels", "confidence"]), int)


def free(monkeypatch: pytest.MonkeyPatch, count: int) -> list[Path]:
    """Let every disk have so many bytes; gives the folders that are asked for."""
    asked: list[Path] = []

    def usage(path: Path) -> shutil._ntuple_diskusage:
        asked.append(Path(path))
        return shutil._ntuple_diskusage(10 * count, 9 * count, count)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    return asked


def test_too_little_disk_is_refused_with_both_figures(tmp_path, monkeypatch):
    asked = free(monkeypatch, 2 * GIB)
    require_disk(tmp_path, 2 * GIB)
    with pytest.raises(ResourceError, match=r"needs about 3\.5 GiB of disk but 2\.0 GiB are free; make room") as caught:
        require_disk(tmp_path / "map.tif.parts", 3 * GIB + GIB // 2)
    assert isinstance(caught.value, MemoryError)
    assert "\n" not in str(caught.value)
    assert asked == [tmp_path, tmp_path]  # the folder that is there


def test_a_relative_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = free(monkeypatch, GIB)
    require_disk(Path("map.tif.parts"), 1)
    assert asked == [tmp_path]


def test_parts_that_are_there_need_not_be_made(tmp_path, monkeypatch):
    free(monkeypatch, 2**20)
    (tmp_path / "part").write_bytes(bytes(2**20))
    require_disk(tmp_path, 2**21)
    with pytest.raises(ResourceError, match=r"but 1\.0 MiB are free and 1\.0 MiB are there already"):
        require_disk(tmp_path, 2**21 + 1)


def test_the_real_disk_answers(tmp_path):
    require_disk(tmp_path, 1)
    with pytest.raises(ResourceError):
        require_disk(tmp_path, 2**60)


def test_a_disk_that_does_not_answer(tmp_path, monkeypatch):
    def fail(_: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(shutil, "disk_usage", fail)
    with pytest.raises(OutputError, match="Input/output error"):
        require_disk(tmp_path, 1)


def bytes_of(folder: Path, *skipped: str) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and file.name not in skipped)


def test_a_real_class_map_and_worse_confidences_fit_the_estimate(shared_data, tmp_path):
    """The oracle is the disk: all of a run's files when the last raster is complete but none is removed."""
    with open_class_raster(shared_data / "scenes/riotiler_cmap_classmap_7168x8704_3857.tif") as raster:
        labels = raster.read(Window(2048, 2048, 2048, 2048))
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 4, labels.shape).cumsum(axis=1) % 40
    confidence = np.where(rng.random(labels.shape) < 0.6, 250, 250 - noise).astype(np.uint8)
    grid, window = Grid(None, Affine(1, 0, 1, 0, -1, 1), *labels.shape), Window(0, 0, *labels.shape)
    with open_run(tmp_path / "parts", {}, ["labels", "confidence"]) as run:
        run.write(window, np.stack([labels, confidence]))
        parts = bytes_of(tmp_path)
        with write_class_raster(tmp_path / "map.tif", grid, Legend.from_values(range(1, 255))) as writer:
            writer.write(window, labels)
        with write_confidence_raster(tmp_path / "conf.tif", grid) as writer:
            writer.write(window, confidence)
        run.finish()
    finished = bytes_of(tmp_path, "parts")
    # While a raster is copied there is also what it is copied from: as large as the parts, and a third for overviews.
    assert parts + finished + parts * 4 // 3 < estimate_disk(labels.size, ["labels", "confidence"])
