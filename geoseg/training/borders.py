"""Labels of images of which a network without padding eats a border."""

from __future__ import annotations

import torch


def beneath(indices: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """The labels that a loss compares logits with.

    Args:
        indices: (B, S, S) class indices of images.
        logits: (B, K, T, T) of these images; T is S less what the network eats, as much at each side.

    Returns:
        (B, T, T).
    """
    side = logits.shape[-1]
    eaten = (indices.shape[-1] - side) // 2
    return indices[:, eaten : eaten + side, eaten : eaten + side]
