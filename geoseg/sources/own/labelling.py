"""Labels on the pixels of one image, from rasters or from polygons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from geoseg.errors import LabelMismatchError, ParameterError
from geoseg.grids import Grid
from geoseg.legend import IGNORE_ID, Legend
from geoseg.polygon_labels import Overlapping, PolygonLabels, VectorLayer, open_area, open_polygon_labels
from geoseg.rasters import FileScene, same_grid
from geoseg.sources.held import Handles, Kept
from geoseg.sources.own.files import ImageFile, LabelFile
from geoseg.sources.own.meanings import Meanings
from geoseg.sources.own.nearest import read_nearest
from geoseg.tiling import Window

Indices = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]

# Images whose polygons are held in memory.
_HELD_IMAGES = 16


class Labelling(Protocol):
    """Labels of one image."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Where they lie."""

    def read(self, window: Window, seen: Bools) -> tuple[Indices, dict[int, int]]:
        """Labels of a window.

        Args:
            window: Of the image.
            seen: (h, w), False where labels are ignored whatever they say.

        Returns:
            (h, w) uint8 indices, 255 = ignore, 254 = a value that is none of the legend; and these values, counted.

        Raises:
            GeosegError: They cannot be read, or do not fit the image.
        """


class RasterLabelling:
    """Labels of an image in one or several rasters; where these overlap, the first that knows a class counts.

    Args:
        image: The image.
        labels: Its labels.
        meanings: Of their values.
        handles: Open files.
    """

    def __init__(
        self, image: ImageFile, labels: tuple[LabelFile, ...], meanings: Meanings, handles: Handles[FileScene]
    ) -> None:
        self.files = tuple(label.path for label in labels)
        self._image = image
        self._labels = labels
        self._meanings = meanings
        self._handles = handles

    def read(self, window: Window, seen: Bools) -> tuple[Indices, dict[int, int]]:
        """(h, w) uint8 indices, and the values that are none of the legend."""
        found, unknown = self._read_one(self._labels[0], window, seen)
        for label in self._labels[1:]:
            missing = seen & (found == IGNORE_ID)
            if not missing.any():
                break
            more, odd = self._read_one(label, window, missing)
            found[missing] = more[missing]
            unknown = {v: unknown.get(v, 0) + odd.get(v, 0) for v in {*unknown, *odd}}
        return found, unknown

    def _read_one(self, label: LabelFile, window: Window, seen: Bools) -> tuple[Indices, dict[int, int]]:
        with self._handles.borrow(str(label.path)) as scene:
            if _lies_on(self._image, label):
                pixels = scene.read(window)
                values, valid = pixels.values[0], pixels.valid
            else:
                values, valid = read_nearest(scene, self._image.grid, window)
        try:
            return self._meanings.indices(values, valid, label.nodata, seen)
        except ParameterError as error:
            raise ParameterError(f"{label.path}: {error}") from error


@dataclass(frozen=True, slots=True)
class PolygonFile:
    """Polygons of one layer for many images.

    Attributes:
        layer: The layer.
        legend: The classes.
        outside: Class of ground without polygon; None = ignore.
        overlapping: Which polygon counts where several lie.
        meanings: Ids of values that the legend does not know; 0 = ignore.
    """

    layer: VectorLayer
    legend: Legend
    outside: str | None
    overlapping: Overlapping
    meanings: Mapping[int | str, int]

    def on(self, grid: Grid) -> PolygonLabels:
        """The polygons that lie on a grid."""
        return open_polygon_labels(
            self.layer,
            grid,
            self.legend,
            outside=self.outside,
            overlapping=self.overlapping,
            meanings=self.meanings,
            needed=False,
        )


class PolygonLabelling:
    """Labels of an image as polygons.

    Args:
        image: The image.
        polygons: Of all images.
        kept: Polygons of the images that were read last.
    """

    def __init__(self, image: ImageFile, polygons: PolygonFile, kept: Kept[PolygonLabels]) -> None:
        self.files = (Path(polygons.layer.name),)
        self._image = image
        self._polygons = polygons
        self._kept = kept
        self._table = np.full(256, IGNORE_ID, np.uint8)
        self._table[list(polygons.legend.ids)] = np.arange(len(polygons.legend))

    def read(self, window: Window, seen: Bools) -> tuple[Indices, dict[int, int]]:
        """(h, w) uint8 indices; polygons of an unknown class are refused before."""
        key = (self.files, self._image.path)
        labels = self._kept.get(key, lambda: self._polygons.on(self._image.grid))
        return np.where(seen, self._table[labels.read(window)], np.uint8(IGNORE_ID)), {}


class AreaOfInterest:
    """Where anything is learned or judged.

    Args:
        layer: Its polygons.
    """

    def __init__(self, layer: VectorLayer) -> None:
        self.layer = layer
        self._kept: Kept[PolygonLabels] = Kept(_HELD_IMAGES)

    def read(self, image: ImageFile, window: Window) -> npt.NDArray[np.bool_]:
        """(h, w) True inside."""
        inside = self._kept.get(image.path, lambda: open_area(self.layer, image.grid))
        return np.asarray(inside.read(window) != 0)


def kept_polygons() -> Kept[PolygonLabels]:
    """Room for the polygons of a few images."""
    return Kept(_HELD_IMAGES)


def lies_elsewhere(image: ImageFile, label: LabelFile) -> bool:
    """Whether labels have their pixels elsewhere than the image, both with a place: each pixel has the nearest."""
    ours, theirs = image.grid, label.grid
    placed = ours.crs_wkt is not None and theirs.crs_wkt is not None
    return placed and not ours.gcps and not theirs.gcps and not same_grid(ours, theirs)


def _lies_on(image: ImageFile, label: LabelFile) -> bool:
    """Whether labels have their pixels where the image has them; else they must be brought there by their place.

    Raises:
        LabelMismatchError: They cannot be.
    """
    ours, theirs = image.grid, label.grid
    if lies_elsewhere(image, label):
        return False
    if ours.shape == theirs.shape:
        return True
    why = "have no place" if theirs.crs_wkt is None else "cannot be placed on it, which has no CRS and transform"
    raise LabelMismatchError(
        f"the labels {label.path} are {theirs.height}×{theirs.width} pixels (rows × columns), the image "
        f"{image.path.name} is {ours.height}×{ours.width}, and they {why}: correct them, or leave both out"
    )
