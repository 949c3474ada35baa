"""The model spec in the header of a model file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from geoseg.errors import GeosegError, ModelError
from geoseg.legend import Legend
from geoseg.normalization import BandStats
from geoseg.tiling import Context


class ClassRecord(BaseModel):
    """One class as it stands in a file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: int
    name: str
    color: str


class ContextRecord(BaseModel):
    """What a network reads around what it maps, as it stands in a file; see :class:`~geoseg.tiling.Context`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pixels: int = 0
    multiple: int = 1
    remainder: int = 0


class ModelSpec(BaseModel):
    """All that a weights file must say for its predictions to mean something.

    Attributes:
        spec_version: Version of this layout.
        name: What users call the model.
        architecture: Name for ``create_model``: ``unet``, ``segnet``, ``smp.unet``, ...
        options: Keyword arguments of ``create_model`` beside bands and classes; JSON values.
        bands: Band names in input order.
        classes: The legend, in the order of the output channels.
        mean: Band means in stored units.
        std: Band standard deviations in stored units.
        value_range: Smallest and largest stored value (1st and 99th percentile) that training saw.
        dtype: Sample type of the training imagery, a NumPy name.
        gsd: Ground sample distance of the training imagery in metres; None if it had none.
        tile_size: Side of a training chip in pixels.
        stride_multiple: The network needs input sides that are a multiple of this.
        effective_radius: Pixels around a pixel that its label hangs on, as measured on the trained network; see
            ``geoseg.models.effective_radius``. None where that is not known.
        context: What the network reads around what it maps; nothing where its map is as large as its image.
        purpose: What the model is for, in a sentence.
        training_data: Name, source and authors of the training data.
        license: Licence of weights and training data, with the attribution it asks for.
        metrics: Figures measured on ground that was not trained on.
        temperature: Calibration temperature that logits are divided by.
        geoseg_version: Version that wrote the file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    spec_version: Literal[1] = 1
    name: Annotated[str, Field(min_length=1)]
    architecture: Annotated[str, Field(min_length=1)]
    options: dict[str, Any] = {}
    bands: Annotated[tuple[str, ...], Field(min_length=1)]
    classes: Annotated[tuple[ClassRecord, ...], Field(min_length=1)]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    value_range: tuple[float, float]
    dtype: str = "uint8"
    gsd: Annotated[float, Field(gt=0)] | None = None
    tile_size: Annotated[int, Field(ge=1)] = 512
    stride_multiple: Annotated[int, Field(ge=1)] = 32
    effective_radius: Annotated[int, Field(ge=0)] | None = None
    context: ContextRecord = ContextRecord()
    purpose: str = ""
    training_data: str = ""
    license: str = ""
    metrics: dict[str, float] = {}
    temperature: Annotated[float, Field(gt=0)] = 1.0
    geoseg_version: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> ModelSpec:
        if len(self.mean) != len(self.bands):
            raise ValueError(f"{len(self.bands)} bands but {len(self.mean)} means")
        if not self.value_range[0] < self.value_range[1]:
            raise ValueError(f"value_range {self.value_range} is empty")
        try:
            _ = self.legend, self.stats, self.surroundings
        except GeosegError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def legend(self) -> Legend:
        """The classes as a :class:`~geoseg.legend.Legend`."""
        return Legend.from_records([c.model_dump() for c in self.classes])

    @property
    def surroundings(self) -> Context:
        """The context as a :class:`~geoseg.tiling.Context`."""
        return Context(**self.context.model_dump())

    @property
    def stats(self) -> BandStats:
        """The scaling as :class:`~geoseg.normalization.BandStats`."""
        return BandStats(self.mean, self.std)


def parse_model_spec(text: str, source: str) -> ModelSpec:
    """Read a spec from the JSON in a model file's header.

    Args:
        text: JSON.
        source: File name, for the message.

    Raises:
        ModelError: Not a spec, or a spec that contradicts itself; names the first field at fault.
    """
    try:
        return ModelSpec.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "spec"
        raise ModelError(f"{source}: its model spec is not valid at {where!r}: {first['msg']}") from error
