"""How far a network could look, found by trying: for networks whose layers are not walked.

The gradient of an output pixel is zero where nothing can change it; see :mod:`geoseg.models.reach` for what is walked.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from geoseg.models.effective import see_noise
from geoseg.models.reach import OwnNetwork, context
from geoseg.models.registry import stride_multiple

HEIGHTS = (1024, 2048, 4096)
"""Of the images that are tried, in turn, until the gradient ends before they do."""

WIDTH = 64

_PHASES = 32
"""Rows this far apart see their surroundings alike in SMP's networks; own ones say it themselves."""

# As a share of the logits' spread. Sums in another order change float64 by a millionth of that.
_SAME = 1e-9


def probed_radius(
    model: nn.Module, bands: int, *, heights: tuple[int, ...] = HEIGHTS, width: int = WIDTH, seed: int = 0
) -> int | None:
    """The distance in pixels, along columns, beyond which no input pixel can change an output pixel.

    Exactly: images are Gaussian noise, and what is derived, in float64, are the logits of a row of the map, each times
    a random number. Rows of the image where that gradient is zero cannot change it. 32 rows have a turn, for poolings
    let them see differently far. Then rows are added at both ends, beyond what they see: where this changes them, the
    size of the tile counts, and there is no radius.

    What is tried is a copy of which zeros are random numbers, for many networks begin with branches that are switched
    off; its batch normalisation has the statistics of noise. Maximum poolings take means and ReLU is smooth: they read
    the same pixels, and which of them win is no matter of chance. Where a network unpools by places, those stay a
    matter of chance, and what is found is a lower bound.

    Args:
        model: A network of ``create_model``; left as it is.
        bands: Its input channels.
        heights: Of the images that are tried, in turn; rounded up to what the network takes.
        width: Of all images, likewise.
        seed: Of all that is random.

    Returns:
        The radius. None where a row in the middle of the highest image sees one of its ends, as all do in networks that
        pool or attend over the whole of a tile; and where the size of the tile counts.
    """
    generator = torch.Generator().manual_seed(seed)
    network = _without_zeros(copy.deepcopy(model).cpu().float().eval().requires_grad_(False), generator)
    phases = _phases(network)
    multiple, eaten = math.lcm(phases, stride_multiple(network)), 2 * context(network)
    wide = _up(width, stride_multiple(network)) + eaten
    with _Smoothly():
        see_noise(network, _noise(2, bands, _up(heights[0], multiple) + eaten, wide, generator).float())
        network = network.double()
        for height in heights:
            image = _noise(1, bands, _up(height, multiple) + eaten, wide, generator).requires_grad_()
            logits = network(image)
            rows = _middle(logits, phases)
            radius = _seen_radius(logits, image, rows, generator)
            if radius is not None:
                ends = _noise(2, bands, multiple, wide, generator)
                with torch.inference_mode():
                    longer = network(torch.cat([ends[:1], image, ends[1:]], dim=2))
                return radius if _is_same(logits, longer[:, :, multiple:], rows) else None
    return None


def _phases(network: nn.Module) -> int:
    return max(_PHASES, network.phases) if isinstance(network, OwnNetwork) else _PHASES


def _up(side: int, multiple: int) -> int:
    return -(-side // multiple) * multiple


def _noise(count: int, bands: int, height: int, width: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(count, bands, height, width, generator=generator, dtype=torch.float64)


def _without_zeros(network: nn.Module, generator: torch.Generator) -> nn.Module:
    """With small random numbers for weights that are zero."""
    for weights in network.parameters():
        noise = torch.randn(weights.shape, generator=generator) / 10
        weights.copy_(torch.where(weights == 0, noise, weights))
    return network


def _middle(logits: torch.Tensor, phases: int) -> slice:
    """Rows near the middle of a map, one for each phase."""
    first = logits.shape[-2] // 2 // phases * phases
    return slice(first, first + phases)


def _seen_radius(logits: torch.Tensor, image: torch.Tensor, rows: slice, generator: torch.Generator) -> int | None:
    """The largest of these rows; None where one of them sees an end of the image."""
    eaten, radius = (image.shape[-2] - logits.shape[-2]) // 2, 0
    factors = torch.randn(logits[:, :, 0].shape, generator=generator, dtype=torch.float64)
    for row in range(rows.start, rows.stop):
        (gradient,) = torch.autograd.grad((logits[:, :, row] * factors).sum(), image, retain_graph=True)
        seen = gradient.abs().amax((0, 1, 3)).nonzero()
        first, last, centre = int(seen.min()), int(seen.max()), row + eaten
        if first == 0 or last == image.shape[-2] - 1:
            return None
        radius = max(radius, centre - first, last - centre)
    return radius


def _is_same(logits: torch.Tensor, others: torch.Tensor, rows: slice) -> bool:
    """Whether these rows are what they are in another map."""
    change = (logits[:, :, rows] - others[:, :, rows]).abs().max()
    return bool(change <= _SAME * logits.std())


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
