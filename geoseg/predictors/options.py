"""How a network is to be run, and the networks to run."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

from torch import nn

from geoseg.choices import Augmentation, Backend, Precision
from geoseg.config import ModelSpec
from geoseg.errors import ModelError, ParameterError
from geoseg.normalization import BandStats

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+(,\d+)*)?")

# Beyond these a scale makes tiles of a few pixels, or of more memory than any device has.
_SCALES = (0.1, 8.0)


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """How the network is run.

    Attributes:
        backend: What runs it; ``auto`` takes the fastest that is here.
        precision: Of its arithmetic; ``auto`` takes what the processor is made for, never int8.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``cuda:0,1`` (one network on each) or ``mps``.
        tta: Test-time augmentation: ``flips`` averages 4 views of a tile, ``d4`` the 8 symmetries of the square.
        scales: Each tile is seen enlarged by these factors, and the scores are averaged.
        mc: Samples of Monte Carlo dropout; 0 is none.

    Raises:
        ParameterError: A value that there is not.
    """

    backend: Backend = "auto"
    precision: Precision = "auto"
    device: str = "auto"
    tta: Augmentation = "none"
    scales: tuple[float, ...] = (1.0,)
    mc: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "scales", tuple(float(s) for s in self.scales))
        for name, value, choices in (
            ("backend", self.backend, get_args(Backend)),
            ("precision", self.precision, get_args(Precision)),
            ("tta", self.tta, get_args(Augmentation)),
        ):
            if value not in choices:
                raise ParameterError(
                    f"{name} {value!r} does not exist; give {', '.join(choices[:-1])} or {choices[-1]}"
                )
        if not _DEVICE.fullmatch(self.device):
            raise ParameterError(f"device {self.device!r} runs no network; try auto, cpu, cuda, cuda:0,1 or mps")
        low, high = _SCALES
        if not self.scales or not all(low <= s <= high for s in self.scales):
            raise ParameterError(f"scales {self.scales} must be one or more of {low}..{high}, such as 0.75,1,1.25")
        if self.mc < 0:
            raise ParameterError(f"{self.mc} samples of Monte Carlo dropout; give 0 for none, or e.g. 20")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model to run.

    Attributes:
        network: Makes it: (B, C, H, W) normalised float32 to (B, K, H, W) logits, in ``eval()`` mode, on the CPU.
            Called only where a compiled model in the cache does not do.
        spec: What it was trained for.
        stats: Scaling from stored samples to its input.
        hash: SHA-256 of the model file.
    """

    network: Callable[[], nn.Module]
    spec: ModelSpec
    stats: BandStats
    hash: str


def same_legend(models: Sequence[Loaded]) -> int:
    """The number of classes of one or more models that mean the same by their classes.

    Raises:
        ParameterError: No model.
        ModelError: Two of them have different classes or want different numbers of bands; names both.
    """
    if not models:
        raise ParameterError("no model to run; give one or more")
    first = models[0].spec
    for other in (m.spec for m in models[1:]):
        ours, theirs = ([(c.id, c.name) for c in spec.classes] for spec in (first, other))
        if ours != theirs:
            raise ModelError(
                f"models {first.name!r} and {other.name!r} cannot be averaged: their classes are {_names(ours)} and "
                f"{_names(theirs)}; an ensemble needs models of one legend"
            )
        if len(first.bands) != len(other.bands):
            raise ModelError(
                f"models {first.name!r} and {other.name!r} cannot be averaged: they want {len(first.bands)} and "
                f"{len(other.bands)} bands"
            )
    return len(first.classes)


def _names(classes: Sequence[tuple[int, str]]) -> str:
    return ", ".join(f"{number} {name}" for number, name in classes)
