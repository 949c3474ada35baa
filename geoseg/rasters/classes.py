"""Reading class rasters, ours and others', and confidence rasters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rasterio.io import DatasetReader

from geoseg.errors import RasterError
from geoseg.legend import IGNORE_ID, NODATA_ID, Legend
from geoseg.rasters.legends import found_legend, own_legend
from geoseg.rasters.opening import open_dataset
from geoseg.rasters.reading import FileScene
from geoseg.rasters.scenes import Scene
from geoseg.tiling import Window

# Confidence stored as a float may exceed 1 by this.
_ROUNDING = 1e-3


class ClassRaster:
    """An open class raster; made by :func:`open_class_raster`.

    Attributes:
        name: Its path or URL, without secrets.
        grid: Where its pixels are.
        legend: Its classes.
        tags: Its TIFF metadata, ``GEOSEG_...`` among them.
        block_shape: (rows, columns) of a storage block.
        files: Local files that it is made of.
    """

    def __init__(self, scene: Scene, legend: Legend, tags: Mapping[str, str]) -> None:
        self.name = scene.name
        self.grid = scene.grid
        self.block_shape = scene.block_shape
        self.legend = legend
        self.tags = dict(tags)
        self.files = scene.files
        self._scene = scene

    @property
    def identity(self) -> dict[str, object]:
        """What tells it from other rasters and from itself before a change; see :class:`~geoseg.rasters.Scene`."""
        return self._scene.identity

    def read(self, window: Window) -> npt.NDArray[np.uint8]:
        """(h, w) uint8 class ids, 0 = no data.

        Raises:
            ParameterError: The window reaches outside the raster.
            CorruptRasterError: A block cannot be decoded.
        """
        return _labels(self._scene, window)

    def refuse_unknown(self, values: Iterable[int]) -> None:
        """See that the legend names all ``values``; 0, no data, needs no name.

        Raises:
            RasterError: It does not.
        """
        unknown = sorted(set(values) - {NODATA_ID, *self.legend.ids})
        if unknown:
            raise RasterError(
                f"{self.name} has values that its legend does not name: {', '.join(map(str, unknown))} (it names "
                f"{', '.join(map(str, self.legend.ids))}); complete the legend, or give one with --legend (legend=...)"
            )


class ConfidenceRaster:
    """An open confidence raster; made by :func:`open_confidence`.

    Attributes:
        name: Its path or URL, without secrets.
        grid: Where its pixels are.
        tags: Its TIFF metadata, ``GEOSEG_...`` among them.
        files: Local files that it is made of.
    """

    def __init__(self, scene: Scene, scale: float, offset: float, tags: Mapping[str, str]) -> None:
        self.name = scene.name
        self.grid = scene.grid
        self.tags = dict(tags)
        self.files = scene.files
        self._scene = scene
        self._scale = scale
        self._offset = offset

    @property
    def identity(self) -> dict[str, object]:
        """What tells it from other rasters and from itself before a change; see :class:`~geoseg.rasters.Scene`."""
        return self._scene.identity

    def read(self, window: Window) -> npt.NDArray[np.float32]:
        """(h, w) float32 confidence 0..1, NaN where there is none.

        Raises:
            ParameterError: The window reaches outside the raster.
            CorruptRasterError: A block cannot be decoded.
            RasterError: A value lies outside 0..1.
        """
        pixels = self._scene.read(window)
        confidence = np.asarray(pixels.values[0] * self._scale + self._offset, np.float32)
        confidence[~pixels.valid] = np.nan
        outside = confidence[np.isfinite(confidence) & ((confidence < 0) | (confidence > 1 + _ROUNDING))]
        if outside.size:
            raise RasterError(f"{self.name} holds {outside[0]:g}; a confidence raster gives 0..1")
        return confidence


@contextmanager
def open_class_raster(path: str | Path, legend: Legend | None = None) -> Iterator[ClassRaster]:
    """Open a uint8 raster of classes.

    The legend is ``legend``, else the one that geoseg wrote into the file. For other files the pixels are looked
    through once: the classes are the values that occur, with names and colours from the ``.aux.xml`` beside the file,
    the QGIS style beside it (``X.qml``) or its colour table, in this order, and ``class 7`` for want of a name. No data
    are the pixels that the nodata tag, alpha or validity band say, and the reserved values 0 and 255, with a warning
    where they are found to occur without being declared: a class 0 (background) is not a class here. To keep it as one,
    give it another value first.

    Args:
        path: A local path, a URL, or ``/vsi...``.
        legend: The classes, such as :func:`read_legend` reads; it may lack values that occur, which
            :meth:`ClassRaster.refuse_unknown` tells.

    Raises:
        MissingFileError: There is nothing under that name.
        RasterError: It is no raster of one uint8 band, or has no class.
    """
    with open_dataset(path) as dataset:
        yield class_raster_of(dataset, path, legend)


def class_raster_of(dataset: DatasetReader, path: str | Path, legend: Legend | None) -> ClassRaster:
    """The class raster in an open file; see :func:`open_class_raster`."""
    scene = FileScene(dataset, path, None)
    if scene.dtype != "uint8" or len(scene.bands) != 1:
        bands = "1 band" if len(scene.bands) == 1 else f"{len(scene.bands)} bands"
        raise RasterError(
            f"{scene.name} has {bands} of {scene.dtype}; a class raster has one of uint8 "
            "(gdal_translate -b 1 -ot Byte, if all its values are below 255)"
        )
    tags = dataset.tags()
    return ClassRaster(scene, legend or own_legend(tags, scene.name) or found_legend(scene, dataset, path), tags)


@contextmanager
def open_confidence(path: str | Path) -> Iterator[ConfidenceRaster]:
    """Open a confidence raster: its first band times scale is 0..1.

    Raises:
        MissingFileError: There is nothing under that name.
        RasterError: It is no raster, or its first band holds whole numbers without a scale.
    """
    with open_dataset(path) as dataset:
        scene = FileScene(dataset, path, [1])
        scale, offset = float(dataset.scales[0]), float(dataset.offsets[0])
        if scale == 1.0 and not scene.dtype.startswith("float"):
            raise RasterError(f"{scene.name} holds {scene.dtype} without a scale; a confidence raster gives 0..1")
        yield ConfidenceRaster(scene, scale, offset, dataset.tags())


def _labels(scene: Scene, window: Window) -> npt.NDArray[np.uint8]:
    pixels = scene.read(window)
    labels = np.asarray(pixels.values[0], np.uint8)
    labels *= labels != IGNORE_ID  # to NODATA_ID; several times as fast as by an index
    labels *= pixels.valid
    return labels
