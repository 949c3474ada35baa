"""Max-pooling that remembers where its maxima were, and unpooling that puts values back there.

Zeiler, Taylor & Fergus 2011, "Adaptive Deconvolutional Networks for Mid and High Level Feature Learning",
https://doi.org/10.1109/ICCV.2011.6126474; in segmentation since SegNet.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from geoseg.models.reach import OwnNetwork

Unpool = Callable[[torch.Tensor], torch.Tensor]
"""Puts (B, C, h, w) values where the maxima were, 0 elsewhere: (B, C, H, W)."""

Pooled = tuple[torch.Tensor, Unpool]
"""Maxima (B, C, h, w), and what unpools values of that shape."""


class UnpoolingNetwork(OwnNetwork):
    """A network that unpools.

    Attributes:
        max_unpooling: It does.
        dense_unpooling: Pool and unpool by comparing and selecting instead of by indices: the same bits, slower under
            torch, but many times faster where a network is exported to, such as OpenVINO.
    """

    max_unpooling = True
    dense_unpooling = False

    def pool(self, x: torch.Tensor) -> Pooled:
        """2×2 maxima of (B, C, H, W), rounding up, and their unpooling."""
        return pool_dense(x) if self.dense_unpooling else pool_by_indices(x)


def pool_by_indices(x: torch.Tensor) -> Pooled:
    """2×2 maxima of (B, C, H, W), and their unpooling, with the indices that ``max_pool2d`` gives."""
    size = x.shape[-2:]
    pooled, indices = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
    return pooled, lambda values: unpool(values, indices, size)


def unpool(x: torch.Tensor, indices: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """Put each value where its maximum was; 0 elsewhere.

    The same as ``max_unpool2d``, which torch does not count among its repeatable operations because windows could
    overlap. Here they never do, so that every place is written at most once.

    Args:
        x: (B, C, h, w) values.
        indices: (B, C, h, w) int64 places in the flattened (H, W), as from ``max_pool2d``.
        size: (H, W).

    Returns:
        (B, C, H, W).
    """
    flat = x.new_zeros((*x.shape[:2], size[0] * size[1]))
    return flat.scatter(2, indices.flatten(2), x.flatten(2)).view(*x.shape[:2], *size)


def pool_dense(x: torch.Tensor) -> Pooled:
    """As :func:`pool_by_indices`, to the bit, for finite values and without an index.

    Each of the four places of the 2×2 windows is compared with the maximum. Where several hold it, the first in reading
    order counts, as in ``max_pool2d``.
    """
    height, width = x.shape[-2:]
    if height % 2 or width % 2:
        x = F.pad(x, (0, width % 2, 0, height % 2), value=float("-inf"))
    corners = [x[..., row::2, col::2] for row in (0, 1) for col in (0, 1)]
    top, bottom = torch.maximum(*corners[:2]), torch.maximum(*corners[2:])
    pooled = torch.maximum(top, bottom)
    in_top = top == pooled
    left, lower_left = corners[0] == top, corners[2] == bottom
    places = [in_top & left, in_top & ~left, ~in_top & lower_left, ~in_top & ~lower_left]

    def unpool_dense(values: torch.Tensor) -> torch.Tensor:
        spread = torch.stack([torch.where(place, values, 0.0) for place in places], dim=2).flatten(1, 2)
        return F.pixel_shuffle(spread, 2)[..., :height, :width]

    return pooled, unpool_dense
