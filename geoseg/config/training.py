"""The settings of a training: every key of the YAML files in ``configs/``, with its default.

The ``Attributes`` of these classes are also the comments in the files that ``dump_config`` writes: one entry per key.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from geoseg.config.training_data import ChipConfig, Count, DataConfig, Positive, Section, Share, SplitConfig

__all__ = [
    "AugmentationConfig",
    "ChipConfig",
    "DataConfig",
    "LoggingConfig",
    "LossConfig",
    "ModelConfig",
    "OptimizerConfig",
    "ScheduleConfig",
    "SplitConfig",
    "TrainerConfig",
    "TrainingConfig",
]


class ModelConfig(Section):
    """The network.

    Attributes:
        architecture: Name for ``create_model``, such as ``unet``, ``segnet`` or ``smp.deeplabv3plus``.
        options: Options of the architecture; for ``smp.*`` the ``encoder`` and SMP's own.
        encoder_weights: First weights of the encoder: ``imagenet``, ``efficientnet-lite0`` (needs no network), the path
            of a file, or ``none`` (random).
        init: Model file to start from; classes are matched by name, other classes start anew.
        freeze_encoder: Epochs during which the encoder does not learn; -1 = all.
    """

    architecture: Annotated[str, Field(min_length=1)] = "smp.unet"
    options: dict[str, Any] = Field(default_factory=dict)
    encoder_weights: str = "none"
    init: str | None = None
    freeze_encoder: Annotated[int, Field(ge=-1)] = 0


class AugmentationConfig(Section):
    """What is changed at random in training chips; 0 or false = never. Labels are moved, never interpolated.

    Attributes:
        flip: Mirror, either way.
        right_angles: Turn by 90, 180 or 270 degrees.
        rotation: Turn by up to so many degrees.
        zoom: Enlarge or shrink by up to this factor minus 1: 0.25 is 0.8 to 1.25.
        elastic: Largest shift in pixels of a smooth deformation (Ronneberger et al. 2015).
        brightness: Largest shift in standard deviations of the band.
        contrast: Largest change of the spread as a share of it.
        noise: Largest standard deviation of Gaussian noise, in standard deviations of the band.
        blur: Largest standard deviation of a Gaussian blur in pixels.
        band_dropout: Probability that a band is blanked (at least one stays).
        mosaic: Probability that a chip is put together from four.
        cutmix: Probability that a rectangle comes from another chip (Yun et al. 2019).
    """

    flip: bool = True
    right_angles: bool = True
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    zoom: Annotated[float, Field(ge=0, le=3)] = 0.0
    elastic: Annotated[float, Field(ge=0)] = 0.0
    brightness: Annotated[float, Field(ge=0)] = 0.2
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.2
    noise: Annotated[float, Field(ge=0)] = 0.0
    blur: Annotated[float, Field(ge=0)] = 0.0
    band_dropout: Share = 0.0
    mosaic: Share = 0.0
    cutmix: Share = 0.0


class LossConfig(Section):
    """What is minimised.

    Attributes:
        expression: A loss or a sum of losses, such as ``ce+0.5*dice``.
        class_weights: For ``weighted_*``: ``median-frequency``, ``inverse-frequency``, ``effective-number``, or a
            number per class name.
        auxiliary: Weight of the loss of an auxiliary head, which ``aux_params`` in ``model.options`` of ``smp.*`` asks
            for; None = 0.2.
    """

    expression: Annotated[str, Field(min_length=1)] = "ce+dice"
    class_weights: Literal["median-frequency", "inverse-frequency", "effective-number"] | dict[str, float] | None = None
    auxiliary: Positive | None = None

    @model_validator(mode="after")
    def _weights_are_used(self) -> LossConfig:
        weighted = "weighted_" in self.expression
        if weighted and self.class_weights is None:
            raise ValueError(f"{self.expression} needs class_weights, such as median-frequency")
        if self.class_weights is not None and not weighted:
            raise ValueError(
                f"class_weights do nothing in {self.expression}; take weighted_ce or weighted_focal, or leave them out"
            )
        return self


class OptimizerConfig(Section):
    """What makes steps of gradients.

    Attributes:
        kind: Which one: ``adamw`` or ``sgd``.
        lr: Highest learning rate; None = 0.001 for adamw, 0.1 for sgd.
        weight_decay: Pull of the weights towards 0; None = 0.01 for adamw, 0 for sgd.
        momentum: Momentum of ``sgd``.
        encoder_factor: The encoder's learning rate as a share of the others'.
    """

    kind: Literal["adamw", "sgd"] = "adamw"
    lr: Positive | None = None
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    encoder_factor: Positive = 1.0


class ScheduleConfig(Section):
    """How the learning rate goes.

    Attributes:
        kind: Which curve: ``one-cycle``, ``poly``, ``cosine`` or ``constant``.
        warm_up: Share of all steps in which the rate rises.
        power: Exponent of ``poly``.
        floor: Share of the highest rate that ``poly`` and ``cosine`` end at.
    """

    kind: Literal["constant", "poly", "cosine", "one-cycle"] = "one-cycle"
    warm_up: Annotated[float, Field(ge=0, lt=1)] = 0.1
    power: Positive = 0.9
    floor: Share = 0.0

    @model_validator(mode="after")
    def _rises(self) -> ScheduleConfig:
        if self.kind == "one-cycle" and self.warm_up == 0:
            raise ValueError("one-cycle without warm_up only falls; give a warm_up above 0, or take kind cosine")
        return self


class TrainerConfig(Section):
    """How long, how exactly, and on what.

    Attributes:
        epochs: How often the training ground is gone through.
        steps: Stop after so many optimizer steps; None = no limit.
        validate_every: Epochs between validations.
        accumulate: Batches per optimizer step.
        clip: Largest norm of the gradient; 0 = any.
        ema: Decay of the exponential moving average of the weights that is validated and saved; 0 = none.
        precise_bn: Batches of training chips from which the statistics of batch normalisation are computed anew for the
            weights that are saved (Wu & Johnson 2021); 0 = those of the training stay.
        patience: Stop when the monitored figure has not risen for so many validations; None = never.
        monitor: Figure that decides which epoch is best.
        precision: Arithmetic: ``fp32``, ``bf16``, ``fp16``; ``auto`` = bf16 on a GPU that has it, fp16 on older ones,
            else fp32.
        accelerator: What it runs on: ``auto``, ``cpu``, ``gpu`` or ``mps``, as Lightning has it.
        devices: How many of them; None = as Lightning chooses.
        seed: Another number is other first weights, chips, augmentation and dropout.
        deterministic: Refuse operations that do not repeat bit for bit; None = on a CPU.
    """

    epochs: Count = 30
    steps: Count | None = None
    validate_every: Count = 1
    accumulate: Count = 1
    clip: Annotated[float, Field(ge=0)] = 1.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    precise_bn: Annotated[int, Field(ge=0)] = 0
    patience: Count | None = None
    monitor: Literal["mean_iou", "mean_f1", "overall_accuracy", "mean_accuracy", "kappa"] = "mean_iou"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    accelerator: Literal["auto", "cpu", "gpu", "mps"] = "auto"
    devices: Count | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    deterministic: bool | None = None


class LoggingConfig(Section):
    """Where figures go beside ``metrics.csv`` and TensorBoard.

    Attributes:
        mlflow: Tracking URI of MLflow; needs ``pip install 'geoseg[mlflow]'``.
        worst_chips: How many chips the report shows, the worst first.
    """

    mlflow: str | None = None
    worst_chips: Annotated[int, Field(ge=0, le=200)] = 12


class TrainingConfig(Section):
    """One training.

    Attributes:
        name: Name of the run and of its model: the folder is ``runs/<name>``.
        purpose: What the model is for, in a sentence; for the model file.
        license: Licence of the weights and of the data they come from; None = the dataset's.
        data: Where imagery and labels come from.
        split: What is trained on and what is kept.
        model: The network.
        chips: The samples that are cut from the images.
        augmentation: What is changed at random in training chips; labels are moved, never interpolated.
        loss: What is minimised.
        optimizer: What makes steps of gradients.
        schedule: How the learning rate goes.
        trainer: How long, how exactly, and on what.
        logging: Where figures go beside ``metrics.csv`` and TensorBoard.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = "model"
    purpose: str = ""
    license: str | None = None
    data: DataConfig = DataConfig()
    split: SplitConfig = SplitConfig()
    model: ModelConfig = ModelConfig()
    chips: ChipConfig = ChipConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    trainer: TrainerConfig = TrainerConfig()
    logging: LoggingConfig = LoggingConfig()

    @model_validator(mode="after")
    def _auxiliary_is_used(self) -> TrainingConfig:
        if self.loss.auxiliary is not None and self.model.options.get("aux_params") is None:
            raise ValueError(
                "loss.auxiliary weighs nothing: model.options asks for no auxiliary head; give aux_params there, such "
                "as {pooling: avg, dropout: 0.2}, or leave it out"
            )
        return self

    @model_validator(mode="after")
    def _split_is_possible(self) -> TrainingConfig:
        if self.split.by == "dataset" and self.data.dataset is None:
            raise ValueError("split.by is dataset, but data.dataset names none; take auto, blocks or file")
        if self.split.by == "folder" and not self.data.validation_images:
            raise ValueError("split.by is folder, but data.validation_images names none; give it, or take auto")
        if self.data.validation_images and self.split.by not in ("auto", "folder"):
            raise ValueError(f"data.validation_images are not used with split.by {self.split.by}; take folder or auto")
        return self
