"""SegNet: Badrinarayanan, Kendall & Cipolla 2017, "SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image
Segmentation", https://arxiv.org/abs/1511.00561; with its Basic and Bayesian forms.
"""  # noqa: D205

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from geoseg.models.layers import convolutions, initialise
from geoseg.models.options import check_choice, check_integer, check_share
from geoseg.models.reach import Span
from geoseg.models.unpooling import Unpool, UnpoolingNetwork

# Output channels of the 13 convolutions of VGG16 (Simonyan & Zisserman 2015), by stage, as multiples of the first.
_STAGES = ((1, 1), (2, 2), (4, 4, 4), (8, 8, 8), (8, 8, 8))


class SegNet(UnpoolingNetwork):
    """VGG16 with batch normalisation, and its mirror that unpools by the stored places of the maxima.

    Pooling rounds up, and unpooling restores the stored size, so that images of any size from 1×1 up keep every pixel.
    With three bands and twelve classes there are 29,443,788 parameters, 29,449,932 with the paper's 3×3 classifier.

    Args:
        bands: Input channels.
        classes: Output channels.
        width: Channels of the first stage; VGG16 has 64.
        classifier: Side of the last convolution's filters: 1, or the paper's 3.

    Raises:
        ParameterError: An option is out of range.
    """

    phases = 32

    def __init__(self, bands: int, classes: int, *, width: int = 64, classifier: int = 1) -> None:
        super().__init__()
        check_integer("segnet", "width", width, 1, 512)
        check_choice("segnet", "classifier", classifier, (1, 3))
        stages = [tuple(width * times for times in stage) for stage in _STAGES]
        widths = [stage[-1] for stage in stages]
        self.encoder = nn.ModuleList(
            convolutions(before, stage) for before, stage in zip([bands, *widths[:-1]], stages, strict=True)
        )
        # The mirror: as many convolutions, the last of them going over to the channels of the stage above. At the top
        # the classifier stands for the mirror of the very first convolution.
        mirrored = [(*stage[:-1], above[-1]) for above, stage in pairwise(stages)]
        self.decoder = nn.ModuleList(convolutions(stage[0], stage) for stage in reversed([stages[0][:1], *mirrored]))
        self.classifier = nn.Conv2d(width, classes, kernel_size=classifier, padding=classifier // 2)
        self.apply(initialise)  # as the paper says in section 4.1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) normalised pixels to (B, K, H, W) logits."""
        unpools: list[Unpool] = []
        for number, stage in enumerate(self.encoder):
            x, unpool = self.pool(stage(x))
            x = self.dropped(x, number)
            unpools.append(unpool)
        for number, stage in zip(reversed(range(len(unpools))), self.decoder, strict=True):
            x = self.dropped(stage(unpools.pop()(x)), number)
        logits: torch.Tensor = self.classifier(x)
        return logits

    def dropped(self, x: torch.Tensor, stage: int) -> torch.Tensor:  # noqa: ARG002
        """What leaves an encoder stage, or the decoder stage opposite it; here all."""
        return x

    def reach(self, span: Span) -> Span:
        """See :class:`OwnNetwork`."""
        span = span.convolved(self.classifier.kernel_size[0])
        for stage in reversed(self.decoder):
            span = _before(stage, span).upsampled()
        for stage in reversed(self.encoder):
            span = _before(stage, span.pooled())
        return span


class BayesianSegNet(SegNet):
    """SegNet with dropout after the central three encoder and decoder stages, to be sampled at prediction too.

    Kendall, Badrinarayanan & Cipolla 2015, "Bayesian SegNet: Model Uncertainty in Deep Convolutional Encoder-Decoder
    Architectures for Scene Understanding", https://arxiv.org/abs/1511.02680: the "central encoder-decoder", best of
    those compared in section 4.1. See :func:`geoseg.models.sample_dropout`.

    Args:
        bands: Input channels.
        classes: Output channels.
        width: Channels of the first stage; VGG16 has 64.
        classifier: Side of the last convolution's filters: 1, or the paper's 3.
        dropout: Share that is dropped; the paper's is 0.5.

    Raises:
        ParameterError: An option is out of range.
    """

    def __init__(self, bands: int, classes: int, *, width: int = 64, classifier: int = 1, dropout: float = 0.5) -> None:
        super().__init__(bands, classes, width=width, classifier=classifier)
        check_share("bayesian-segnet", "dropout", dropout)
        self.dropout = nn.Dropout(dropout)

    def dropped(self, x: torch.Tensor, stage: int) -> torch.Tensor:
        """What leaves an encoder stage, or the decoder stage opposite it; at the central three a random part."""
        kept: torch.Tensor = self.dropout(x) if stage >= 2 else x
        return kept


class SegNetBasic(UnpoolingNetwork):
    """The smaller SegNet of the paper's section 3.1: four encoders and four decoders of 64 maps, 7×7 filters.

    Decoders have batch normalisation but no ReLU. The wide filters give a small network the context that SegNet gets
    by depth. With three bands and twelve classes there are 1,416,652 parameters. The contrast normalisation that the
    paper puts first is left to the normalisation of the bands.

    Args:
        bands: Input channels.
        classes: Output channels.
        width: Maps of every layer.

    Raises:
        ParameterError: An option is out of range.
    """

    phases = 16

    def __init__(self, bands: int, classes: int, *, width: int = 64) -> None:
        super().__init__()
        check_integer("segnet-basic", "width", width, 1, 1024)
        self.encoder = nn.ModuleList(convolutions(n, (width,), kernel=7) for n in (bands, width, width, width))
        self.decoder = nn.ModuleList(convolutions(width, (width,), kernel=7, relu=False) for _ in self.encoder)
        self.classifier = nn.Conv2d(width, classes, kernel_size=1)
        self.apply(initialise)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) normalised pixels to (B, K, H, W) logits."""
        unpools: list[Unpool] = []
        for stage in self.encoder:
            x, unpool = self.pool(stage(x))
            unpools.append(unpool)
        for stage in self.decoder:
            x = stage(unpools.pop()(x))
        logits: torch.Tensor = self.classifier(x)
        return logits

    def reach(self, span: Span) -> Span:
        """See :class:`OwnNetwork`."""
        for stage in self.decoder:
            span = _before(stage, span).upsampled()
        for stage in self.encoder:
            span = _before(stage, span.pooled())
        return span


def _before(stage: nn.Module, span: Span) -> Span:
    for layer in stage.children():
        if isinstance(layer, nn.Conv2d):
            span = span.convolved(layer.kernel_size[0])
    return span
