"""What happens around the steps: history, checkpoints, the end of patience, and word of how far it is."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer

from geoseg.config.training import TrainingConfig
from geoseg.legend import Legend
from geoseg.metrics import Metrics
from geoseg.training.checkpoints import save_state
from geoseg.training.logs import Log
from geoseg.training.results import Figures, HistoryRow, Stage, TrainingReporter, TrainingStatus
from geoseg.training.runs import RunFolder
from geoseg.training.task import SegmentationTask

_OVERALL = ("mean_iou", "mean_f1", "overall_accuracy", "mean_accuracy", "kappa")


class Recorder(Callback):
    """Keeps the history of a run, and writes its checkpoints and logs at the end of each epoch.

    First the best weights are written, then the checkpoint that a run goes on from, then the logs, which hold nothing
    that the checkpoint does not: a run that is killed anywhere in between goes on from the epoch before, or has all.

    Args:
        folder: Of the run.
        config: Its settings.
        legend: The classes.
        areas: Names of the named areas, in the order of the task's matrices; empty where there are none to tell apart.
        logs: Who is told of each epoch.
        progress: Who is told how far it is.

    Attributes:
        history: One row an epoch.
        best_epoch: Its number, from 1; None before the first that could be judged.
        best: Its figure.
        finished: Whether nothing is left to do.
        interrupted: Whether the user pressed Ctrl-C.
    """

    def __init__(
        self,
        folder: RunFolder,
        config: TrainingConfig,
        legend: Legend,
        areas: Sequence[str],
        logs: Sequence[Log],
        progress: TrainingReporter | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.history: list[HistoryRow] = []
        self.best_epoch: int | None = None
        self.best: float | None = None
        self.finished = False
        self.interrupted = False
        self._folder, self._config, self._legend = folder, config, legend
        self._areas, self._logs, self._progress = tuple(areas), tuple(logs), progress
        self._chips = config.chips.batch
        self._rate = self._took = 0.0
        self._clock = clock
        self._began = clock()
        self._before = 0.0
        self._stale = 0
        self._seen = 0

    # What a checkpoint holds of it: plain values only.

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        rows = [asdict(row) | {"figures": dict(row.figures)} for row in self.history]
        return {"history": rows, "best_epoch": self.best_epoch, "best": self.best, "stale": self._stale}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From a checkpoint."""
        self.history = [HistoryRow(**row) for row in state_dict["history"]]
        self.best_epoch, self.best = state_dict["best_epoch"], state_dict["best"]
        self._stale = state_dict["stale"]
        self._before = self.history[-1].seconds if self.history else 0.0
        self.finished = self._is_over(self.history[-1]) if self.history else False

    @property
    def chips_per_second(self) -> float | None:
        """Of this process's learning, validation included; None without a step."""
        return self._seen / self._took if self._seen and self._took else None

    def restart_logs(self) -> None:
        """Bring the logs to where the checkpoint stands."""
        for log in self._logs:
            log.restart(self.history)

    def close_logs(self) -> None:
        """No more epochs will come."""
        for log in self._logs:
            log.close()

    # Hooks

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Remember Ctrl-C, of which Lightning makes an exit."""
        del trainer, pl_module
        self.interrupted = isinstance(exception, KeyboardInterrupt)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """The clock of the learning starts; making the network and reading do not count."""
        del pl_module
        self._chips = self._config.chips.batch * trainer.world_size
        self._began = self._clock()
        if self.history:
            self.restart_logs()

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Note the learning rate of the step."""
        del pl_module, batch, batch_idx
        self._rate = float(trainer.optimizers[0].param_groups[-1]["lr"])

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Tell how far it is, and stop at the last step that was asked for."""
        del outputs, batch
        self._seen += self._chips
        if self._config.trainer.steps is not None and trainer.global_step >= self._config.trainer.steps:
            trainer.should_stop = True
        self._tell("train", batch_idx + 1, int(trainer.num_training_batches), trainer, pl_module)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Tell how far it is."""
        del outputs, batch, dataloader_idx
        self._tell("validate", batch_idx + 1, int(trainer.num_val_batches[0]), trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Write down the epoch."""
        pl_module.check_weights()
        figures = self._figures(pl_module)
        self._took = self._clock() - self._began
        seconds = self._before + self._took
        epoch = trainer.current_epoch + 1
        row = HistoryRow(epoch, trainer.global_step, pl_module.mean_loss(), self._rate, seconds, figures)
        self.history.append(row)
        improved = self._note(row)
        self.finished = self._is_over(row)
        if improved and trainer.is_global_zero:
            state = {name: tensor.cpu() for name, tensor in pl_module.judged.state_dict().items()}
            save_state({"epoch": epoch, "figure": self.best, "network": state}, self._folder.best)
        trainer.save_checkpoint(self._folder.last)
        if trainer.is_global_zero:
            for log in self._logs:
                log.add(row, self.history)
        if self.finished:
            trainer.should_stop = True

    # Details

    def _figures(self, task: SegmentationTask) -> Figures:
        """Of the validation of this epoch; empty where there was none."""
        confusion, task.confusion = task.confusion, None
        if confusion is None:
            return {}
        matrices = confusion.cpu().numpy()
        whole = Metrics.from_confusion(matrices.sum(axis=0))
        found: dict[str, float | None] = {"loss": task.validation_loss}
        found |= {name: getattr(whole, name) for name in _OVERALL}
        for area, matrix in zip(self._areas, matrices, strict=False):
            found[f"{area}/mean_iou"] = Metrics.from_confusion(matrix).mean_iou
        return found | {f"iou/{c.name}": iou for c, iou in zip(self._legend, whole.iou, strict=True)}

    def _note(self, row: HistoryRow) -> bool:
        """Whether this is the best epoch so far."""
        if not row.figures:
            return False
        figure = row.figures[self._config.trainer.monitor]
        if figure is None or (self.best is not None and figure <= self.best):
            self._stale += 1
            return False
        self.best, self.best_epoch, self._stale = figure, row.epoch, 0
        return True

    def _is_over(self, row: HistoryRow) -> bool:
        own = self._config.trainer
        enough = row.epoch >= own.epochs or (own.steps is not None and row.step >= own.steps)
        return enough or (own.patience is not None and self._stale >= own.patience)

    def status(self, stage: Stage, done: int, total: int, **more: Any) -> TrainingStatus:
        """How far it is, with the figures of the epochs so far."""
        monitor = self._config.trainer.monitor
        judged = [row.figures.get(monitor) for row in self.history if row.figures]
        given = {"epoch": self.history[-1].epoch if self.history else 0, "chips": self._seen, "seconds": self._took}
        return TrainingStatus(
            stage,
            done,
            max(total, 1),
            epochs=self._config.trainer.epochs,
            monitor=monitor,
            best=self.best,
            last=judged[-1] if judged else None,
            **(given | more),
        )

    def _tell(self, stage: Stage, done: int, total: int, trainer: Trainer, task: SegmentationTask) -> None:
        if self._progress is None or not trainer.is_global_zero:
            return
        self._took = self._clock() - self._began
        left = self._batches_left(trainer, max(int(trainer.num_training_batches), 1))
        learned = self._seen / self._chips
        self._progress(
            self.status(
                stage,
                done,
                total,
                epoch=trainer.current_epoch + 1,
                loss=math.fsum(task.recent) / len(task.recent) if task.recent else None,
                seconds_left=self._took / learned * left if learned else None,
            )
        )

    def _batches_left(self, trainer: Trainer, batches: int) -> int:
        own = self._config.trainer
        done = trainer.current_epoch * batches + trainer.fit_loop.epoch_loop.batch_progress.current.ready
        left = own.epochs * batches - done
        return left if own.steps is None else max(0, min(left, (own.steps - trainer.global_step) * own.accumulate))


def best_weights(folder: RunFolder) -> tuple[int, dict[str, torch.Tensor]] | None:
    """The number of the best epoch and its weights; None where no epoch could be judged."""
    from geoseg.training.checkpoints import load_state

    if not folder.best.is_file():
        return None
    state = load_state(folder.best)
    return int(state["epoch"]), state["network"]
