"""Datasets by name and synthetic scenes as sources, and a source as a torchgeo dataset."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image
from rasterio.crs import CRS

from geoseg.config.training import DataConfig
from geoseg.errors import MissingFileError, ParameterError
from geoseg.sources import Source, as_torchgeo, open_source
from geoseg.synthetic import make_scene
from geoseg.tiling import TileGrid, Window

pytest.importorskip("torchgeo")

RNG = np.random.default_rng(1)
PIXELS = RNG.integers(0, 256, (6, 24, 32, 3)).astype(np.uint8)
LABELS = RNG.integers(0, 8, (6, 24, 32)).astype(np.uint8)


def loveda(folder: Path, *, val: bool = True) -> Path:
    """A small LoveDA: two images a split and area."""
    number = 0
    for split in ("Train", "Val") if val else ("Train",):
        for area in ("Rural", "Urban"):
            for kind in ("images_png", "masks_png"):
                (folder / split / area / kind).mkdir(parents=True)
            i = number % 6
            Image.fromarray(PIXELS[i]).save(folder / split / area / "images_png" / f"{number}.png")
            Image.fromarray(LABELS[i]).save(folder / split / area / "masks_png" / f"{number}.png")
            number += 1
    return folder


def opened(folder: Path, **settings: Any) -> Source:
    return open_source(DataConfig(dataset="loveda", data_dir=folder, **settings))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_windows_of_a_dataset_come_from_one_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = opened(loveda(tmp_path))
    assert [(s.name, s.role, s.subset) for s in found.sheets] == [
        ("Train/Rural/images_png/0.png", "train", "rural"),
        ("Train/Urban/images_png/1.png", "train", "urban"),
        ("Val/Rural/images_png/2.png", "validation", "rural"),
        ("Val/Urban/images_png/3.png", "validation", "urban"),
    ]
    assert all((s.height, s.width, s.grid) == (24, 32, None) for s in found.sheets)
    assert found.license
    assert any("test has no labels and is not used" in note for note in found.notes)
    from geoseg.datasets import LabelledImages

    decoded: Counter[int] = Counter()
    original = LabelledImages.__getitem__

    def counted(self: LabelledImages, index: int) -> Any:
        decoded[id(self), index] += 1  # type: ignore[index]
        return original(self, index)

    monkeypatch.setattr(LabelledImages, "__getitem__", counted)
    for sheet in range(4):
        for top in range(0, 24, 8):
            got = found.read(sheet, Window(top, 5, 8, 20))
            here = np.s_[top : top + 8, 5:25]
            np.testing.assert_array_equal(got.pixels, PIXELS[sheet][here].transpose(2, 0, 1))
            expected = np.where(LABELS[sheet] == 0, 255, LABELS[sheet] - 1)[here]
            np.testing.assert_array_equal(got.indices, expected)
            assert got.present.all()
    assert set(decoded.values()) == {1}
    assert len(decoded) == 4


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_parts_of_a_dataset(tmp_path: Path) -> None:
    folder = loveda(tmp_path / "all")
    rural = opened(folder, subset="rural", bands=(3, 1))
    assert {s.subset for s in rural.sheets} == {"rural"}
    assert rural.band_names == ("blue", "red")
    np.testing.assert_array_equal(rural.read(0, rural.sheets[0].window).pixels, PIXELS[0].transpose(2, 0, 1)[[2, 0]])
    train = opened(loveda(tmp_path / "train", val=False))
    assert [s.role for s in train.sheets] == [None, None]
    assert any("val is not in the folder" in note for note in train.notes)
    shutil.rmtree(folder / "Val" / "Rural" / "masks_png")
    with pytest.raises(MissingFileError, match="lacks"):
        opened(folder)
    with pytest.raises(ParameterError, match="bands"):
        opened(folder, bands=(4,))
    with pytest.raises(ParameterError, match="label_values is for own images"):
        opened(folder, label_values={1: "a"})
    with pytest.raises(MissingFileError):
        opened(tmp_path / "nowhere")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_real_pairs_of_loveda(shared_data: Path) -> None:
    found = opened(shared_data / "loveda", subset="rural")
    assert [(s.height, s.width, s.role) for s in found.sheets] == [(1024, 1024, None)] * 3
    with Image.open(found.sheets[1].files[1]) as file:
        labels = np.asarray(file)
    np.testing.assert_array_equal(
        found.read(1, Window(100, 200, 64, 64)).indices, (labels.astype(int) - 1)[100:164, 200:264] % 256
    )


def test_synthetic_scenes_are_what_make_scene_writes(tmp_path: Path) -> None:
    found = open_source(DataConfig(synthetic=2, synthetic_size=96))
    made = make_scene(tmp_path, height=96, width=96, seed=1)
    own = open_source(DataConfig(images=(str(made.scene),), labels=(str(made.truth),)))
    assert own.legend == found.legend
    assert any("as the only ones" in note for note in own.notes)
    ours, theirs = found.read(1, Window(3, 5, 80, 70)), own.read(0, Window(3, 5, 80, 70))
    for name in ("pixels", "indices"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    np.testing.assert_array_equal(
        ours.present, theirs.present.any(axis=0) if theirs.present.ndim == 3 else theirs.present
    )
    boxes = [s.grid.transform.c for s in found.sheets if s.grid is not None]
    assert boxes[1] - boxes[0] == 96 * 0.5
    with pytest.raises(ParameterError, match="bands says nothing"):
        open_source(DataConfig(synthetic=1, bands=(1,)))


def georeferenced(folder: Path, **second: Any) -> Source:
    """Two scenes side by side, 5 columns apart."""
    for place, name in enumerate("ab"):
        transform = Affine(2, 0, 500_000 + place * 2 * 45, 0, -3, 5_000_000)
        profile = {"driver": "GTiff", "height": 30, "width": 40, "dtype": "uint8", "transform": transform,
                   "crs": CRS.from_epsg(32633), **(second if place else {})}  # fmt: skip
        for kind, values in (("i", PIXELS[place]), ("l", LABELS[place][..., None])):
            (folder / kind).mkdir(exist_ok=True)
            padded = np.resize(values, (30, 40, values.shape[2])).transpose(2, 0, 1)
            with rasterio.open(folder / kind / f"{name}.tif", "w", count=len(padded), **profile) as file:
                file.write(padded)
    return open_source(
        DataConfig(images=(str(folder / "i"),), labels=(str(folder / "l"),), legend={i: f"c{i}" for i in range(1, 8)})
    )


def test_a_torchgeo_view_gives_every_pixel_once_to_the_overlap_tiles(tmp_path: Path) -> None:
    from geoseg.samplers import OverlapTileSampler

    source = georeferenced(tmp_path)
    view = as_torchgeo(source)
    assert len(view) == 2
    assert view.res == (2.0, 3.0)
    sampler = OverlapTileSampler(view, 16, 4)
    assert sampler.grids == (TileGrid(30, 40, 16, 4),) * 2
    wholes = [source.read(i, source.sheets[i].window) for i in range(2)]
    pixels = [np.zeros_like(w.pixels) for w in wholes]
    indices = [np.zeros_like(w.indices) for w in wholes]
    seen = np.zeros((2, 30, 40), int)
    for (sheet, tile), query in zip(sampler.tiles(), sampler, strict=True):
        sample = view[query]
        core, window = tile.core, tile.window
        inner = np.s_[core.row_off - window.row_off : core.row_end - window.row_off,
                      core.col_off - window.col_off : core.col_end - window.col_off]  # fmt: skip
        outer = np.s_[core.row_off : core.row_end, core.col_off : core.col_end]
        pixels[sheet][(slice(None), *outer)] = sample["image"].numpy()[(slice(None), *inner)]
        indices[sheet][outer] = sample["mask"].numpy()[inner]
        seen[sheet][outer] += 1
    assert (seen == 1).all()
    for i, expected in enumerate(wholes):
        np.testing.assert_array_equal(pixels[i], expected.pixels)
        np.testing.assert_array_equal(indices[i], expected.indices)


def test_torchgeos_own_sampler_and_loader_take_the_view(tmp_path: Path) -> None:
    from torch.utils.data import DataLoader
    from torchgeo.datasets import stack_samples
    from torchgeo.samplers import RandomBatchGeoSampler, Units

    view = as_torchgeo(georeferenced(tmp_path))
    sampler = RandomBatchGeoSampler(view, size=8, batch_size=3, length=12, units=Units.PIXELS)
    batches = list(DataLoader(view, batch_sampler=sampler, collate_fn=stack_samples))
    assert len(batches) == 4
    for batch in batches:
        assert tuple(batch["image"].shape) == (3, 3, 8, 8)
        assert tuple(batch["mask"].shape) == (3, 8, 8)
        assert set(batch["mask"].unique().tolist()) <= {*range(7), 255}
    with pytest.raises(IndexError, match="not found"):
        view[0:10, 0:10]


def test_what_is_no_torchgeo_dataset(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"b\.tif .* differ in CRS or size of pixels"):
        as_torchgeo(georeferenced(tmp_path, transform=Affine(4, 0, 500_000, 0, -3, 5_000_000)))
    with pytest.raises(ParameterError, match="not north up"):
        as_torchgeo(georeferenced(tmp_path, transform=Affine(2, 0.5, 500_000, 0.5, -3, 5_000_000)))
