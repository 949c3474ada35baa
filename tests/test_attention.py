"""Attention maps on a scene's grid: the network's own weights, tile by tile and blended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import torch
from own_networks import (
    one_thread,  # noqa: F401
    tiny,
)
from scenes import write_scene
from typer.testing import CliRunner

from geoseg import find_scenes, write_attention
from geoseg.cli.app import app
from geoseg.config import ModelSpec
from geoseg.errors import ModelError, OutputExistsError, ParameterError
from geoseg.models import load_model, receptive_radius, save_model
from geoseg.models.attention_unet import AttentionUNet
from geoseg.models.reach import OwnNetwork
from geoseg.normalization import BandStats

STATS = BandStats((100.0, 90.0), (50.0, 40.0))
STEP = 0.5 / 250 + 1e-5


def make_model(folder: Path, architecture: str = "attention-unet", **options: Any) -> Path:
    network = tiny(architecture, 2, 3, **options)
    path = folder / f"{architecture}.safetensors"
    spec = ModelSpec.model_validate(
        {
            "name": "looker", "architecture": architecture, "options": {"width": 2, **options},
            "bands": ("red", "green"), "mean": STATS.mean, "std": STATS.std, "value_range": (0, 255), "tile_size": 8,
            "classes": [{"id": i, "name": f"class {i}", "color": f"#0000{i:02d}"} for i in (1, 2, 3)],
            "stride_multiple": 1,
        }
    )  # fmt: skip
    save_model(path, network, spec)
    return path


def make_scene(folder: Path, side: int = 48) -> Path:
    values = np.random.default_rng(3).integers(1, 255, (2, side, side)).astype(np.uint8)
    values[:, 5:9, 20:] = 0
    return write_scene(folder / "scene.tif", values, nodata=0)


def weights_of(model: Path, scene: Path) -> tuple[list[npt.NDArray[np.float32]], npt.NDArray[np.bool_]]:
    """What the network gives of the whole scene at once."""
    network, _ = load_model(model)
    assert isinstance(network, AttentionUNet)
    with rasterio.open(scene) as file:
        values, present = file.read(), file.dataset_mask() > 0
    x = STATS.normalize(np.where(present, values, 0), np.broadcast_to(present, values.shape))
    with torch.inference_mode():
        _, maps = network.with_attention(torch.from_numpy(x)[None])
    return [weights[0, 0].numpy() for weights in maps], present


def test_a_tile_of_the_whole_scene_holds_the_networks_own_weights(tmp_path: Path) -> None:
    model, scene = make_model(tmp_path, depth=3), make_scene(tmp_path)
    told: list[tuple[int, int]] = []
    path = write_attention(
        scene, model, tile_size=48, overlap=0, device="cpu", progress=lambda done, total: told.append((done, total))
    )
    assert path == tmp_path / "scene_attention.tif"
    weights, present = weights_of(model, scene)
    with rasterio.open(path) as file, rasterio.open(scene) as seen:
        assert (file.crs, file.transform, file.shape) == (seen.crs, seen.transform, seen.shape)
        assert file.descriptions == ("attention 1:1", "attention 1:2")
        assert file.nodata == 255
        assert file.scales == (0.004, 0.004)
        bands = file.read()
        assert file.tags()["GEOSEG_MODEL"] == "looker"
    assert (bands[:, ~present] == 255).all()
    np.testing.assert_allclose(bands[0][present] * 0.004, weights[0][present], atol=STEP)
    # Between the centres of four cells bilinear interpolation takes 9, 3, 3 and 1 sixteenths.
    coarse = weights[1]
    inner = (9 * coarse[1:-1, 1:-1] + 3 * coarse[:-2, 1:-1] + 3 * coarse[1:-1, :-2] + coarse[:-2, :-2]) / 16
    known = present[2:-2:2, 2:-2:2]
    np.testing.assert_allclose(bands[1][2:-2:2, 2:-2:2][known] * 0.004, inner[known], atol=STEP)
    assert bands[0][present].std() > 1
    assert told[-1] == (48 * 48, 48 * 48)


def test_tiles_are_the_whole_where_the_margin_is_wide_enough(tmp_path: Path) -> None:
    model, scene = make_model(tmp_path, depth=2), make_scene(tmp_path, 90)
    network = load_model(model)[0]
    assert isinstance(network, OwnNetwork)
    assert receptive_radius(network) < 24
    whole, tiled, hann = (
        write_attention(scene, model, tmp_path / f"{name}.tif", device="cpu", **options)
        for name, options in (
            ("whole", {"tile_size": 200, "overlap": 100, "blend": "crop"}),
            ("tiled", {"tile_size": 64, "overlap": 48, "blend": "crop"}),
            ("hann", {"tile_size": 64, "overlap": 48}),
        )
    )
    first, second, third = (rasterio.open(path).read()[0].astype(int) for path in (whole, tiled, hann))
    assert np.abs(first - second).max() <= 1
    assert 0 < np.abs(first - third).max() < 100


def test_a_window_of_a_scene(tmp_path: Path) -> None:
    model, scene = make_model(tmp_path, depth=2), make_scene(tmp_path)
    whole = write_attention(scene, model, tmp_path / "whole.tif", tile_size=16, device="cpu")
    part = write_attention(scene, model, tmp_path / "part.tif", tile_size=16, device="cpu", window=(3, 10, 20, 21))
    with rasterio.open(whole) as one, rasterio.open(part) as other:
        np.testing.assert_array_equal(other.read(), one.read()[:, 3:23, 10:31])
        assert other.transform == one.window_transform(rasterio.windows.Window(10, 3, 21, 20))


def test_what_cannot_be(tmp_path: Path) -> None:
    scene = make_scene(tmp_path)
    with pytest.raises(ModelError, match="'looker' is of unet, which has no attention gates; give one of attention-un"):
        write_attention(scene, make_model(tmp_path, "unet", depth=2), tmp_path / "map.tif", tile_size=16)
    assert not (tmp_path / "map.tif").exists()
    model = make_model(tmp_path, depth=2)
    write_attention(scene, model, tile_size=16, device="cpu")
    with pytest.raises(OutputExistsError):
        write_attention(scene, model, tile_size=16, device="cpu")
    with pytest.raises(ParameterError):
        write_attention(scene, model, scene, device="cpu", overwrite=True)
    assert find_scenes([tmp_path]) == [str(scene)]


def test_the_command_prints_the_path(tmp_path: Path) -> None:
    model, scene = make_model(tmp_path, depth=2), make_scene(tmp_path)
    output = tmp_path / "look.tif"
    arguments = [
        "attention",
        scene,
        "-m",
        model,
        "-o",
        output,
        "--tile-size",
        16,
        "--device",
        "cpu",
        "--window",
        "0,0,9,9",
    ]
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(output)
    with rasterio.open(output) as file:
        assert file.shape == (9, 9)
