"""Layers that several networks have."""

from __future__ import annotations

from torch import nn


def convolutions(
    before: int,
    channels: tuple[int, ...],
    *,
    kernel: int = 3,
    padded: bool = True,
    norm: bool = True,
    relu: bool = True,
) -> nn.Sequential:
    """Convolutions one after the other, each with batch normalisation and ReLU unless told otherwise.

    Args:
        before: Input channels.
        channels: Output channels of each.
        kernel: Odd side of the filters.
        padded: Keep the size; else each eats ``kernel // 2`` pixels at each side.
        norm: Batch normalisation after each (Ioffe & Szegedy 2015, https://arxiv.org/abs/1502.03167).
        relu: ReLU after each.
    """
    layers: list[nn.Module] = []
    for after in channels:
        layers.append(nn.Conv2d(before, after, kernel_size=kernel, padding=kernel // 2 if padded else 0))
        if norm:
            layers.append(nn.BatchNorm2d(after))
        if relu:
            layers.append(nn.ReLU(inplace=True))
        before = after
    return nn.Sequential(*layers)


def initialise(module: nn.Module) -> None:
    """Gaussian weights of variance 2/N (He et al. 2015, https://arxiv.org/abs/1502.01852), biases 0."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
