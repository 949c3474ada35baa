"""The settings of a training that are about its data: where it comes from, how it is split and cut."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """Settings that belong together; unknown keys are errors.

    The ``Attributes`` of the classes below are also the comments in the files that ``dump_config`` writes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _as_meant(cls, value: Any, info: ValidationInfo) -> Any:
        """One text stands for a list of one; yes and no are no numbers, though Python takes True for 1."""
        annotation = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and annotation is not bool and bool not in get_args(annotation):
            raise ValueError("a number or text and not yes or no")
        listed = tuple in (get_origin(annotation), *map(get_origin, get_args(annotation)))
        return (value,) if listed and isinstance(value, str | int) else value


class DataConfig(Section):
    """Where imagery and labels come from: a dataset by name, own files, or synthetic scenes.

    Attributes:
        dataset: Name of a dataset that ``geoseg datasets`` lists.
        data_dir: Folder of the dataset.
        download: Let torchgeo fetch it where it is not there.
        subset: One of the dataset's named areas; None takes all.
        images: Own images: files, folders or patterns.
        labels: Labels of the images: rasters as files, folders or patterns, or one vector file of polygons.
        class_field: Attribute of the polygons with the class, by name or id.
        legend: YAML file with the classes, or the mapping itself; None takes what the label files say.
        label_values: What the values of label rasters mean where they are no class ids: a class name, or ``ignore``.
        bands: Numbers of the bands to learn from, from 1; None takes all but alpha.
        unlabelled: What ground without polygon is: ``ignore``, or the name of a class.
        overlapping: Which polygon counts where several lie: the ``last`` or ``first`` of the file, the ``smallest``,
            or ``legend``: the class that comes last in the legend.
        aoi: Vector file; outside its polygons nothing is learned or judged.
        validation_images: Own images to validate on; for ``split.by: folder``.
        validation_labels: Labels of the validation images.
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
        if self.dataset is None and (self.subset or self.download):
            raise ValueError("subset and download belong to a dataset; give its name, or leave them out")
        return self


class SplitConfig(Section):
    """Which ground is trained on and which is kept to judge the model.

    Attributes:
        by: ``blocks``: squares of ground with a buffer around; ``file``: whole files; ``folder``: the validation images
            that are given; ``dataset``: the dataset's own split; ``auto``: ``dataset`` or ``folder`` where there is
            one, ``blocks`` for files that cover several blocks, else ``file``; ``none``: train and validate on all
            (to overfit on purpose).
        validation: Share of the ground to validate on.
        block: Side of a block in pixels; None = 2 chips.
        buffer: Pixels around validation blocks that neither side uses; None = half a chip.
        seed: Another number is another choice of blocks or files.
    """

    by: Literal["auto", "blocks", "file", "folder", "dataset", "none"] = "auto"
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.2
    block: Count | None = None
    buffer: Annotated[int, Field(ge=0)] | None = None
    seed: Annotated[int, Field(ge=0)] = 0


class ChipConfig(Section):
    """The samples that training cuts from the images.

    Attributes:
        size: Side of a chip in pixels.
        batch: Chips per step and device.
        per_epoch: Chips per epoch; None = as many as cover the training ground once.
        class_aware: Share of the chips that are centred on a class drawn evenly, so that rare ones are seen.
        cache: Where decoded images are kept while training: ``ram``, ``disk``, ``none`` (read again for each chip);
            ``auto`` takes the first of them that has room.
        threads: Threads that cut chips while the step runs.
    """

    size: Count = 512
    batch: Count = 8
    per_epoch: Count | None = None
    class_aware: Share = 0.0
    cache: Literal["auto", "ram", "disk", "none"] = "auto"
    threads: Count = 2
