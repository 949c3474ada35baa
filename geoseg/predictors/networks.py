"""A network with all that belongs to it: stored samples in, probabilities out, in one graph."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from geoseg.predictors.options import Loaded


class TileNetwork(nn.Module):
    """Normalisation, the network at one or more scales, and softmax.

    Normalisation gives the very bits of :meth:`geoseg.normalization.BandStats.normalize`.

    Args:
        loaded: What to run.
        network: The network of ``loaded``, or what computes the same.
        tile_size: Side of the tiles in pixels.
        sides: Sides in pixels to which tiles are resized before the network; scores are resized back and averaged.
        dtype: Of the network's own arithmetic; everything before and after is float32.
        channels_last: Lay the network's input out with the bands last.
    """

    mean: torch.Tensor
    inverse_std: torch.Tensor

    def __init__(
        self,
        loaded: Loaded,
        network: nn.Module,
        tile_size: int,
        sides: tuple[int, ...],
        *,
        dtype: torch.dtype = torch.float32,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.network = network.eval().to(dtype)
        self.sides = sides
        self._tile_size = tile_size
        self.temperature = loaded.spec.temperature
        self._dtype = dtype
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        mean = torch.tensor(loaded.stats.mean, dtype=torch.float32)
        std = torch.tensor(loaded.stats.std, dtype=torch.float64)
        self.register_buffer("mean", mean[:, None, None], persistent=False)
        self.register_buffer("inverse_std", (1.0 / std).float()[:, None, None], persistent=False)
        if channels_last:
            self.network.to(memory_format=torch.channels_last)

    def forward(self, values: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """(B, C, T, T) stored samples and (B, 1 or C, T, T) bool to (B, K, T, T) float32 probabilities.

        Of a network without padding less, by what it eats.
        """
        x = self.normalized(values, present)
        scores = self._at(x, self.sides[0])
        for side in self.sides[1:]:
            scores = scores + self._at(x, side)
        return scores / len(self.sides) if len(self.sides) > 1 else scores

    def normalized(self, values: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """(B, C, T, T) float32 network input; 0, the mean, where a sample is absent."""
        return torch.where(present, (values.float() - self.mean) * self.inverse_std, 0.0)

    def _at(self, x: torch.Tensor, side: int) -> torch.Tensor:
        size = self._tile_size
        resized = x if side == size else _resized(x, side)
        logits = self.network(resized.to(dtype=self._dtype, memory_format=self._format)).float()
        scores = torch.softmax(logits / self.temperature if self.temperature != 1 else logits, dim=1)
        return scores if side == size else _resized(scores, size)


def _resized(x: torch.Tensor, side: int) -> torch.Tensor:
    return F.interpolate(x, size=(side, side), mode="bilinear", antialias=True, align_corners=False)


def network_sides(tile_size: int, scales: tuple[float, ...], multiple: int) -> tuple[int, ...]:
    """For each scale the side that the network can take nearest to the scaled tile's."""
    return tuple(max(1, round(tile_size * scale / multiple)) * multiple for scale in scales)
