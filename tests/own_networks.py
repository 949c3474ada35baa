"""geoseg's own networks, tiny, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from geoseg.models import create_model
from geoseg.models.reach import OwnNetwork

TINY: dict[str, dict[str, Any]] = {
    "segnet": {"width": 2},
    "segnet-basic": {"width": 3},
    "bayesian-segnet": {"width": 2, "dropout": 0.2},
    "unet": {"width": 2},
    "residual-unet": {"width": 2},
    "attention-unet": {"width": 2},
    "fcn8s": {"width": 1, "dropout": 0.2},
    "fcn16s": {"width": 1, "dropout": 0.2},
    "fcn32s": {"width": 1, "dropout": 0.2},
    "enet": {"width": 4, "dropout": 0.2},
}
UPSAMPLING = ("transposed", "bilinear", "nearest", "unpool")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks as small as these are faster with one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tiny(name: str, bands: int = 2, classes: int = 3, **options: Any) -> OwnNetwork:
    """Always the same weights; running statistics and PReLUs that are not those of a new network."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = create_model(name, bands=bands, classes=classes, **{**TINY[name], **options})
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.5, 2)
    assert isinstance(network, OwnNetwork)
    return network.eval()


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
