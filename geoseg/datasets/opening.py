"""A split of a dataset as samples: pixels, and indices of our legend."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from geoseg.datasets import layouts
from geoseg.datasets.catalogue import dataset_info
from geoseg.datasets.colours import indices_of_colours
from geoseg.datasets.layouts import Found, SourceFile
from geoseg.datasets.readers import Reader, make_reader
from geoseg.datasets.readers import download as fetch
from geoseg.datasets.records import UNEXPECTED, DatasetInfo
from geoseg.errors import CorruptRasterError, MissingFileError, OutputError, ParameterError, RasterError

log = logging.getLogger("geoseg")

# Missing files that an error names; the others are counted.
_NAMED = 3


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImage:
    """One image of a dataset.

    Attributes:
        name: Path of the image below the dataset's folder.
        pixels: (C, H, W) uint8, as stored.
        indices: (H, W) uint8, indices of the legend, 255 = ignore; None where the split has no labels.
        subset: The named area it belongs to, of a dataset that has such.
    """

    name: str
    pixels: npt.NDArray[np.uint8]
    indices: npt.NDArray[np.uint8] | None
    subset: str | None = None


class LabelledImages:
    """The images of one split, read when asked for, through torchgeo's class.

    Attributes:
        info: The dataset.
        split: Name of the split.
        files: Where each image and its labels lie.
    """

    def __init__(self, info: DatasetInfo, split: str, files: tuple[SourceFile, ...], reader: Reader) -> None:
        self.info = info
        self.split = split
        self.files = files
        self._reader = reader
        self._lookup = info.lookup()
        self._warned = False

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[LabelledImage]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> LabelledImage:
        """Read an image.

        Raises:
            IndexError: There is no such image.
            CorruptRasterError: It, or its labels, cannot be decoded.
            RasterError: Pixels and labels do not fit each other, or a label value is none of the dataset.
        """
        file = self.files[index]
        try:
            sample = self._reader(index % len(self))
            pixels = _pixels(sample["image"].numpy(), file)
            indices = None if file.labels is None else self._indices(sample["mask"].numpy(), file)
        except (OSError, SyntaxError) as error:  # what PIL and rasterio raise for files that are cut off
            if isinstance(error, CorruptRasterError):
                raise
            raise CorruptRasterError(f"{file.image} or its labels cannot be read ({error}); unpack it again") from error
        if indices is not None and indices.shape != pixels.shape[1:]:
            raise RasterError(f"{file.image} is {pixels.shape[1:]} pixels but its labels are {indices.shape}")
        return LabelledImage(file.name, pixels, indices, file.subset)

    def require_labels(self) -> None:
        """Refuse what needs labels where there are none.

        Raises:
            ParameterError: The split has no labels.
        """
        self.info.require_labels(self.split)

    def _indices(self, values: npt.NDArray[np.int64], file: SourceFile) -> npt.NDArray[np.uint8]:
        """Indices of the legend for the labels of one image."""
        if self.info.coloured and file.labels is not None:
            return self._coloured(file.labels)
        low, high = int(values.min()), int(values.max())
        indices = self._lookup[np.clip(values, 0, 255)]
        if low < 0 or high > 255 or (indices == UNEXPECTED).any():
            expected = sorted((*self.info.sources, *self.info.ignored))
            strange = sorted(set(np.unique(values).tolist()) - set(expected))
            raise RasterError(f"{file.labels} holds {strange[:5]}; the labels of {self.info.name} are {expected}")
        return indices

    def _coloured(self, labels: Path) -> npt.NDArray[np.uint8]:
        from PIL import Image

        with Image.open(labels) as picture:
            indices, strange = indices_of_colours(np.asarray(picture.convert("RGB")), self.info.legend)
        if strange and not self._warned:
            self._warned = True
            log.warning(
                "%s: %d of %d label pixels have a colour that no class has, and are ignored; other files may have some",
                labels,
                strange,
                indices.size,
            )
        return indices


def open_dataset(
    name: str, data_dir: str | Path, split: str, *, subset: str | None = None, download: bool = False
) -> LabelledImages:
    """Open a split of a dataset.

    Args:
        name: As in :func:`geoseg.datasets.list_datasets`.
        data_dir: The folder that torchgeo calls root.
        split: As the dataset has it.
        subset: One of its named areas; None takes all.
        download: Let torchgeo fetch it where it is not there. Without it nothing is fetched or unpacked.

    Returns:
        Its images, in a fixed order.

    Raises:
        ParameterError: There is no such dataset, split or subset, or torchgeo cannot fetch it.
        MissingFileError: Files are missing; the message says which, and how to get them.
        OutputError: The download failed.
    """
    info = dataset_info(name)
    chosen = info.split(split)
    if subset is not None and subset not in info.subsets:
        has = ", ".join(info.subsets) or "none"
        raise ParameterError(f"{name} has no subset {subset!r}; it has {has}")
    subsets = info.subsets if subset is None else (subset,)
    folder = Path(data_dir)
    found = layouts.find_files(name, folder, split, subsets, labelled=chosen.labelled)
    if found.missing and download:
        _download(info, folder, split)
        found = layouts.find_files(name, folder, split, subsets, labelled=chosen.labelled)
    if found.missing or not found.files:
        raise MissingFileError(_complaint(info, split, found, tried=download))
    if subset is None and chosen.images is not None and len(found.files) != chosen.images:
        log.warning("%s %s has %d images; here are %d", name, split, chosen.images, len(found.files))
    with _quiet(info, folder):
        reader = make_reader(name, folder, split, subsets, found.files)
    return LabelledImages(info, split, tuple(found.files), reader)


@contextlib.contextmanager
def _quiet(info: DatasetInfo, folder: Path) -> Iterator[None]:
    """What torchgeo prints goes to stderr, and what it still misses is an error of ours."""
    try:
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            # Of pandas, about the way torchgeo calls it: nothing that a user of geoseg could change.
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    except FileNotFoundError as error:  # torchgeo's DatasetNotFoundError is one
        raise MissingFileError(f"{info.name} in {folder} is refused by torchgeo: {error}; {_remedy(info)}") from error


def _download(info: DatasetInfo, folder: Path, split: str) -> None:
    """Fetch and unpack, or say why not."""
    if not info.downloadable:
        raise ParameterError(f"torchgeo cannot download {info.name}; {_remedy(info)}")
    log.info("fetching %s into %s; licence: %s", info.name, folder, info.license)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            fetch(info.name, folder, split)
    except Exception as error:  # network, disk, check sum, a missing helper: torchgeo has no common error
        raise OutputError(
            f"fetching {info.name} failed ({type(error).__name__}: {' '.join(str(error).split())}); {_remedy(info)}"
        ) from error


def _complaint(info: DatasetInfo, split: str, found: Found, *, tried: bool) -> str:
    """One line: what is missing, and how to get it."""
    named = ", ".join(found.missing[:_NAMED])
    count = len(found.missing)
    more = f" and {count - _NAMED} more" if count > _NAMED else ""
    what = f"{info.name} {split} in {found.folder} lacks {named or 'images'}{more}"
    if tried:
        return f"{what}, also after the download; remove what is half unpacked there and run again"
    packed = [name for name in info.archives if name.endswith(".zip") and (found.folder / name).exists()]
    if packed:
        return f"{what}; unpack {', '.join(packed)} there (again), or {_remedy(info)}"
    return f"{what}; {_remedy(info)}"


def _remedy(info: DatasetInfo) -> str:
    """How to get a dataset."""
    by_hand = f"get {', '.join(info.archives)} from {info.where} and unpack into the folder"
    return f"{by_hand}, or use --download (download=True)" if info.downloadable else by_hand


def _pixels(values: npt.NDArray[np.float32], file: SourceFile) -> npt.NDArray[np.uint8]:
    """The stored bytes, which torchgeo's classes hand out as float32."""
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 255):
        raise RasterError(f"{file.image} holds values {low:g}..{high:g}; images of this dataset are 8-bit")
    return values.astype(np.uint8)
