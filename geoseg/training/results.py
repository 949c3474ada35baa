"""What a training tells while it runs, what it leaves, and what its report is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from geoseg.errors import ParameterError
from geoseg.legend import Legend
from geoseg.metrics import BoundaryScore, Calibration, Metrics
from geoseg.tiling import Window

Stage = Literal["survey", "train", "validate", "evaluate"]
"""What a training is at: reading all data, learning, judging an epoch, judging the best epoch."""

Figures = Mapping[str, float | None]
"""Figures by name; None where undefined."""


@dataclass(frozen=True, slots=True)
class TrainingStatus:
    """How far a training is.

    Attributes:
        stage: What it is at.
        done: Of ``total`` of this stage: pixels of the survey, batches of the epoch, tiles to judge.
        total: At least 1.
        epoch: Number of the epoch, from 1; 0 before the first.
        epochs: How many there are to be.
        chips: Chips learned from since this process began.
        seconds: That this took, validation included.
        loss: Of training, smoothed over some ten steps; None before the first step.
        monitor: Name of the figure that decides.
        best: Its best value so far; None before the first validation.
        last: Its last value.
        seconds_left: Estimate for all epochs; None while nothing is known.
    """

    stage: Stage
    done: int
    total: int
    epoch: int = 0
    epochs: int = 0
    chips: int = 0
    seconds: float = 0.0
    loss: float | None = None
    monitor: str = "mean_iou"
    best: float | None = None
    last: float | None = None
    seconds_left: float | None = None

    @property
    def rate(self) -> float | None:
        """Chips a second; None where nothing is known."""
        return self.chips / self.seconds if self.chips and self.seconds > 0 else None


TrainingReporter = Callable[[TrainingStatus], None]
"""Told now and then how far it is."""


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One epoch.

    Attributes:
        epoch: From 1.
        step: Optimizer steps done at its end.
        loss: Mean loss of its batches.
        lr: Learning rate of its last step, of what is not the encoder.
        seconds: From the beginning of the training to the end of the epoch, times between resumptions left out.
        figures: Of validation, by name: ``loss``, ``mean_iou``, ``mean_f1``, ``overall_accuracy``, ``mean_accuracy``,
            ``kappa``, ``iou/<class>`` for each class, and ``<subset>/mean_iou`` for each named area; empty where the
            epoch was not judged.
    """

    epoch: int
    step: int
    loss: float
    lr: float
    seconds: float
    figures: Figures = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, figures of validation with ``validation/`` before their names."""
        own = {"epoch": self.epoch, "step": self.step, "loss": self.loss, "lr": self.lr, "seconds": self.seconds}
        return own | {f"validation/{name}": value for name, value in self.figures.items()}


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """How good the model is on ground that it was not trained on.

    Attributes:
        metrics: From ``confusion``.
        confusion: (K, K) int64 pixels; rows are the truth, columns the prediction.
        boundary: Of borders.
        calibration: Of confidence, with the temperature that the model file holds.
        uncalibrated: The same at temperature 1.
    """

    metrics: Metrics
    confusion: npt.NDArray[np.int64] = field(repr=False)
    boundary: BoundaryScore
    calibration: Calibration
    uncalibrated: Calibration

    def to_dict(self, legend: Legend) -> dict[str, Any]:
        """Plain values for JSON; what is undefined is ``null``."""
        return {
            "metrics": self.metrics.to_dict(legend),
            "confusion": self.confusion.tolist(),
            "boundary": self.boundary.to_dict(legend),
            "calibration": self.calibration.to_dict(),
            "calibration_error_before": self.uncalibrated.error,
        }


@dataclass(frozen=True, slots=True, eq=False)
class ChipPicture:
    """A piece of validation ground for the report.

    Attributes:
        sheet: Name.
        window: Where in the sheet.
        image: (h, w, 3) uint8 for the eye: the first three bands, or one as grey, stretched; 0 where there is nothing.
        truth: (h, w) uint8 class ids, 0 where there is no label.
        predicted: (h, w) uint8 class ids, 0 where there is no data.
        wrong: Labelled pixels with another class.
        pixels: Labelled pixels, at least 1.
        place: Where on the earth, for the eye; empty where the sheet has no place.
    """

    sheet: str
    window: Window
    image: npt.NDArray[np.uint8] = field(repr=False)
    truth: npt.NDArray[np.uint8] = field(repr=False)
    predicted: npt.NDArray[np.uint8] = field(repr=False)
    wrong: int
    pixels: int
    place: str = ""

    def __post_init__(self) -> None:
        shape = self.truth.shape
        if self.image.shape != (*shape, 3) or self.predicted.shape != shape or not 0 <= self.wrong <= self.pixels:
            raise ParameterError(
                f"image {self.image.shape}, truth {shape} and prediction {self.predicted.shape} are not one chip"
            )

    @property
    def error(self) -> float:
        """Share of the labelled pixels that are wrong, 0..1."""
        return self.wrong / max(self.pixels, 1)


@dataclass(frozen=True, slots=True, eq=False)
class RunReport:
    """All that ``report.html`` is made of.

    Attributes:
        name: Of the run.
        purpose: What the model is for; may be empty.
        source: What it was trained on.
        config: The resolved settings, as YAML.
        legend: The classes; every (K,) below is in its order.
        history: Epochs, the first first.
        monitor: Figure that decided which epoch is best.
        best_epoch: Its number; None where no epoch could be judged.
        judgement: Of the model that was saved; None where there is no labelled validation ground.
        subsets: The same for each named area.
        training_pixels: (K,) labelled pixels of training ground.
        validation_pixels: (K,) of validation ground.
        chips: Pictures, the worst first.
        temperature: That the logits are divided by.
        parameters: Numbers that were learned.
        device: What computed, and how exactly.
        seconds: By stage, in order.
        peak_memory: Most bytes that the process held at once; None where unknown.
        peak_device_memory: Most bytes on the GPU; None without one.
        architecture: The network and where its first weights come from.
        chips_per_second: Of learning, validation included; None where unknown.
        notes: What was matched, assumed and left out.
        warnings: What looks wrong in the data.
    """

    name: str
    purpose: str
    source: str
    config: str
    legend: Legend
    history: tuple[HistoryRow, ...]
    monitor: str
    best_epoch: int | None
    judgement: Judgement | None
    subsets: Mapping[str, Judgement]
    training_pixels: tuple[int, ...]
    validation_pixels: tuple[int, ...]
    chips: tuple[ChipPicture, ...]
    temperature: float
    parameters: int
    device: str
    seconds: Mapping[str, float]
    peak_memory: int | None
    peak_device_memory: int | None
    architecture: str = ""
    chips_per_second: float | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class TrainingRun:
    """What a training left.

    Attributes:
        folder: ``runs/<name>``.
        model: The model file in it.
        report: The report in it.
        legend: The classes.
        best_epoch: Whose weights were saved; None where no epoch could be judged, and the last were.
        history: Epochs, the first first.
        judgement: Of the saved model on validation ground; None where there is none with labels.
        subsets: The same for each named area.
        temperature: Of calibration.
        seconds: In all.
        peak_memory: Most bytes that the process held at once; None where unknown.
        notes: What was matched, assumed, left out and looks wrong.
    """

    folder: Path
    model: Path
    report: Path
    legend: Legend
    best_epoch: int | None
    history: tuple[HistoryRow, ...]
    judgement: Judgement | None
    subsets: Mapping[str, Judgement]
    temperature: float
    seconds: float
    peak_memory: int | None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what is undefined is ``null``."""
        judged = {} if self.judgement is None else self.judgement.to_dict(self.legend)
        return {
            "folder": str(self.folder),
            "model": str(self.model),
            "report": str(self.report),
            "best_epoch": self.best_epoch,
            "epochs": [row.to_dict() for row in self.history],
            **judged,
            "subsets": {name: found.to_dict(self.legend) for name, found in self.subsets.items()},
            "temperature": self.temperature,
            "seconds": self.seconds,
            "peak_memory": self.peak_memory,
            "notes": list(self.notes),
        }
