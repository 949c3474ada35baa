"""The confidence raster that belongs to a class raster."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path

from geoseg.errors import MissingFileError, RasterError
from geoseg.rasters import ClassRaster, ConfidenceRaster, open_confidence

CONFIDENCE_TAG = "GEOSEG_CONFIDENCE"
"""TIFF tag of a class raster that names the confidence raster made with it."""

RUN_TAG = "GEOSEG_RUN"
"""TIFF tag by which the rasters of one prediction know each other."""

_log = logging.getLogger("geoseg")


def named_beside(source: ClassRaster, raster: str | Path) -> Path | None:
    """Where the confidence raster lies that a class raster names, if it names one."""
    # A name, never a path: a raster must not make us read a file elsewhere.
    name = Path(source.tags.get(CONFIDENCE_TAG, "")).name
    return Path(raster).with_name(name) if name else None


def open_companion(
    stack: ExitStack, source: ClassRaster, raster: str | Path, confidence: str | Path | None
) -> ConfidenceRaster | None:
    """The confidence raster that was named, or the one that the class raster names and that lies beside it.

    Raises:
        RasterError: The one that was named lies on another grid.
    """
    if confidence is not None:
        opened = stack.enter_context(open_confidence(confidence))
        if opened.grid != source.grid:
            raise RasterError(
                f"{opened.name} ({opened.grid.summary()}) is not on the grid of {source.name} "
                f"({source.grid.summary()}); give the confidence raster that was made with it"
            )
        return opened
    beside = named_beside(source, raster)
    if beside is None:
        return None
    name = beside.name
    try:
        opened = stack.enter_context(open_confidence(beside))
    except MissingFileError:
        _log.info("%s names the confidence raster %s, which is not beside it: no mean_confidence", source.name, name)
        return None
    if opened.grid != source.grid or opened.tags.get(RUN_TAG) != source.tags.get(RUN_TAG):
        _log.warning("%s is not of the run that made %s and is not used: no mean_confidence", beside, source.name)
        return None
    _log.info("mean_confidence from %s", beside)
    return opened
