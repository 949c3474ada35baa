"""How far a network looks in effect, which is mostly much less far than it could.

Luo, Li, Urtasun & Zemel 2016, "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks",
https://arxiv.org/abs/1701.04128: the gradient of an output pixel with respect to the image says what it hangs on.
"""

from __future__ import annotations

import copy

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from geoseg.models.reach import context
from geoseg.models.registry import stride_multiple

SHARE = 0.95
"""Of the energy of the gradient that lies within the effective radius."""

SIDE = 256
"""Of the map that is looked at."""

SAMPLES = 2
"""Images of noise, each with an output pixel of its own."""


def effective_radius(model: nn.Module, bands: int, *, side: int = SIDE, samples: int = SAMPLES, seed: int = 0) -> int:
    """The smallest radius that holds 95 % of the energy of the gradient of an output pixel.

    Exactly: images are Gaussian noise. The logits of a pixel near the middle of the map, each times +1 or -1 at random,
    are added up and derived with respect to the image. The squares of this gradient, added over bands and over
    ``samples`` images (each with a pixel drawn anew, so that all phases of the strides take part), are the energy.
    The radius is the smallest r of which a square of 2r + 1 pixels around the output pixel holds 95 % of it. What is
    farther than half of ``side`` is not seen.

    Batch normalisation goes on with statistics of such noise where the network has seen nothing yet.

    Args:
        model: A network of ``create_model``; left as it is.
        bands: Its input channels.
        side: Of the map that is looked at.
        samples: Images.
        seed: Of all that is random.
    """
    generator = torch.Generator().manual_seed(seed)
    network = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
    eaten, multiple = context(network), stride_multiple(network)
    shape = (1, bands, *2 * (-(-side // multiple) * multiple + 2 * eaten,))
    if _is_new(network):
        see_noise(network, torch.randn(2, *shape[1:], generator=generator))
    energy = np.zeros(side // 2 + 1)
    for _ in range(samples):
        image = torch.randn(shape, generator=generator).requires_grad_()
        logits = network(image)
        away = torch.randint(0, max(1, min(32, side // 4)), (2,), generator=generator)
        row, col = (int(n) for n in logits.shape[-1] // 2 - away)
        signs = torch.randint(0, 2, logits.shape[1:2], generator=generator) * 2.0 - 1
        (logits[0, :, row, col] * signs).sum().backward()
        assert image.grad is not None
        energy += _by_distance(image.grad[0].square().sum(0).numpy(), row + eaten, col + eaten, len(energy))
    held = np.cumsum(energy)
    return int(np.argmax(held >= SHARE * held[-1]))


def _by_distance(energy: npt.NDArray[np.float32], row: int, col: int, count: int) -> npt.NDArray[np.float64]:
    """Sums over the squares around a pixel, from itself outwards."""
    rows, cols = (np.abs(np.arange(n) - centre) for n, centre in zip(energy.shape, (row, col), strict=True))
    distance = np.maximum(rows[:, None], cols)
    sums = np.bincount(distance.ravel(), energy.ravel().astype(np.float64), minlength=count)
    return np.asarray(sums[:count], np.float64)


def _is_new(network: nn.Module) -> bool:
    """Whether batch normalisation has seen no image."""
    seen = [m.num_batches_tracked for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    return bool(seen) and not any(count is not None and int(count) for count in seen)


def see_noise(network: nn.Module, images: torch.Tensor) -> None:
    """Give batch normalisation the statistics of these images."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0  # of these images alone
    with torch.no_grad():
        network(images)
    network.eval()
