"""SegNet: Badrinarayanan, Kendall & Cipolla 2017, "SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image
Segmentation", https://arxiv.org/abs/1511.00561.
"""  # noqa: D205

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

# Output channels of the 13 convolutions of VGG16 (Simonyan & Zisserman 2015), by stage.
_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class SegNet(nn.Module):
    """VGG16 with batch normalisation, and its mirror that unpools by the stored places of the maxima.

    Pooling rounds up, and unpooling restores the stored size, so that images of any size from 1×1 up keep every pixel.
    With three bands and twelve classes there are 29,443,788 parameters.

    Args:
        bands: Input channels.
        classes: Output channels.

    Attributes:
        dense_unpooling: Pool and unpool by comparing and selecting instead of by indices: the same bits, slower under
            torch, but many times faster where a network is exported to, such as OpenVINO.
    """

    stride_multiple = 1
    max_unpooling = True

    def __init__(self, bands: int, classes: int) -> None:
        super().__init__()
        self.dense_unpooling = False
        widths = [stage[-1] for stage in _STAGES]
        self.encoder = nn.ModuleList(
            _convolutions(before, stage) for before, stage in zip([bands, *widths[:-1]], _STAGES, strict=True)
        )
        # The mirror: as many convolutions, the last of them going over to the channels of the stage above. At the top
        # the classifier stands for the mirror of the very first convolution.
        mirrored = [(*stage[:-1], above[-1]) for above, stage in pairwise(_STAGES)]
        self.decoder = nn.ModuleList(_convolutions(stage[0], stage) for stage in reversed([_STAGES[0][:1], *mirrored]))
        self.classifier = nn.Conv2d(64, classes, kernel_size=1)
        self.apply(_initialise)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) normalised pixels to (B, K, H, W) logits."""
        pool = pool_dense if self.dense_unpooling else pool_by_indices
        unpools: list[Callable[[torch.Tensor], torch.Tensor]] = []
        for stage in self.encoder:
            x, unpool = pool(stage(x))
            unpools.append(unpool)
        for stage in self.decoder:
            x = stage(unpools.pop()(x))
        logits: torch.Tensor = self.classifier(x)
        return logits


Pooled = tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]
"""Maxima (B, C, h, w), and what puts values of that shape where the maxima were, 0 elsewhere: (B, C, H, W)."""


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


def _convolutions(before: int, channels: tuple[int, ...]) -> nn.Sequential:
    """3×3 convolutions, each with batch normalisation and ReLU."""
    layers: list[nn.Module] = []
    for after in channels:
        layers += [nn.Conv2d(before, after, kernel_size=3, padding=1), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        before = after
    return nn.Sequential(*layers)


def _initialise(module: nn.Module) -> None:
    """He et al. 2015, as the paper says in section 4.1."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
