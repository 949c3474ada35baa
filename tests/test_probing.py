"""How far networks see, found by trying."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from own_networks import (
    one_thread,  # noqa: F401
    tiny,
)
from torch import nn

from geoseg.models import architectures, create_model, describe_architecture, probed_radius, receptive_radius
from geoseg.models.reach import OwnNetwork
from geoseg.models.table import RECEPTIVE_RADII


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("unet", {"depth": 3}),
        ("unet", {"depth": 2, "padding": "valid", "upsampling": "bilinear"}),
        ("residual-unet", {"depth": 3}),
        ("attention-unet", {"depth": 3, "width": 4}),
        ("fcn8s", {"width": 2}),
        ("fcn32s", {"width": 2}),
    ],
)
def test_trying_finds_what_walking_tells(name: str, options: dict[str, Any]) -> None:
    network = tiny(name, 2, 3, **options)
    radius = receptive_radius(network)
    assert probed_radius(network, 2, heights=(2 * radius + 96,)) == radius
    assert probed_radius(network, 2, heights=(radius, 2 * radius + 96)) == radius
    assert probed_radius(network, 2, heights=(radius,)) is None


@pytest.mark.parametrize("name", ["segnet-basic", "unet"])
def test_places_are_a_matter_of_chance(name: str) -> None:
    options = {"depth": 3, "upsampling": "unpool"} if name == "unet" else {}
    network = tiny(name, 2, 3, **options)
    found = probed_radius(network, 2, heights=(512,))
    assert found is not None
    assert receptive_radius(network) / 2 < found <= receptive_radius(network)


class Gated(OwnNetwork):
    """Channels are weighed by their means over all of the image, as squeeze-and-excitation does it."""

    def __init__(self, *, gated: bool) -> None:
        super().__init__()
        self.gated = gated
        self.conv = nn.Conv2d(2, 2, 3, padding=2, dilation=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 2, H, W) to the same."""
        found: torch.Tensor = self.conv(x)
        return found * torch.sigmoid(x.mean((2, 3), keepdim=True)) if self.gated else found


def test_means_over_the_tile_are_seen() -> None:
    assert probed_radius(Gated(gated=True), 2, heights=(96, 192), width=8) is None
    assert probed_radius(Gated(gated=False), 2, heights=(96,), width=8) == 2


def test_nothing_is_changed() -> None:
    network = tiny("unet", 2, 3, depth=2)
    before, chance = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    probed_radius(network, 2, heights=(128,), width=16)
    assert all(torch.equal(a, before[key]) for key, a in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), chance)
    assert all(p.requires_grad for p in network.parameters())
    assert torch.equal(torch.relu(torch.tensor([-1.0])), torch.zeros(1))


@pytest.mark.slow
@pytest.mark.parametrize("name", RECEPTIVE_RADII)
def test_the_catalogue_is_as_found(name: str) -> None:
    torch.manual_seed(0)
    assert probed_radius(create_model(name, bands=3, classes=8), 3) == RECEPTIVE_RADII[name]


def test_the_catalogue_tells_of_the_library_alone() -> None:
    assert set(RECEPTIVE_RADII) <= {name for name in architectures() if name.startswith("smp.")}
    assert len(RECEPTIVE_RADII) >= 12
    pooled, limited = describe_architecture("smp.pspnet"), describe_architecture("smp.linknet")
    assert (pooled.receptive_radius, pooled.sees_whole_tile) == (None, True)
    assert (limited.receptive_radius, limited.sees_whole_tile) == (RECEPTIVE_RADII["smp.linknet"], False)
    assert not describe_architecture("unet").sees_whole_tile
