"""U-Net: Ronneberger, Fischer & Brox 2015, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
https://arxiv.org/abs/1505.04597. Same-padded convolutions, so that the map has the size of the image.
"""  # noqa: D205

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from geoseg.errors import ParameterError

Upsampling = Literal["transposed", "bilinear"]


class UNet(nn.Module):
    """A contracting path, an expanding path, and skips between the two, for images of any size from 1×1 up.

    Pooling rounds up, so that the last row or column of an odd side is pooled too; what upsampling then gives too much
    is cut off before it meets the skip. With sides that are multiples of ``2 ** (depth - 1)`` this is the paper's
    network with padding. The original, one band and two classes without batch normalisation, has 31,030,658 parameters.

    Args:
        bands: Input channels.
        classes: Output channels.
        width: Channels of the first level; each level below has twice as many.
        depth: Levels, counting the one without a pooling above it.
        batch_norm: Batch normalisation (Ioffe & Szegedy 2015) after every 3×3 convolution; the paper has none.
        upsampling: ``transposed``: the paper's 2×2 up-convolution. ``bilinear``: interpolation and a 1×1 convolution.

    Raises:
        ParameterError: An option is out of range.
    """

    stride_multiple = 1

    def __init__(
        self,
        bands: int,
        classes: int,
        *,
        width: int = 64,
        depth: int = 5,
        batch_norm: bool = True,
        upsampling: Upsampling = "transposed",
    ) -> None:
        super().__init__()
        _check(width, depth, batch_norm, upsampling)
        widths = [width << level for level in range(depth)]
        self.down = nn.ModuleList(
            _double(before, after, batch_norm) for before, after in zip([bands, *widths[:-1]], widths, strict=True)
        )
        upwards = widths[::-1]
        self.up = nn.ModuleList(_up(below, above, upsampling) for below, above in pairwise(upwards))
        self.merge = nn.ModuleList(_double(2 * above, above, batch_norm) for above in upwards[1:])
        self.classifier = nn.Conv2d(width, classes, kernel_size=1)
        self.apply(_initialise)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) normalised pixels to (B, K, H, W) logits."""
        skips: list[torch.Tensor] = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else F.max_pool2d(x, 2, ceil_mode=True))
            skips.append(x)
        skips.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            skip = skips.pop()
            x = merge(torch.cat([skip, up(x)[..., : skip.shape[-2], : skip.shape[-1]]], dim=1))
        logits: torch.Tensor = self.classifier(x)
        return logits


def _double(before: int, after: int, batch_norm: bool) -> nn.Sequential:
    """Two 3×3 convolutions with ReLU."""
    layers: list[nn.Module] = []
    for channels in (before, after):
        layers.append(nn.Conv2d(channels, after, kernel_size=3, padding=1))
        if batch_norm:
            layers.append(nn.BatchNorm2d(after))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def _up(below: int, above: int, upsampling: Upsampling) -> nn.Module:
    if upsampling == "transposed":
        return nn.ConvTranspose2d(below, above, kernel_size=2, stride=2)
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(below, above, kernel_size=1))


def _initialise(module: nn.Module) -> None:
    """Gaussian weights of variance 2/N (He et al. 2015), as the paper says in section 3."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _check(width: object, depth: object, batch_norm: object, upsampling: object) -> None:
    # The values may come from a file: True is no width.
    if not (type(width) is int and 1 <= width <= 512 and type(depth) is int and 1 <= depth <= 8):
        raise ParameterError(f"unet: width {width!r}, depth {depth!r}; give a width of 1..512 and 1..8 levels")
    if not isinstance(batch_norm, bool) or upsampling not in ("transposed", "bilinear"):
        raise ParameterError(
            f"unet: batch_norm {batch_norm!r}, upsampling {upsampling!r}; give a bool, and transposed or bilinear"
        )
