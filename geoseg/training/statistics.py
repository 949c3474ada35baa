"""Statistics of batch normalisation for the weights that are saved, and not for those of many steps before.

Wu & Johnson 2021, "Rethinking Batch in BatchNorm", https://arxiv.org/abs/2105.07576, section 3: what is gathered while
a network learns is an average over weights that it no longer has.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from geoseg.config.training import TrainingConfig
from geoseg.errors import ParameterError
from geoseg.training.optimizers import encoder_of


def renewable(network: nn.Module, config: TrainingConfig) -> list[_BatchNorm]:
    """The batch normalisations whose statistics are to be computed anew; none where the settings do not ask for it.

    Those of an encoder that was frozen to the end are not among them: they are part of what it has learned.

    Args:
        network: That is saved.
        config: Of its training.

    Raises:
        ParameterError: It is asked for, and there are none.
    """
    if not config.trainer.precise_bn:
        return []
    frozen: Collection[nn.Module] = ()
    if config.model.freeze_encoder < 0 or config.model.freeze_encoder >= config.trainer.epochs:
        frozen = set(encoder_of(network).modules())
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    found = [norm for norm in norms if norm not in frozen]
    if not found:
        raise ParameterError(
            f"trainer.precise_bn {config.trainer.precise_bn} has nothing to do: {config.model.architecture} "
            f"{'learns' if norms else 'has'} no batch normalisation; leave it out"
        )
    return found


def renew_statistics(network: nn.Module, norms: Sequence[_BatchNorm], images: Iterable[torch.Tensor]) -> None:
    """Let batch normalisations have mean and variance of what comes to them, over all pixels of all images alike.

    While these images pass, each of them normalises by its batch, as in training; all else, dropout included, is as in
    prediction. torch's ``update_bn`` is not exact: it averages the variances within batches, without that between them.

    Args:
        network: In evaluation mode; left so.
        norms: Those of its modules.
        images: Batches of (B, C, H, W) normalised pixels.
    """
    found = {norm: _Moments() for norm in norms}

    def listen(norm: nn.Module, given: tuple[Any, ...]) -> None:
        found[norm].add(given[0])  # type: ignore[index] # hooks are told nn.Module

    with ExitStack() as stack, torch.no_grad():
        for norm in norms:
            stack.callback(norm.register_forward_pre_hook(listen).remove)
            stack.callback(norm.eval)
            norm.train()
        for batch in images:
            network(batch)
    for norm, moments in found.items():
        moments.give(norm)


@dataclass(slots=True, eq=False)
class _Moments:
    """Of each channel, put together from batches after Chan, Golub & LeVeque 1979.

    Attributes:
        count: Values of a channel.
        mean: (C,) float64.
        squares: (C,) float64, sum of squared distances from the mean.
    """

    count: int = 0
    mean: torch.Tensor | None = None
    squares: torch.Tensor | None = None

    def add(self, values: torch.Tensor) -> None:
        """Take in (B, C, ...)."""
        own, but_channels = values.numel() // values.shape[1], (0, *range(2, values.ndim))
        variance, mean = (t.cpu().double() for t in torch.var_mean(values.float(), but_channels, correction=0))
        if self.mean is None or self.squares is None:
            self.count, self.mean, self.squares = own, mean, variance * own
            return
        total, apart = self.count + own, mean - self.mean
        self.squares = self.squares + variance * own + apart.square() * (self.count * own / total)
        self.mean = self.mean + apart * (own / total)
        self.count = total

    def give(self, norm: _BatchNorm) -> None:
        """Put mean and variance, of a sample as torch has it, where the normalisation keeps them."""
        if self.mean is None or self.squares is None or norm.running_mean is None or norm.running_var is None:
            return  # nothing came by
        norm.running_mean.copy_(self.mean)
        norm.running_var.copy_(self.squares / max(1, self.count - 1))
