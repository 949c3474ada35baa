"""The settings of a training: every key of the YAML files in ``configs/``, with its default."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataConfig(_Section):
    """Where imagery and labels come from: a dataset by name, own files, or synthetic scenes.

    Attributes:
        dataset: Name of a dataset that ``geoseg datasets`` lists.
        data_dir: Its folder.
        download: Let torchgeo fetch it where it is not there.
        subset: One of its named areas; None takes all.
        images: Own images: files, folders or patterns.
        labels: Their labels: rasters as files, folders or patterns, or one vector file of polygons.
        class_field: Attribute of the polygons with the class, by name or id.
        legend: YAML file with the classes, or the mapping itself; None takes what the label files say.
        label_values: What the values of label rasters mean where they are no class ids: a class name, or ``ignore``.
        bands: Numbers of the bands to learn from, from 1; None takes all but alpha.
        unlabelled: What ground without polygon is: ``ignore``, or the name of a class.
        overlapping: Which polygon counts where several lie: the ``last`` or ``first`` of the file, the ``smallest``,
            or ``legend``: the class that comes last in the legend.
        aoi: Vector file; outside its polygons nothing is learned or judged.
        validation_images: Own images to validate on; for ``split.by: folder``.
        validation_labels: Their labels.
        synthetic: Number of scenes to make instead of reading any.
        synthetic_size: Sides of these scenes in pixels.
    """

    dataset: str | None = None
    data_dir: Path | None = None
    download: bool = False
    subset: str | None = None
    images: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    class_field: str | None = None
    legend: Path | dict[int, Any] | None = None
    label_values: dict[int, str] | None = None
    bands: tuple[Count, ...] | None = None
    unlabelled: str = "ignore"
    overlapping: Literal["last", "first", "smallest", "legend"] = "last"
    aoi: Path | None = None
    validation_images: tuple[str, ...] = ()
    validation_labels: tuple[str, ...] = ()
    synthetic: Count | None = None
    synthetic_size: Annotated[int, Field(ge=64, le=8192)] = 512

    @model_validator(mode="after")
    def _one_source(self) -> DataConfig:
        given = [bool(self.dataset), bool(self.images), self.synthetic is not None]
        if sum(given) > 1:
            raise ValueError("give one of dataset, images and synthetic")
        if bool(self.images) != bool(self.labels):
            raise ValueError("images and labels belong together: give both or neither")
        if bool(self.validation_images) != bool(self.validation_labels):
            raise ValueError("validation_images and validation_labels belong together: give both or neither")
        if self.validation_images and not self.images:
            raise ValueError("validation_images need images to train on")
        if self.dataset and self.data_dir is None:
            raise ValueError(f"data_dir is missing: the folder of dataset {self.dataset}")
        return self


class SplitConfig(_Section):
    """Which ground is trained on and which is kept to judge the model.

    Attributes:
        by: ``blocks`` of ground with a buffer around, whole ``file`` s, ``folder`` s that were given, the ``dataset``
            's own split; ``auto`` takes ``dataset`` or ``folder`` where there is one, ``blocks`` for files that cover
            several blocks, else ``file``; ``none`` trains and validates on all (to overfit on purpose).
        validation: Share of the ground to validate on.
        block: Side of a block in pixels; None = 2 chips.
        buffer: Pixels around validation blocks that neither side uses; None = half a chip.
        seed: Of the choice of blocks or files.
    """

    by: Literal["auto", "blocks", "file", "folder", "dataset", "none"] = "auto"
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.2
    block: Count | None = None
    buffer: Annotated[int, Field(ge=0)] | None = None
    seed: Annotated[int, Field(ge=0)] = 0


class ModelConfig(_Section):
    """The network.

    Attributes:
        architecture: Name for ``create_model``, such as ``unet``, ``segnet`` or ``smp.deeplabv3plus``.
        options: Its options.
        encoder_weights: ``imagenet``, ``efficientnet-lite0``, the path of a file, or ``none``.
        init: Model file to start from; classes are matched by name, other classes start anew.
        freeze_encoder: Epochs during which the encoder does not learn; -1 = all.
    """

    architecture: Annotated[str, Field(min_length=1)] = "smp.unet"
    options: dict[str, Any] = {}
    encoder_weights: str = "none"
    init: str | None = None
    freeze_encoder: Annotated[int, Field(ge=-1)] = 0


class ChipConfig(_Section):
    """The samples that training cuts from the images.

    Attributes:
        size: Side in pixels.
        batch: Chips per step and device.
        per_epoch: Chips per epoch; None = as many as cover the training ground once.
        class_aware: Share of the chips that are centred on a class drawn evenly, so that rare ones are seen.
        cache: Where decoded images are kept while training: ``ram``, ``disk``, ``none`` (read again for each chip);
            ``auto`` takes the first of them that has room.
        threads: That cut chips while the step runs.
    """

    size: Count = 512
    batch: Count = 8
    per_epoch: Count | None = None
    class_aware: Share = 0.0
    cache: Literal["auto", "ram", "disk", "none"] = "auto"
    threads: Count = 2


class AugmentationConfig(_Section):
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


class LossConfig(_Section):
    """What is minimised.

    Attributes:
        expression: A loss or a sum of losses, such as ``ce+0.5*dice``.
        class_weights: For ``weighted_*``: ``median-frequency``, ``inverse-frequency``, ``effective-number``, or a
            number per class name.
    """

    expression: Annotated[str, Field(min_length=1)] = "ce+dice"
    class_weights: Literal["median-frequency", "inverse-frequency", "effective-number"] | dict[str, float] | None = None


class OptimizerConfig(_Section):
    """What makes steps of gradients.

    Attributes:
        kind: ``adamw`` or ``sgd``.
        lr: Highest learning rate; None = 0.001 for adamw, 0.1 for sgd.
        weight_decay: None = 0.01 for adamw, 0 for sgd.
        momentum: Of sgd.
        encoder_factor: The encoder's learning rate as a share of the others'.
    """

    kind: Literal["adamw", "sgd"] = "adamw"
    lr: Positive | None = None
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    encoder_factor: Positive = 1.0


class ScheduleConfig(_Section):
    """How the learning rate goes.

    Attributes:
        kind: ``one-cycle``, ``poly``, ``cosine`` or ``constant``.
        warm_up: Share of all steps in which it rises.
        power: Of ``poly``.
        floor: Share of the highest rate that ``poly`` and ``cosine`` end at.
    """

    kind: Literal["constant", "poly", "cosine", "one-cycle"] = "one-cycle"
    warm_up: Annotated[float, Field(ge=0, lt=1)] = 0.1
    power: Positive = 0.9
    floor: Share = 0.0


class TrainerConfig(_Section):
    """How long, how exactly, and on what.

    Attributes:
        epochs: How often the training ground is gone through.
        steps: Stop after so many optimizer steps; None = no limit.
        validate_every: Epochs between validations.
        accumulate: Batches per optimizer step.
        clip: Largest norm of the gradient; 0 = any.
        ema: Decay of the exponential moving average of the weights that is validated and saved; 0 = none.
        patience: Stop when the monitored figure has not risen for so many validations; None = never.
        monitor: Figure that decides which epoch is best.
        precision: ``fp32``, ``bf16``, ``fp16``; ``auto`` = bf16 on a GPU that has it, fp16 on older ones, else fp32.
        accelerator: ``auto``, ``cpu``, ``gpu`` or ``mps``, as Lightning has it.
        devices: How many; None = as Lightning chooses.
        seed: Of first weights, chips, augmentation and dropout.
        deterministic: Refuse operations that do not repeat bit for bit; None = on a CPU.
    """

    epochs: Count = 30
    steps: Count | None = None
    validate_every: Count = 1
    accumulate: Count = 1
    clip: Annotated[float, Field(ge=0)] = 1.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    patience: Count | None = None
    monitor: Literal["mean_iou", "mean_f1", "overall_accuracy", "mean_accuracy", "kappa"] = "mean_iou"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    accelerator: Literal["auto", "cpu", "gpu", "mps"] = "auto"
    devices: Count | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    deterministic: bool | None = None


class LoggingConfig(_Section):
    """Where figures go beside ``metrics.csv`` and TensorBoard.

    Attributes:
        mlflow: Tracking URI; needs ``pip install 'geoseg[mlflow]'``.
        worst_chips: Pictures in the report.
    """

    mlflow: str | None = None
    worst_chips: Annotated[int, Field(ge=0, le=200)] = 12


class TrainingConfig(_Section):
    """One training.

    Attributes:
        name: Of the run, and of the model: ``runs/<name>``.
        purpose: What the model is for, in a sentence; for the model file.
        license: Of the weights and the data they come from; None = the dataset's.
        data: Where imagery and labels come from.
        split: What is trained on and what is kept.
        model: The network.
        chips: Its samples.
        augmentation: Their random changes.
        loss: What is minimised.
        optimizer: How.
        schedule: How fast.
        trainer: How long, and on what.
        logging: What is told where.
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
