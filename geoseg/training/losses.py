"""What training minimises: cross-entropy plus soft Dice."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from geoseg.legend import IGNORE_ID


def segmentation_loss(logits: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy plus soft Dice (Milletari et al. 2016, "V-Net", https://arxiv.org/abs/1606.04797).

    Cross-entropy gives good gradients everywhere, Dice keeps small classes from being drowned by large ones. Dice is
    taken over the whole batch and averaged over the classes that occur in it.

    Args:
        logits: (B, K, H, W) float.
        indices: (B, H, W) int64, 0..K-1, 255 = ignore.

    Returns:
        A scalar; 0, with a gradient of 0, where every pixel is ignored.
    """
    valid = indices != IGNORE_ID
    count = valid.sum()
    # reduction="mean" would be 0/0 = NaN for a batch without labels.
    cross_entropy = F.cross_entropy(logits, indices, ignore_index=IGNORE_ID, reduction="sum") / count.clamp(min=1)
    return cross_entropy + _soft_dice(logits, indices, valid)


def _soft_dice(logits: torch.Tensor, indices: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    probabilities = torch.softmax(logits, dim=1) * valid[:, None]
    truth = F.one_hot(indices.where(valid, 0), logits.shape[1]).movedim(-1, 1) * valid[:, None]
    overlap = (probabilities * truth).sum(dim=(0, 2, 3))
    total = probabilities.sum(dim=(0, 2, 3)) + truth.sum(dim=(0, 2, 3))
    occurs = truth.sum(dim=(0, 2, 3)) > 0
    dice = 2 * overlap / total.clamp(min=1e-6)
    return ((1 - dice) * occurs).sum() / occurs.sum().clamp(min=1)
