"""Batch normalisation over several GPUs: nothing of the network is lost on the way there and back."""

from __future__ import annotations

import copy
import logging

import pytest
import torch
from lightning.pytorch import Trainer
from own_networks import (
    noise,
    one_thread,  # noqa: F401
)
from small_training import config
from timm.layers.norm_act import BatchNormAct2d
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from geoseg.models import create_model
from geoseg.training.running import plugins_of
from geoseg.training.statistics import renew_statistics, renewable
from geoseg.training.syncing import KeptSync


class Scaled(nn.BatchNorm2d):
    """No plain normalisation."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def timm_network(seed: int = 0) -> nn.Module:
    """An encoder whose activations are in its normalisations, and a decoder with plain ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return create_model(
            "smp.unet", bands=3, classes=4, encoder="tu-mobilenetv3_small_050", encoder_weights=None,
            decoder_channels=(16, 8, 8, 4, 4),
        )  # fmt: skip


def kinds(network: nn.Module) -> list[tuple[str, type[nn.Module]]]:
    return [(name, type(module)) for name, module in network.named_modules()]


def learn(network: nn.Module, steps: int = 2) -> None:
    """What changes weights and statistics."""
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    for step in range(steps):
        optimizer.zero_grad()
        network(noise(4, 3, 64, 64, seed=step)).square().mean().backward()
        optimizer.step()
    network.eval()


def test_it_learns_what_the_network_alone_learns_and_gives_it_back() -> None:
    plain = timm_network()
    assert any(isinstance(module, BatchNormAct2d) for module in plain.modules())
    shared, before, sync = copy.deepcopy(plain), kinds(plain), KeptSync()
    modules = dict(shared.named_modules())
    assert sync.apply(shared) is shared
    norms = [module for module in shared.modules() if isinstance(module, _BatchNorm)]
    assert norms
    assert all(isinstance(norm, nn.SyncBatchNorm) for norm in norms)
    assert shared.state_dict().keys() == plain.state_dict().keys()
    learn(plain)
    learn(shared)
    assert sync.revert(shared) is shared
    assert kinds(shared) == before
    assert all(module is modules[name] for name, module in shared.named_modules())
    learned = plain.state_dict()
    assert all(torch.equal(value, learned[name]) for name, value in shared.state_dict().items())
    with torch.inference_mode():
        assert torch.equal(shared(noise(1, 3, 64, 64)), plain(noise(1, 3, 64, 64)))


def test_what_a_device_holds_comes_back() -> None:
    made, sync = timm_network(), KeptSync()
    # To move a network replaces its buffers.
    sync.revert(sync.apply(made).double())
    assert {value.dtype for value in made.state_dict().values() if value.is_floating_point()} == {torch.float64}


def test_a_frozen_encoder_comes_back_as_it_was_left() -> None:
    made, sync = timm_network().train(), KeptSync()
    sync.apply(made)
    encoder = made.get_submodule("encoder").eval()
    sync.revert(made)
    assert {module.training for module in encoder.modules()} == {False}
    assert {module.training for module in made.get_submodule("decoder").modules()} == {True}


def test_precise_statistics_find_their_normalisations_afterwards() -> None:
    made, sync = timm_network(), KeptSync()
    given = config(trainer={"precise_bn": 1})
    before = renewable(made, given)
    sync.revert(sync.apply(made))
    assert renewable(made, given) == before


def test_precise_statistics_know_every_kind_of_batch_normalisation() -> None:
    line = nn.BatchNorm1d(3)
    assert renewable(line, config(trainer={"precise_bn": 1})) == [line]
    images = [noise(4, 3, 7), noise(5, 3, seed=1) + 2]
    renew_statistics(line.eval(), [line], images)
    values = torch.cat([images[0].transpose(0, 1).flatten(1), images[1].T], dim=1)
    torch.testing.assert_close(line.running_mean, values.mean(1))
    torch.testing.assert_close(line.running_var, values.var(1))


def test_a_module_in_two_places_stays_one() -> None:
    norm = nn.BatchNorm2d(3)
    made, sync = nn.Sequential(norm, nn.ReLU(), norm), KeptSync()
    sync.apply(made)
    synced = list(made)
    assert isinstance(synced[0], nn.SyncBatchNorm)
    assert synced[0] is synced[2]
    sync.revert(made)
    assert made[0] is norm
    assert made[2] is norm


def test_what_is_no_plain_normalisation_is_left_alone_and_named(caplog: pytest.LogCaptureFixture) -> None:
    made = nn.Sequential(Scaled(3), nn.BatchNorm2d(3), nn.SyncBatchNorm(3))
    before, sync = list(made), KeptSync()
    with caplog.at_level(logging.WARNING, logger="geoseg"):
        sync.apply(made)
    assert caplog.messages == [m for m in caplog.messages if m.startswith("Scaled normalises by the chips of each GPU")]
    assert len(caplog.messages) == 1
    assert made[0] is before[0]
    assert isinstance(made[1], nn.SyncBatchNorm)
    assert made[2] is before[2]
    sync.revert(made)
    assert list(made) == before


@pytest.mark.parametrize(
    ("accelerator", "devices", "several"), [("gpu", 2, True), ("gpu", 1, False), ("cpu", 2, False), ("mps", 1, False)]
)
def test_several_gpus_share_statistics_and_processes_on_cpus_do_not(
    accelerator: str, devices: int, several: bool
) -> None:
    plugins = plugins_of(accelerator, devices)  # type: ignore[arg-type]
    assert any(isinstance(plugin, KeptSync) for plugin in plugins) == several
    # Lightning takes it for what it is.
    trainer = Trainer(
        accelerator="cpu", devices=2, strategy="ddp", plugins=plugins, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    assert isinstance(trainer.strategy._layer_sync, KeptSync) == several  # type: ignore[attr-defined]
