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
        ("fcn16s", {"width": 2}),
        ("fcn32s", {"width": 2}),
        ("unet", {"depth": 7, "width": 1}),
        ("enet", {}),
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


SMALL = {"encoder": "resnet18", "encoder_depth": 3, "decoder_channels": [8, 8, 8]}


def test_pixels_count_as_far_as_it_says_and_no_farther() -> None:
    """Of a network of the library, by changing them."""
    torch.manual_seed(0)
    network = create_model("smp.unet", bands=2, classes=3, **SMALL)
    radius = probed_radius(network, 2, heights=(256,), width=16)
    assert radius is not None
    network = network.double().eval()
    x, moved = torch.randn(1, 2, 256, 16, dtype=torch.float64), 0
    with torch.inference_mode():
        before = network(x)
        for row in range(128, 136):
            for sign in (-1, 1):
                far, near = x.clone(), x.clone()
                beyond = slice(0, row - radius) if sign < 0 else slice(row + radius + 1, None)
                far[:, :, beyond] += 1
                near[:, :, row + sign * radius] += 1
                assert (network(far) - before)[:, :, row].abs().max() < 1e-9
                moved += bool((network(near) - before)[:, :, row].abs().max() > 0)
    assert moved > 0


def test_branches_that_begin_switched_off_count() -> None:
    """timm's residual blocks end in a batch normalisation of zeros."""
    torch.manual_seed(0)
    network = create_model("smp.unet", bands=2, classes=3, **SMALL | {"encoder": "tu-resnet18"})
    assert any(not p.any() for name, p in network.named_parameters() if name.endswith("bn2.weight"))
    other = create_model("smp.unet", bands=2, classes=3, **SMALL)
    found = [probed_radius(each, 2, heights=(256, 512), width=16) for each in (network, other)]
    assert found[0] == found[1] != None  # noqa: E711 - of both


def test_where_the_size_of_a_tile_counts_there_is_no_radius() -> None:
    """Pooling to six rows reaches a share of the tile; enlarging with corners aligned shifts with its height."""
    torch.manual_seed(0)
    pooled = create_model("smp.pspnet", bands=2, classes=3, encoder="resnet18", psp_sizes=[6])
    assert probed_radius(pooled, 2, heights=(512,), width=48) is None
    aligned = create_model("smp.segformer", bands=2, classes=3, encoder="resnet18", encoder_depth=3)
    assert probed_radius(aligned, 2, heights=(512,), width=32) is None


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
    assert (pooled.receptive_radius, pooled.depends_on_tile) == (None, True)
    assert (limited.receptive_radius, limited.depends_on_tile) == (RECEPTIVE_RADII["smp.linknet"], False)
    assert not describe_architecture("unet").depends_on_tile
