"""Optimizers, and encoders that learn more slowly or not at all."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from geoseg.errors import ModelError, ParameterError
from geoseg.models.unet import UNet

OptimizerKind = Literal["adamw", "sgd"]
"""What makes steps of gradients."""

_DEFAULTS = {"adamw": (1e-3, 1e-2), "sgd": (0.1, 0.0)}
"""Learning rate and weight decay by kind."""


@dataclass(frozen=True, slots=True)
class OptimizerSettings:
    """How a network's parameters are changed.

    ``sgd`` with its defaults is what SegNet is trained with (Badrinarayanan et al. 2017, section 4.1); the paper names
    no weight decay. ``adamw`` is Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101.

    Attributes:
        kind: Which optimizer.
        lr: Learning rate above 0; None = 0.001 for ``adamw``, 0.1 for ``sgd``.
        weight_decay: From 0 up; None = 0.01 for ``adamw``, 0 for ``sgd``. Biases and the parameters of normalisation
            layers have none: there it would only pull the map's scale and offset about.
        momentum: Of ``sgd``, 0 <= momentum < 1.
        encoder_factor: The encoder's learning rate as a share of the others', above 0. To stop it altogether, see
            :func:`freeze_encoder`.

    Raises:
        ParameterError: An attribute is out of range.
    """

    kind: OptimizerKind = "adamw"
    lr: float | None = None
    weight_decay: float | None = None
    momentum: float = 0.9
    encoder_factor: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in _DEFAULTS:
            raise ParameterError(f"there is no optimizer {self.kind!r}; there are: {', '.join(_DEFAULTS)}")
        for name, default in zip(("lr", "weight_decay"), _DEFAULTS[self.kind], strict=True):
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)
        numbers = (self.lr or 0.0, self.weight_decay or 0.0, self.momentum, self.encoder_factor)
        lr, decay, momentum, factor = numbers
        if not all(map(math.isfinite, numbers)) or lr <= 0 or decay < 0 or not 0 <= momentum < 1 or factor <= 0:
            raise ParameterError(
                f"lr {lr}, weight decay {decay}, momentum {momentum}, encoder factor {factor}: "
                "give a decay from 0 up, a momentum in 0..1, the others above 0"
            )


def build_optimizer(model: nn.Module, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """An optimizer over every parameter of the network, in up to four groups: encoder or not, with decay or without.

    Frozen parameters are in it too: they get no gradient and stay as they are, until they are let go.

    Args:
        model: From ``create_model``.
        settings: Which optimizer, how fast.

    Raises:
        ModelError: An encoder factor, and no encoder.
    """
    groups = list(_groups(model, settings))
    if settings.kind == "sgd":
        return torch.optim.SGD(groups, lr=settings.lr or 0.0, momentum=settings.momentum)
    return torch.optim.AdamW(groups, lr=settings.lr or 0.0)


def _groups(model: nn.Module, settings: OptimizerSettings) -> Iterator[dict[str, Any]]:
    inside = {id(p) for p in encoder_of(model).parameters()} if settings.encoder_factor != 1 else set()
    lr = settings.lr or 0.0
    for name, of_encoder, rate in (("encoder", True, lr * settings.encoder_factor), ("rest", False, lr)):
        own = [p for p in model.parameters() if (id(p) in inside) == of_encoder]
        # Weights of convolutions and linear layers have two axes or more; biases, scales and shifts have one.
        kinds = {"decay": [p for p in own if p.ndim > 1], "plain": [p for p in own if p.ndim <= 1]}
        for kind, params in kinds.items():
            decay = settings.weight_decay if kind == "decay" else 0.0
            if params:
                yield {"params": params, "name": f"{name}/{kind}", "lr": rate, "weight_decay": decay}


def encoder_of(model: nn.Module) -> nn.Module:
    """The part of a network that pre-trained weights are for: SMP's and SegNet's encoder, U-Net's contracting path.

    Raises:
        ModelError: The network has none.
    """
    encoder = model.down if isinstance(model, UNet) else getattr(model, "encoder", None)
    if not isinstance(encoder, nn.Module):
        raise ModelError(f"{type(model).__name__} has no encoder; leave the encoder's factor and freezing out")
    return encoder


def freeze_encoder(model: nn.Module, frozen: bool = True) -> None:
    """Stop the encoder from learning, or let it go; train with :func:`train_mode` for its statistics to stay too."""
    encoder_of(model).requires_grad_(not frozen)


def train_mode(model: nn.Module) -> None:
    """As ``model.train()``, but modules all of whose parameters are frozen stay in evaluation mode.

    A batch normalisation without gradients still moves its statistics with every batch in training mode, and a frozen
    encoder would drift.
    """
    model.train()
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            module.eval()
