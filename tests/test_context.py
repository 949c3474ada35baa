"""Networks without padding are given what they eat: tiled is untiled, whatever the tile and the overlap."""

from __future__ import annotations

import itertools
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import torch
from own_networks import (
    UPSAMPLING,
    noise,
    one_thread,  # noqa: F401
    tiny,
)
from predicting import load, make_spec, tiles
from scenes import write_scene, write_spec

from geoseg import estimate_prediction, predict
from geoseg.config import ModelSpec
from geoseg.errors import ModelError, ParameterError
from geoseg.models import load_model, save_model, surroundings
from geoseg.models.unet import UNet
from geoseg.normalization import BandStats
from geoseg.predictors import label_difference
from geoseg.tiling import NO_CONTEXT, Axis, Context, TileGrid

OPTIONS: dict[str, Any] = {"width": 8, "depth": 3, "padding": "valid"}
CONTEXT = Context(20, 4, 0)
STATS = BandStats((100.0, 90.0), (50.0, 40.0))


@pytest.mark.parametrize("context", [NO_CONTEXT, Context(2), CONTEXT, Context(92, 16, 12), Context(3, 5, 4)])
def test_every_tile_lies_in_the_map_of_what_is_read_for_it(context: Context) -> None:
    for size, tile_size in itertools.product((1, 7, 60), (1, 5, 16, 33)):
        for overlap in range(0, tile_size, 3):
            axis = Axis(size, tile_size, overlap, context)
            assert axis.input_size % context.multiple == context.remainder
            spare = axis.input_size - 2 * context.pixels - tile_size
            assert 0 <= spare < 2 * context.multiple
            for i in range(len(axis)):
                first = axis.input_start(i) + context.pixels  # of the map
                assert first % context.multiple == 0
                assert first + axis.shift(i) == axis.start(i)
                assert axis.shift(i) <= spare


def test_without_context_the_tile_is_what_is_read() -> None:
    grid = TileGrid(50, 70, 16, 6)
    assert grid.input_size == 16
    for tile in grid:
        assert grid.input_window(tile.row, tile.col) == tile.window


@pytest.mark.parametrize(("pixels", "multiple", "remainder"), [(-1, 1, 0), (0, 0, 0), (3, 4, 4), (3, 4, -1)])
def test_a_context_that_there_is_not(pixels: int, multiple: int, remainder: int) -> None:
    with pytest.raises(ParameterError, match="does not exist; give 0 px or more"):
        Context(pixels, multiple, remainder)


@pytest.mark.parametrize("upsampling", UPSAMPLING)
@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_maps_agree_from_every_multiple_on(depth: int, upsampling: str) -> None:
    network = tiny("unet", depth=depth, upsampling=upsampling, padding="valid")
    assert isinstance(network, UNet)
    context = surroundings(network)
    side = context.input_size(9)
    assert network.input_side(9) == side
    got, step = side - 2 * context.pixels, context.multiple
    assert got >= 9
    x = noise(1, 2, side + 3 * step, side + step)
    with torch.inference_mode():
        whole = network(x)
        tile = network(x[..., 2 * step : 2 * step + side, step:])
    torch.testing.assert_close(tile, whole[..., 2 * step : 2 * step + got, step:], rtol=1e-4, atol=1e-5)
    assert surroundings(tiny("unet")) == NO_CONTEXT


def make_model(folder: Path, name: str = "valid", **changes: Any) -> Path:
    """A model file of a U-Net without padding; always the same weights."""
    options = OPTIONS | changes.pop("options", {})
    network = tiny("unet", 2, 3, **options)
    fields: dict[str, Any] = {
        "name": name,
        "architecture": "unet",
        "options": options,
        "bands": ("red", "green"),
        "classes": [{"id": i, "name": f"class {i}", "color": f"#0000{i:02d}"} for i in (1, 2, 3)],
        "mean": STATS.mean,
        "std": STATS.std,
        "value_range": (0, 255),
        "tile_size": 8,
        "stride_multiple": 1,
        "context": _record(surroundings(network)),
    }
    save_model(folder / f"{name}.safetensors", network, ModelSpec.model_validate(fields | changes))
    return folder / f"{name}.safetensors"


def _record(context: Context) -> dict[str, int]:
    return {"pixels": context.pixels, "multiple": context.multiple, "remainder": context.remainder}


def make_scene(folder: Path, height: int = 50, width: int = 61) -> Path:
    """Noise with a hole."""
    values = np.random.default_rng(1).integers(1, 255, (2, height, width)).astype(np.uint8)
    values[:, 11:17, 30:] = 0
    return write_scene(folder / "scene.tif", values, nodata=0)


def untiled(model: Path, scene: Path) -> npt.NDArray[np.float32]:
    """(K, H, W) probabilities of the whole scene at once, mirrored by what the network eats."""
    network, spec = load_model(model)
    with rasterio.open(scene) as file:
        values, present = file.read(), file.dataset_mask() > 0
    eaten, (height, width) = spec.context.pixels, present.shape
    sides = [spec.surroundings.input_size(n) - eaten - n for n in (height, width)]
    around = [(eaten, sides[0]), (eaten, sides[1])]
    x = STATS.normalize(np.where(present, values, 0), np.broadcast_to(present, values.shape))
    with torch.inference_mode():
        logits = network(torch.from_numpy(np.pad(x, [(0, 0), *around], "reflect"))[None])
        return torch.softmax(logits, 1)[0, :, :height, :width].numpy()


def read(path: Path) -> npt.NDArray[np.uint8]:
    with rasterio.open(path) as file:
        return np.asarray(file.read())


@pytest.mark.parametrize(
    ("tile_size", "overlap", "blend"),
    [
        (16, 0, "crop"), (16, 7, "crop"), (16, 8, "hann"), (13, 0, "hann"), (21, 5, "crop"), (64, 0, "crop"),
        (5, 2, "linear"),
    ],
)  # fmt: skip
def test_tiled_is_untiled(tile_size: int, overlap: int, blend: Any, tmp_path: Path) -> None:
    model, scene = make_model(tmp_path), make_scene(tmp_path)
    expected = untiled(model, scene)
    result = predict(
        scene, model, tmp_path / "map.tif", tile_size=tile_size, overlap=overlap, blend=blend, backend="torch",
        precision="fp32", device="cpu", probabilities=True,
    )  # fmt: skip
    valid = read(scene)[0] > 0
    assert result.confidence is not None
    found = read(result.confidence)[1:].astype(float) / 250
    assert np.abs(found - expected)[:, valid].max() <= 0.5 / 250 + 1e-5
    labels = read(result.labels)[0]
    best = np.sort(expected, 0)
    certain = valid & (best[-1] - best[-2] > 1e-5)
    assert certain.sum() > 0.98 * valid.sum()
    np.testing.assert_array_equal(labels[certain], expected.argmax(0)[certain] + 1)
    np.testing.assert_array_equal(labels == 0, ~valid)


def test_a_network_that_pads_has_seams_in_the_same_tiles(tmp_path: Path) -> None:
    """What the test above would find, were a context missing."""
    model = make_model(tmp_path, options={"padding": "same"})
    scene = make_scene(tmp_path)
    result = predict(
        scene, model, tmp_path / "map.tif", tile_size=16, overlap=0, blend="crop", backend="torch", precision="fp32",
        device="cpu", probabilities=True,
    )  # fmt: skip
    assert result.confidence is not None
    found = read(result.confidence)[1:].astype(float) / 250
    assert np.abs(found - untiled(model, scene))[:, read(scene)[0] > 0].max() > 0.1


def test_no_overlap_is_the_default_and_a_window_is_cut_from_the_whole(tmp_path: Path) -> None:
    model, scene = make_model(tmp_path), make_scene(tmp_path)
    options: dict[str, Any] = {"backend": "torch", "precision": "fp32", "device": "cpu", "tile_size": 16}
    whole = predict(scene, model, tmp_path / "whole.tif", **options)
    assert (whole.tile_size, whole.overlap) == (16, 0)
    part = predict(scene, model, tmp_path / "part.tif", window=(9, 20, 30, 33), **options)
    np.testing.assert_array_equal(read(part.labels), read(whole.labels)[:, 9:39, 20:53])
    flipped = predict(scene, model, tmp_path / "flipped.tif", tta="d4", **options)
    again = predict(scene, model, tmp_path / "again.tif", tta="d4", **options | {"tile_size": 32, "overlap": 4})
    assert (read(flipped.labels) != read(again.labels)).mean() < 1e-3
    assert (read(flipped.labels) != read(whole.labels)).any()


@pytest.mark.parametrize(
    ("backend", "package"),
    [("openvino", "openvino"), pytest.param("onnx", "onnxruntime", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize(
    "upsampling", ["transposed", *(pytest.param(u, marks=pytest.mark.slow) for u in UPSAMPLING[1:])]
)
def test_other_backends_give_the_same_scores(backend: str, package: str, upsampling: str, tmp_path: Path) -> None:
    if find_spec(package) is None:
        pytest.skip(f"needs {package}")
    network = tiny("unet", 3, 7, depth=3, padding="valid", upsampling=upsampling)
    context = surroundings(network)
    spec = make_spec(tmp_path, stride_multiple=1, context=_record(context))
    side = context.input_size(16)
    batch = tiles(2, side=side)
    reference = load(spec, lambda: tiny("unet", 3, 7, depth=3, padding="valid", upsampling=upsampling), side=side)
    other = load(
        spec, lambda: tiny("unet", 3, 7, depth=3, padding="valid", upsampling=upsampling), side=side, backend=backend,
        cache=tmp_path / "cache",
    )  # fmt: skip
    found, expected = other.submit(batch)(), reference.submit(batch)()
    assert expected.shape == (2, 7, *2 * (side - 2 * context.pixels,))
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert label_difference(other, reference, [batch]) < 0.01
    other.close()


def test_the_estimate_counts_what_is_read(tmp_path: Path) -> None:
    scene = make_scene(tmp_path)
    options: dict[str, Any] = {"tile_size": 16, "overlap": 0, "backend": "torch", "device": "cpu"}
    small = estimate_prediction(scene, make_model(tmp_path, "same", options={"padding": "same"}), **options)
    large = estimate_prediction(scene, make_model(tmp_path), **options)
    assert small.tiles == large.tiles == 16
    assert small.memory < large.memory


def test_what_does_not_go_together(tmp_path: Path) -> None:
    scene, model = make_scene(tmp_path), make_model(tmp_path)
    with pytest.raises(ParameterError, match=r"'valid' eats a border of 20 px.* leave --scales out"):
        predict(scene, model, tmp_path / "map.tif", scales=(0.5, 1.0), backend="torch", device="cpu")
    other = make_model(tmp_path, "same", options={"padding": "same"})
    with pytest.raises(ModelError, match=r"'valid' \(20 px\) and 'same' \(0 px\) do not eat the same border"):
        predict(scene, [model, other], tmp_path / "map.tif", backend="torch", device="cpu")


def test_a_network_that_eats_other_than_it_says(tmp_path: Path) -> None:
    model = make_model(tmp_path, context=_record(Context(19, 4, 0)))
    with pytest.raises(ModelError, match="gave scores of shape"):
        predict(make_scene(tmp_path), model, tmp_path / "map.tif", tile_size=16, backend="torch", device="cpu")


def test_specs_that_say_nothing_eat_nothing(tmp_path: Path) -> None:
    spec = make_spec(tmp_path)
    assert spec.surroundings == NO_CONTEXT
    with pytest.raises(ValueError, match="does not exist"):
        write_spec(tmp_path / "x.safetensors", context={"pixels": -1})
