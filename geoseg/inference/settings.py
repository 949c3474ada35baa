"""How a scene is predicted: one value for all that the user can choose, checked when it is made."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypedDict

from geoseg.choices import Augmentation, Backend, Precision
from geoseg.errors import ParameterError
from geoseg.refinement import read_refinement
from geoseg.tiling import Blend

_MC = re.compile(r"mc=([1-9]\d*)")


class MapChoices(TypedDict, total=False):
    """Keyword arguments that say how a scene is mapped, wherever it comes from; :class:`Settings` describes them."""

    tile_size: int | None
    overlap: int | None
    blend: Blend
    batch: int | None
    backend: Backend
    precision: Precision
    device: str
    tta: Augmentation
    scales: Sequence[float]
    confidence: bool
    probabilities: bool
    uncertainty: str | None
    refine: str | None
    value_range: tuple[float, float] | None
    gsd: float | Literal["native", "auto"]


class Choices(MapChoices, total=False):
    """The keyword arguments of :func:`geoseg.predict`, as :class:`Settings` describes them."""

    bands: Sequence[int] | None
    check_precision: bool
    aoi: str | Path | None
    bbox: tuple[float, float, float, float] | None
    bbox_crs: str | None
    window: tuple[int, int, int, int] | None
    parts_folder: str | Path | None


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user can choose.

    Attributes:
        bands: 1-based bands of the scene in the order the model wants; default is all but alpha.
        tile_size: Side of a network input in pixels; default is 512 or what the model was trained on, if larger.
        overlap: Pixels that neighbouring tiles share; default is what the model's effective radius asks for, a quarter
            to a half of the tile; see :func:`~geoseg.models.tiles.default_overlap`.
        blend: How overlapping tiles are weighted.
        batch: Tiles per call of the network; default is what is fastest: 1 on a CPU, measured on a GPU.
        backend: What runs the network; ``auto`` is torch on a GPU and OpenVINO on a CPU.
        precision: ``auto`` is bf16 where the processor computes in it, else fp32 (fp16 on older GPUs). ``int8`` is
            calibrated on tiles of the scene.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``cuda:0,1`` for two GPUs, ``mps``.
        check_precision: Measure on 16 tiles how many labels differ from fp32 under torch.
        tta: Test-time augmentation: the mean over reflections (and turns) of each tile.
        scales: The mean over the tile at these magnifications.
        confidence: Also write ``<scene>_confidence.tif``: the probability of the class that was chosen.
        probabilities: A band a class in the confidence raster; implies ``confidence``.
        uncertainty: ``entropy``, or ``mc=20`` for 20 samples of Monte Carlo dropout, which adds mutual information;
            more bands in the confidence raster, which it implies.
        refine: ``crf`` to have the blended probabilities follow the imagery, or with numbers
            ``crf,iterations=10,appearance=1.5m``; see :class:`~geoseg.refinement.Crf`.
        value_range: Scene values that stand for the model's full range, such as ``(0, 3000)`` for 16-bit reflectance.
        gsd: Pixel size in metres at which the network sees the scene: ``native``, the model's own with ``auto``, or a
            number. The map is always on the scene's own grid.
        aoi: Vector file of polygons; outside them is no data, and tiles that do not touch them are not computed.
        bbox: ``(west, south, east, north)``: map only this part of the scene, on a grid of that part.
        bbox_crs: CRS of ``bbox`` where it is not the scene's, as pyproj takes it.
        window: ``(row, column, height, width)`` in pixels: map only this part.
        parts_folder: Where finished parts are kept until the map is there, if not beside it: a folder, or a URL of an
            object store such as ``s3://bucket/prefix``. They lie in ``<output>.parts`` there.

    Raises:
        ParameterError: A value is out of range, or two exclude each other.
    """

    bands: tuple[int, ...] | None = None
    tile_size: int | None = None
    overlap: int | None = None
    blend: Blend = "hann"
    batch: int | None = None
    backend: Backend = "auto"
    precision: Precision = "auto"
    device: str = "auto"
    check_precision: bool = False
    tta: Augmentation = "none"
    scales: tuple[float, ...] = (1.0,)
    confidence: bool = False
    probabilities: bool = False
    uncertainty: str | None = None
    refine: str | None = None
    value_range: tuple[float, float] | None = None
    gsd: float | Literal["native", "auto"] = "native"
    aoi: str | Path | None = None
    bbox: tuple[float, float, float, float] | None = None
    bbox_crs: str | None = None
    window: tuple[int, int, int, int] | None = None
    parts_folder: str | Path | None = None

    def __post_init__(self) -> None:
        for name in ("bands", "scales", "bbox", "window", "value_range"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else tuple(value))
        if self.batch is not None and self.batch < 1:
            raise ParameterError(f"batch {self.batch} holds no tile; give 1 or more")
        if not self.scales or not all(0.1 <= s <= 8 for s in self.scales):
            raise ParameterError(f"scales {self.scales} must be numbers between 0.1 and 8, such as 0.75,1,1.25")
        if self.uncertainty not in (None, "entropy") and not _MC.fullmatch(self.uncertainty or ""):
            raise ParameterError(f"uncertainty {self.uncertainty!r} is unknown; give entropy, or mc=20 for 20 samples")
        if self.refine is not None:
            read_refinement(self.refine)
        if not isinstance(self.gsd, str) and not 0 < self.gsd < float("inf"):
            raise ParameterError(f"gsd {self.gsd} is no pixel size; give native, auto or metres such as 0.3")
        if isinstance(self.gsd, str) and self.gsd not in ("native", "auto"):
            raise ParameterError(f"gsd {self.gsd!r} is unknown; give native, auto or metres such as 0.3")
        if self.bbox is not None and self.window is not None:
            raise ParameterError("bbox and window both say which part to map; give one of them")
        if self.bbox_crs is not None and self.bbox is None:
            raise ParameterError(f"bbox_crs {self.bbox_crs} has no bbox that it belongs to")

    @classmethod
    def of(cls, choices: Choices) -> Settings:
        """From keyword arguments.

        Raises:
            TypeError: One of them is none of a prediction's.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(choices) - known):
            raise TypeError(f"predict() got an unexpected keyword argument {unknown[0]!r}")
        values: dict[str, Any] = dict(choices)
        return cls(**values)

    @property
    def mc_samples(self) -> int:
        """Samples of Monte Carlo dropout; 0 without."""
        found = _MC.fullmatch(self.uncertainty or "")
        return int(found[1]) if found else 0

    @property
    def measures_precision(self) -> bool:
        """Whether what the precision changes is measured: where that was asked for, and where it is coarse."""
        return self.check_precision or self.precision == "int8"

    @property
    def wants_confidence(self) -> bool:
        """Whether the confidence raster is written."""
        return self.confidence or self.probabilities or self.uncertainty is not None
