"""Reading class rasters, ours and others', and confidence rasters."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader

from geoseg.errors import LegendError, RasterError
from geoseg.legend import IGNORE_ID, NODATA_ID, ClassDef, Legend
from geoseg.qgis import parse_pam
from geoseg.rasters.opening import open_dataset, stands_alone
from geoseg.rasters.reading import FileScene
from geoseg.rasters.scenes import Scene
from geoseg.rasters.writing import LEGEND_TAG
from geoseg.tiling import Window

log = logging.getLogger("geoseg")

_SCAN_PIXELS = 2**24

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

    def read(self, window: Window) -> npt.NDArray[np.uint8]:
        """(h, w) uint8 class ids, 0 = no data.

        Raises:
            ParameterError: The window reaches outside the raster.
            CorruptRasterError: A block cannot be decoded.
        """
        return _labels(self._scene, window)


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
def open_class_raster(path: str | Path) -> Iterator[ClassRaster]:
    """Open a uint8 raster of classes.

    The legend is the one that geoseg wrote into the file. For other files the pixels are looked through once: the
    classes are the values that occur, with names and colours from the ``.aux.xml`` beside the file or from its colour
    table, and ``class 7`` for want of a name. No data are the pixels that the nodata tag, alpha or validity band say,
    and the reserved values 0 and 255, with a warning where they occur without being declared: a class 0 (background) is
    not a class here. To keep it as one, give it another value first.

    Raises:
        MissingFileError: There is nothing under that name.
        RasterError: It is no raster of one uint8 band, or has no class.
    """
    with open_dataset(path) as dataset:
        scene = FileScene(dataset, path, None)
        if scene.dtype != "uint8" or len(scene.bands) != 1:
            raise RasterError(
                f"{scene.name} has {len(scene.bands)} bands of {scene.dtype}; a class raster has one of uint8 "
                "(gdal_translate -b 1 -ot Byte, if all its values are below 255)"
            )
        tags = dataset.tags()
        legend = _own_legend(tags, scene.name) or _found_legend(scene, dataset, path)
        yield ClassRaster(scene, legend, tags)


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
    labels[~pixels.valid | (labels == IGNORE_ID)] = NODATA_ID
    return labels


def _own_legend(tags: Mapping[str, str], name: str) -> Legend | None:
    """The legend that geoseg wrote into the file."""
    text = tags.get(LEGEND_TAG)
    if text is None:
        return None
    try:
        return Legend.from_records(json.loads(text))
    except (ValueError, LegendError) as error:
        raise RasterError(f"{name}: its {LEGEND_TAG} tag is not a legend ({error}); remove or repair it") from error


def _found_legend(scene: Scene, dataset: DatasetReader, path: str | Path) -> Legend:
    """A legend of the values that occur, with what names and colours there are."""
    counts = _count_values(scene)
    for value in (NODATA_ID, IGNORE_ID):
        if counts[value]:
            log.warning(
                "%s: %d pixels have the reserved value %d and are taken for no data; a class needs another value",
                scene.name, counts[value], value,
            )  # fmt: skip
    values = [int(v) for v in np.flatnonzero(counts) if v not in (NODATA_ID, IGNORE_ID)]
    if not values:
        raise RasterError(f"{scene.name} holds no class: all its pixels are no data, 0 or 255")
    names, colors = _described(dataset, path)
    plain = {c.id: c for c in Legend.from_values(values)}
    classes: list[ClassDef] = []
    taken: set[str] = set()
    for v in values:
        name = "".join(ch if ch.isprintable() else " " for ch in names.get(v, "")).strip() or plain[v].name
        name = f"{name} ({v})" if name in taken else name
        taken.add(name)
        classes.append(ClassDef(v, name, colors.get(v, plain[v].color)))
    return Legend(tuple(classes))


def _count_values(scene: Scene) -> npt.NDArray[np.int64]:
    """(256,) how many valid pixels have each value."""
    counts = np.zeros(256, np.int64)
    height, width = scene.grid.shape
    step = max(1, _SCAN_PIXELS // width // scene.block_shape[0]) * scene.block_shape[0]
    for top in range(0, height, step):
        pixels = scene.read(Window(top, 0, min(step, height - top), width))
        counts += np.bincount(pixels.values[0][pixels.valid], minlength=256)
    return counts


def _described(dataset: DatasetReader, path: str | Path) -> tuple[dict[int, str], dict[int, str]]:
    """Names and colours by value, from the ``.aux.xml`` before the colour table."""
    names: dict[int, str] = {}
    colors: dict[int, str] = {}
    if dataset.colorinterp[0] == ColorInterp.palette:
        colors = {v: f"#{r:02x}{g:02x}{b:02x}" for v, (r, g, b, _) in dataset.colormap(1).items()}
    sidecar = Path(f"{str(path).removeprefix('file://')}.aux.xml")
    if not stands_alone(path) and sidecar.is_file():
        more_names, more_colors = parse_pam(sidecar.read_text(encoding="utf-8", errors="replace"))
        names |= more_names
        colors |= more_colors
    return names, colors
