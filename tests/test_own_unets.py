"""U-Net without padding eats what it says and is the interior of the padded one; attention can be looked at."""

from __future__ import annotations

import itertools

import pytest
import torch
from own_networks import (
    TINY,
    UPSAMPLING,
    noise,
    one_thread,  # noqa: F401
    tiny,
)
from torch import nn

from geoseg.errors import ParameterError
from geoseg.models import context
from geoseg.models.attention_unet import AttentionUNet
from geoseg.models.unet import UNet


@pytest.mark.parametrize("upsampling", UPSAMPLING)
@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_valid_unet_eats_its_context(upsampling: str, depth: int) -> None:
    network = tiny("unet", upsampling=upsampling, depth=depth, padding="valid")
    assert isinstance(network, UNet)
    eaten = context(network)
    smallest = 2 * eaten + 1
    with torch.inference_mode():
        for height, width in [(smallest, smallest + n) for n in range(0, 34, 3)]:
            logits = network(noise(1, 2, height, width))
            assert logits.shape == (1, 3, height - 2 * eaten, width - 2 * eaten)
        with pytest.raises(ParameterError, match=f"eats {eaten} pixels .* give one of at least {smallest}"):
            network(noise(1, 2, smallest - 1, smallest))


def test_the_papers_tile() -> None:
    network = tiny("unet", padding="valid", batch_norm=False)
    assert isinstance(network, UNet)
    assert context(network) == 92
    assert network.input_side(388) == 572
    assert network.input_side(389) == 588
    assert context(tiny("unet")) == context(nn.Conv2d(1, 1, 3)) == 0


@pytest.mark.parametrize("upsampling", UPSAMPLING)
def test_each_valid_convolution_gives_the_interior_of_the_same_one(upsampling: str) -> None:
    valid, same = tiny("unet", upsampling=upsampling, padding="valid"), tiny("unet", upsampling=upsampling)
    same.load_state_dict(valid.state_dict())
    pairs = [
        (a, b)
        for (a, b) in zip(valid.modules(), same.modules(), strict=True)
        if isinstance(a, nn.Conv2d) and a.kernel_size == (3, 3)
    ]
    assert len(pairs) == 18
    with torch.inference_mode():
        for a, b in pairs:
            x = noise(1, a.in_channels, 13, 12)
            torch.testing.assert_close(a(x), b(x)[..., 1:-1, 1:-1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("upsampling", UPSAMPLING)
def test_two_levels_of_valid_are_the_interior_of_same(upsampling: str) -> None:
    """Deeper, the poolings of the two networks start at different pixels: no longer the same windows."""
    valid = tiny("unet", upsampling=upsampling, depth=2, padding="valid")
    same = tiny("unet", upsampling=upsampling, depth=2)
    same.load_state_dict(valid.state_dict())
    eaten, x = context(valid), noise(1, 2, 44, 50)
    with torch.inference_mode():
        torch.testing.assert_close(valid(x), same(x)[..., eaten:-eaten, eaten:-eaten], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("upsampling", UPSAMPLING)
def test_tiles_of_valid_are_cut_from_the_whole(upsampling: str) -> None:
    network = tiny("unet", upsampling=upsampling, depth=4, padding="valid")
    assert isinstance(network, UNet)
    eaten, side = context(network), network.input_side(20)
    got = side - 2 * eaten
    x = noise(1, 2, side + 3 * network.phases, side + 5 * network.phases)
    with torch.inference_mode():
        whole = network(x)
        for row, col in itertools.product((0, 8, 24), (0, 16, 40)):
            tile = network(x[..., row : row + side, col : col + side])
            torch.testing.assert_close(tile, whole[..., row : row + got, col : col + got], rtol=1e-4, atol=1e-5)


def test_attention_maps_can_be_had() -> None:
    network = tiny("attention-unet")
    assert isinstance(network, AttentionUNet)
    x = noise(2, 2, 45, 70)
    with torch.inference_mode():
        logits, maps = network.with_attention(x)
        assert torch.equal(logits, network(x))
    assert [tuple(m.shape) for m in maps] == [(2, 1, 45, 70), (2, 1, 23, 35), (2, 1, 12, 18), (2, 1, 6, 9)]
    for weights in maps:
        assert 0 < float(weights.min()) < float(weights.max()) < 1


def test_closed_gates_let_nothing_through() -> None:
    network = tiny("attention-unet", depth=2)
    assert isinstance(network, AttentionUNet)
    (gate,) = network.gates
    norm = gate.get_submodule("weight.1")
    x = noise(1, 2, 16, 16)
    with torch.inference_mode():
        norm.bias.fill_(-1e4)
        closed = network(x)
        network.merge[0].get_submodule("0").weight[:, : TINY["attention-unet"]["width"]] = 0  # the skip's filters
        assert torch.equal(network(x), closed)
        norm.bias.fill_(1e4)
        assert torch.equal(network(x), closed)
