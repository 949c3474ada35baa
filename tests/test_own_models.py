"""geoseg's own networks: published sizes, any image, every option, exact unpooling, how far they see."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from own_networks import TINY, noise, tiny
from torch import nn

from geoseg.config import ModelSpec
from geoseg.errors import ModelError, ParameterError
from geoseg.models import (
    context,
    create_model,
    load_model,
    receptive_radius,
    sample_dropout,
    save_model,
    stride_multiple,
)
from geoseg.models.attention_unet import AttentionUNet
from geoseg.models.fcn import FCN8s, bilinear_filter
from geoseg.models.reach import OwnNetwork, Span
from geoseg.models.segnet import BayesianSegNet, SegNet
from geoseg.models.unet import UNet
from geoseg.models.unpooling import Pooled, UnpoolingNetwork, pool_by_indices, pool_dense

UPSAMPLING = ("transposed", "bilinear", "nearest", "unpool")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks as small as these are faster with one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


EVERY = pytest.mark.parametrize("name", TINY)


@pytest.mark.parametrize(
    ("name", "bands", "classes", "options", "expected"),
    [
        ("segnet", 3, 12, {}, 29_443_788),
        ("segnet", 3, 12, {"classifier": 3}, 29_449_932),
        ("bayesian-segnet", 3, 12, {}, 29_443_788),
        ("segnet-basic", 3, 12, {}, 1_416_652),
        ("unet", 1, 2, {"batch_norm": False}, 31_030_658),
        ("unet", 1, 2, {"batch_norm": False, "padding": "valid"}, 31_030_658),
        ("residual-unet", 3, 1, {}, 8_223_809),
        ("attention-unet", 3, 1, {}, 34_878_573),
        ("fcn8s", 3, 21, {}, 134_489_759),
        ("fcn16s", 3, 21, {}, 134_815_994),
        ("fcn32s", 3, 21, {}, 136_152_917),
        ("enet", 3, 12, {}, 363_163),
    ],
)
def test_networks_have_the_published_sizes(
    name: str, bands: int, classes: int, options: dict[str, Any], expected: int
) -> None:
    with torch.device("meta"):
        network = create_model(name, bands=bands, classes=classes, **options)
    assert sum(p.numel() for p in network.parameters()) == expected


def test_residual_unets_filters_are_those_of_the_papers_table() -> None:
    """The paper's 7.8 million are the 3×3 filters of its table 1; the projections of the shortcuts come on top."""
    with torch.device("meta"):
        network = create_model("residual-unet", bands=3, classes=1)
    table = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512), (512, 512)]
    table += [(768, 256), (256, 256), (384, 128), (128, 128), (192, 64), (64, 64)]
    found = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert [(m.in_channels, m.out_channels) for m in found] == table
    assert round(sum(m.weight.numel() for m in found) / 1e6, 1) == 7.8


@EVERY
def test_logits_have_the_size_of_the_image(name: str) -> None:
    network = tiny(name)
    assert stride_multiple(network) == 1
    # Every size up to 130 along an axis, against each up to 34 along the other: each remainder by 32 in both.
    sizes = [(n, 1 + n * 7 % 34) for n in range(1, 131)]
    with torch.inference_mode():
        for height, width in [(1, 1), *sizes[::2], *((w, h) for h, w in sizes[1::2])]:
            logits = network(noise(1, 2, height, width))
            assert logits.shape == (1, 3, height, width)
            assert torch.isfinite(logits).all()


@EVERY
@pytest.mark.parametrize(("bands", "classes"), [(1, 1), (5, 9), (13, 2)])
def test_any_bands_and_classes_and_every_parameter_learns(name: str, bands: int, classes: int) -> None:
    # Wide enough that not all maps of a layer are negative, and nothing dropped.
    width, still = {"fcn": 4, "ene": 16}.get(name[:3], 4), {"dropout": 0.0} if "dropout" in TINY[name] else {}
    network = tiny(name, bands, classes, width=width, **still).train()
    logits = network(noise(2, bands, 70, 69))
    assert logits.shape == (2, classes, 70, 69)
    (logits * noise(*logits.shape, seed=1)).sum().backward()
    # A convolution's bias does nothing before batch normalisation, which takes the mean away: there 0 is right.
    fixed = {f"{key}.bias" for key, m in network.named_modules() if isinstance(m, nn.Conv2d)}
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.any() or key in fixed, key


@EVERY
def test_the_last_row_and_column_count(name: str) -> None:
    network = positive(tiny(name, 1, 1))
    x = torch.zeros(1, 1, 33, 33, dtype=torch.float64)
    changed = x.clone()
    changed[..., 32, 32] = 1e6
    with torch.inference_mode():
        assert not torch.equal(network(x)[..., 32, 32], network(changed)[..., 32, 32])


@EVERY
def test_saved_loaded_and_predicted_the_same(name: str, tmp_path: Path) -> None:
    network = tiny(name)
    spec = ModelSpec.model_validate(
        {
            "name": "tiny",
            "architecture": name,
            "options": TINY[name],
            "bands": ("a", "b"),
            "classes": [{"id": i, "name": f"class {i}", "color": "#112233"} for i in (1, 2, 3)],
            "mean": (1.0, 2.0),
            "std": (3.0, 4.0),
            "value_range": (0.0, 255.0),
            "stride_multiple": 1,
        }
    )
    save_model(tmp_path / "model.safetensors", network, spec)
    loaded, _ = load_model(tmp_path / "model.safetensors")
    with torch.inference_mode():
        assert torch.equal(loaded(noise(1, 2, 45, 70)), network(noise(1, 2, 45, 70)))


@EVERY
@pytest.mark.parametrize("option", ["width", "depth", "dropout", "classifier"])
def test_options_are_checked(name: str, option: str) -> None:
    known = {"segnet": "classifier", "bayesian-segnet": "classifier dropout", "residual-unet": "depth"}
    known |= {"unet": "depth", "attention-unet": "depth"}
    known |= dict.fromkeys(("fcn8s", "fcn16s", "fcn32s", "enet"), "dropout")
    if option != "width" and option not in known.get(name, "").split():
        with pytest.raises(ModelError, match=f"{name} has no option '{option}'"):
            create_model(name, bands=2, classes=2, **{option: 1})
        return
    for value in (-1, True, "2", 1.5, None, 10**6):
        with pytest.raises(ParameterError, match=f"{option} {value!r}; give") as caught:
            create_model(name, bands=2, classes=2, **{option: value})
        assert "\n" not in str(caught.value)


# -- unpooling


def slowly_unpooled(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Each value where the first of its window's maxima is in reading order, window by window."""
    out = np.zeros_like(x)
    for b, c, i, j in np.ndindex(*values.shape):
        window = x[b, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        row, col = np.unravel_index(window.argmax(), window.shape)
        out[b, c, 2 * i + row, 2 * j + col] = values[b, c, i, j]
    return out


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (3, 3), (4, 6), (7, 5), (8, 9)])
@pytest.mark.parametrize("pool", [pool_by_indices, pool_dense])
def test_unpooling_puts_values_where_the_maxima_were(size: tuple[int, int], pool: Any) -> None:
    # Few different values, so that many windows hold their maximum more than once.
    x = torch.randint(-2, 2, (2, 3, *size), generator=torch.Generator().manual_seed(1)).float()
    pooled, unpool = pool(x)
    values = noise(*pooled.shape)
    assert torch.equal(pooled, F.max_pool2d(x, 2, ceil_mode=True))
    np.testing.assert_array_equal(unpool(values), slowly_unpooled(x.numpy(), values.numpy()))


@pytest.mark.parametrize("name", ["segnet", "segnet-basic", "bayesian-segnet", "enet", "unet"])
def test_the_dense_form_is_the_same_network_to_the_bit(name: str) -> None:
    network = tiny(name, **({"upsampling": "unpool"} if name == "unet" else {}))
    with torch.inference_mode():
        for size in ((33, 47), (64, 64), (1, 3)):
            expected = network(noise(1, 2, *size))
            network.dense_unpooling = True
            assert torch.equal(network(noise(1, 2, *size)), expected)
            network.dense_unpooling = False


@pytest.mark.parametrize("upsampling", UPSAMPLING)
def test_only_what_unpools_says_so(upsampling: str) -> None:
    network = tiny("unet", upsampling=upsampling)
    assert getattr(network, "max_unpooling", False) == (upsampling == "unpool")


# -- SegNet


def test_bayesian_segnet_drops_after_the_central_stages() -> None:
    network, places = tiny("bayesian-segnet", dropout=0.5).train(), []
    assert isinstance(network, BayesianSegNet)
    network.dropout.register_forward_hook(lambda _m, given, _out: places.append(tuple(given[0].shape[1:])))
    network(noise(1, 2, 64, 64))
    # After the poolings of stages 3, 4 and 5, and after the decoder stages 5, 4 and 3.
    assert places == [(8, 8, 8), (16, 4, 4), (16, 2, 2), (16, 4, 4), (8, 8, 8), (4, 16, 16)]


def test_without_dropout_bayesian_segnet_is_segnet() -> None:
    bayesian, segnet = tiny("bayesian-segnet"), tiny("segnet")
    assert isinstance(segnet, SegNet)
    segnet.load_state_dict(bayesian.state_dict())
    with torch.inference_mode():
        assert torch.equal(bayesian(noise(1, 2, 40, 33)), segnet(noise(1, 2, 40, 33)))


@pytest.mark.parametrize("name", ["bayesian-segnet", "fcn8s", "enet"])
def test_sampling_makes_dropout_alone_random(name: str) -> None:
    network = tiny(name, **({"dropout": 0.5, "width": 8} if name == "fcn8s" else {"dropout": 0.5}))
    x, before = noise(2, 2, 64, 64), {k: v.clone() for k, v in network.state_dict().items()}
    with torch.inference_mode():
        settled = network(x)
        assert sample_dropout(network) is network
        assert {type(m) for m in network.modules() if m.training} <= {nn.Dropout, nn.Dropout2d}
        first, second = network(x), network(x)
        assert not torch.equal(first, second)
        assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())  # no statistics moved
        assert torch.equal(network.eval()(x), settled)


def test_nothing_to_sample() -> None:
    for network in (tiny("segnet"), tiny("bayesian-segnet", dropout=0.0)):
        with pytest.raises(ModelError, match="has no dropout to sample"):
            sample_dropout(network)


def test_segnet_basics_decoder_has_no_relu() -> None:
    network = tiny("segnet-basic")
    assert [sum(isinstance(m, nn.ReLU) for m in part.modules()) for part in network.children()] == [4, 0, 0]
    filters = [m.kernel_size for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert filters == [(7, 7)] * 8 + [(1, 1)]


# -- U-Net


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


# -- FCN


@pytest.mark.parametrize("factor", [2, 4, 8, 16, 32])
def test_scores_are_upsampled_bilinearly_at_first(factor: int) -> None:
    x = noise(1, 1, 5, 6)
    found = F.conv_transpose2d(x, bilinear_filter(factor)[None, None], stride=factor, padding=factor // 2)
    expected = F.interpolate(x, scale_factor=factor, mode="bilinear")
    inside = slice(factor // 2, -(factor // 2))  # at the rim interpolation repeats the last value, the filter has none
    torch.testing.assert_close(found[..., inside, inside], expected[..., inside, inside], rtol=1e-5, atol=1e-5)


def test_skips_add_nothing_at_first() -> None:
    """FCN-8s starts as the FCN-32s of its weights, but for upsampling in three steps instead of one."""
    eight, coarse = tiny("fcn8s", width=2), tiny("fcn32s", width=2)
    assert isinstance(eight, FCN8s)
    coarse.load_state_dict({k: v for k, v in eight.state_dict().items() if k in coarse.state_dict()} | {
        "enlarging.weight": coarse.state_dict()["enlarging.weight"]
    })  # fmt: skip
    with torch.inference_mode():
        x = noise(1, 2, 32, 32)
        scores = eight.doublings[1](eight.doublings[0](coarse.score(coarse.head(encoded(coarse, x)))))
        torch.testing.assert_close(eight(x), eight.enlarging(scores))
        eight.skip_scores[0].bias.fill_(1)
        assert (eight(x) != eight.enlarging(scores)).any()


def encoded(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    for stage in network.get_submodule("encoder").children():
        x = F.max_pool2d(stage(x), 2, ceil_mode=True)
    return x


# -- how far networks see


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
