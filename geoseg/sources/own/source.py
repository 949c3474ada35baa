"""Own images with own labels."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pyproj.crs import CRS

from geoseg.config.training import DataConfig
from geoseg.errors import ParameterError, VectorError
from geoseg.grids import Grid
from geoseg.legend import Legend
from geoseg.polygon_labels import VectorLayer, meets, open_layer
from geoseg.rasters import FileScene, open_quietly
from geoseg.sources.held import Handles
from geoseg.sources.own.choosing import given_legend, polygon_file, raster_meanings
from geoseg.sources.own.files import ImageFile, LabelFile
from geoseg.sources.own.gathering import Part, gather, left_out
from geoseg.sources.own.labelling import (
    AreaOfInterest,
    Labelling,
    PolygonLabelling,
    RasterLabelling,
    kept_polygons,
    lies_elsewhere,
)
from geoseg.sources.values import LabelledPixels, Role, Sheet
from geoseg.tiling import Window


class OwnSource:
    """Own images with own labels; made by :func:`open_own`.

    Attributes:
        name: What it is called.
        legend: The classes.
        band_names: One a band.
        dtype: NumPy name of the samples' type.
        sheets: The images.
        license: Nothing is known of it.
        notes: What was matched, repaired, assumed and left out.
    """

    name = "own images"
    license = ""

    def __init__(
        self,
        legend: Legend,
        items: Sequence[tuple[ImageFile, Labelling, Role | None]],
        images: Handles[FileScene],
        area: AreaOfInterest | None,
        notes: Sequence[str],
    ) -> None:
        self.legend = legend
        self.band_names = items[0][0].band_names
        self.dtype = items[0][0].dtype
        self.notes = tuple(notes)
        names = _unique_names([image.path for image, _, _ in items])
        self.sheets = tuple(
            Sheet(name, *image.grid.shape, image.place, role, None, (image.path, *labels.files))
            for name, (image, labels, role) in zip(names, items, strict=True)
        )
        self._items = tuple(items)
        self._images = images
        self._area = area

    def read(self, sheet: int, window: Window) -> LabelledPixels:
        """Read a window that lies inside the sheet; safe to call from several threads.

        Raises:
            LabelMismatchError: The labels do not fit the image.
            CorruptRasterError: A block cannot be decoded.
            ParameterError: The window reaches outside the sheet.
        """
        image, labels, _ = self._items[sheet]
        with self._images.borrow(str(image.path)) as scene:
            pixels = scene.read(window)
        seen: npt.NDArray[np.bool_] = np.logical_or.reduce(pixels.present, axis=0)
        if self._area is not None:
            seen &= self._area.read(image, window)
        indices, unknown = labels.read(window, seen)
        return LabelledPixels(pixels.values, pixels.present, indices, unknown)


def open_own(data: DataConfig) -> OwnSource:
    """Open own images and labels as the settings name them.

    Rasters of labels belong to the image of the same stem (``a.tif`` and ``a.png``, ``a_mask.tif``, ...), else to the
    images whose ground they cover; on another grid or CRS, each pixel has the nearest label. Polygons are drawn on the
    images. What cannot be matched or opened is left out and noted, unless that is all.

    Raises:
        MissingFileError: Files, folders or patterns name nothing.
        RasterError: Images are not of one kind, or files are no rasters.
        VectorError: The polygons cannot be read or lie elsewhere.
        LegendError: Classes are unknown or contradict each other.
        ParameterError: Names match ambiguously or not at all, or settings do not fit each other.
    """
    parts = [gather(data, data.images, data.labels, "train" if data.validation_images else None)]
    if data.validation_images:
        parts.append(gather(data, data.validation_images, data.validation_labels, "validation"))
    _refuse_other_kinds(parts)
    notes = [note for part in parts for note in part.notes]
    area = None if data.aoi is None else AreaOfInterest(open_layer(data.aoi, None, classed=False))
    legend = given_legend(data)
    items: list[tuple[ImageFile, Labelling, Role | None]] = []
    for part in parts:
        legend, labelled, more = _labelled(data, legend, part)
        inside = _inside(area, labelled, notes)
        items += [(image, labels, part.role) for image, labels in inside]
        notes += more
    assert legend is not None
    return OwnSource(
        legend, items, Handles(lambda path: open_quietly(path, data.bands)), area, list(dict.fromkeys(notes))
    )


def _labelled(
    data: DataConfig, legend: Legend | None, part: Part
) -> tuple[Legend, list[tuple[ImageFile, Labelling]], list[str]]:
    """The legend, the labels of each image, and what is noteworthy about them."""
    if isinstance(part.labels, VectorLayer):
        return _drawn(data, legend, part.images, part.labels)
    files = list(dict.fromkeys(label for group in part.labels.values() for label in group))
    meanings, notes = raster_meanings(data, legend, files)
    handles: Handles[FileScene] = Handles(open_quietly)
    labelled: list[tuple[ImageFile, Labelling]] = [
        (image, RasterLabelling(image, group, meanings, handles)) for image, group in part.labels.items()
    ]
    return meanings.legend, labelled, [*notes, *_moved_notes(part.labels)]


def _moved_notes(labels: Mapping[ImageFile, Sequence[LabelFile]]) -> list[str]:
    moved = [image.path.name for image, group in labels.items() if any(lies_elsewhere(image, one) for one in group)]
    return [str(note) for note in left_out("images have labels on another grid, and take the nearest", moved)]


def _drawn(
    data: DataConfig, legend: Legend | None, images: Sequence[ImageFile], layer: VectorLayer
) -> tuple[Legend, list[tuple[ImageFile, Labelling]], list[str]]:
    summary = layer.summary()
    if not summary.areal:
        raise VectorError(f"{layer.name} holds no polygon among its {summary.count} shapes; give one with areas")
    polygons, notes = polygon_file(data, legend, layer, summary)
    near = [meets(layer, summary.boxes, image.grid) for image in images]
    if not any(near):
        raise VectorError(
            f"no polygon of {layer.name} lies on any of {len(images)} images (the first: {images[0].grid.summary()}); "
            "give polygons of the same ground"
        )
    far = [image.path.name for image, met in zip(images, near, strict=True) if not met]
    if polygons.outside is None:
        notes += left_out("images have no polygon and are left out", far)
        images = [image for image, met in zip(images, near, strict=True) if met]
    else:
        notes += map(str, left_out(f"images have no polygon and are all {polygons.outside!r}", far))
    notes += _crs_notes(layer, [image.grid for image in images])
    kept = kept_polygons()
    return polygons.legend, [(image, PolygonLabelling(image, polygons, kept)) for image in images], notes


def _crs_notes(layer: VectorLayer, grids: Sequence[Grid]) -> list[str]:
    theirs = None if layer.crs is None else CRS.from_user_input(layer.crs)
    ours = {grid.crs_wkt: CRS.from_wkt(grid.crs_wkt) for grid in grids if grid.crs_wkt is not None}
    name = Path(layer.name).name
    if theirs is None:
        return [f"{name} has no CRS: its coordinates are taken for those of the images"] * bool(ours)
    other = sorted({c.name for c in ours.values() if not c.equals(theirs, ignore_axis_order=True)})
    return [f"{name} is reprojected from {theirs.name} to {', '.join(other)}"] * bool(other)


def _inside(
    area: AreaOfInterest | None, labelled: list[tuple[ImageFile, Labelling]], notes: list[str]
) -> list[tuple[ImageFile, Labelling]]:
    """The images that an area of interest touches."""
    if area is None:
        return labelled
    boxes = area.layer.summary().boxes
    inside = [(image, labels) for image, labels in labelled if meets(area.layer, boxes, image.grid)]
    if not inside:
        raise ParameterError(f"none of {len(labelled)} images lies in the area of interest {area.layer.name}")
    met = {image for image, _ in inside}
    out = [image.path.name for image, _ in labelled if image not in met]
    notes += left_out("images lie outside the area of interest and are left out", out)
    notes.append(f"ground outside the polygons of {Path(area.layer.name).name} is ignored")
    return inside


def _refuse_other_kinds(parts: Sequence[Part]) -> None:
    kinds = [(len(part.images[0].band_names), part.images[0].dtype) for part in parts]
    if len(set(kinds)) > 1:
        told = [f"{n} bands of {dtype}" for n, dtype in kinds]
        raise ParameterError(f"images to train on have {told[0]}, those to validate on {told[1]}; give the same kind")


def _unique_names(paths: Sequence[Path]) -> list[str]:
    """File names; with as much of their folders as tells them apart."""
    names = [path.name for path in paths]
    if len(set(names)) == len(names):
        return names
    absolute = [str(path.absolute()) for path in paths]
    common = os.path.commonpath(absolute)
    return [os.path.relpath(path, common) for path in absolute]
