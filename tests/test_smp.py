"""SMP's networks from the first step to the map: every architecture installed, its options, its auxiliary head."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import segmentation_models_pytorch
import torch
from own_networks import noise, one_thread  # noqa: F401
from predicting import load, make_spec, tiles
from scenes import write_scene
from smp_networks import SMP
from torch import nn

from geoseg import predict
from geoseg.errors import ModelError, ParameterError
from geoseg.legend import Legend
from geoseg.models import create_model, load_model, save_model, stride_multiple
from geoseg.models.auxiliary import drop_auxiliary, has_auxiliary, lasting_state, with_presence
from geoseg.models.sides import multiple_of_sides
from geoseg.training import Sample, train_on_arrays

# What takes no second: one with a stride of its own, and one with the usual one.
QUICK = ("smp.pspnet", "smp.segformer")
EVERY = [pytest.param(*one, id=one[0], marks=() if one[0] in QUICK else pytest.mark.slow) for one in SMP]
LEGEND = Legend.from_values([2, 5, 7])


def build(name: str, seed: int = 0, bands: int = 3, classes: int = 7, **options: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return create_model(name, bands=bands, classes=classes, **options).eval()


def sample(height: int, width: int) -> Sample:
    """Two bands of noise that differs from class to class."""
    rng = np.random.default_rng(0)
    labels = np.asarray(LEGEND.ids, np.uint8)[rng.integers(0, 3, (height, width))]
    return Sample((rng.normal(100, 20, (2, height, width)) + 10 * labels).clip(0, 255).astype(np.uint8), labels)


# -- every architecture


@pytest.mark.parametrize(("name", "options"), EVERY)
def test_trained_saved_and_loaded_it_maps_a_scene_of_any_size(
    name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    multiple = stride_multiple(build(name, **options))
    side = -(-96 // multiple) * multiple
    given = sample(side + 3, side + 5)
    trained = train_on_arrays([given], LEGEND, name, options=options, steps=1, batch=2, chip_size=side)
    assert np.isfinite(trained.losses).all()
    spec = trained.describe(name="m", bands=("a", "b"))
    assert spec.stride_multiple == multiple
    save_model(tmp_path / "m.safetensors", trained.model, spec)
    loaded, _ = load_model(tmp_path / "m.safetensors")
    with torch.inference_mode():
        assert torch.equal(loaded(noise(1, 2, side, side)), trained.model(noise(1, 2, side, side)))
    # A scene of sides that the network does not take stands in one tile, which shows it mirrored.
    pixels = given.pixels[:, :71, :45]
    write_scene(tmp_path / "scene.tif", pixels)
    done = predict(
        tmp_path / "scene.tif", tmp_path / "m.safetensors", tmp_path / "map.tif", tile_size=side, overlap=0,
        backend="torch", precision="fp32", device="cpu", probabilities=True,
    )  # fmt: skip
    tile = np.pad(pixels, [(0, 0), (0, side - 71), (0, side - 45)], mode="reflect")
    values = trained.stats.normalize(tile, np.ones(tile.shape, np.bool_))
    with torch.inference_mode():
        expected = torch.softmax(trained.model(torch.from_numpy(values)[None]), 1)[0, :, :71, :45].numpy()
    assert done.confidence is not None
    with rasterio.open(done.confidence) as file:
        found = file.read()[1:] * 0.004
    np.testing.assert_allclose(found, expected, atol=0.0025)  # stored in steps of 0.004


# Labels change nowhere; transformers' activations are approximated.
TOLERANCES = {"smp.dpt": 2e-3}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), SMP, ids=[name for name, _ in SMP])
@pytest.mark.parametrize(("backend", "package"), [("openvino", "openvino"), ("onnx", "onnxruntime")])
def test_exported_it_gives_the_same_scores(
    name: str, options: dict[str, Any], backend: str, package: str, tmp_path: Path
) -> None:
    if find_spec(package) is None:
        pytest.skip(f"needs {package}")
    multiple = stride_multiple(build(name, **options))
    side, spec = -(-64 // multiple) * multiple, make_spec(tmp_path, stride_multiple=multiple)
    batch = tiles(1, side=side)
    predictor = load(spec, lambda: build(name, **options), backend=backend, side=side, cache=tmp_path / "cache")
    found, expected = predictor.submit(batch)(), load(spec, lambda: build(name, **options), side=side).submit(batch)()
    predictor.close()
    np.testing.assert_allclose(found, expected, atol=TOLERANCES.get(name, 1e-4))
    assert float(expected.std()) > 1e-3


# -- sides


@pytest.mark.parametrize(("stride", "expected"), [(8, 8), (16, 16)])
def test_the_multiple_follows_the_encoders_output_stride(stride: int, expected: int) -> None:
    with torch.device("meta"):
        network = create_model(
            "smp.deeplabv3plus", bands=3, classes=2, encoder="resnet18", encoder_output_stride=stride
        )
    assert stride_multiple(network) == expected


class Windowed(nn.Module):
    """Takes what its windows fit into, or one size only."""

    def __init__(self, window: int, only: bool = False) -> None:
        super().__init__()
        self.encoder = nn.Conv2d(4, 1, 1)
        self.window, self.only = window, only

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        side = x.shape[-1]
        assert (side == self.window) if self.only else side % self.window == 0
        found: torch.Tensor = self.encoder(x)
        return found


def test_networks_are_asked_for_the_sides_that_they_take() -> None:
    assert multiple_of_sides(Windowed(32), 32) == 32
    assert multiple_of_sides(Windowed(224), 32) == 224
    with pytest.raises(
        ModelError, match=r"Windowed with this encoder takes images of few sizes only, not .* 32 to 512"
    ):
        multiple_of_sides(Windowed(224, only=True), 32)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoder", "expected"),
    [
        ("tf_efficientnet_lite0", 32),
        ("convnext_atto", 32),
        ("swin_tiny_patch4_window7_224", 32),
        ("swinv2_tiny_window8_256", 32),
        ("pvt_v2_b0", 32),
        ("maxvit_tiny_tf_224", 224),
        ("coatnet_nano_rw_224", None),
    ],
)
def test_timms_networks_as_encoders(encoder: str, expected: int | None) -> None:
    network = build("smp.fpn", encoder=f"tu-{encoder}")
    if expected is None:
        with pytest.raises(ModelError, match="takes images of few sizes only"):
            stride_multiple(network)
        return
    assert stride_multiple(network) == expected
    with torch.inference_mode():
        for side in (expected, 3 * expected):
            assert network(noise(1, 3, side, side)).shape == (1, 7, side, side)


# -- PSPNet's pyramid


def test_the_pyramids_sizes_are_an_option() -> None:
    plain, same = (build("smp.pspnet", encoder="resnet18", **more) for more in ({}, {"psp_sizes": [1, 2, 3, 6]}))
    assert {k: v.shape for k, v in plain.state_dict().items()} == {k: v.shape for k, v in same.state_dict().items()}
    for sizes in ([1, 2], [2, 4, 8], [5]):
        network = build("smp.pspnet", encoder="resnet18", psp_sizes=sizes)
        pooled = [m.output_size for m in network.modules() if isinstance(m, nn.AdaptiveAvgPool2d)]
        assert pooled == [(side, side) for side in sizes]
        with torch.inference_mode():
            assert network(noise(1, 3, 40, 64)).shape == (1, 7, 40, 64)


@pytest.mark.parametrize("sizes", [[], 3, [0], [1.5], ["2"], [True], [65], [1] * 9])
def test_sizes_of_a_pyramid_that_cannot_be(sizes: Any) -> None:
    with pytest.raises(ParameterError, match=r"smp\.pspnet: psp_sizes"):
        create_model("smp.pspnet", bands=3, classes=2, encoder="resnet18", psp_sizes=sizes)
    with pytest.raises(ModelError, match="no option 'psp_sizes'"):
        create_model("smp.fpn", bands=3, classes=2, encoder="resnet18", psp_sizes=sizes)


# -- the auxiliary head

HEAD = {"pooling": "max", "dropout": 0.0}
WITH_HEAD = [
    pytest.param(*one, id=one[0], marks=() if one[0] == "smp.segformer" else pytest.mark.slow)
    for one in (*SMP, ("smp.fpn", {"encoder": "tu-swin_tiny_patch4_window7_224"}))
]


@pytest.mark.parametrize(("name", "options"), WITH_HEAD)
def test_the_head_says_what_smps_own_says(name: str, options: dict[str, Any]) -> None:
    network = build(name, **options, aux_params=HEAD)
    assert has_auxiliary(network)
    side = 2 * stride_multiple(network)
    with torch.inference_mode():
        logits, presence = with_presence(network, noise(2, 3, side, side))
        assert torch.equal(network(noise(2, 3, side, side)), logits)
        assert presence.shape == (2, 7)
        network.classification_head = network.auxiliary  # as SMP has it
        theirs = network(noise(2, 3, side, side))
    assert torch.equal(theirs[0], logits)
    assert torch.equal(theirs[1], presence)


def test_without_the_head_it_is_the_network_that_never_had_one(tmp_path: Path) -> None:
    network, plain = build("smp.fpn", encoder="resnet18", aux_params={}), build("smp.fpn", seed=1, encoder="resnet18")
    plain.load_state_dict(lasting_state(network))
    spec, batch = make_spec(tmp_path, stride_multiple=32), tiles(1, side=64)
    found, expected = (load(spec, lambda n=n: n, side=64).submit(batch)() for n in (network, plain))
    assert torch.equal(found, expected)
    assert drop_auxiliary(network) is network
    assert not has_auxiliary(network)
    assert network.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"poling": "avg"}, "has no option 'poling', did you mean 'pooling'"),
        ({"activation": "sigmoid"}, "has no option 'activation'"),
        ({"classes": 3}, "has no option 'classes'; it has: pooling, dropout"),
        ({"pooling": "sum"}, "pooling 'sum'; give one of avg, max"),
        ({"dropout": 1}, "dropout 1; give a number"),
        (True, "aux_params True; give the parameters of the auxiliary head"),
    ],
)
def test_parameters_of_a_head_that_cannot_be(given: Any, message: str) -> None:
    with pytest.raises((ModelError, ParameterError), match=message):
        create_model("smp.fpn", bands=3, classes=2, encoder="resnet18", aux_params=given)
    with pytest.raises(ModelError, match="unet has no option 'aux_params'"):
        create_model("unet", bands=3, classes=2, aux_params=given)


def test_options_that_the_library_has_today() -> None:
    """If it comes to have others of these names, they are to be looked at."""
    assert "psp_sizes" not in segmentation_models_pytorch.PSPNet.__init__.__annotations__
