"""How far networks look in effect: against gradients known by hand, in the catalogue, and as overlap of tiles."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from own_networks import (
    noise,
    one_thread,  # noqa: F401
    tiny,
)
from scenes import write_scene, write_spec
from torch import nn

from geoseg.config import ModelSpec
from geoseg.models import architectures, context, create_model, effective_radius, receptive_radius
from geoseg.models.reach import OwnNetwork
from geoseg.models.registry import stride_multiple
from geoseg.models.table import EFFECTIVE_RADII
from geoseg.models.tiles import default_overlap


class Blur(OwnNetwork):
    """One convolution with weights by distance from the middle."""

    def __init__(self, weights: list[float], *, padding: int | None = None) -> None:
        super().__init__()
        radius = len(weights) - 1
        self.context = 0 if padding is None else radius - padding
        self.layer = nn.Conv2d(1, 1, 2 * radius + 1, padding=radius if padding is None else padding, bias=False)
        distance = torch.arange(-radius, radius + 1).abs()
        with torch.no_grad():
            self.layer.weight[0, 0] = torch.tensor(weights)[torch.maximum(distance[:, None], distance)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 1, H, W) to the same, or less."""
        result: torch.Tensor = self.layer(x)
        return result


# Rings of 1, 8, 16, 24, ... pixels, each with the square of its weight.
@pytest.mark.parametrize(
    ("weights", "radius"),
    [
        ([1.0], 0),
        ([1.0, 0.0, 0.0], 0),
        ([0.0, 0.0, 1.0], 2),
        ([1.0, 0.08], 0),  # 8 · 0.0064 / 1.0512 is 4.9 %
        ([1.0, 0.082], 1),  # 8 · 0.0067 / 1.0538 is 5.1 %
        ([1.0, 1.0, 1.0], 2),  # 16 of 25
    ],
)
def test_the_radius_holds_95_percent_of_the_energy(weights: list[float], radius: int) -> None:
    assert effective_radius(Blur(weights), 1, side=32, samples=2) == radius
    if len(weights) > 1:
        assert effective_radius(Blur(weights, padding=0), 1, side=32, samples=2) == radius


@pytest.mark.parametrize("name", ["unet", "segnet-basic", "residual-unet"])
def test_it_is_never_beyond_the_theoretical(name: str) -> None:
    network = tiny(name, 2, 3)
    radius = effective_radius(network, 2, side=96, samples=2)
    assert 0 < radius <= receptive_radius(network)
    valid = tiny("unet", 2, 3, depth=3, padding="valid")
    assert context(valid)
    assert 0 < effective_radius(valid, 2, side=96, samples=2) <= receptive_radius(valid)


def test_nothing_is_changed_and_chance_is_left_alone() -> None:
    network = create_model("enet", bands=2, classes=3).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    chance = torch.get_rng_state()
    first = effective_radius(network, 2, side=64, samples=1)
    assert torch.equal(torch.get_rng_state(), chance)
    assert network.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert effective_radius(network, 2, side=64, samples=1) == first


def test_a_network_that_looks_at_nothing() -> None:
    network = tiny("unet", 2, 3, depth=2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert effective_radius(network, 2, side=32, samples=1) == 0


def test_learned_statistics_are_kept() -> None:
    network = tiny("unet", 2, 3, depth=2)
    torch.nn.Module.train(network)
    network(noise(2, 2, 32, 32))
    network.eval()
    before = [
        m.running_var.clone() for m in network.modules() if isinstance(m, nn.BatchNorm2d) and m.running_var is not None
    ]
    effective_radius(network, 2, side=32, samples=1)
    after = [m.running_var for m in network.modules() if isinstance(m, nn.BatchNorm2d) and m.running_var is not None]
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


@pytest.mark.parametrize(
    "name", ["enet", *(pytest.param(name, marks=pytest.mark.slow) for name in EFFECTIVE_RADII if name != "enet")]
)
def test_the_catalogue_is_as_measured(name: str) -> None:
    torch.manual_seed(0)
    found = effective_radius(create_model(name, bands=3, classes=8), 3)
    assert abs(found - EFFECTIVE_RADII[name]) <= 1  # sums of float32 in another order


def test_the_catalogue_knows_every_own_network() -> None:
    own = {name for name in architectures() if not name.startswith("smp.")}
    assert own <= EFFECTIVE_RADII.keys()


def spec(tmp_path: Any, **changes: Any) -> ModelSpec:
    from geoseg.models import read_spec

    return read_spec(write_spec(tmp_path / "m.safetensors", **changes))


@pytest.mark.parametrize(
    ("radius", "tile_size", "overlap"),
    [
        (None, 512, 128), (None, 10, 2), (0, 512, 128), (36, 512, 128), (64, 512, 128), (65, 512, 160), (80, 512, 160),
        (100, 512, 224), (128, 512, 256), (999, 512, 256), (65, 1024, 256), (3, 8, 4), (1, 1, 0),
    ],
)  # fmt: skip
def test_overlap_follows_from_the_radius(tmp_path: Any, radius: int | None, tile_size: int, overlap: int) -> None:
    assert default_overlap(spec(tmp_path, effective_radius=radius), tile_size) == overlap


def test_networks_without_padding_need_no_overlap(tmp_path: Any) -> None:
    context = {"pixels": 92, "multiple": 16, "remainder": 12}
    assert default_overlap(spec(tmp_path, effective_radius=90, context=context), 512) == 0


def test_prediction_takes_it_where_nothing_is_said(tmp_path: Any) -> None:
    import numpy as np

    from geoseg.inference.job import find_models, open_job
    from geoseg.inference.settings import Settings

    scene = write_scene(tmp_path / "s.tif", np.ones((1, 20, 20), np.uint8))
    models = find_models(write_spec(tmp_path / "m.safetensors", effective_radius=100))
    for chosen, overlap in ((None, 224), (7, 7)):
        with open_job([scene], models, tmp_path / "map.tif", Settings(overlap=chosen)) as job:
            assert (job.grid.tile_size, job.grid.overlap) == (512, overlap)


def test_stride_multiples_are_kept() -> None:
    model = create_model("smp.unet", bands=1, classes=2, encoder="mobilenet_v2")
    assert stride_multiple(model) == 32
    assert effective_radius(model, 1, side=40, samples=1) > 0
