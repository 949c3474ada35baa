"""Changes of pixel values: light, sharpness, noise, and bands that fail. Absent pixels stay out of all of them."""

from __future__ import annotations

import math

import torch
from kornia.filters import gaussian_blur2d

from geoseg.training.draws import Draws

# Shares of a change of light that all bands have in common, and that each has for itself.
_COMMON, _OWN = 0.8, 0.2

# Below this standard deviation a Gaussian has no weight outside its middle pixel; kornia wants more than 0.
_SHARP = 0.05


def vary_light(
    pixels: torch.Tensor, present: torch.Tensor, brightness: float, contrast: float, draws: Draws
) -> torch.Tensor:
    """Shift each band, and spread it about its mean over the chip's present pixels.

    Args:
        pixels: (B, C, H, W) normalised, 0 where absent.
        present: (B, 1 | C, H, W) bool.
        brightness: Largest shift.
        contrast: Largest change of the spread, as a share of it, below 1.
        draws: Where chance comes from. Of each change the bands share 4/5; the rest is each band's own.
    """
    count, bands = pixels.shape[:2]
    shift = _common_and_own(brightness, count, bands, draws)
    gain = 1 + _common_and_own(contrast, count, bands, draws)
    if contrast:
        seen = present.sum(dim=(2, 3), keepdim=True).clamp(min=1)
        shift = shift + (pixels.sum(dim=(2, 3), keepdim=True) / seen) * (1 - gain)
    return torch.addcmul(shift, pixels, gain).mul_(present)


def _common_and_own(largest: float, count: int, bands: int, draws: Draws) -> torch.Tensor:
    """(B, C, 1, 1) in -largest..largest."""
    common = draws.around(_COMMON * largest, count, 1, 1, 1)
    return common + draws.around(_OWN * largest, count, bands, 1, 1)


def blur(pixels: torch.Tensor, present: torch.Tensor, largest: float, draws: Draws) -> torch.Tensor:
    """Gaussian blur with a standard deviation of up to ``largest`` pixels, another for each chip.

    The weights of absent pixels, and of those beyond the chip, go to the others: normalised convolution (Knutsson &
    Westin 1993).
    """
    return blur_by(pixels, present, draws.uniform(0.0, largest, len(pixels)), largest)


def blur_by(pixels: torch.Tensor, present: torch.Tensor, sigmas: torch.Tensor, largest: float) -> torch.Tensor:
    """Blur chip b with standard deviation ``sigmas[b]``; ``largest`` of them decides the size of the kernel."""
    weights = present.to(pixels.dtype)
    size = 2 * math.ceil(3 * largest) + 1
    both = torch.cat([pixels, weights], dim=1)
    sigma = sigmas.clamp(min=_SHARP)[:, None].expand(-1, 2)
    values, share = gaussian_blur2d(both, size, sigma, border_type="constant").split_with_sizes(
        [pixels.shape[1], weights.shape[1]], dim=1
    )
    return torch.where(present, values.div_(share), 0.0)


def add_noise(pixels: torch.Tensor, present: torch.Tensor, largest: float, draws: Draws) -> torch.Tensor:
    """Gaussian noise of its own for each sample, with a standard deviation of up to ``largest``, another per chip."""
    strength = draws.uniform(0.0, largest, len(pixels), 1, 1, 1)
    return draws.gaussian_field(pixels.shape).mul_(strength).add_(pixels).mul_(present)


def drop_bands(pixels: torch.Tensor, probability: float, draws: Draws) -> torch.Tensor:
    """Blank each band with ``probability``: 0, its mean. One at least stays, whichever was nearest to."""
    drawn = draws.uniform(0.0, 1.0, *pixels.shape[:2])
    kept = (drawn >= probability) | (drawn == drawn.amax(dim=1, keepdim=True))
    return pixels * kept[:, :, None, None]
