"""How far a network sees: which input pixels an output pixel can depend on, computed backwards layer by layer.

Receptive fields as in Araujo, Norris & Sim 2019, "Computing Receptive Fields of Convolutional Neural Networks",
https://distill.pub/2019/computing-receptive-fields, here with unpooling, skips and every phase of the poolings.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from geoseg.errors import ModelError
from geoseg.tiling import NO_CONTEXT, Context


@dataclass(frozen=True, slots=True)
class Span:
    """Places along one axis of a map.

    Attributes:
        first: Smallest, in pixels of that map.
        last: Largest.
    """

    first: int
    last: int

    def convolved(self, kernel: int, *, stride: int = 1, dilation: int = 1, padding: int | None = None) -> Span:
        """What a convolution reads to give this; without ``padding`` it is that which keeps the size at stride 1."""
        width = dilation * (kernel - 1)
        before = width // 2 if padding is None else padding
        return Span(self.first * stride - before, self.last * stride - before + width)

    def pooled(self) -> Span:
        """What a 2×2 pooling reads to give this."""
        return Span(2 * self.first, 2 * self.last + 1)

    def upsampled(self, kernel: int = 2, *, stride: int = 2, padding: int = 0) -> Span:
        """What a transposed convolution reads to give this.

        2×2, the default, is also nearest-neighbour upsampling and unpooling; 4 with padding 1 is also bilinear.
        """
        return Span(-((kernel - 1 - padding - self.first) // stride), (self.last + padding) // stride)

    def shifted(self, pixels: int) -> Span:
        """The same places counted from ``pixels`` earlier."""
        return Span(self.first + pixels, self.last + pixels)

    def __or__(self, other: Span) -> Span:
        return Span(min(self.first, other.first), max(self.last, other.last))


class OwnNetwork(nn.Module):
    """What geoseg's own networks have in common: images of any size, and a known receptive field.

    Attributes:
        stride_multiple: Input sides must be a multiple of this.
        context: Pixels that the network eats at each side: an output pixel stands this far from its input's corner.
        phases: Output pixels this far apart see their surroundings alike: the product of the strides.
        remainder: Where the network eats: sides in which no pooling window is cut are a multiple of ``phases`` plus it.
    """

    stride_multiple = 1
    context = 0
    phases = 1
    remainder = 0

    def reach(self, span: Span) -> Span:
        """The input pixels along one axis that the output pixels of ``span`` can depend on, were the image endless."""
        raise NotImplementedError


def receptive_radius(model: nn.Module) -> int:
    """The distance in pixels, along rows or columns, beyond which no input pixel can change an output pixel.

    Theoretical: how much the far pixels matter in a trained network is another question, and mostly much less (Luo et
    al. 2016, https://arxiv.org/abs/1701.04128).

    Args:
        model: One of geoseg's own networks; not one of SMP.

    Raises:
        ModelError: Another network.
    """
    if not isinstance(model, OwnNetwork):
        raise ModelError(
            f"{type(model).__name__} is not one of geoseg's own networks: probed_radius() tries how far it looks"
        )
    radius = 0
    for place in range(model.phases):
        seen, centre = model.reach(Span(place, place)), place + model.context
        radius = max(radius, centre - seen.first, seen.last - centre)
    return radius


def context(model: nn.Module) -> int:
    """Pixels that the network eats at each side: its map is smaller than the image by twice as many. Mostly 0."""
    return model.context if isinstance(model, OwnNetwork) else 0


def surroundings(model: nn.Module) -> Context:
    """What the network reads around what it maps, and where its images begin so that their maps agree."""
    if not isinstance(model, OwnNetwork) or not model.context:
        return NO_CONTEXT
    return Context(model.context, model.phases, model.remainder)
