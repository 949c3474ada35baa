"""What a finished training says of itself: in the model file, in the report, and to its caller."""

from __future__ import annotations

from dataclasses import asdict

import torch
from torch import nn

from geoseg import __version__
from geoseg.config import ContextRecord, ModelSpec
from geoseg.config.loading import dump_config
from geoseg.config.training import TrainingConfig
from geoseg.memory import peak_memory
from geoseg.models import effective_radius, stride_multiple, surroundings
from geoseg.models.auxiliary import lasting_options
from geoseg.models.effective import SIDE
from geoseg.training.ground import Ground
from geoseg.training.judging import Verdict
from geoseg.training.recording import Recorder
from geoseg.training.results import RunReport, TrainingRun
from geoseg.training.runs import RunFolder
from geoseg.training.stopwatch import Stopwatch

_FIGURES = ("mean_iou", "mean_f1", "overall_accuracy", "mean_accuracy", "kappa")


def describe_model(config: TrainingConfig, ground: Ground, network: nn.Module) -> ModelSpec:
    """The spec in the header of the model file, as far as it is known before the training."""
    source = ground.source
    trained = sum(part.trains for part in ground.split.sheets)
    return ModelSpec(
        name=config.name,
        architecture=config.model.architecture,
        options=lasting_options(config.model.options),
        bands=source.band_names,
        classes=source.legend.to_records(),  # type: ignore[arg-type] # pydantic makes records of them
        mean=ground.stats.mean,
        std=ground.stats.std,
        value_range=ground.value_range,
        dtype=source.dtype,
        gsd=ground.gsd,
        tile_size=config.chips.size,
        stride_multiple=stride_multiple(network),
        context=ContextRecord(**asdict(surroundings(network))),
        purpose=config.purpose,
        training_data=f"{source.name}: {trained} images, {int(ground.learned.sum()):,} labelled pixels",
        license=source.license if config.license is None else config.license,
        geoseg_version=__version__,
    )


def with_verdict(spec: ModelSpec, verdict: Verdict, network: nn.Module) -> ModelSpec:
    """The spec with what judging found, and how far the trained network looks."""
    # It cannot have learned to look farther than its chips showed it.
    side = min(SIDE, 2 * spec.tile_size)
    radius = effective_radius(network, len(spec.bands), side=side)
    found = {"metrics": _figures(verdict), "temperature": verdict.temperature, "effective_radius": radius}
    return spec.model_copy(update=found)


def _figures(verdict: Verdict) -> dict[str, float]:
    """Those that are defined."""
    whole = verdict.whole
    if whole is None:
        return {}
    found = {name: getattr(whole.metrics, name) for name in _FIGURES}
    found |= {"boundary_f1": whole.boundary.mean_f1, "calibration_error": whole.calibration.error}
    found |= {f"{area}/mean_iou": own.metrics.mean_iou for area, own in verdict.subsets.items()}
    return {name: float(value) for name, value in found.items() if value is not None}


def describe_run(
    folder: RunFolder,
    config: TrainingConfig,
    ground: Ground,
    network: nn.Module,
    recorder: Recorder,
    verdict: Verdict,
    watch: Stopwatch,
    device: str,
    start: str,
) -> tuple[RunReport, TrainingRun]:
    """What the report is made of, and what the caller gets."""
    history = tuple(recorder.history)
    notes = (*ground.notes, *([start] if start else []), *_notes(config, ground, recorder))
    peak, seconds = peak_memory(), _seconds(recorder, watch)
    weights = "random" if config.model.encoder_weights == "none" else config.model.encoder_weights
    report = RunReport(
        name=config.name,
        purpose=config.purpose,
        source=ground.source.name,
        config=dump_config(config),
        legend=ground.source.legend,
        history=history,
        monitor=config.trainer.monitor,
        best_epoch=recorder.best_epoch,
        judgement=verdict.whole,
        subsets=verdict.subsets,
        training_pixels=tuple(int(n) for n in ground.learned.sum(axis=0)),
        validation_pixels=tuple(int(n) for n in ground.judged.sum(axis=0)),
        chips=verdict.chips,
        temperature=verdict.temperature,
        parameters=sum(p.numel() for p in network.parameters()),
        device=device,
        seconds=seconds,
        peak_memory=peak,
        peak_device_memory=torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
        architecture=f"{config.model.architecture}, encoder weights: {config.model.init or weights}",
        chips_per_second=recorder.chips_per_second,
        notes=notes,
        warnings=ground.warnings,
    )
    run = TrainingRun(
        folder=folder.path,
        model=folder.model,
        report=folder.report,
        legend=ground.source.legend,
        best_epoch=recorder.best_epoch,
        history=history,
        judgement=verdict.whole,
        subsets=verdict.subsets,
        temperature=verdict.temperature,
        seconds=sum(seconds.values()),
        peak_memory=peak,
        notes=(*notes, *ground.warnings),
    )
    return report, run


def _seconds(recorder: Recorder, watch: Stopwatch) -> dict[str, float]:
    """By stage; learning includes what was learned before a run was resumed."""
    learned = recorder.history[-1].seconds if recorder.history else 0.0
    return watch.seconds | {"learning": max(learned, watch.seconds["learning"])}


def _notes(config: TrainingConfig, ground: Ground, recorder: Recorder) -> list[str]:
    notes = []
    if not ground.judges:
        notes.append("There is no labelled validation ground: the weights of the last epoch were saved, unjudged.")
    elif recorder.best_epoch is None:
        notes.append("No epoch was validated: the weights of the last one were saved.")
    if ground.split.by == "none":
        notes.append("All ground was trained on and validated on: the figures say how well it was learned by heart.")
    if recorder.history and recorder.history[-1].epoch < config.trainer.epochs:
        notes.append(f"Training ended after {recorder.history[-1].epoch} of {config.trainer.epochs} epochs.")
    return notes
