"""U-Net: Ronneberger, Fischer & Brox 2015, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
https://arxiv.org/abs/1505.04597.
"""  # noqa: D205

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from geoseg.errors import ParameterError
from geoseg.models.layers import convolutions, initialise
from geoseg.models.options import check_choice, check_integer
from geoseg.models.reach import Span, surroundings
from geoseg.models.unpooling import Pooled, Unpool, UnpoolingNetwork

Padding = Literal["same", "valid"]
Upsampling = Literal["transposed", "bilinear", "nearest", "unpool"]


class UNet(UnpoolingNetwork):
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
        upsampling: ``transposed``: the paper's 2×2 up-convolution. ``bilinear`` or ``nearest``: interpolation and a 1×1
            convolution. ``unpool``: a 1×1 convolution, and its values where the maxima of the pooling were.
        padding: ``same``: the map has the size of the image. ``valid``: the paper's; convolutions see real pixels only,
            and the map is smaller by ``context`` pixels at each side, 92 in the original.

    Raises:
        ParameterError: An option is out of range.
    """

    def __init__(
        self,
        bands: int,
        classes: int,
        *,
        width: int = 64,
        depth: int = 5,
        batch_norm: bool = True,
        upsampling: Upsampling = "transposed",
        padding: Padding = "same",
    ) -> None:
        super().__init__()
        check_integer("unet", "width", width, 1, 512)
        check_integer("unet", "depth", depth, 1, 8)
        check_choice("unet", "batch_norm", batch_norm, (True, False))
        check_choice("unet", "upsampling", upsampling, ("transposed", "bilinear", "nearest", "unpool"))
        check_choice("unet", "padding", padding, ("same", "valid"))
        self.upsampling, self.padding = upsampling, padding
        self.max_unpooling = upsampling == "unpool"
        self.phases = 1 << (depth - 1)
        self.context = _context(depth, upsampling) if padding == "valid" else 0
        # The lowest level gets k pixels; each level above gets twice as many, and 4 more that its convolutions eat.
        self.remainder = 4 * (self.phases - 1) % self.phases if padding == "valid" else 0
        widths = [width << level for level in range(depth)]
        same = padding == "same"
        self.down = nn.ModuleList(
            convolutions(before, (after, after), padded=same, norm=batch_norm)
            for before, after in zip([bands, *widths[:-1]], widths, strict=True)
        )
        upwards = widths[::-1]
        self.up = nn.ModuleList(_up(below, above, upsampling) for below, above in pairwise(upwards))
        self.merge = nn.ModuleList(
            convolutions(2 * above, (above, above), padded=same, norm=batch_norm) for above in upwards[1:]
        )
        self.classifier = nn.Conv2d(width, classes, kernel_size=1)
        self.apply(initialise)  # as the paper says in section 3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) normalised pixels to (B, K, H - 2 context, W - 2 context) logits.

        Raises:
            ParameterError: With ``padding=valid``, an image of which nothing is left.
        """
        self._check_size(x)
        stages: list[tuple[torch.Tensor, Unpool]] = []
        for level, block in enumerate(self.down):
            if level:
                x, unpool = self._pooled(x)
                stages[-1] = (stages[-1][0], unpool)
            x = block(x)
            stages.append((x, _as_it_is))
        stages.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(self._joined(*stages.pop(), x, up))
        logits: torch.Tensor = self.classifier(x)
        return logits

    def _check_size(self, x: torch.Tensor) -> None:
        height, width = x.shape[-2:]
        if min(height, width) <= 2 * self.context:
            raise ParameterError(
                f"unet with padding=valid and {len(self.down)} levels eats {self.context} pixels at each side: of an "
                f"image of {height}×{width} nothing is left; give one of at least {2 * self.context + 1}"
            )

    def _pooled(self, x: torch.Tensor) -> Pooled:
        return self.pool(x) if self.max_unpooling else (F.max_pool2d(x, 2, ceil_mode=True), _as_it_is)

    def _joined(self, skip: torch.Tensor, unpool: Unpool, below: torch.Tensor, up: nn.Module) -> torch.Tensor:
        """(B, C, H, W) of the skip and as much from below, both without what convolutions ate on the way."""
        height, width = skip.shape[-2:]
        eaten = (-(-height // 2) - below.shape[-2]) // 2
        x: torch.Tensor = up(below)
        if self.max_unpooling:  # in the places of the whole map, from which the eaten rim is then taken
            x = unpool(F.pad(x, (eaten,) * 4) if eaten else x)[..., 2 * eaten :, 2 * eaten :]
        margin = 2 * eaten + self._unknown
        x = x[..., self._unknown :, self._unknown :]
        kept = skip[..., margin : height - margin, margin : width - margin]
        return torch.cat([kept, x[..., : kept.shape[-2], : kept.shape[-1]]], dim=1)

    @property
    def _unknown(self) -> int:
        """Pixels at each side of an upsampled map that hang on what would lie beyond it."""
        return int(self.padding == "valid" and self.upsampling == "bilinear")

    def input_side(self, side: int) -> int:
        """The smallest side of an image from which a map of at least ``side`` pixels comes with no window cut.

        With ``padding=valid`` maps of such images, taken at multiples of ``phases``, are the same wherever they
        overlap. The paper's 572 for 388.
        """
        if self.padding == "same":
            return -(-side // self.phases) * self.phases
        return surroundings(self).input_size(side)

    def reach(self, span: Span) -> Span:
        """See :class:`OwnNetwork`."""
        return self._reach(span, 0)

    def _reach(self, span: Span, level: int) -> Span:
        """From the output of the last block of a level to the input of its first."""
        depth, padding = len(self.down), int(self.padding == "same")
        if level + 1 < depth:
            joined = _twice(span, padding)
            eaten = _context(depth - level - 1, self.upsampling) if self.padding == "valid" else 0
            kernel, pad = (4, 1) if self.upsampling == "bilinear" else (2, 0)
            below = joined.shifted(self._unknown).upsampled(kernel, padding=pad)
            span = joined.shifted(2 * eaten + self._unknown) | self._reach(below, level + 1).pooled()
        return _twice(span, padding)


def _as_it_is(x: torch.Tensor) -> torch.Tensor:
    return x


def _context(depth: int, upsampling: Upsampling) -> int:
    """Pixels that unpadded convolutions eat at each side: 2 at the lowest level, 4 at each above.

    Interpolation needs its neighbours, which costs one more.
    """
    eaten = 2
    for _ in range(depth - 1):
        eaten = 2 * eaten + 4 + (upsampling == "bilinear")
    return eaten


def _twice(span: Span, padding: int) -> Span:
    return span.convolved(3, padding=padding).convolved(3, padding=padding)


def _up(below: int, above: int, upsampling: Upsampling) -> nn.Module:
    if upsampling == "transposed":
        return nn.ConvTranspose2d(below, above, kernel_size=2, stride=2)
    convolution = nn.Conv2d(below, above, kernel_size=1)
    if upsampling == "unpool":
        return convolution
    return nn.Sequential(nn.Upsample(scale_factor=2, mode=upsampling), convolution)
