"""The loss of an auxiliary head: which classes a chip holds at all.

Zhang et al. 2018, "Context Encoding for Semantic Segmentation", https://arxiv.org/abs/1803.08904, section 3.2: large
and small things count alike, and the encoder learns what goes together.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from geoseg.legend import IGNORE_ID
from geoseg.models.auxiliary import has_auxiliary, with_presence

AUXILIARY_WEIGHT = 0.2
"""What the loss of the head weighs beside that of the map where nothing is said; the paper's."""


def answer(network: nn.Module, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What a network says of chips.

    Args:
        network: (B, C, H, W) normalised pixels to (B, K, H, W) logits.
        pixels: Of the chips.

    Returns:
        The logits, and (B, K) those of its auxiliary head; None where it has none.
    """
    if has_auxiliary(network):
        return with_presence(network, pixels)
    return network(pixels), None


def whole_loss(
    of_map: torch.Tensor, presence: torch.Tensor | None, indices: torch.Tensor, weight: float
) -> torch.Tensor:
    """The loss of the map and, where there is an auxiliary head, its own times ``weight``."""
    return of_map if presence is None else of_map + weight * presence_loss(presence, indices)


def presence_loss(presence: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Mean binary cross-entropy over classes and chips; chips without a labelled pixel say nothing.

    Args:
        presence: (B, K) logits that a class occurs in the chip; half precision is taken to float32 first.
        indices: (B, H, W) int64, 0..K-1, 255 = ignore: what is not labelled is not there.

    Returns:
        A scalar; 0, with a gradient of 0, where every pixel is ignored.
    """
    logits = presence.to(torch.promote_types(presence.dtype, torch.float32))
    there = torch.stack([(indices == k).flatten(1).any(dim=1) for k in range(logits.shape[1])], dim=1)
    labelled = (indices != IGNORE_ID).flatten(1).any(dim=1)
    losses = F.binary_cross_entropy_with_logits(logits, there.to(logits), reduction="none").mean(dim=1)
    return (losses * labelled).sum() / labelled.sum().clamp(min=1)
