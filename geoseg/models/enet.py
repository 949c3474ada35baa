"""ENet: Paszke, Chaurasia, Kim & Culurciello 2016, "ENet: A Deep Neural Network Architecture for Real-Time Semantic
Segmentation", https://arxiv.org/abs/1606.02147.
"""  # noqa: D205

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from geoseg.models.options import check_integer, check_share
from geoseg.models.reach import Span
from geoseg.models.unpooling import Unpool, UnpoolingNetwork

# The eight bottlenecks of stages 2 and 3, in table 1: (side of the filters, dilation, asymmetric).
_MIDDLE = (
    (3, 1, False), (3, 2, False), (5, 1, True), (3, 4, False),
    (3, 1, False), (3, 8, False), (5, 1, True), (3, 16, False),
)  # fmt: skip
_PLAIN = (3, 1, False)


class ENet(UnpoolingNetwork):
    """A large encoder of bottlenecks at an eighth of the resolution, and a small decoder that unpools.

    Strides and poolings round up, and the decoder restores the stored sizes, so that images of any size from 1×1 up
    keep every pixel. With other than three bands the first block, which hands the pooled bands on beside its own
    thirteen maps, has more or fewer than sixteen.

    With three bands and twelve classes there are 363,163 parameters.

    Args:
        bands: Input channels.
        classes: Output channels.
        width: Maps of the first block with three bands; 4 and 8 times as many follow.
        dropout: Share of maps that a bottleneck drops (spatial dropout); a tenth of it in the first stage. The paper's
            is 0.1.

    Raises:
        ParameterError: An option is out of range.
    """

    phases = 8

    def __init__(self, bands: int, classes: int, *, width: int = 16, dropout: float = 0.1) -> None:
        super().__init__()
        check_integer("enet", "width", width, 4, 512)
        check_share("enet", "dropout", dropout)
        first = width - 3 + bands
        second = max(4 * width, first)  # a block that halves the image cannot have fewer maps than what it pools
        third = max(8 * width, second)
        self.initial = nn.Conv2d(bands, width - 3, kernel_size=3, stride=2, padding=1, bias=False)
        self.initial_activation = nn.Sequential(nn.BatchNorm2d(first), nn.PReLU(first))
        # Not named as the paper numbers them: stage 1, and stages 2 and 3 together, for they follow without a seam.
        self.encoder = nn.ModuleList(
            [
                _stage(Downsampling(first, second, dropout / 10), second, [_PLAIN] * 4, dropout / 10),
                _stage(Downsampling(second, third, dropout), third, [*_MIDDLE, *_MIDDLE], dropout),
            ]
        )
        self.decoder = nn.ModuleList(
            [
                _stage(Upsampling(third, second, dropout), second, [_PLAIN] * 2, dropout, decoding=True),
                _stage(Upsampling(second, first, dropout), first, [_PLAIN], dropout, decoding=True),
            ]
        )
        self.classifier = nn.ConvTranspose2d(first, classes, kernel_size=2, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) normalised pixels to (B, K, H, W) logits."""
        height, width = x.shape[-2:]
        x = self.initial_activation(torch.cat([self.initial(x), F.max_pool2d(x, 2, ceil_mode=True)], dim=1))
        unpools: list[Unpool] = []
        for down, *bottlenecks in map(_layers, self.encoder):
            pooled, unpool = self.pool(x)
            unpools.append(unpool)
            x = _through(bottlenecks, down(x, pooled))
        for up, *bottlenecks in map(_layers, self.decoder):
            x = _through(bottlenecks, up(x, unpools.pop()))
        logits: torch.Tensor = self.classifier(x)
        return logits[..., :height, :width]

    def reach(self, span: Span) -> Span:
        """See :class:`OwnNetwork`."""
        span = span.upsampled()
        for stage in (*reversed(self.decoder), *reversed(self.encoder)):
            for layer in reversed(_layers(stage)):
                span = layer.reach(span)
        return span.convolved(3, stride=2)


class Bottleneck(nn.Module):
    """Figure 2b: a projection to a quarter of the maps, a convolution, an expansion, added to the input.

    Args:
        channels: In and out.
        kind: Side of the filters, dilation, and whether a row and a column filter stand for the square one.
        dropout: Share of maps that is dropped.
        decoding: ReLU instead of PReLU, as in the paper's decoder.
    """

    def __init__(self, channels: int, kind: tuple[int, int, bool], dropout: float, *, decoding: bool = False) -> None:
        super().__init__()
        self.side, self.dilation, asymmetric = kind
        between = max(1, channels // 4)
        sides = [(self.side, 1), (1, self.side)] if asymmetric else [(self.side, self.side)]
        middle = [
            nn.Conv2d(
                between,
                between,
                (rows, columns),
                padding=(self.dilation * (rows // 2), self.dilation * (columns // 2)),
                dilation=self.dilation,
                bias=False,
            )
            for rows, columns in sides
        ]
        self.extension = nn.Sequential(
            nn.Conv2d(channels, between, kernel_size=1, bias=False),
            *_normalised(between, decoding),
            *middle,
            *_normalised(between, decoding),
            *_expansion(between, channels, dropout),
        )
        self.activation = _activation(channels, decoding)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) to the same."""
        total: torch.Tensor = self.activation(x + self.extension(x))
        return total

    def reach(self, span: Span) -> Span:
        """What it reads to give ``span``."""
        return span.convolved(self.side, dilation=self.dilation)


class Downsampling(nn.Module):
    """A bottleneck whose projection is a 2×2 convolution of stride 2, added to the maxima and to maps of zeros.

    Args:
        before: Input channels.
        after: Output channels; at least as many.
        dropout: Share of maps that is dropped.
    """

    def __init__(self, before: int, after: int, dropout: float) -> None:
        super().__init__()
        between = max(1, after // 4)
        self.extension = nn.Sequential(
            nn.Conv2d(before, between, kernel_size=2, stride=2, bias=False),
            *_normalised(between, decoding=False),
            nn.Conv2d(between, between, kernel_size=3, padding=1, bias=False),
            *_normalised(between, decoding=False),
            *_expansion(between, after, dropout),
        )
        self.activation = _activation(after, decoding=False)

    def forward(self, x: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) and its maxima (B, C, h, w) to (B, D, h, w)."""
        even = F.pad(x, (0, x.shape[-1] % 2, 0, x.shape[-2] % 2))
        extension = self.extension(even)
        main = F.pad(pooled, (0, 0, 0, 0, 0, extension.shape[1] - pooled.shape[1]))
        total: torch.Tensor = self.activation(main + extension)
        return total

    def reach(self, span: Span) -> Span:
        """What it reads to give ``span``."""
        return span.convolved(3).pooled()


class Upsampling(nn.Module):
    """A bottleneck around a transposed convolution, added to a projection that is unpooled.

    Args:
        before: Input channels.
        after: Output channels.
        dropout: Share of maps that is dropped.
    """

    def __init__(self, before: int, after: int, dropout: float) -> None:
        super().__init__()
        between = max(1, after // 4)  # as in the authors' code
        self.main = nn.Sequential(nn.Conv2d(before, after, kernel_size=1, bias=False), nn.BatchNorm2d(after))
        self.extension = nn.Sequential(
            nn.Conv2d(before, between, kernel_size=1, bias=False),
            *_normalised(between, decoding=True),
            nn.ConvTranspose2d(between, between, 3, stride=2, padding=1, output_padding=1, bias=False),
            *_normalised(between, decoding=True),
            *_expansion(between, after, dropout),
        )
        self.activation = _activation(after, decoding=True)

    def forward(self, x: torch.Tensor, unpool: Unpool) -> torch.Tensor:
        """(B, C, h, w) to (B, D, H, W)."""
        main = unpool(self.main(x))
        total: torch.Tensor = self.activation(main + self.extension(x)[..., : main.shape[-2], : main.shape[-1]])
        return total

    def reach(self, span: Span) -> Span:
        """What it reads to give ``span``."""
        return span.upsampled(3, padding=1)


def _stage(
    change: nn.Module, channels: int, kinds: Iterable[tuple[int, int, bool]], dropout: float, *, decoding: bool = False
) -> nn.ModuleList:
    return nn.ModuleList([change, *(Bottleneck(channels, kind, dropout, decoding=decoding) for kind in kinds)])


def _layers(stage: nn.Module) -> list[Any]:
    return list(stage.children())


def _through(layers: Iterable[nn.Module], x: torch.Tensor) -> torch.Tensor:
    for layer in layers:
        x = layer(x)
    return x


def _normalised(channels: int, decoding: bool) -> tuple[nn.Module, nn.Module]:
    return nn.BatchNorm2d(channels), _activation(channels, decoding)


def _activation(channels: int, decoding: bool) -> nn.Module:
    return nn.ReLU() if decoding else nn.PReLU(channels)


def _expansion(between: int, after: int, dropout: float) -> tuple[nn.Module, ...]:
    return nn.Conv2d(between, after, kernel_size=1, bias=False), nn.BatchNorm2d(after), nn.Dropout2d(dropout)
