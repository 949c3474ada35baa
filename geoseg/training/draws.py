"""Random numbers of one generator, for what lives on any device."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Draws:
    """Draws from one generator only, whatever else uses torch's global one: its state alone says what comes next.

    kornia's own random modules draw from the global generators, of the device for some of them: a resumed run would
    have to restore all of these, and one more dropout layer would change every chip. So the numbers are drawn here and
    handed to kornia's functions.

    Attributes:
        generator: On any device; on the CPU, where the numbers are the same whatever the chips lie on.
        device: Where the numbers are needed.
    """

    generator: torch.Generator
    device: torch.device

    def uniform(self, low: float, high: float, *shape: int) -> torch.Tensor:
        """Float32 in low..high."""
        return (low + (high - low) * self._unit(*shape)).to(self.device)

    def around(self, largest: float, *shape: int) -> torch.Tensor:
        """Float32 in -largest..largest."""
        return self.uniform(-largest, largest, *shape)

    def numbers(self, low: float, high: float, count: int) -> list[float]:
        """``count`` in low..high, as Python's: nothing has to come back from the device."""
        return [low + (high - low) * float(value) for value in self._unit(count).tolist()]

    def choices(self, below: int, count: int) -> list[int]:
        """``count`` of 0..below - 1."""
        drawn = torch.randint(below, (count,), generator=self.generator, device=self.generator.device)
        return [int(value) for value in drawn.tolist()]

    def happens(self, probability: float, count: int) -> list[bool]:
        """``count`` times: does it?"""
        return [value < probability for value in self.numbers(0, 1, count)]

    def gaussian(self, *shape: int) -> torch.Tensor:
        """Float32 of mean 0 and variance 1; few of them."""
        return torch.randn(shape, generator=self.generator, device=self.generator.device).to(self.device)

    def gaussian_field(self, shape: torch.Size) -> torch.Tensor:
        """As :meth:`gaussian`, many of them: made on the device, from a seed that is drawn."""
        (seed,) = self.choices(1 << 62, 1)
        return torch.randn(shape, generator=torch.Generator(self.device).manual_seed(seed), device=self.device)

    def _unit(self, *shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=self.generator, device=self.generator.device)
