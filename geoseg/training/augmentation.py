"""Random changes of the chips of a batch, on the device that they lie on."""

from __future__ import annotations

import torch

from geoseg.config.training import AugmentationConfig
from geoseg.errors import ParameterError
from geoseg.training.draws import Draws
from geoseg.training.geometry import ChipBatch, lay, warp
from geoseg.training.mixing import cutmix, mosaic
from geoseg.training.radiometry import add_noise, blur, drop_bands, vary_light


class Augmenter:
    """Changes a batch of chips at random, all its chips at once, each in its own way.

    First chips are moved (laid in another way, then turned, zoomed and deformed with one interpolation for all), then
    their light, sharpness and noise change, then they are mixed with each other, and last bands fail. Of a setting that
    is 0 nothing is drawn and nothing computed; with all of them 0 the very batch comes back.

    Labels are moved and never interpolated: there is no label afterwards that was not there before, but 255. What a
    warp brings in from outside is absent, and ignored.

    Example::

        augment = Augmenter(AugmentationConfig(rotation=20, zoom=0.25))
        pixels, present, indices = augment(pixels, present, indices, torch.Generator().manual_seed(7))

    Args:
        config: What is changed, and how far.
    """

    def __init__(self, config: AugmentationConfig) -> None:
        self.config = config

    @torch.no_grad()
    def __call__(
        self, pixels: torch.Tensor, present: torch.Tensor, indices: torch.Tensor, generator: torch.Generator
    ) -> ChipBatch:
        """Changed chips; what is given stays as it is.

        Args:
            pixels: (B, C, S, S) floating point, normalised, 0 where absent; float32 is computed with, whatever the type
                and whatever ``autocast`` is in force.
            present: (B, 1, S, S) or (B, C, S, S) bool.
            indices: (B, S, S) class indices of any integer type, 255 = ignore.
            generator: The only source of chance: with the same state the same chips. On the CPU it draws the same
                changes for every device, but for the values of noise.

        Returns:
            The same three, in the same shapes and types; pixels are 0 where absent.

        Raises:
            ParameterError: Shapes that do not fit each other.
        """
        _check(pixels, present, indices)
        draws = Draws(generator, pixels.device)
        # Places in a chip are numbers up to 512 and more with fractions: bfloat16 would round them to 4 pixels.
        with torch.autocast(pixels.device.type, enabled=False):
            chips = self._moved(ChipBatch(pixels, present, indices), draws)
            chips = self._mixed(self._exposed(chips, draws), draws)
            if self.config.band_dropout:
                chips = chips._replace(pixels=drop_bands(chips.pixels, self.config.band_dropout, draws))
        return chips._replace(pixels=chips.pixels.to(pixels.dtype))

    def _moved(self, chips: ChipBatch, draws: Draws) -> ChipBatch:
        """Other places, the same values as far as there are any."""
        config = self.config
        if config.flip or config.right_angles:
            chips = lay(chips, config.flip, config.right_angles, draws)
        if config.rotation or config.zoom or config.elastic:
            chips = chips._replace(pixels=chips.pixels.float())
            chips = warp(chips, config.rotation, config.zoom, config.elastic, draws)
        return chips

    def _exposed(self, chips: ChipBatch, draws: Draws) -> ChipBatch:
        """Other values at the same places: light falls, the lens blurs, the sensor adds noise."""
        config = self.config
        if not (config.brightness or config.contrast or config.blur or config.noise):
            return chips
        pixels, present = chips.pixels.float(), chips.present
        if config.brightness or config.contrast:
            pixels = vary_light(pixels, present, config.brightness, config.contrast, draws)
        if config.blur:
            pixels = blur(pixels, present, config.blur, draws)
        if config.noise:
            pixels = add_noise(pixels, present, config.noise, draws)
        return chips._replace(pixels=pixels)

    def _mixed(self, chips: ChipBatch, draws: Draws) -> ChipBatch:
        """Parts of several chips, each of which has been changed in its own way."""
        if self.config.mosaic:
            chips = mosaic(chips, self.config.mosaic, draws)
        if self.config.cutmix:
            chips = cutmix(chips, self.config.cutmix, draws)
        return chips


def _check(pixels: torch.Tensor, present: torch.Tensor, indices: torch.Tensor) -> None:
    shape = tuple(pixels.shape)
    fits = pixels.ndim == 4 and present.ndim == 4 and shape[1] >= 1
    fits = fits and tuple(present.shape) in {shape, (shape[0], 1, *shape[2:])}
    if not (fits and tuple(indices.shape) == (shape[0], *shape[2:])):
        raise ParameterError(
            f"pixels {shape}, present {tuple(present.shape)}, indices {tuple(indices.shape)}: "
            "give (B, C, S, S), (B, 1 or C, S, S) and (B, S, S)"
        )
    if not pixels.is_floating_point() or present.dtype != torch.bool or indices.is_floating_point():
        raise ParameterError(
            f"pixels {pixels.dtype}, present {present.dtype}, indices {indices.dtype}: "
            "give normalised pixels in floating point, bool, and integers"
        )
