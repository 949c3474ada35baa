"""Residual U-Net: Zhang, Liu & Wang 2018, "Road Extraction by Deep Residual U-Net", https://arxiv.org/abs/1711.10684."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from geoseg.models.layers import initialise
from geoseg.models.options import check_integer
from geoseg.models.reach import OwnNetwork, Span


class ResidualUNet(OwnNetwork):
    """U-Net of pre-activation residual units, which halve the image by strides instead of by pooling.

    As in the paper's table 1: three units down, one as the bridge, three up, nearest-neighbour upsampling between.
    Strides round up; what upsampling then gives too much is cut off before it meets the skip. With three bands and one
    class there are 8,223,809 parameters: the paper's 7.8 million 3×3 filters, and the projections of the shortcuts.

    Args:
        bands: Input channels.
        classes: Output channels.
        width: Channels of the first level; each level below has twice as many.
        depth: Levels, counting the bridge.

    Raises:
        ParameterError: An option is out of range.
    """

    def __init__(self, bands: int, classes: int, *, width: int = 64, depth: int = 4) -> None:
        super().__init__()
        check_integer("residual-unet", "width", width, 1, 512)
        check_integer("residual-unet", "depth", depth, 1, 8)
        self.phases = 1 << (depth - 1)
        widths = [width << level for level in range(depth)]
        lower = [ResidualUnit(above, below, stride=2) for above, below in pairwise(widths)]
        self.encoder = nn.ModuleList([ResidualUnit(bands, width, first=True), *lower])
        self.merge = nn.ModuleList(ResidualUnit(below + above, above) for below, above in pairwise(widths[::-1]))
        self.classifier = nn.Conv2d(width, classes, kernel_size=1)
        self.apply(initialise)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) normalised pixels to (B, K, H, W) logits."""
        skips: list[torch.Tensor] = []
        for unit in self.encoder:
            x = unit(x)
            skips.append(x)
        skips.pop()
        for unit in self.merge:
            skip = skips.pop()
            larger = F.interpolate(x, scale_factor=2)[..., : skip.shape[-2], : skip.shape[-1]]
            x = unit(torch.cat([larger, skip], dim=1))
        logits: torch.Tensor = self.classifier(x)
        return logits

    def reach(self, span: Span) -> Span:
        """See :class:`OwnNetwork`."""
        return self._reach(span, 0)

    def _reach(self, span: Span, level: int) -> Span:
        """From the output of the last unit of a level to the input of its first."""
        if level < len(self.merge):
            joined = span.convolved(3).convolved(3)
            span = joined | self._reach(joined.upsampled(), level + 1)
        return span.convolved(3).convolved(3, stride=2 if level else 1)


class ResidualUnit(nn.Module):
    """Normalisation, ReLU and 3×3 convolution, twice, added to the input: He et al. 2016, https://arxiv.org/abs/1603.05027.

    Args:
        before: Input channels.
        after: Output channels.
        stride: Of the first convolution.
        first: The unit sees pixels: no normalisation and ReLU before its first convolution.
    """

    def __init__(self, before: int, after: int, *, stride: int = 1, first: bool = False) -> None:
        super().__init__()
        activation = [] if first else [nn.BatchNorm2d(before), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(
            *activation,
            nn.Conv2d(before, after, kernel_size=3, padding=1, stride=stride),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
            nn.Conv2d(after, after, kernel_size=3, padding=1),
        )
        # Channels differ everywhere in this network, so that no sum is with the bare input.
        self.shortcut = nn.Sequential(nn.Conv2d(before, after, kernel_size=1, stride=stride), nn.BatchNorm2d(after))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to (B, D, H / stride, W / stride), rounded up."""
        total: torch.Tensor = self.body(x) + self.shortcut(x)
        return total
