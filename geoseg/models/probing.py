"""How far a network could look, found by trying: for networks whose layers are not walked.

The gradient of an output pixel is zero where nothing can change it; see :mod:`geoseg.models.reach` for what is walked.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from geoseg.models.effective import see_noise
from geoseg.models.reach import context
from geoseg.models.registry import stride_multiple

HEIGHTS = (1024, 2048, 4096)
"""Of the images that are tried, in turn, until the gradient ends before they do."""

WIDTH = 64

_PHASES = 32
"""No encoder strides farther, so that rows this far apart see their surroundings alike."""


def probed_radius(
    model: nn.Module, bands: int, *, heights: tuple[int, ...] = HEIGHTS, width: int = WIDTH, seed: int = 0
) -> int | None:
    """The distance in pixels, along columns, beyond which no input pixel can change an output pixel.

    Exactly: images are Gaussian noise, weights are as they are, and what is derived, in float64, are the logits of a
    row of the map, each times a random number. Rows of the image where that gradient is zero cannot change it. 32 rows
    have a turn, for poolings let them see differently far. Maximum poolings take means and ReLU is smooth meanwhile:
    they read the same pixels, and which of them win is no matter of chance. Where a network unpools by places, those
    stay a matter of chance, and what is found is a lower bound.

    Args:
        model: A network of ``create_model``; left as it is.
        bands: Its input channels.
        heights: Of the images that are tried, in turn.
        width: Of all images.
        seed: Of all that is random.

    Returns:
        The radius; None where a row sees the highest image from end to end, as networks do that pool or attend over the
        whole of a tile.
    """
    generator = torch.Generator().manual_seed(seed)
    network = copy.deepcopy(model).cpu().eval().requires_grad_(False)
    eaten, multiple = 2 * context(network), stride_multiple(network)
    shape = (1, bands, heights[0] + eaten, -(-width // multiple) * multiple + eaten)
    with _Smoothly():
        see_noise(network, torch.randn(2, *shape[1:], generator=generator))
        network = network.double()
        for height in heights:
            image = torch.randn(*shape[:2], height + eaten, shape[3], generator=generator, dtype=torch.float64)
            radius = _seen_radius(network, image.requires_grad_(), generator)
            if radius is not None:
                return radius
    return None


def _seen_radius(network: nn.Module, image: torch.Tensor, generator: torch.Generator) -> int | None:
    """The largest of all phases; None where one of them sees an end of the image."""
    logits, eaten, radius = network(image), context(network), 0
    factors = torch.randn(logits[:, :, 0].shape, generator=generator, dtype=torch.float64)
    middle = logits.shape[-2] // 2
    for row in range(middle, middle + _PHASES):
        (gradient,) = torch.autograd.grad((logits[:, :, row] * factors).sum(), image, retain_graph=True)
        seen = gradient.abs().amax((0, 1, 3)).nonzero()
        first, last, centre = int(seen.min()), int(seen.max()), row + eaten
        if first == 0 or last == image.shape[-2] - 1:
            return None
        radius = max(radius, centre - first, last - centre)
    return radius


class _Smoothly(TorchFunctionMode):
    """While it is on, poolings take means and ReLU is smooth."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """See ``torch.overrides``."""
        others = {"relu": _softplus, "relu_": _softplus, "max_pool2d": _mean_pool}
        return others.get(getattr(func, "__name__", ""), func)(*args, **(kwargs or {}))


def _softplus(x: torch.Tensor, **_: Any) -> torch.Tensor:
    return F.softplus(x)


def _mean_pool(
    x: torch.Tensor, kernel_size: int, stride: int | None = None, padding: int = 0, dilation: int = 1,
    ceil_mode: bool = False, **_: Any,
) -> torch.Tensor:  # fmt: skip
    assert dilation == 1
    return F.avg_pool2d(x, kernel_size, stride, padding, ceil_mode)
