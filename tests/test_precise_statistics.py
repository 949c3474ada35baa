"""Statistics of batch normalisation, computed anew: those of one large batch, for the weights that are saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from own_networks import (
    noise,
    one_thread,  # noqa: F401
)
from small_training import config, source
from torch import nn

from geoseg.errors import ParameterError
from geoseg.models import create_model, load_model
from geoseg.training.runs import RunFolder
from geoseg.training.statistics import renew_statistics, renewable
from geoseg.training.workflow import train_on


def network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Dropout2d(), nn.Conv2d(5, 3, 1)
        ).eval()


def test_statistics_are_those_of_one_large_batch() -> None:
    made = network()
    images = [noise(1, 2, 9, 12) * 3 + 7, noise(4, 2, 16, 16), noise(2, 2, 8, 8) - 2]
    norm = made[1]
    assert isinstance(norm, nn.BatchNorm2d)
    renew_statistics(made, [norm], images)
    with torch.inference_mode():
        values = torch.cat([made[0](image).transpose(0, 1).flatten(1) for image in images], dim=1).double()
    torch.testing.assert_close(norm.running_mean, values.mean(1).float())
    torch.testing.assert_close(norm.running_var, values.var(1).float())
    assert not any(module.training for module in made.modules())
    assert not norm._forward_pre_hooks


def test_nothing_else_is_changed() -> None:
    made, before = network(), network().state_dict()
    norm = made[1]
    assert isinstance(norm, nn.BatchNorm2d)
    renew_statistics(made, [norm], [noise(2, 2, 9, 9)])
    changed = {name for name, tensor in made.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}


def settings(**more: Any) -> Any:
    return config(trainer={"epochs": 2, **more.pop("trainer", {})}, chips={"per_epoch": 8}, **more)


def saved(folder: Path, given: Any, *, resume: bool = False) -> dict[str, torch.Tensor]:
    """The tensors of the model that a training writes."""
    train_on(source(), given, RunFolder(folder), resume=resume)
    tensors: dict[str, torch.Tensor] = load_model(folder / "model.safetensors")[0].state_dict()
    return tensors


def test_a_training_saves_the_weights_it_had_and_statistics_of_its_chips(tmp_path: Path) -> None:
    plain = saved(tmp_path / "plain", settings())
    given = settings(trainer={"precise_bn": 3})
    precise = saved(tmp_path / "precise", given)
    changed = {name for name in plain if not torch.equal(plain[name], precise[name])}
    assert {name.rpartition(".")[2] for name in changed} == {"running_mean", "running_var", "num_batches_tracked"}
    assert sum(name.endswith("running_var") for name in plain) == sum(name.endswith("running_var") for name in changed)
    # A finished run that is resumed computes them once more.
    again = saved(tmp_path / "precise", given, resume=True)
    assert all(torch.equal(precise[name], again[name]) for name in precise)


@pytest.mark.parametrize(("freeze", "kept"), [(0, 0), (1, 0), (2, 1), (-1, 1)])
def test_a_frozen_encoder_keeps_its_own(freeze: int, kept: int) -> None:
    given = settings(trainer={"precise_bn": 1}, model={"freeze_encoder": freeze})
    made = create_model("unet", bands=2, classes=3, width=4, depth=2)
    norms = {module for module in made.modules() if isinstance(module, nn.BatchNorm2d)}
    encoder = {module for module in made.get_submodule("down").modules() if isinstance(module, nn.BatchNorm2d)}
    assert encoder
    assert norms - set(renewable(made, given)) == (encoder if kept else set())


def test_where_there_is_nothing_to_do(tmp_path: Path) -> None:
    assert renewable(network(), settings()) == []
    given = settings(trainer={"precise_bn": 1}, model={"options": {"width": 4, "depth": 2, "batch_norm": False}})
    with pytest.raises(ParameterError, match=r"precise_bn 1 has nothing to do: unet has no batch norm.*leave it out"):
        train_on(source(), given, RunFolder(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
