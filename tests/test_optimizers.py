"""Optimizers: every parameter once, decay where it belongs, encoders slower or frozen."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from geoseg.errors import ModelError, ParameterError
from geoseg.models import create_model
from geoseg.training import (
    OptimizerSettings,
    build_optimizer,
    encoder_of,
    freeze_encoder,
    segmentation_loss,
    train_mode,
)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny tensors in several threads wait for each other more than they compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


MODELS = {
    "unet": {"width": 4, "depth": 3},
    "smp.fpn": {"encoder": "resnet18", "decoder_segmentation_channels": 32},
}
EVERY_MODEL = pytest.mark.parametrize("name", MODELS)


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return create_model(name, bands=3, classes=2, **MODELS[name])


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    generator = torch.Generator().manual_seed(0)
    train_mode(model)
    logits = model(torch.randn(2, 3, 32, 32, generator=generator) + 1)
    optimizer.zero_grad()
    segmentation_loss(logits, torch.randint(0, 2, (2, 32, 32), generator=generator)).backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return copy.deepcopy(dict(module.state_dict()))


@EVERY_MODEL
@pytest.mark.parametrize("factor", [1.0, 0.1])
@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_every_parameter_is_in_one_group(name: str, factor: float, kind: Any) -> None:
    model = network(name)
    settings = OptimizerSettings(kind, lr=0.5, weight_decay=0.25, encoder_factor=factor)
    groups = build_optimizer(model, settings).param_groups
    listed = [id(p) for group in groups for p in group["params"]]
    assert sorted(listed) == sorted(map(id, model.parameters()))
    assert len(groups) == (2 if factor == 1 else 4)


@EVERY_MODEL
def test_decay_and_rate_of_each_parameter(name: str) -> None:
    model = network(name)
    settings = OptimizerSettings("adamw", lr=0.5, weight_decay=0.25, encoder_factor=0.1)
    groups = {id(p): group for group in build_optimizer(model, settings).param_groups for p in group["params"]}
    norms = (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)
    for module in model.modules():
        for part, parameter in module.named_parameters(recurse=False):
            plain = part == "bias" or isinstance(module, norms)
            assert groups[id(parameter)]["weight_decay"] == (0 if plain else 0.25)
    inside = {id(p) for p in encoder_of(model).parameters()}
    for parameter in model.parameters():
        assert groups[id(parameter)]["lr"] == pytest.approx(0.05 if id(parameter) in inside else 0.5)


def test_without_decay_on_scales_a_step_without_gradients_leaves_them() -> None:
    model = network("unet")
    optimizer = build_optimizer(model, OptimizerSettings("adamw", lr=0.5, weight_decay=0.5))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = state(model)
    optimizer.step()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.data, before[name] * (0.75 if parameter.ndim > 1 else 1))


def test_defaults_are_those_of_the_papers() -> None:
    sgd = OptimizerSettings("sgd")
    assert (sgd.lr, sgd.momentum, sgd.weight_decay) == (0.1, 0.9, 0)
    group = build_optimizer(network("unet"), sgd).param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.1, 0.9, 0)
    adamw = OptimizerSettings()
    assert (adamw.kind, adamw.lr, adamw.weight_decay) == ("adamw", 1e-3, 1e-2)


def test_sgd_is_torchs() -> None:
    ours, theirs = network("unet"), network("unet")
    mine = build_optimizer(ours, OptimizerSettings("sgd"))
    other = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9)
    for _ in range(3):
        step(ours, mine)
        step(theirs, other)
    assert all(torch.equal(a, b) for a, b in zip(state(ours).values(), state(theirs).values(), strict=True))


def test_a_slower_encoder_moves_less() -> None:
    moved = []
    for factor in (1.0, 0.01):
        model = network("unet")
        first = encoder_of(model).state_dict()["0.0.weight"].clone()
        step(model, build_optimizer(model, OptimizerSettings("sgd", encoder_factor=factor)))
        moved.append((encoder_of(model).state_dict()["0.0.weight"] - first).abs().max().item())
    assert moved[1] == pytest.approx(moved[0] / 100, rel=1e-2)


@EVERY_MODEL
def test_a_frozen_encoder_stays_to_the_last_bit(name: str) -> None:
    model = network(name)
    freeze_encoder(model)
    optimizer = build_optimizer(model, OptimizerSettings(weight_decay=0.5))
    before = state(model)
    for _ in range(2):
        step(model, optimizer)
    inside = {id(t) for t in encoder_of(model).state_dict(keep_vars=True).values()}
    for key, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) in inside:  # running statistics too
            assert torch.equal(tensor, before[key]), key
    assert not torch.equal(before[changing(model)], state(model)[changing(model)])
    # Let go, it learns again.
    freeze_encoder(model, frozen=False)
    step(model, optimizer)
    assert all(module.training for module in model.modules())
    learned = next(k for k, p in model.named_parameters() if id(p) in inside)
    assert not torch.equal(state(model)[learned], before[learned])


def changing(model: nn.Module) -> str:
    """Name of a weight outside the encoder."""
    inside = {id(p) for p in encoder_of(model).parameters()}
    return next(name for name, p in model.named_parameters() if id(p) not in inside and p.ndim > 1)


def test_train_mode_without_frozen_parts_is_train() -> None:
    model = network("smp.fpn").eval()
    train_mode(model)
    assert all(module.training for module in model.modules())


def test_segnet_has_an_encoder() -> None:
    model = create_model("segnet", bands=3, classes=2)
    assert encoder_of(model) is model.encoder


def test_a_network_without_an_encoder() -> None:
    model = nn.Conv2d(3, 2, 1)
    with pytest.raises(ModelError, match="Conv2d has no encoder"):
        freeze_encoder(model)
    with pytest.raises(ModelError, match="Conv2d has no encoder"):
        build_optimizer(model, OptimizerSettings(encoder_factor=0.1))
    assert len(build_optimizer(model, OptimizerSettings()).param_groups) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "adam"}, "there is no optimizer 'adam'; there are: adamw, sgd"),
        ({"lr": 0.0}, r"lr 0\.0"),
        ({"lr": float("nan")}, "lr nan"),
        ({"weight_decay": -1.0}, r"weight decay -1\.0"),
        ({"momentum": 1.0}, r"momentum 1\.0"),
        ({"encoder_factor": 0.0}, r"encoder factor 0\.0"),
    ],
)
def test_parameters_out_of_range(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        OptimizerSettings(**settings)
