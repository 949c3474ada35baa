"""Fit a network to labelled arrays, the same way every time for one seed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from geoseg.config import ModelSpec
from geoseg.errors import ModelError, ParameterError
from geoseg.legend import Legend
from geoseg.models import create_model, stride_multiple, surroundings
from geoseg.models.auxiliary import drop_auxiliary, lasting_options
from geoseg.normalization import BandStats
from geoseg.training.borders import beneath
from geoseg.training.losses import build_loss
from geoseg.training.presence import AUXILIARY_WEIGHT, answer, whole_loss
from geoseg.training.repeating import repeatable
from geoseg.training.samples import Chips, Sample, band_statistics
from geoseg.training.weights import Weighting
from geoseg.training.weights import class_weights as weights_by_rule

TrainingProgress = Callable[[int, int, float], None]
"""Told (steps done, steps in total, loss of the last step)."""

# Share of the steps in which the learning rate rises.
_WARM_UP = 0.1


@dataclass(frozen=True)
class Trained:
    """A trained network and what a model file must say of it.

    Attributes:
        model: In ``eval()`` mode, on the CPU; logits (B, K, H, W) of normalised pixels (B, C, H, W).
        stats: The scaling that training used.
        legend: The classes in the order of the output channels.
        value_range: 1st and 99th percentile of the training pixels.
        architecture: Name for ``create_model``.
        options: Options for ``create_model``.
        dtype: NumPy name of the training pixels' type.
        chip_size: Side of the training chips.
        losses: Loss of every step.
    """

    model: nn.Module
    stats: BandStats
    legend: Legend
    value_range: tuple[float, float]
    architecture: str
    options: Mapping[str, Any]
    dtype: str
    chip_size: int
    losses: tuple[float, ...] = field(repr=False)

    def describe(self, *, name: str, bands: Sequence[str], **more: Any) -> ModelSpec:
        """The spec for ``save_model``.

        Args:
            name: What users call the model.
            bands: Band names in input order.
            **more: Other fields of :class:`~geoseg.config.ModelSpec`, such as ``gsd``, ``purpose`` and ``license``, or
                what is to stand for one that training knows, such as ``tile_size``.
        """
        known = {
            "architecture": self.architecture,
            "options": dict(self.options),
            "classes": self.legend.to_records(),
            "mean": self.stats.mean,
            "std": self.stats.std,
            "value_range": self.value_range,
            "dtype": self.dtype,
            "tile_size": self.chip_size,
            "stride_multiple": stride_multiple(self.model),
            "context": asdict(surroundings(self.model)),
        }
        return ModelSpec.model_validate({**known, "name": name, "bands": tuple(bands), **more})


def train_on_arrays(
    samples: Sequence[Sample],
    legend: Legend,
    architecture: str = "unet",
    *,
    options: Mapping[str, Any] | None = None,
    encoder_weights: str | None = None,
    steps: int = 500,
    seconds: float | None = None,
    batch: int = 8,
    chip_size: int = 256,
    lr: float = 1e-3,
    weight_decay: float = 1e-2,
    seed: int = 0,
    augment: bool = True,
    loss: str | Mapping[str, float] = "ce+dice",
    class_weights: Weighting | Sequence[float] | None = None,
    device: str = "cpu",
    progress: TrainingProgress | None = None,
) -> Trained:
    """Train a network from labelled scenes in memory.

    AdamW with a one-cycle learning rate (rises over the first tenth, then falls to 0 on a cosine), gradients clipped to
    norm 1. With ``steps`` the same call gives the same weights on one machine, bit for
    bit. With ``seconds`` the schedule follows the clock, so that the result does not.

    Args:
        samples: Scenes with one number of bands and one dtype.
        legend: The classes that may occur in the labels.
        architecture: Name for ``create_model``.
        options: Options for ``create_model``; an auxiliary head (``aux_params`` of SMP) serves the training only.
        encoder_weights: See ``create_model``.
        steps: Number of batches; with ``seconds`` the largest number.
        seconds: Stop after this time, with the learning rate brought down to 0 by then; None = no limit.
        batch: Chips per batch; at least 2, for batch normalisation.
        chip_size: Side of a chip in pixels; a multiple of what the network needs.
        lr: Highest learning rate.
        weight_decay: Of AdamW.
        seed: Of the first weights, the chips and dropout.
        augment: Flips, right-angle turns, a little brightness and contrast.
        loss: See :func:`~geoseg.training.losses.build_loss`.
        class_weights: For the losses ``weighted_*``: one number per class of the legend, or the rule by which they come
            from the pixels of the samples; see :mod:`geoseg.training.weights`.
        device: A torch device.
        progress: Told after every step.

    Returns:
        The network and what its file must say.

    Raises:
        ParameterError: No samples, or a parameter out of range.
        ModelError: The architecture is unknown or does not fit, or the loss became NaN.
    """
    options = dict(options or {})
    _check(samples, steps, seconds, batch, lr)
    stats, value_range = band_statistics(samples)
    chips = Chips(samples, legend, stats, chip_size, augment)
    criterion = build_loss(loss, _numbers(class_weights, chips)).to(torch.device(device))
    with repeatable(seed):
        bands = len(stats.mean)
        model = create_model(architecture, bands=bands, classes=len(legend), encoder_weights=encoder_weights, **options)
        _check_chip_size(chip_size, stride_multiple(model))
        losses = _fit(
            model.to(torch.device(device)).to(memory_format=torch.channels_last),
            chips, criterion, np.random.default_rng(seed), steps, seconds, batch, lr, weight_decay, progress,
        )  # fmt: skip
    model = drop_auxiliary(model.cpu().to(memory_format=torch.contiguous_format).eval())
    options = lasting_options(options)
    dtype = samples[0].pixels.dtype.name
    return Trained(model, stats, legend, value_range, architecture, options, dtype, chip_size, tuple(losses))


def _check(samples: Sequence[Sample], steps: int, seconds: float | None, batch: int, lr: float) -> None:
    if not samples:
        raise ParameterError("there is nothing to train on: give at least one sample")
    kinds = {(len(s.pixels), s.pixels.dtype.name) for s in samples}
    if len(kinds) > 1:
        listed = ", ".join(f"{bands} bands of {dtype}" for bands, dtype in sorted(kinds))
        raise ParameterError(f"the training scenes differ ({listed}); give one number of bands and one dtype")
    if steps < 1 or batch < 2 or not lr > 0 or (seconds is not None and not seconds > 0):
        raise ParameterError(
            f"steps {steps}, seconds {seconds}, batch {batch}, lr {lr}: at least 1 step and 2 chips, the others above 0"
        )


def _numbers(weights: Weighting | Sequence[float] | None, chips: Chips) -> Sequence[float] | None:
    """Class weights, by their rule where it is named."""
    if weights is None or not isinstance(weights, str):
        return weights
    return tuple(weights_by_rule(chips.pixel_counts(), weights))


def _check_chip_size(chip_size: int, multiple: int) -> None:
    if chip_size % multiple:
        above = math.ceil(chip_size / multiple) * multiple
        raise ParameterError(
            f"chip size {chip_size} is not a multiple of {multiple} as this network needs; give {above}"
        )


def _fit(
    model: nn.Module,
    chips: Chips,
    criterion: nn.Module,
    rng: np.random.Generator,
    steps: int,
    seconds: float | None,
    batch: int,
    lr: float,
    weight_decay: float,
    progress: TrainingProgress | None,
) -> list[float]:
    """Train ``model`` in place; returns the loss of every step."""
    device = next(model.parameters()).device
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)
    losses: list[float] = []
    model.train()
    for done in _portions(steps, seconds):
        for group in optimizer.param_groups:
            group["lr"] = lr * _one_cycle(done)
        pixels, indices = (torch.from_numpy(a).to(device) for a in chips.draw(batch, rng))
        logits, presence = answer(model, pixels.contiguous(memory_format=torch.channels_last))
        indices = beneath(indices, logits)
        loss: Any = whole_loss(criterion(logits, indices), presence, indices, AUXILIARY_WEIGHT)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise ModelError(f"the loss became {losses[-1]} at step {len(losses)}; give a lower lr than {lr}")
        if progress is not None:
            progress(len(losses), steps, losses[-1])
    return losses


def _portions(steps: int, seconds: float | None) -> Iterator[float]:
    """The share of the training that is done, before each step: by the count, or by the clock where that is ahead."""
    start = time.monotonic()
    for step in range(steps):
        by_clock = 0.0 if seconds is None else (time.monotonic() - start) / seconds
        if by_clock >= 1:
            return
        yield max((step + 0.5) / steps, by_clock)


def _one_cycle(done: float) -> float:
    """Share of the highest learning rate (Smith & Topin 2018, https://arxiv.org/abs/1708.07120), 0 < share <= 1."""
    if done < _WARM_UP:
        return done / _WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (done - _WARM_UP) / (1 - _WARM_UP)))
