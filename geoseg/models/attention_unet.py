"""Attention U-Net: Oktay et al. 2018, "Attention U-Net: Learning Where to Look for the Pancreas",
https://arxiv.org/abs/1804.03999.
"""  # noqa: D205

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from geoseg.models.layers import convolutions, initialise
from geoseg.models.options import check_integer
from geoseg.models.reach import OwnNetwork, Span


class AttentionUNet(OwnNetwork):
    """U-Net with batch normalisation whose skips are weighted, pixel by pixel, by what the level below knows.

    The usual form: nearest-neighbour upsampling with a 3×3 convolution, and gates on the upsampled signal at all skips;
    the paper computes them on the coarser grid and interpolates the weights. With three bands and one class there are
    34,878,573 parameters.

    Args:
        bands: Input channels.
        classes: Output channels.
        width: Channels of the first level; each level below has twice as many.
        depth: Levels, counting the one without a pooling above it.

    Raises:
        ParameterError: An option is out of range.
    """

    def __init__(self, bands: int, classes: int, *, width: int = 64, depth: int = 5) -> None:
        super().__init__()
        check_integer("attention-unet", "width", width, 2, 512)
        check_integer("attention-unet", "depth", depth, 2, 8)
        self.phases = 1 << (depth - 1)
        widths = [width << level for level in range(depth)]
        self.encoder = nn.ModuleList(
            convolutions(before, (after, after)) for before, after in pairwise([bands, *widths])
        )
        upwards = widths[::-1]
        self.up = nn.ModuleList(
            nn.Sequential(nn.Upsample(scale_factor=2), *convolutions(below, (above,)))
            for below, above in pairwise(upwards)
        )
        self.gates = nn.ModuleList(AdditiveGate(above) for above in upwards[1:])
        self.merge = nn.ModuleList(convolutions(2 * above, (above, above)) for above in upwards[1:])
        self.classifier = nn.Conv2d(width, classes, kernel_size=1)
        self.apply(initialise)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) normalised pixels to (B, K, H, W) logits."""
        return self.with_attention(x)[0]

    def with_attention(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """(B, C, H, W) normalised pixels to (B, K, H, W) logits and the weights that each skip was given.

        Returns:
            The logits, and maps (B, 1, h, w) of weights 0..1: the first of the image's size, each of the others half as
            large as the one before, rounded up.
        """
        skips: list[torch.Tensor] = []
        maps: list[torch.Tensor] = []
        for level, block in enumerate(self.encoder):
            x = block(x if level == 0 else F.max_pool2d(x, 2, ceil_mode=True))
            skips.append(x)
        skips.pop()
        for up, gate, merge in zip(self.up, self.gates, self.merge, strict=True):
            skip = skips.pop()
            signal = up(x)[..., : skip.shape[-2], : skip.shape[-1]]
            maps.append(gate(signal, skip))
            x = merge(torch.cat([skip * maps[-1], signal], dim=1))
        return self.classifier(x), maps[::-1]

    def reach(self, span: Span) -> Span:
        """See :class:`OwnNetwork`."""
        return self._reach(span, len(self.up))

    def _reach(self, span: Span, below: int) -> Span:
        """From the output of a level with so many levels below to the input of its first block."""
        if below:
            joined = span.convolved(3).convolved(3)
            span = joined | self._reach(joined.convolved(3).upsampled(), below - 1).pooled()
        return span.convolved(3).convolved(3)


class AdditiveGate(nn.Module):
    """How much of a skip to let through: section 3.1, equations 1 and 2, with batch normalisation.

    Args:
        channels: Of the skip, and of the signal from below; half as many between.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        between = channels // 2
        self.of_signal = convolutions(channels, (between,), kernel=1, relu=False)
        self.of_skip = convolutions(channels, (between,), kernel=1, relu=False)
        self.weight = convolutions(between, (1,), kernel=1, relu=False)

    def forward(self, signal: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) twice to (B, 1, H, W) weights 0..1."""
        return torch.sigmoid(self.weight(torch.relu(self.of_signal(signal) + self.of_skip(skip))))
