"""SegNet: Badrinarayanan, Kendall & Cipolla 2017, "SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image
Segmentation", https://arxiv.org/abs/1511.00561.
"""  # noqa: D205

from __future__ import annotations

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
    """

    stride_multiple = 1

    def __init__(self, bands: int, classes: int) -> None:
        super().__init__()
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
        places: list[tuple[torch.Tensor, torch.Size]] = []
        for stage in self.encoder:
            x = stage(x)
            size = x.shape[-2:]
            x, indices = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
            places.append((indices, size))
        for stage in self.decoder:
            indices, size = places.pop()
            x = stage(unpool(x, indices, size))
        logits: torch.Tensor = self.classifier(x)
        return logits


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
