"""Where predictions go, and what they say of themselves."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from geoseg.blending.stored import Stored
from geoseg.errors import ParameterError
from geoseg.inference.settings import Settings
from geoseg.legend import Legend
from geoseg.parts import PartsPlace, was_url
from geoseg.rasters import CONFIDENCE_SUFFIX, LABELS_SUFFIX

ATTENTION_SUFFIX = "_attention"

# File systems take names of 255 bytes, and temporaries and sidecars have suffixes of up to 35.
_NAME_BYTES = 220


@dataclass(frozen=True, slots=True)
class Outputs:
    """The files of a prediction.

    Attributes:
        labels: The class raster.
        confidence: The confidence raster, if it is wanted.
        parts: Where that is kept which is finished while the job runs.
    """

    labels: Path
    confidence: Path | None
    parts: PartsPlace

    @property
    def rasters(self) -> tuple[Path, ...]:
        """What is there in the end."""
        return (self.labels,) if self.confidence is None else (self.labels, self.confidence)


def plan_outputs(scenes: Sequence[str | Path], output: str | Path | None, settings: Settings) -> Outputs:
    """Where everything goes.

    Without ``output`` the rasters stand beside a local scene, or in the current folder for a scene behind a URL or
    ``/vsi``.

    Args:
        scenes: The scene, or the files of a mosaic.
        output: The class raster, or the folder for one of its default name, if the user names it.
        settings: Tell whether a confidence raster is wanted.

    Raises:
        ParameterError: ``output`` is not the name of a GeoTIFF, too long or in an object store, or a mosaic has none;
            or the folder for parts has no name.
    """
    if output is None and len(scenes) > 1:
        raise ParameterError(f"a mosaic of {len(scenes)} files has no name of its own; name its map, e.g. -o map.tif")
    labels = default_output(scenes[0]) if output is None else Path(output)
    if output is not None and len(scenes) == 1 and labels.is_dir():
        labels = labels / default_output(scenes[0]).name
    if (was_url(labels) or str(labels).startswith("/vsi")) and not labels.parent.is_dir():
        raise ParameterError(
            f"output {output} lies in an object store, and maps are written to a disk; give a path and copy the map. "
            "Its parts may lie there: --parts-folder (parts_folder)"
        )
    if labels.suffix.lower() not in (".tif", ".tiff"):
        raise ParameterError(f"output {labels} must end in .tif: the class raster is a GeoTIFF")
    stem = labels.stem.removesuffix(LABELS_SUFFIX)
    confidence = labels.with_name(f"{stem}{CONFIDENCE_SUFFIX}{labels.suffix}")
    longest = os.fsencode(confidence.name)
    if len(longest) > _NAME_BYTES:
        raise ParameterError(
            f"the name of output {labels} is too long by {len(longest) - _NAME_BYTES} bytes for the files beside it; "
            "give a shorter one with --output"
        )
    parts = PartsPlace.beside(labels, settings.parts_folder)
    return Outputs(labels, confidence if settings.wants_confidence else None, parts)


def is_output(path: Path) -> bool:
    """Whether a file is named like an output without a name of its own."""
    return path.stem.endswith((LABELS_SUFFIX, CONFIDENCE_SUFFIX, ATTENTION_SUFFIX))


def default_output(scene: str | Path) -> Path:
    """The class raster of a scene where the user names none: beside a local scene, else in the current folder."""
    local = "://" not in str(scene) and not str(scene).startswith("/vsi")
    name = Path(scene) if local else Path(str(scene).split("?", maxsplit=1)[0])
    return (name.parent if local else Path()) / f"{name.stem}{LABELS_SUFFIX}.tif"


def stored_planes(settings: Settings) -> Stored:
    """What is kept of the scores."""
    return Stored(
        confidence=settings.wants_confidence,
        entropy=settings.uncertainty is not None,
        mutual_information=settings.mc_samples > 0,
        probabilities=settings.probabilities,
    )


def confidence_bands(stored: Stored, legend: Legend) -> tuple[str, ...]:
    """Names of the bands of the confidence raster: the planes after the class, classes by their names."""
    return (*stored.planes(0)[1:], *(c.name for c in legend if stored.probabilities))
