"""Where predictions go: default names, and finished rows into rasters."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from geoseg.errors import ParameterError
from geoseg.inference.streaming import FinishedRows
from geoseg.legend import NODATA_ID, Legend
from geoseg.rasters import CONFIDENCE_NODATA, CONFIDENCE_SCALE, RasterWriter

LABELS_SUFFIX = "_landcover"
CONFIDENCE_SUFFIX = "_confidence"


def output_paths(scene: str | Path, output: str | Path | None) -> tuple[Path, Path]:
    """Paths of the class raster and of the confidence raster.

    Without ``output`` they stand beside a local scene, or in the current folder for a scene behind a URL or ``/vsi``.

    Raises:
        ParameterError: ``output`` is not the name of a GeoTIFF.
    """
    if output is None:
        local = "://" not in str(scene) and not str(scene).startswith("/vsi")
        name = Path(scene) if local else Path(str(scene).split("?")[0])
        labels = (name.parent if local else Path()) / f"{name.stem}{LABELS_SUFFIX}.tif"
    else:
        labels = Path(output)
        if labels.suffix.lower() not in (".tif", ".tiff"):
            raise ParameterError(f"output {labels} must end in .tif: the class raster is a GeoTIFF")
    stem = labels.stem.removesuffix(LABELS_SUFFIX)
    return labels, labels.with_name(f"{stem}{CONFIDENCE_SUFFIX}{labels.suffix}")


class RowSink:
    """Turns finished rows into class ids and stored confidence, and writes them.

    Args:
        legend: Maps channels to class ids.
        labels: The class raster.
        confidence: The confidence raster, if one is wanted.
    """

    def __init__(self, legend: Legend, labels: RasterWriter, confidence: RasterWriter | None) -> None:
        self._ids = np.asarray(legend.ids, np.uint8)
        self._labels = labels
        self._confidence = confidence

    def write(self, rows: FinishedRows) -> None:
        """Write one window to each raster; invalid pixels become no data."""
        self._labels.write(rows.window, np.where(rows.valid, self._ids[rows.channels], np.uint8(NODATA_ID)))
        if self._confidence is not None:
            stored = np.rint(np.clip(rows.confidence, 0, 1) / CONFIDENCE_SCALE).astype(np.uint8)
            self._confidence.write(rows.window, np.where(rows.valid, stored, np.uint8(CONFIDENCE_NODATA)))
