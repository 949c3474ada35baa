"""Monte Carlo dropout: Gal & Ghahramani 2016, "Dropout as a Bayesian Approximation", https://arxiv.org/abs/1506.02142.

For segmentation as Kendall, Badrinarayanan & Cipolla 2015 do it, "Bayesian SegNet", https://arxiv.org/abs/1511.02680:
the mean over the softmax of some passes is the map, and batch normalisation keeps the statistics that it learned.

Every tile and sample has random numbers of its own: neither the batch, nor the order, nor where a run was resumed
changes a score.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import nn

from geoseg.choices import WITH_DROPOUT
from geoseg.errors import ModelError
from geoseg.predictors.networks import TileNetwork

_ELEMENTS = (nn.Dropout,)
_CHANNELS = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)

Keys = Sequence[tuple[int, int]]


class SeededDropout(nn.Module):
    """Drops elements or whole channels, with a generator for each item of the batch.

    Args:
        p: Share that is dropped, below 1.
        channels: Drop whole channels.
    """

    def __init__(self, p: float, *, channels: bool) -> None:
        super().__init__()
        self.p, self.channels = p, channels
        self.generators: list[torch.Generator] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What is kept, divided by the share that is."""
        # Some networks cut an image into windows along the batch axis, which then is a multiple of the images.
        each = x.shape[0] // len(self.generators)
        shape = (each, x.shape[1], *(1 for _ in x.shape[2:])) if self.channels else (each, *x.shape[1:])
        drawn = [torch.rand(shape, generator=g, device=x.device) for g in self.generators]
        return x * (torch.cat(drawn) >= self.p) / (1 - self.p)


class SampledNetwork(nn.Module):
    """The mean of several passes in which dropout, and nothing else, is random.

    Args:
        graph: The network from tiles to probabilities; its dropout is replaced.
        samples: Passes.
        name: Of the model, for messages.

    Raises:
        ModelError: The network has no dropout.
    """

    def __init__(self, graph: TileNetwork, samples: int, name: str) -> None:
        super().__init__()
        self._layers = replace_dropout(graph)
        if not self._layers:
            raise ModelError(
                f"model {name!r} has no dropout, so that Monte Carlo dropout would give {samples} equal maps; "
                f"leave it out, or train a network that has: {', '.join(WITH_DROPOUT)}"
            )
        self.graph, self._samples = graph, samples

    def forward(self, values: torch.Tensor, present: torch.Tensor, keys: Keys) -> torch.Tensor:
        """(B, K + 1, T, T) float32: mean probabilities, then the mean of the samples' entropies (natural log)."""
        scores = entropy = torch.zeros(())
        for sample in range(self._samples):
            self._seed(keys, sample, values.device)
            drawn: torch.Tensor = self.graph(values, present)
            own = torch.special.entr(drawn).sum(1, keepdim=True)
            scores, entropy = (drawn, own) if sample == 0 else (scores + drawn, entropy + own)
        return torch.cat([scores, entropy], 1) / self._samples

    def _seed(self, keys: Keys, sample: int, device: torch.device) -> None:
        generators = [torch.Generator(device).manual_seed(seed_of(key, sample)) for key in keys]
        for layer in self._layers:
            layer.generators = generators


def replace_dropout(network: nn.Module) -> list[SeededDropout]:
    """Put a :class:`SeededDropout` in the place of every dropout module that drops anything."""
    layers: list[SeededDropout] = []
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, _ELEMENTS + _CHANNELS) and 0 < child.p < 1:
                layers.append(SeededDropout(child.p, channels=isinstance(child, _CHANNELS)))
                setattr(parent, name, layers[-1])
    return layers


def seed_of(key: tuple[int, int], sample: int) -> int:
    """A number for a tile and a sample; the same on every machine."""
    text = f"{key[0]} {key[1]} {sample}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1
