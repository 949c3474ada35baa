"""Fully convolutional networks: Shelhamer, Long & Darrell 2017, "Fully Convolutional Networks for Semantic
Segmentation", https://arxiv.org/abs/1605.06211.
"""  # noqa: D205

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from geoseg.models.layers import convolutions, initialise
from geoseg.models.options import check_integer, check_share
from geoseg.models.reach import OwnNetwork, Span

# Output channels of the 13 convolutions of VGG16 (Simonyan & Zisserman 2015), by stage, as multiples of the first.
_STAGES = ((1, 1), (2, 2), (4, 4, 4), (8, 8, 8), (8, 8, 8))


class FCN32s(OwnNetwork):
    """VGG16 without batch normalisation, its fully connected layers as convolutions, and one upsampling of 32 times.

    Pooling rounds up, and the map is cut to the image's size. The authors pad the image by 100 pixels so that the 7×7
    convolution has something to stand on; here that convolution is padded itself, which keeps the grids aligned without
    computing a rim that is then cut off.

    Args:
        bands: Input channels.
        classes: Output channels.
        width: Channels of the first stage; VGG16 has 64. The two convolutions that were fully connected have 64 times
            as many.
        dropout: Share that is dropped after each of those two; the paper's is 0.5.

    Raises:
        ParameterError: An option is out of range.
    """

    skips = 0
    phases = 32

    def __init__(self, bands: int, classes: int, *, width: int = 64, dropout: float = 0.5) -> None:
        super().__init__()
        check_integer("fcn", "width", width, 1, 256)
        check_share("fcn", "dropout", dropout)
        stages = [tuple(width * times for times in stage) for stage in _STAGES]
        widths = [stage[-1] for stage in stages]
        self.encoder = nn.ModuleList(
            convolutions(before, stage, norm=False) for before, stage in zip([bands, *widths[:-1]], stages, strict=True)
        )
        self.head = nn.Sequential(
            nn.Conv2d(8 * width, 64 * width, kernel_size=7, padding=3),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Conv2d(64 * width, 64 * width, kernel_size=1),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
        )
        self.apply(initialise)
        self.score = nn.Conv2d(64 * width, classes, kernel_size=1)
        initialise(self.score)
        # After the head come the poolings of the fourth and of the third stage.
        self.skip_scores = nn.ModuleList(_skip_score(widths[3 - n], classes) for n in range(self.skips))
        self.doublings = nn.ModuleList(_upsampling(classes, 2) for _ in range(self.skips))
        self.enlarging = _upsampling(classes, 32 >> self.skips)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) normalised pixels to (B, K, H, W) logits."""
        height, width = x.shape[-2:]
        pooled: list[torch.Tensor] = []
        for stage in self.encoder:
            x = F.max_pool2d(stage(x), 2, ceil_mode=True)
            pooled.append(x)
        scores: torch.Tensor = self.score(self.head(x))
        for n, (skip_score, double) in enumerate(zip(self.skip_scores, self.doublings, strict=True)):
            finer = skip_score(pooled[3 - n])
            scores = finer + double(scores)[..., : finer.shape[-2], : finer.shape[-1]]
        logits: torch.Tensor = self.enlarging(scores)
        return logits[..., :height, :width]

    def reach(self, span: Span) -> Span:
        """See :class:`OwnNetwork`."""
        factor = 32 >> self.skips
        span = span.upsampled(2 * factor, stride=factor, padding=factor // 2)
        taken: dict[int, Span] = {}
        for n in reversed(range(self.skips)):
            taken[3 - n] = span
            span = span.upsampled(4, padding=1)
        span = span.convolved(7)
        for number, stage in reversed(list(enumerate(self.encoder))):
            span = (span | taken.get(number, span)).pooled()
            for layer in stage.children():
                if isinstance(layer, nn.Conv2d):
                    span = span.convolved(3)
        return span


class FCN16s(FCN32s):
    """FCN-32s whose scores are doubled and summed with those of the fourth pooling; see :class:`FCN32s`."""

    skips = 1


class FCN8s(FCN32s):
    """FCN-16s whose scores are doubled and summed with those of the third pooling; see :class:`FCN32s`.

    With three bands and 21 classes there are 134,489,759 parameters.
    """

    skips = 2


def bilinear_filter(factor: int) -> torch.Tensor:
    """(2 factor, 2 factor) float32: the filter with which a transposed convolution interpolates ``factor`` times."""
    places = torch.arange(2 * factor, device="cpu", dtype=torch.float32)
    line = 1 - (places - (factor - 0.5)).abs() / factor
    return line[:, None] * line


def _upsampling(classes: int, factor: int) -> nn.ConvTranspose2d:
    """Learned, and at first bilinear interpolation of each class for itself."""
    layer = nn.ConvTranspose2d(classes, classes, 2 * factor, stride=factor, padding=factor // 2, bias=False)
    with torch.no_grad():
        layer.weight.zero_()
        for label in range(classes):
            layer.weight[label, label].copy_(bilinear_filter(factor))
    return layer


def _skip_score(before: int, classes: int) -> nn.Conv2d:
    """Scores that are 0 at first: the finer network begins as the coarser one, as in the paper."""
    layer = nn.Conv2d(before, classes, kernel_size=1)
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
