"""What is learned: the network, its loss, its optimizer and its average, as Lightning drives them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import nn

from geoseg.config.training import TrainingConfig
from geoseg.errors import ModelError, ParameterError
from geoseg.legend import IGNORE_ID
from geoseg.normalization import BandStats
from geoseg.sources.chips import Batch, TileBatch
from geoseg.training.augmentation import Augmenter
from geoseg.training.averaging import MovingAverage
from geoseg.training.borders import beneath
from geoseg.training.losses import SegmentationLoss
from geoseg.training.normalizing import normalize_batch
from geoseg.training.optimizers import OptimizerSettings, build_optimizer, freeze_encoder, train_mode
from geoseg.training.presence import AUXILIARY_WEIGHT, answer, whole_loss
from geoseg.training.repeating import seed_step
from geoseg.training.schedules import Schedule, build_scheduler

# Steps over which the loss that is shown is smoothed.
_SMOOTHING = 10


# Scores of a network that learns are a few tens; float32 keeps differences of these apart no more.
_LARGEST_LOGIT = 1e7


class SegmentationTask(LightningModule):
    """One training of a network.

    All that is random depends on (seed, epoch, step, rank) alone, so that a training that is resumed at the end of any
    epoch gives the weights of one that was never interrupted.

    Args:
        network: (B, C, H, W) normalised pixels to (B, K, H, W) logits.
        stats: The scaling.
        criterion: What is minimised.
        config: How.
        steps: Optimizer steps that the learning rate is planned for.
        classes: K.
        subsets: For each sheet the number of its named area, counted from 0.
        describe: Names sheets and windows of a batch, for messages.
    """

    def __init__(
        self,
        network: nn.Module,
        stats: BandStats,
        criterion: SegmentationLoss,
        config: TrainingConfig,
        *,
        steps: int,
        classes: int,
        subsets: Sequence[int],
        describe: Callable[[Any], str] = str,
    ) -> None:
        super().__init__()
        decay = config.trainer.ema
        self.network = network
        self.average = MovingAverage(network, decay) if decay else None
        self.criterion = criterion
        self.config = config
        self.confusion: torch.Tensor | None = None
        self.validation_loss: float | None = None
        self.recent: deque[float] = deque(maxlen=_SMOOTHING)
        self._stats, self._steps, self._classes = stats, steps, classes
        self._subsets = torch.tensor(list(subsets), dtype=torch.int64)
        self._describe = describe
        self._auxiliary = AUXILIARY_WEIGHT if config.loss.auxiliary is None else config.loss.auxiliary
        self._augment = Augmenter(config.augmentation)
        self._unchecked: list[tuple[torch.Tensor, Any]] = []
        self._sums: list[float] = []
        self._averaged_at = 0
        self._judged_loss = torch.zeros(2, dtype=torch.float64)

    @property
    def judged(self) -> nn.Module:
        """The network that is validated and saved: the average where there is one."""
        module: nn.Module = self.network if self.average is None else self.average.module
        return module

    # Learning

    def configure_optimizers(self) -> Any:
        """Optimizer and learning rate of every step."""
        own, plan = self.config.optimizer, self.config.schedule
        settings = OptimizerSettings(own.kind, own.lr, own.weight_decay, own.momentum, own.encoder_factor)
        optimizer = build_optimizer(self.network, settings)
        # At least one step of warm-up, and one that is none, however short the training.
        warm_up = min(math.ceil(plan.warm_up * self._steps), self._steps - 1)
        kind = "cosine" if plan.kind == "one-cycle" and warm_up < 1 else plan.kind
        schedule = Schedule(kind, self._steps, warm_up, plan.power, plan.floor)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": build_scheduler(optimizer, schedule), "interval": "step"},
        }

    def on_train_start(self) -> None:
        """Note where the average stands."""
        self._averaged_at = self.trainer.global_step

    def on_train_epoch_start(self) -> None:
        """Freeze the encoder, or let it go."""
        epochs = self.config.model.freeze_encoder
        if epochs:
            freeze_encoder(self.network, epochs < 0 or self.current_epoch < epochs)
        train_mode(self.network)
        self._sums, self._unchecked = [], []

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Batches know how to move themselves."""
        del dataloader_idx
        return batch.to(device)

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """The loss of a batch.

        Raises:
            ModelError: The loss of the batch before is NaN or infinite (on a CPU: of this one).
        """
        generator = seed_step(self.config.trainer.seed, self.current_epoch, batch_idx, self.global_rank)
        pixels, indices = self._shown(batch, generator)
        logits, presence = self._answer(pixels)
        indices = beneath(indices, logits)
        loss = whole_loss(self.criterion(logits, indices), presence, indices, self._auxiliary)
        self._unchecked.append((loss.detach(), batch.where))
        # The loss of the step before is there already, and asking for it does not make a GPU wait.
        self.check_losses(keep=0 if loss.device.type == "cpu" else 1)
        return loss

    def training_images(self, batch: Batch, step: int) -> torch.Tensor:
        """(B, C, H, W) normalised pixels of training chips, changed at random, of no epoch but after the last one."""
        generator = seed_step(self.config.trainer.seed, self.config.trainer.epochs, step, 0)
        pixels, _ = self._shown(batch, generator)
        return pixels.contiguous(memory_format=_layout(pixels))

    def _shown(self, batch: Batch, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Normalised and augmented: (B, C, H, W) pixels and (B, H, W) class indices."""
        with torch.autocast(self.device.type, enabled=False):
            pixels, present = normalize_batch(batch.pixels, batch.present, self._stats), batch.present
            if present is None:
                present = torch.ones((len(pixels), 1, *pixels.shape[2:]), dtype=torch.bool, device=pixels.device)
            pixels, _, indices = self._augment(pixels, present, batch.indices.long(), generator)
        return pixels, indices

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Let the average follow when the optimizer has made its step."""
        del outputs, batch, batch_idx
        if self.average is not None and self.trainer.global_step != self._averaged_at:
            self._averaged_at = self.trainer.global_step
            self.average.update(self.network)

    def _answer(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        try:
            return answer(self.network, pixels.contiguous(memory_format=_layout(pixels)))
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise ParameterError(
                f"a batch of {len(pixels)} chips of {pixels.shape[-1]} px is too small for the batch normalisation of "
                "this network; give chips.batch 2 or more, or larger chips"
            ) from error

    def check_losses(self, keep: int = 0) -> None:
        """Take in the losses of all steps but the last ``keep``.

        Raises:
            ModelError: One is no number; names sheets and windows of its batch.
        """
        while len(self._unchecked) > keep:
            loss, where = self._unchecked.pop(0)
            value = loss.item()
            if not math.isfinite(value):
                raise ModelError(
                    f"the loss became {value} in epoch {self.current_epoch + 1} at {self._describe(where)}; give a "
                    "lower optimizer.lr, or look at this imagery; the checkpoint of the epoch before is kept"
                )
            self._sums.append(value)
            self.recent.append(value)

    def check_weights(self) -> None:
        """See that the weights are numbers; a step can break them though its loss was one.

        Raises:
            ModelError: They are not.
        """
        self.check_losses()
        finite = [torch.isfinite(p).all() for p in self.network.parameters()]
        if not bool(torch.stack(finite).all()):
            raise ModelError(
                f"weights became NaN or infinite in epoch {self.current_epoch + 1}; give a lower optimizer.lr, or clip "
                "gradients with trainer.clip; the checkpoint of the epoch before is kept"
            )

    def mean_loss(self) -> float:
        """Of the batches of this epoch, over all devices."""
        self.check_losses()
        sums = torch.tensor([math.fsum(self._sums), len(self._sums)], dtype=torch.float64)
        total, count = self._over_devices(sums).tolist()
        return float(total / count) if count else math.nan

    # Validation

    def on_validation_epoch_start(self) -> None:
        """Begin a confusion matrix for each named area."""
        self.check_losses()
        if self.trainer.world_size > 1:
            # Each device has statistics of its own batches; all judge with those that the first will save.
            for buffer in self.judged.buffers():
                torch.distributed.broadcast(buffer, 0)
        areas = int(self._subsets.max()) + 1 if len(self._subsets) else 1
        self._subsets = self._subsets.to(self.device)
        self.confusion = torch.zeros((areas, self._classes, self._classes), dtype=torch.int64, device=self.device)
        self._judged_loss = torch.zeros(2, dtype=torch.float64)

    def validation_step(self, batch: TileBatch, batch_idx: int) -> None:
        """Count the pixels of a batch of tiles that are their own."""
        del batch_idx
        logits, indices = self.judge(batch), batch.indices.long()
        labelled = int((indices != IGNORE_ID).sum())
        if not labelled:
            return
        self._judged_loss += torch.tensor([self.criterion(logits, indices).item() * labelled, labelled])
        areas = self._subsets[torch.tensor([tile.sheet for tile in batch.tiles], device=self.device)]
        assert self.confusion is not None
        self.confusion += count_pairs(logits.argmax(1), indices, areas, self.confusion)

    def judge(self, batch: TileBatch) -> torch.Tensor:
        """(B, K, T, T) float32 logits of these tiles, the very ones that prediction has for them.

        Raises:
            ModelError: One is no number, or so large that no confidence can be told from it.
        """
        pixels = normalize_batch(batch.pixels, batch.present, self._stats)
        logits: torch.Tensor = batch.of_tiles(self.judged(pixels.contiguous(memory_format=_layout(pixels))))
        if not bool((logits.abs() < _LARGEST_LOGIT).all()):
            raise ModelError(
                f"the network's scores of {self._describe([(t.sheet, t.core) for t in batch.tiles])} are NaN or beyond "
                f"{_LARGEST_LOGIT:g}: it diverged; give a lower optimizer.lr, or clip gradients with trainer.clip"
            )
        return logits.float()

    def on_validation_epoch_end(self) -> None:
        """Add up what all devices have counted."""
        assert self.confusion is not None
        self.confusion = self._over_devices(self.confusion)
        loss, labelled = self._over_devices(self._judged_loss).tolist()
        self.validation_loss = loss / labelled if labelled else None

    def _over_devices(self, counts: torch.Tensor) -> torch.Tensor:
        if self.trainer.world_size == 1:
            return counts
        total = self.trainer.strategy.reduce(counts.to(self.device), reduce_op="sum")
        return torch.as_tensor(total)


def count_pairs(
    predicted: torch.Tensor, indices: torch.Tensor, areas: torch.Tensor, like: torch.Tensor
) -> torch.Tensor:
    """Confusion matrices of a batch.

    Args:
        predicted: (B, H, W) int64 classes.
        indices: (B, H, W) int64 true classes, 255 = not counted.
        areas: (B,) int64 number of the matrix that a tile counts for.
        like: (A, K, K); the shape of the result.
    """
    classes = like.shape[-1]
    pairs = (areas[:, None, None] * classes + indices) * classes + predicted
    counted = pairs[indices != IGNORE_ID]
    return torch.bincount(counted, minlength=like.numel()).view_as(like)


def _layout(pixels: torch.Tensor) -> torch.memory_format:
    """Bands last, where that is the fast way."""
    return torch.contiguous_format if pixels.device.type == "mps" else torch.channels_last
