"""The confidence raster that belongs to a class raster, and how both are named."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from geoseg.errors import MissingFileError, RasterError
from geoseg.rasters.classes import ClassRaster, ConfidenceRaster, open_confidence
from geoseg.rasters.writing import RUN_TAG

LABELS_SUFFIX = "_landcover"
CONFIDENCE_SUFFIX = "_confidence"
"""What follows the name of a scene in those of its class and confidence raster."""

CONFIDENCE_TAG = "GEOSEG_CONFIDENCE"
"""TIFF tag of a class raster that names the confidence raster made with it."""


def open_named_confidence(stack: ExitStack, source: ClassRaster, confidence: str | Path) -> ConfidenceRaster:
    """Open the confidence raster that someone gives for a class raster.

    Raises:
        MissingFileError: It is not there.
        RasterError: It is none, or lies on another grid.
    """
    opened = stack.enter_context(open_confidence(confidence))
    if opened.grid != source.grid:
        raise RasterError(
            f"{opened.name} ({opened.grid.summary()}) is not on the grid of {source.name} ({source.grid.summary()}); "
            "give the confidence raster that was made with it"
        )
    return opened


def open_confidence_beside(
    stack: ExitStack, source: ClassRaster, raster: str | Path
) -> tuple[ConfidenceRaster | None, str]:
    """Open the confidence raster that a class raster names, if it lies beside it and is of the same run.

    Returns:
        It or None, and in a sentence which it is or why there is none.
    """
    # A name, never a path: a raster must not make us read a file elsewhere.
    name = Path(source.tags.get(CONFIDENCE_TAG, "")).name
    if not name:
        return None, f"{source.name} names no confidence raster"
    beside = Path(raster).with_name(name)
    try:
        opened = stack.enter_context(open_confidence(beside))
    except MissingFileError:
        return None, f"{source.name} names the confidence raster {name}, which is not beside it"
    if opened.grid != source.grid or opened.tags.get(RUN_TAG) != source.tags.get(RUN_TAG):
        return None, f"{beside} is not of the run that made {source.name} and is not used"
    return opened, f"confidence from {beside}"
