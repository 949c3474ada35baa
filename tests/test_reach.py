"""How far networks see: as far as they say, and no farther."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from own_networks import (
    TINY,
    UPSAMPLING,
    noise,
    one_thread,  # noqa: F401
    tiny,
)
from torch import nn

from geoseg.errors import ModelError
from geoseg.models import context, receptive_radius
from geoseg.models.reach import OwnNetwork, Span
from geoseg.models.unpooling import Pooled, UnpoolingNetwork


def positive(network: OwnNetwork) -> OwnNetwork:
    """Positive filters and no biases: whatever an input pixel can change, it does change, and upwards."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
        elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network.double().eval()


def unpooled_everywhere(network: OwnNetwork) -> OwnNetwork:
    """Every place of a window gets the value: which one does is up to the image."""

    def pool(x: torch.Tensor) -> Pooled:
        pooled = F.max_pool2d(x, 2, ceil_mode=True)
        return pooled, lambda v: F.interpolate(v, scale_factor=2)[..., : x.shape[-2], : x.shape[-1]]

    if isinstance(network, UnpoolingNetwork):
        network.pool = pool  # type: ignore[method-assign]
    return network


def seen_radius(network: OwnNetwork) -> int:
    """The farthest output pixel, along a line, that changes with an input pixel: all phases of the latter."""
    found, claimed = 0, receptive_radius(network)
    side = 2 * claimed + 2 * context(network) + 4 * network.phases
    side = side // network.phases * network.phases
    height = 2 * context(network) + 1
    for phase in range(network.phases):
        place = side // 2 // network.phases * network.phases + phase
        x = torch.zeros(1, 1, height, side, dtype=torch.float64)
        x[..., place] = 1
        with torch.inference_mode():
            (changed,) = network(x)[0].amax(dim=(0, 1)).nonzero(as_tuple=True)
        changed = changed + context(network)
        assert int(changed.min()) > 0
        assert int(changed.max()) < side - 1 - context(network)
        found = max(found, place - int(changed.min()), int(changed.max()) - place)
    return found


@pytest.mark.parametrize("name", TINY)
def test_the_last_row_and_column_count(name: str) -> None:
    network = positive(tiny(name, 1, 1))
    x = torch.zeros(1, 1, 33, 33, dtype=torch.float64)
    changed = x.clone()
    changed[..., 32, 32] = 1e6
    with torch.inference_mode():
        assert not torch.equal(network(x)[..., 32, 32], network(changed)[..., 32, 32])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in TINY),
        ("segnet", {"classifier": 3}),
        ("residual-unet", {"depth": 3}),
        ("attention-unet", {"depth": 3}),
        *(
            ("unet", {"depth": depth, "padding": padding, "upsampling": upsampling})
            for depth, padding, upsampling in itertools.product((1, 2, 4), ("same", "valid"), UPSAMPLING)
        ),
    ],
)
def test_networks_see_exactly_as_far_as_they_say(name: str, options: dict[str, Any]) -> None:
    network = positive(tiny(name, 1, 1, **options))
    if getattr(network, "max_unpooling", False):
        assert 0 < seen_radius(network) <= receptive_radius(network)
    assert seen_radius(unpooled_everywhere(network)) == receptive_radius(network)


def test_the_gradient_ends_at_the_radius() -> None:
    network = tiny("unet", 1, 1, depth=3, upsampling="bilinear")
    radius, seen = receptive_radius(network), torch.zeros(1, 1, 1, 160, dtype=torch.bool)
    for row in range(40):  # which of the pooled pixels counts is chance: together they show all
        x = noise(1, 1, 1, 160, seed=row).requires_grad_()
        network(x)[..., 80 + row % network.phases].sum().backward()
        assert x.grad is not None
        seen |= x.grad.roll(-(row % network.phases), -1) != 0
    places = seen.flatten().nonzero()
    assert 80 - radius <= int(places.min())
    assert int(places.max()) <= 80 + radius
    assert int(places.max()) - int(places.min()) > radius


def test_spans_by_hand() -> None:
    one = Span(5, 5)
    assert one.convolved(3) == Span(4, 6)
    assert one.convolved(3, dilation=4) == Span(1, 9)
    assert one.convolved(3, stride=2, padding=0) == Span(10, 12)
    assert one.pooled() == Span(10, 11)
    assert one.upsampled() == Span(2, 2)
    assert one.upsampled(4, padding=1) == Span(2, 3)
    assert Span(4, 4).upsampled(4, padding=1) == Span(1, 2)
    assert one.upsampled(3, padding=1) == Span(2, 3)
    assert one | Span(8, 9) == Span(5, 9)


def test_a_strangers_radius() -> None:
    with pytest.raises(ModelError, match="Conv2d is not one of geoseg's own networks"):
        receptive_radius(nn.Conv2d(1, 1, 3))
