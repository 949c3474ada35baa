"""Temperature scaling: one number that makes confidence mean what it says, and changes no label.

Guo, Pleiss, Sun & Weinberger 2017, "On calibration of modern neural networks", https://arxiv.org/abs/1706.04599,
section 4.2: logits are divided by the temperature that minimises the negative log likelihood on ground that was not
trained on.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar

from geoseg.legend import IGNORE_ID
from geoseg.metrics import Calibration, calibration_counts

# A network that is always right would be told to be infinitely sure.
_LOWEST, _HIGHEST = 0.05, 20.0

_CHUNK = 1 << 18


class LogitSample:
    """Logits and truth of pixels drawn from all labelled ones: all of them, or about as many as are wanted.

    Args:
        pixels: How many there are.
        wanted: How many are kept, about.
        seed: Of the choice.
    """

    def __init__(self, pixels: int, wanted: int, seed: int) -> None:
        self._share = min(1.0, wanted / max(pixels, 1))
        self._generator = torch.Generator().manual_seed(seed)
        self._logits: list[torch.Tensor] = []
        self._truth: list[torch.Tensor] = []

    def add(self, logits: torch.Tensor, indices: torch.Tensor) -> None:
        """Take in (B, K, H, W) logits and (B, H, W) class indices, 255 = not counted."""
        taken = indices != IGNORE_ID
        if self._share < 1:
            drawn = torch.rand(indices.shape, generator=self._generator) < self._share
            taken = taken & drawn.to(indices.device)
        self._logits.append(logits.movedim(1, -1)[taken].float().cpu())
        self._truth.append(indices[taken].long().cpu())

    def pixels(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(N, K) float32 logits and (N,) int64 classes."""
        if not self._logits:
            return torch.zeros((0, 1)), torch.zeros(0, dtype=torch.int64)
        return torch.cat(self._logits), torch.cat(self._truth)


def best_temperature(logits: torch.Tensor, truth: torch.Tensor) -> float:
    """The temperature of the least negative log likelihood, 0.05..20; 1 without pixels.

    Args:
        logits: (N, K) float32.
        truth: (N,) int64 classes.
    """
    if not len(logits):
        return 1.0
    # In the logarithm, halving is as far as doubling; the likelihood has one minimum in either.
    bounds = math.log(_LOWEST), math.log(_HIGHEST)
    found = minimize_scalar(
        lambda log: _surprise(logits, truth, math.exp(log)), bounds=bounds, method="bounded", options={"xatol": 1e-4}
    )
    return float(math.exp(found.x))


def calibration_at(logits: torch.Tensor, truth: torch.Tensor, temperature: float) -> Calibration:
    """How far confidence can be trusted at a temperature."""
    counts: npt.NDArray[np.float64] = sum(
        (_counts(*part, temperature) for part in _parts(logits, truth)),
        start=calibration_counts(np.zeros(0, np.bool_), np.zeros(0)),
    )
    return Calibration.from_counts(counts)


def _surprise(logits: torch.Tensor, truth: torch.Tensor, temperature: float) -> float:
    """Mean negative log likelihood."""
    sums = [
        F.cross_entropy(part / temperature, own, reduction="none").sum(dtype=torch.float64).item()
        for part, own in _parts(logits, truth)
    ]
    return math.fsum(sums) / len(truth)


def _counts(logits: torch.Tensor, truth: torch.Tensor, temperature: float) -> npt.NDArray[np.float64]:
    confidence, classes = torch.softmax(logits / temperature, dim=1).max(dim=1)
    return calibration_counts((classes == truth).numpy(), confidence.clamp(max=1).numpy())


def _parts(logits: torch.Tensor, truth: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(logits[i : i + _CHUNK], truth[i : i + _CHUNK]) for i in range(0, len(truth), _CHUNK)]
