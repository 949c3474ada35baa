"""geoseg's own networks: published sizes, any image, every option, exact unpooling; SegNets and FCNs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
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

from geoseg.config import ModelSpec
from geoseg.errors import ModelError, ParameterError
from geoseg.models import (
    create_model,
    load_model,
    sample_dropout,
    save_model,
    stride_multiple,
)
from geoseg.models.fcn import FCN8s, bilinear_filter
from geoseg.models.segnet import BayesianSegNet, SegNet
from geoseg.models.unpooling import pool_by_indices, pool_dense

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
    fixed: set[str] = set()
    if any(isinstance(m, nn.BatchNorm2d) for m in network.modules()):
        fixed = {f"{key}.bias" for key, m in network.named_modules() if isinstance(m, nn.Conv2d)} - {"classifier.bias"}
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.any() or key in fixed, key


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
