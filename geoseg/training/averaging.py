"""The exponential moving average of a network's weights, which is often better than the weights themselves."""

from __future__ import annotations

import copy

import torch
from torch import nn


class MovingAverage(nn.Module):
    """A copy of a network that follows it, statistics of normalisation included.

    Polyak & Juditsky 1992, with the decay min(decay, (1 + n) / (10 + n)) after n updates, as TensorFlow and timm have
    it: at the beginning there is little that is worth to be remembered. torch's ``AveragedModel`` makes a GPU wait with
    every update, because it counts them there.

    Args:
        network: What is followed.
        decay: Share of the average that stays with an update, 0 <= decay < 1.

    Attributes:
        module: The average; learns nothing by itself.
        updates: How many there were.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.module = copy.deepcopy(network).requires_grad_(requires_grad=False)
        self.updates = 0
        self._decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Follow the network a step."""
        share = 1 - min(self._decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for average, value in zip(self.module.state_dict().values(), network.state_dict().values(), strict=True):
            if average.is_floating_point():
                average.lerp_(value, share)
            else:  # counters
                average.copy_(value)

    def get_extra_state(self) -> int:
        """For checkpoints."""
        return self.updates

    def set_extra_state(self, state: int) -> None:
        """From a checkpoint."""
        self.updates = state
