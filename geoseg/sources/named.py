"""A dataset by name as a source: the splits that have labels, read whole image by image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from geoseg.config.training import DataConfig
from geoseg.datasets import DatasetInfo, LabelledImages, dataset_info, open_dataset
from geoseg.datasets.opening import LabelledImage
from geoseg.errors import MissingFileError, ParameterError, RasterError
from geoseg.grids import Grid
from geoseg.rasters import open_quietly
from geoseg.sources.held import Kept
from geoseg.sources.values import LabelledPixels, LeftOut, Role, Sheet
from geoseg.tiling import Window

# Bytes of decoded images that are kept, so that the windows of one are cut from one decoding.
_KEPT_BYTES = 256 * 2**20

_ROLES: dict[str, Role] = {"train": "train", "val": "validation"}


class NamedSource:
    """A dataset by name; made by :func:`open_named`.

    Attributes:
        name: Of the dataset.
        legend: Its classes.
        band_names: Of the bands that are read.
        dtype: All these datasets are 8-bit.
        sheets: The images of its splits for training and validation.
        license: Of images and labels.
        notes: What was left out.
    """

    dtype = "uint8"

    def __init__(
        self,
        info: DatasetInfo,
        splits: Sequence[LabelledImages],
        bands: Sequence[int],
        notes: Sequence[str],
        subset: str | None,
    ) -> None:
        self.name = info.name if subset is None else f"{info.name} {subset}"
        self.legend = info.legend
        self.license = info.license
        self.band_names = tuple(info.bands[b - 1] for b in bands)
        self.notes = tuple(notes)
        self._bands = [b - 1 for b in bands]
        self._images = [(images, i) for images in splits for i in range(len(images))]
        judged = len(splits) > 1
        self.sheets = tuple(_sheet(images, i, judged) for images, i in self._images)
        self._kept: Kept[LabelledImage] = Kept(_KEPT_BYTES, lambda image: float(image.pixels.nbytes * 4 / 3))

    def read(self, sheet: int, window: Window) -> LabelledPixels:
        """Read a window that lies inside the sheet; safe to call from several threads.

        Raises:
            CorruptRasterError: The image or its labels cannot be decoded.
            RasterError: They do not fit each other, or a label value is none of the dataset.
        """
        images, place = self._images[sheet]
        image = self._kept.get(sheet, lambda: images[place])
        told = self.sheets[sheet]
        if image.pixels.shape[1:] != (told.height, told.width):
            raise RasterError(f"{told.name} has {image.pixels.shape[1:]} pixels, not {told.height}×{told.width}")
        assert image.indices is not None
        here = np.s_[window.row_off : window.row_end, window.col_off : window.col_end]
        pixels = image.pixels[(self._bands, *here)]
        return LabelledPixels(pixels, np.ones(pixels.shape[1:], np.bool_), image.indices[here].copy())


def open_named(data: DataConfig) -> NamedSource:
    """Open the splits of a dataset that are for training and validation, as far as they have labels.

    A test split is never touched. Where there is no validation split, or it lies not in the folder, the images are
    meant for neither: a split of the ground keeps some of it.

    Raises:
        ParameterError: There is no such dataset or band, or a setting belongs to own images.
        MissingFileError: Files are missing; the message says which, and how to get them.
    """
    assert data.dataset is not None
    assert data.data_dir is not None
    info = dataset_info(data.dataset)
    _refuse_settings_of_own(data)
    bands = data.bands or tuple(range(1, len(info.bands) + 1))
    if max(bands) > len(info.bands):
        raise ParameterError(f"bands {list(bands)} were asked of {info.name}, which has {', '.join(info.bands)}")
    splits: list[LabelledImages] = []
    notes: list[str] = []
    for split in info.splits:
        if split.name not in _ROLES or not split.labelled:
            why = "is for tests" if split.labelled else "has no labels"
            notes.append(f"{info.name} {split.name} {why} and is not used")
            continue
        try:
            found = open_dataset(info.name, data.data_dir, split.name, subset=data.subset, download=data.download)
        except MissingFileError as error:
            if split.name == "train" or not _is_absent(error, info, data, split.name):
                raise
            why = "is not in the folder: some of train is kept to validate on"
            notes.append(LeftOut(f"{info.name} {split.name} {why}"))
            continue
        notes.append(f"{info.name} {split.name}: {len(found)} images")
        splits.append(found)
    return NamedSource(info, splits, bands, notes, data.subset)


def _is_absent(error: MissingFileError, info: DatasetInfo, data: DataConfig, split: str) -> bool:
    """Whether nothing of a split is there, as against half of it."""
    from geoseg.datasets import layouts

    assert data.data_dir is not None
    subsets = info.subsets if data.subset is None else (data.subset,)
    try:
        return not layouts.find_files(info.name, Path(data.data_dir), split, subsets, labelled=True).files
    except MissingFileError:
        raise error from None


def _refuse_settings_of_own(data: DataConfig) -> None:
    for option in ("legend", "label_values", "class_field", "aoi"):
        if getattr(data, option) is not None:
            raise ParameterError(f"{option} is for own images and labels; {data.dataset} has its own: leave it out")


def _sheet(images: LabelledImages, place: int, judged: bool) -> Sheet:
    """An image from its header."""
    file = images.files[place]
    with open_quietly(file.image) as scene:
        grid: Grid = scene.grid
    files = (file.image,) if file.labels is None else (file.image, file.labels)
    role = _ROLES[images.split] if judged else None
    placed = None if grid.crs_wkt is None else grid
    return Sheet(file.name, *grid.shape, placed, role, file.subset, files)
