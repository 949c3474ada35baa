"""The configs that come along: complete, explained, and each trains for two steps."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import yaml
from PIL import Image

import geoseg
from geoseg.config.loading import RECIPES, find_config, load_config, recipe_names
from geoseg.config.setting_names import settings
from geoseg.config.training import TrainingConfig
from geoseg.config.yaml_text import parse_value
from geoseg.models import create_model

NAMES = ("debug", "loveda_deeplabv3plus", "loveda_segnet", "loveda_unet", "own_geotiff")
EVERY = pytest.mark.parametrize("name", NAMES)

# What a config asks for that tests cannot have: a network connection, a GPU, hours.
SMALL = {"chips.size": 64, "chips.batch": 2, "trainer.steps": 2, "trainer.epochs": 1, "trainer.accelerator": "cpu"}
SMALL |= {"trainer.precision": "fp32", "logging.worst_chips": 2}


def text_of(name: str) -> str:
    return find_config(name).read_text(encoding="utf-8")


def places(text: str) -> dict[str, str]:
    """The text of each section by name, what stands before the first under an empty one."""
    found, section = {"": ""}, ""
    for line in text.splitlines():
        if line and not line.startswith((" ", "#")) and line.endswith(":"):
            section = line[:-1]
        found[section] = found.get(section, "") + line.removeprefix("  ") + "\n"
    return found


def test_these_configs_come_along(project_root: Path) -> None:
    assert recipe_names() == NAMES
    assert (project_root / "configs").resolve() == RECIPES.resolve()


@EVERY
def test_it_loads_by_name_and_by_path(name: str) -> None:
    config = load_config(name)
    assert config.name == name
    assert load_config(RECIPES / f"{name}.yaml") == config


@EVERY
def test_every_key_is_set_or_stands_there_with_its_default(name: str) -> None:
    text = text_of(name)
    content, sections = yaml.safe_load(text), places(text)
    for setting in settings().values():
        section, _, key = setting.name.rpartition(".")
        written = content[section] or {} if section else content
        hidden = [line[2:] for line in sections[section].splitlines() if line.startswith(f"# {key}: ")]
        assert len(hidden) + (key in written) == 1, setting.name
        if hidden:
            stated, default = parse_value(hidden[0])[key], setting.default
            assert stated == (list(default) if isinstance(default, tuple) else default), setting.name


@EVERY
def test_every_key_stands_below_a_comment(name: str) -> None:
    lines = text_of(name).splitlines()
    assert lines[0].startswith("# ")
    for before, line in zip(lines, lines[1:], strict=False):  # noqa: RUF007 - pairs of lines, as they stand
        if line and not line.lstrip().startswith("#"):
            assert before.lstrip().startswith("# "), line
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("loveda")])
def test_the_network_of_a_loveda_config_can_be_built(name: str) -> None:
    model = load_config(name).model
    create_model(model.architecture, bands=3, classes=7, **model.options)


def test_the_recipe_of_segnet_is_that_of_its_paper() -> None:
    config = load_config("loveda_segnet")
    assert (config.model.architecture, config.model.encoder_weights, config.chips.batch) == ("segnet", "imagenet", 12)
    assert (config.optimizer.kind, config.optimizer.lr, config.optimizer.momentum) == ("sgd", 0.1, 0.9)
    assert (config.loss.expression, config.loss.class_weights) == ("weighted_ce", "median-frequency")
    assert config.schedule.kind == "constant"


def chip(seed: int, size: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Bands (3, size, size) that tell the classes apart, and their labels from 1 with a stripe of no data."""
    rng = np.random.default_rng(seed)
    labels = np.kron(rng.integers(1, classes + 1, (4, 4)), np.ones((size // 4, size // 4))).astype(np.uint8)
    labels[0] = 0
    pixels = np.stack([labels * step + rng.integers(0, 9, labels.shape) for step in (10, 20, 30)]).astype(np.uint8)
    return pixels, labels


@pytest.fixture(scope="module")
def loveda(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LoveDA's layout with one synthetic image per folder."""
    root = tmp_path_factory.mktemp("loveda")
    for number, (split, area) in enumerate((s, a) for s in ("Train", "Val") for a in ("Urban", "Rural")):
        pixels, labels = chip(number, 128, 7)
        for kind, image in (("images_png", np.moveaxis(pixels, 0, 2)), ("masks_png", labels)):
            folder = root / split / area / kind
            folder.mkdir(parents=True)
            Image.fromarray(image).save(folder / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def geotiffs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images and one of labels, of the same names."""
    root = tmp_path_factory.mktemp("own")
    for number in range(3):
        place = rasterio.transform.from_origin(500_000 + 200 * number, 5_000_000, 0.5, 0.5)
        for kind, values in zip(("images", "labels"), chip(number, 256, 3), strict=True):
            (root / kind).mkdir(exist_ok=True)
            bands = np.atleast_3d(values) if values.ndim == 3 else values[None]
            with rasterio.open(
                root / kind / f"{number}.tif", "w", driver="GTiff", width=256, height=256, count=len(bands),
                dtype="uint8", crs="EPSG:32633", transform=place,
            ) as file:  # fmt: skip
                file.write(bands)
    return root


@EVERY
def test_it_trains_for_two_steps(name: str, loveda: Path, geotiffs: Path, tmp_path: Path) -> None:
    where: dict[str, Any] = {"data.data_dir": loveda} if name.startswith("loveda") else {}
    if name == "own_geotiff":
        where = {"data.images": str(geotiffs / "images"), "data.labels": str(geotiffs / "labels")}
    if load_config(name).model.encoder_weights == "imagenet":
        where["model.encoder_weights"] = "none"
    config = load_config(name, {**SMALL, **where})
    run = geoseg.train(config, runs=tmp_path)
    assert run.model.is_file()
    assert [row.step for row in run.history] == [2]
    assert run.judgement is not None
    assert load_config(tmp_path / name / "config.yaml") == config
    assert os.listdir(tmp_path) == [name]  # noqa: PTH208 - names are what matters


def test_defaults_are_valid() -> None:
    assert load_config() == TrainingConfig()
