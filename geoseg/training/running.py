"""Lightning's trainer, as quiet as the rest of the house."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import Trainer

from geoseg.config.training import TrainerConfig, TrainingConfig
from geoseg.errors import ParameterError, ResourceError
from geoseg.sources.chips import Batch, TrainingBatches
from geoseg.training.checkpoints import SafeCheckpoints
from geoseg.training.recording import Recorder
from geoseg.training.task import SegmentationTask

Accelerator = Literal["cpu", "gpu", "mps"]

_PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}

# Whose loggers tell what is of no use to the user.
_CHATTY = ("lightning", "lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")


def choose_accelerator(config: TrainerConfig) -> Accelerator:
    """What the training runs on.

    Raises:
        ParameterError: It is asked for and not there.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if config.accelerator == "auto":
        chosen: Accelerator = "gpu" if cuda else "mps" if mps else "cpu"
        _check_devices(config.devices or 1, chosen, "leave it out, or set trainer.accelerator to cpu for processes")
        return chosen
    if config.accelerator == "gpu" and not cuda:
        if mps:
            return "mps"
        raise ParameterError("trainer.accelerator is gpu, but torch sees none; take auto or cpu, or see geoseg doctor")
    if config.accelerator == "mps" and not mps:
        raise ParameterError("trainer.accelerator is mps, but there is no Apple GPU; take auto or cpu")
    if config.accelerator != "cpu":
        _check_devices(config.devices or 1, config.accelerator, "give at most as many")
    return config.accelerator


def _check_devices(wanted: int, accelerator: Accelerator, remedy: str) -> None:
    """See that there are so many GPUs; one device there is always."""
    there = torch.cuda.device_count() if accelerator == "gpu" else 1 if accelerator == "mps" else 0
    if wanted > max(there, 1):
        raise ParameterError(f"trainer.devices is {wanted}, but torch sees {there} GPUs; {remedy}")


def choose_precision(config: TrainerConfig, accelerator: Accelerator) -> str:
    """``fp32``, ``bf16`` or ``fp16``.

    Raises:
        ParameterError: fp16 on a CPU.
    """
    if config.precision == "fp16" and accelerator == "cpu":
        raise ParameterError("trainer.precision fp16 needs a GPU; give fp32 or bf16")
    if config.precision != "auto":
        return config.precision
    if accelerator != "gpu":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def is_deterministic(config: TrainerConfig, accelerator: Accelerator) -> bool:
    """Whether operations that do not repeat are refused."""
    return accelerator == "cpu" if config.deterministic is None else config.deterministic


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The arithmetic that validation had in the training."""
    return torch.autocast(device.type, dtype=_DTYPES.get(precision), enabled=precision in _DTYPES)


def build_trainer(
    config: TrainingConfig, folder: Path, recorder: Recorder, accelerator: Accelerator, precision: str, judges: bool
) -> Trainer:
    """A trainer that prints nothing and writes nothing but through the recorder.

    Lightning switches torch's deterministic algorithms for the whole process as it makes one: to be called within
    :func:`~geoseg.training.repeating.repeatable`, which switches them back.

    Args:
        config: Of the run.
        folder: Of the run.
        recorder: Keeps history and checkpoints.
        accelerator: What it runs on.
        precision: Of the network's arithmetic.
        judges: Whether there is ground to validate on.
    """
    own = config.trainer
    count = own.devices or (torch.cuda.device_count() if accelerator == "gpu" else 1)
    several = count > 1
    # Of an encoder that is frozen, no gradient comes that the devices could exchange.
    strategy = "ddp_find_unused_parameters_true" if config.model.freeze_encoder else "ddp"
    deterministic = is_deterministic(own, accelerator)
    with _quiet():
        return Trainer(
            accelerator=accelerator,
            devices=count,
            strategy=strategy if several else "auto",
            precision=_PRECISIONS[precision],  # type: ignore[arg-type]
            logger=False,
            callbacks=[recorder],
            max_epochs=own.epochs,
            limit_val_batches=1.0 if judges else 0,
            check_val_every_n_epoch=min(own.validate_every, own.epochs),
            num_sanity_val_steps=0,
            accumulate_grad_batches=own.accumulate,
            gradient_clip_val=own.clip or None,
            deterministic=deterministic,
            benchmark=accelerator == "gpu" and not deterministic,
            use_distributed_sampler=False,
            default_root_dir=str(folder),
            plugins=plugins_of(accelerator, count),
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )


def plugins_of(accelerator: Accelerator, devices: int) -> list[Any]:
    """What takes the place of Lightning's own parts.

    Processes on CPUs normalise by their own chips each: torch's statistics over several processes want GPUs.

    Args:
        accelerator: What the training runs on.
        devices: How many of them.
    """
    if devices == 1 or accelerator != "gpu":
        return [SafeCheckpoints()]
    from geoseg.training.syncing import KeptSync  # timm comes with it

    return [SafeCheckpoints(), KeptSync()]


class Epochs:
    """Training batches that know which epoch it is when the first of them is asked for.

    Lightning makes the iterator of the first epoch before it says which one that is.

    Args:
        batches: The batches of any epoch.
        epoch: Gives the number of the epoch, from 0.
    """

    def __init__(self, batches: TrainingBatches, epoch: Callable[[], int]) -> None:
        self._batches, self._epoch = batches, epoch

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        self._batches.set_epoch(self._epoch())
        yield from self._batches


def fit(
    trainer: Trainer,
    task: SegmentationTask,
    recorder: Recorder,
    batches: TrainingBatches,
    tiles: Iterable[Any] | None,
    checkpoint: Path | None,
) -> None:
    """Train until the recorder says that it is enough.

    Raises:
        KeyboardInterrupt: The user pressed Ctrl-C; the checkpoint of the last whole epoch is there.
        ModelError: The loss became NaN or infinite.
        ResourceError: A batch does not fit into the memory of the GPU.
    """
    handler = signal.getsignal(signal.SIGINT)
    task.train()
    try:
        with _quiet():
            trainer.fit(
                task,
                Epochs(batches, lambda: trainer.current_epoch),
                tiles,
                ckpt_path=None if checkpoint is None else str(checkpoint),
            )
    except SystemExit:
        if not recorder.interrupted:
            raise
        _restore(handler)
        raise KeyboardInterrupt from None
    except torch.OutOfMemoryError as error:
        raise ResourceError(
            "a batch does not fit into the memory of the GPU; give a smaller chips.batch (with trainer.accumulate the "
            "gradients stay those of the larger one) or a smaller chips.size"
        ) from error


def _restore(handler: Any) -> None:
    """Lightning turns Ctrl-C off when it has got one."""
    try:
        signal.signal(signal.SIGINT, handler)
    except ValueError:  # not the main thread, where Lightning could not turn it off either
        return


@contextmanager
def _quiet() -> Iterator[None]:
    """Neither greetings nor advice from Lightning: what matters is checked, and raised, by ourselves."""
    loggers = [logging.getLogger(name) for name in _CHATTY]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\..*")
        # With fp16 the first step may be left out, and torch takes the order of the two calls for wrong.
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
