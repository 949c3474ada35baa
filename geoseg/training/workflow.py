"""train(): from labelled imagery to a model file and a report."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch import Trainer
from torch import nn

from geoseg.config import ModelSpec
from geoseg.config.training import TrainingConfig
from geoseg.models import save_model, surroundings
from geoseg.models.auxiliary import drop_auxiliary
from geoseg.predictors.machine import device_name
from geoseg.sources.chips import ChipSampler, TrainingBatches, ValidationTiles
from geoseg.sources.opening import open_source
from geoseg.sources.splits import write_split
from geoseg.sources.values import Source
from geoseg.tiling import Context
from geoseg.training.checkpoints import load_state
from geoseg.training.describing import describe_model, describe_run, with_verdict
from geoseg.training.ground import Ground, survey_ground
from geoseg.training.initial import start_from
from geoseg.training.judging import Judge, Verdict
from geoseg.training.logs import open_logs
from geoseg.training.pictures import ChipPainter
from geoseg.training.preparing import criterion_of, first_network, numbers_of, planned_steps
from geoseg.training.recording import Recorder, best_weights
from geoseg.training.repeating import repeatable
from geoseg.training.report import write_run_report
from geoseg.training.results import TrainingReporter, TrainingRun
from geoseg.training.running import (
    Accelerator,
    autocast,
    build_trainer,
    choose_accelerator,
    choose_precision,
    fit,
    is_deterministic,
)
from geoseg.training.runs import RunFolder, begin, check_folder, claimed
from geoseg.training.statistics import renew_statistics, renewable
from geoseg.training.stopwatch import Stopwatch
from geoseg.training.task import SegmentationTask


def train(
    config: TrainingConfig,
    *,
    runs: str | Path = "runs",
    resume: bool = False,
    overwrite: bool = False,
    progress: TrainingReporter | None = None,
) -> TrainingRun:
    """Train a network as the settings say, and leave all that is worth to be known of it in ``runs/<name>``.

    The imagery is read once and looked at first: what is wrong with it is an error before anything trains. A run that
    was killed goes on with ``resume``, and gives the model of one that was not: on a CPU bit for bit.

    Args:
        config: All settings, such as ``load_config("loveda_unet")`` gives.
        runs: Folder of all runs.
        resume: Go on with the run of this name from the end of its last epoch.
        overwrite: Start it over.
        progress: Told how far it is.

    Returns:
        What the run left.

    Raises:
        OutputError: Another process trains it, or the folder cannot be written to.
        OutputExistsError: The run exists, and neither ``resume`` nor ``overwrite`` was given.
        ParameterError: Settings do not fit each other, the data or the machine.
        ModelError: The network cannot be made, or the loss became NaN or infinite.
        GeosegError: The data cannot be used.
    """
    folder = RunFolder(Path(runs) / config.name)
    with claimed(folder) if _is_first() else nullcontext():
        if _is_first():
            check_folder(folder, config, resume=resume, overwrite=overwrite)
        return train_on(open_source(config.data), config, folder, resume=resume, progress=progress)


def train_on(
    source: Source,
    config: TrainingConfig,
    folder: RunFolder,
    *,
    resume: bool = False,
    progress: TrainingReporter | None = None,
) -> TrainingRun:
    """:func:`train` with a source that is open; what stands in the folder is replaced, or gone on with."""
    watch = Stopwatch()
    accelerator = choose_accelerator(config.trainer)
    precision = choose_precision(config.trainer, accelerator)
    strict = is_deterministic(config.trainer, accelerator)
    checkpoint = folder.last if resume and folder.last.is_file() else None
    # What can be refused without the imagery is refused before it is read.
    criterion_of(config.loss, source.legend, np.ones((1, len(source.legend)), np.int64))
    with repeatable(config.trainer.seed, strict):
        network = first_network(config, source, fresh=checkpoint is None)
    renewable(network, config)
    with (
        survey_ground(source, config, folder, resume, progress, watch) as ground,
        repeatable(config.trainer.seed, strict),
    ):
        job = _prepare(config, ground, folder, resume, accelerator, precision, network, checkpoint, progress)
        with watch("learning"):
            _learn(job)
        if not job.trainer.is_global_zero:
            sys.exit(0)  # what is left to do is for the first process alone
        with watch("judging"):
            _renew(job)
            verdict = _judge(job)
        judged = drop_auxiliary(job.task.judged)
        with watch("writing"):
            save_model(folder.model, judged, with_verdict(job.spec, verdict, job.task.judged), overwrite=True)
        what = f"{device_name(job.device)}, {job.precision}"
        report, run = describe_run(folder, config, ground, judged, job.recorder, verdict, watch, what, job.start)
        write_run_report(folder.report, report)
        return run


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """All that a training needs, made and checked before its first step."""

    config: TrainingConfig
    ground: Ground
    folder: RunFolder
    checkpoint: Path | None
    precision: str
    spec: ModelSpec
    start: str
    task: SegmentationTask
    recorder: Recorder
    trainer: Trainer
    batches: TrainingBatches
    tiles: ValidationTiles | None
    progress: TrainingReporter | None

    @property
    def device(self) -> torch.device:
        """Of this process."""
        device: torch.device = self.trainer.strategy.root_device
        return device


def _prepare(
    config: TrainingConfig, ground: Ground, folder: RunFolder, resume: bool, accelerator: Accelerator, precision: str,
    network: nn.Module, checkpoint: Path | None, progress: TrainingReporter | None,
) -> _Job:  # fmt: skip
    """Loss and trainer; the folder is touched when nothing is left that could be refused."""
    spec, start = describe_model(config, ground, network), ""
    if config.model.init is not None and checkpoint is None:
        start = start_from(network, spec, config.model.init, runs=folder.path.parent)
    legend = ground.source.legend
    criterion = criterion_of(config.loss, legend, ground.learned)
    names, numbers = numbers_of(ground.areas)
    sampler = _chip_sampler(config, ground)
    logs = open_logs(folder, config) if _is_first() else ()
    recorder = Recorder(folder, config, legend, names if len(names) > 1 else (), logs, progress)
    trainer = build_trainer(config, folder.path, recorder, accelerator, precision, ground.judges)
    if trainer.is_global_zero:
        _begin(folder, config, ground, resume)
    shared: dict[str, Any] = {
        "batch": config.chips.batch,
        "threads": config.chips.threads,
        "rank": trainer.global_rank,
        "world": trainer.world_size,
        "pin": trainer.strategy.root_device.type == "cuda",
    }
    around = surroundings(network)
    batches = TrainingBatches(ground.store, sampler, per_epoch=config.chips.per_epoch, context=around, **shared)
    tiles = _tiles(config, ground, around, **shared) if ground.judges else None
    task = SegmentationTask(
        network, ground.stats, criterion, config, steps=planned_steps(config, len(batches)), classes=len(legend),
        subsets=numbers, describe=ground.describe,
    )  # fmt: skip
    return _Job(
        config, ground, folder, checkpoint, precision, spec, start, task, recorder, trainer, batches, tiles, progress
    )


def _chip_sampler(config: TrainingConfig, ground: Ground) -> ChipSampler:
    """Which chips the training sees."""
    own, seed = config.chips, config.trainer.seed
    return ChipSampler(ground.store, ground.split, ground.survey, size=own.size, seed=seed, class_aware=own.class_aware)


def _is_first() -> bool:
    """Whether this is the first of the processes that train together, which writes for all of them."""
    return int(getattr(rank_zero_only, "rank", 0)) == 0


def _begin(folder: RunFolder, config: TrainingConfig, ground: Ground, resume: bool) -> None:
    begin(folder, config, resume=resume)
    if not folder.split.is_file():
        write_split(folder.split, ground.source, ground.split)


def _tiles(config: TrainingConfig, ground: Ground, around: Context, **more: Any) -> ValidationTiles:
    """Tiles of the size of chips; they overlap by a quarter, unless the network sees past them by itself."""
    size = config.chips.size
    overlap = 0 if around.pixels else size // 4
    return ValidationTiles(ground.store, ground.split, tile_size=size, overlap=overlap, context=around, **more)


def _learn(job: _Job) -> None:
    """All epochs that are left; afterwards the task holds the best weights."""
    recorder, task = job.recorder, job.task
    try:
        if job.checkpoint is not None:
            state = load_state(job.checkpoint)
            recorder.load_state_dict(state["callbacks"][recorder.state_key])
            if recorder.finished:
                task.load_state_dict(state["state_dict"])
                recorder.restart_logs()
        if not recorder.finished:
            fit(job.trainer, task, recorder, job.batches, job.tiles, job.checkpoint)
    finally:
        recorder.close_logs()
    best = best_weights(job.folder)
    if best is not None and recorder.best_epoch is not None:
        task.judged.load_state_dict(best[1])


def _renew(job: _Job) -> None:
    """Statistics of batch normalisation for the weights that are saved, where the settings ask for them."""
    task, config = job.task, job.config
    norms = renewable(task.judged, config)
    if not norms:
        return
    task.to(job.device).eval()
    chips = (job.batches.batch(config.trainer.epochs, step) for step in range(config.trainer.precise_bn))
    with autocast(job.device, job.precision):
        images = (task.training_images(batch.to(job.device), step) for step, batch in enumerate(chips))
        renew_statistics(task.judged, norms, images)


def _judge(job: _Job) -> Verdict:
    """All figures of the best weights."""
    ground, config, task = job.ground, job.config, job.task
    judge = Judge(
        ground.source.legend, ground.split, ground.areas, int(ground.judged.sum()), seed=config.trainer.seed,
        worst=config.logging.worst_chips, picture=ChipPainter(ground), pixel_size=ground.gsd,
    )  # fmt: skip
    task.to(job.device).eval()
    if ground.judges:
        around = surroundings(task.network)
        tiles = _tiles(config, ground, around, batch=config.chips.batch, threads=config.chips.threads)
        with torch.no_grad(), autocast(job.device, job.precision):
            for done, batch in enumerate(tiles, start=1):
                batch = batch.to(job.device)
                judge.add(batch, task.judge(batch))
                if job.progress is not None:
                    job.progress(job.recorder.status("evaluate", done, len(tiles)))
    task.cpu()
    return judge.verdict()
