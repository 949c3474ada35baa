"""From settings and ground to what is trained: class weights, the first network, the length of the training."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch import nn

from geoseg.config.training import LossConfig, TrainingConfig
from geoseg.errors import ParameterError
from geoseg.legend import Legend
from geoseg.models import create_model, stride_multiple
from geoseg.models.files import nearest
from geoseg.sources.chips import Store
from geoseg.sources.ground import free_rectangles
from geoseg.sources.splits import Split
from geoseg.sources.values import Source
from geoseg.tiling import Window
from geoseg.training.judging import labelled_pixels
from geoseg.training.losses import SegmentationLoss, build_loss
from geoseg.training.optimizers import encoder_of
from geoseg.training.weights import class_weights

Counts = npt.NDArray[np.int64]

# Rows of labels that are counted at a time.
_STRIP = 2048


def ground_pixels(store: Store, split: Split) -> tuple[Counts, Counts]:
    """Labelled pixels of training and of validation ground.

    Returns:
        Two (N, K), a row a sheet.
    """
    classes = len(store.source.legend)
    learned, judged = (np.zeros((len(split.sheets), classes), np.int64) for _ in range(2))
    for number, (sheet, part) in enumerate(zip(store.source.sheets, split.sheets, strict=True)):
        free = free_rectangles(sheet.height, sheet.width, part.closed) if part.trains else ()
        windows = [Window(int(t), int(left), int(b - t), int(r - left)) for t, left, b, r in free]
        for counts, areas in ((learned, windows), (judged, part.validation)):
            pieces = (store.indices(number, strip) for window in areas for strip in _strips(window))
            counts[number] = labelled_pixels(pieces, classes)
    return learned, judged


def _strips(window: Window) -> list[Window]:
    return [
        Window(top, window.col_off, min(_STRIP, window.row_end - top), window.width)
        for top in range(window.row_off, window.row_end, _STRIP)
    ]


def first_network(config: TrainingConfig, source: Source, *, fresh: bool = True) -> nn.Module:
    """The network before its first step.

    Args:
        config: Of the run.
        source: How many bands and classes.
        fresh: Whether its first weights matter; not where a checkpoint fills it anyway.

    Raises:
        ModelError: See ``create_model``.
        ParameterError: The chips do not suit it.
    """
    own = config.model
    weights = own.encoder_weights if fresh and own.encoder_weights != "none" else None
    bands, classes = len(source.band_names), len(source.legend)
    network = create_model(own.architecture, bands=bands, classes=classes, encoder_weights=weights, **own.options)
    multiple = stride_multiple(network)
    if config.chips.size % multiple:
        above = math.ceil(config.chips.size / multiple) * multiple
        raise ParameterError(
            f"chips.size {config.chips.size} is not a multiple of {multiple} as {own.architecture} needs; give {above}"
        )
    if own.freeze_encoder:
        encoder_of(network)  # is there one?
    return network


def criterion_of(config: LossConfig, legend: Legend, counts: Counts) -> SegmentationLoss:
    """The loss, with class weights by rule or by name.

    Args:
        config: Which.
        legend: The classes.
        counts: (N, K) labelled pixels of training ground.

    Raises:
        ParameterError: A name that the legend does not have, a class without weight, or see ``build_loss``.
    """
    given = config.class_weights
    if given is None:
        return build_loss(config.expression)
    if isinstance(given, str):
        return build_loss(config.expression, tuple(class_weights(counts, given)))
    unknown, missing = sorted(set(given) - set(legend.names)), [n for n in legend.names if n not in given]
    if unknown or missing:
        wrong = f"there is no class {unknown[0]!r}{nearest(unknown[0], legend.names)}" if unknown else ""
        left = f"{missing[0]!r} has no weight" if missing else ""
        raise ParameterError(f"loss.class_weights: {wrong or left}; give one for each of: {', '.join(legend.names)}")
    return build_loss(config.expression, [given[name] for name in legend.names])


def planned_steps(config: TrainingConfig, batches: int) -> int:
    """Optimizer steps of the whole training, for the learning rate.

    Args:
        config: Of the run.
        batches: Of an epoch, on each device.
    """
    steps = config.trainer.epochs * math.ceil(batches / config.trainer.accumulate)
    return steps if config.trainer.steps is None else min(steps, config.trainer.steps)


def areas_of(source: Source, split: Split) -> tuple[str, ...]:
    """For each sheet the named area that it is judged in; all alike where there are not two with validation ground."""
    judged = {s.subset for s, part in zip(source.sheets, split.sheets, strict=True) if part.validation}
    if len(judged) < 2:
        return ("",) * len(source.sheets)
    return tuple(sheet.subset or "other" for sheet in source.sheets)


def numbers_of(areas: Sequence[str]) -> tuple[tuple[str, ...], list[int]]:
    """The different areas in the order of their first sheet, and for each sheet the number of its own."""
    names = tuple(dict.fromkeys(areas))
    return names, [names.index(area) for area in areas]
