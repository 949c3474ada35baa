"""torchgeo's dataset classes, each as a function from an index to its sample.

The lists of files that the classes make are replaced by ours, which are checked: Inria's class finds the number of an
image with a pattern that also fits digits in the path of the folder, and pairs images and labels by their order.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from geoseg.datasets.layouts import SourceFile

Reader = Callable[[int], Mapping[str, Any]]


def make_reader(name: str, folder: Path, split: str, subsets: Sequence[str], files: Sequence[SourceFile]) -> Reader:
    """Open torchgeo's class on files that are there.

    Args:
        name: Of the dataset.
        folder: Its root.
        split: The split.
        subsets: Of the split.
        files: Images and labels, in the order of the result's indices.

    Returns:
        From index to torchgeo's sample: ``image`` float (C, H, W) and, where there are labels, ``mask`` int (H, W).
    """
    return _READERS[name](folder, split, subsets, files)


def download(name: str, folder: Path, split: str) -> None:
    """Let torchgeo fetch and unpack a split, or all of the dataset where it comes in one piece.

    Raises:
        Exception: Whatever torchgeo, the network or the disk had.
    """
    from torchgeo import datasets

    if name == "loveda":
        datasets.LoveDA(folder, split, download=True, checksum=True)
    elif name == "landcoverai":
        datasets.LandCoverAI(folder, split, download=True, checksum=True)
    elif name == "gid15":
        datasets.GID15(folder, split, download=True, checksum=True)
    else:
        datasets.ChesapeakeCVPR(folder, splits=[f"de-{split}"], download=True, checksum=True)


def _pairs(files: Sequence[SourceFile], label_key: str) -> list[dict[str, str]]:
    """The form of ``files`` in torchgeo's classes."""
    return [
        {"image": str(file.image)} | ({} if file.labels is None else {label_key: str(file.labels)}) for file in files
    ]


def _loveda(folder: Path, split: str, subsets: Sequence[str], files: Sequence[SourceFile]) -> Reader:
    from torchgeo.datasets import LoveDA

    dataset = LoveDA(folder, split, scene=list(subsets))
    dataset.files = _pairs(files, "mask")
    return dataset.__getitem__


def _landcoverai(folder: Path, split: str, subsets: Sequence[str], files: Sequence[SourceFile]) -> Reader:  # noqa: ARG001
    from torchgeo.datasets import LandCoverAI

    dataset = LandCoverAI(folder, split)
    dataset.ids = [file.image.stem for file in files]
    return partial(_read_chip, dataset)


def _read_chip(dataset: Any, index: int) -> Mapping[str, Any]:
    """One chip, not kept: torchgeo below 0.10 holds the last 128 as float, 0.7 GB in every process that reads."""
    sample: Mapping[str, Any] = dataset[index]
    for loader in (type(dataset)._load_image, type(dataset)._load_target):
        if hasattr(loader, "cache_clear"):
            loader.cache_clear()
    return sample


def _deepglobe(folder: Path, split: str, subsets: Sequence[str], files: Sequence[SourceFile]) -> Reader:  # noqa: ARG001
    from torchgeo.datasets import DeepGlobeLandCover

    dataset = DeepGlobeLandCover(folder, split)
    dataset.image_fns = [str(file.image) for file in files]
    dataset.mask_fns = [str(file.labels) for file in files]
    return dataset.__getitem__


def _potsdam(folder: Path, split: str, subsets: Sequence[str], files: Sequence[SourceFile]) -> Reader:  # noqa: ARG001
    from torchgeo.datasets import Potsdam2D

    dataset = Potsdam2D(folder, split)
    dataset.files = _pairs(files, "mask")
    return partial(_read_without_place, dataset)


def _read_without_place(dataset: Any, index: int) -> Mapping[str, Any]:
    """One image of files that have no place on earth, and need none here."""
    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        sample: Mapping[str, Any] = dataset[index]
    return sample


def _vaihingen(folder: Path, split: str, subsets: Sequence[str], files: Sequence[SourceFile]) -> Reader:  # noqa: ARG001
    from torchgeo.datasets import Vaihingen2D

    dataset = Vaihingen2D(folder, split)
    dataset.files = _pairs(files, "mask")
    return dataset.__getitem__


def _inria(folder: Path, split: str, subsets: Sequence[str], files: Sequence[SourceFile]) -> Reader:  # noqa: ARG001
    from torchgeo.datasets import InriaAerialImageLabeling

    dataset = InriaAerialImageLabeling(folder, split)
    dataset.files = _pairs(files, "label")
    return dataset.__getitem__


def _gid15(folder: Path, split: str, subsets: Sequence[str], files: Sequence[SourceFile]) -> Reader:  # noqa: ARG001
    from torchgeo.datasets import GID15

    dataset = GID15(folder, split)
    dataset.files = _pairs(files, "mask")
    return dataset.__getitem__


def _chesapeake(folder: Path, split: str, subsets: Sequence[str], files: Sequence[SourceFile]) -> Reader:
    from torchgeo.datasets import ChesapeakeCVPR

    dataset = ChesapeakeCVPR(folder, splits=[f"{state}-{split}" for state in subsets], layers=("naip-new", "lc"))
    rows = {path: row for row, path in enumerate(dataset.index["naip-new"])}
    return partial(_read_tile, dataset, [rows[file.name] for file in files])


def _read_tile(dataset: Any, rows: Sequence[int], index: int) -> Mapping[str, Any]:
    """One whole tile.

    The class refuses an area that touches two tiles, and the bounds of a tile in EPSG:3857 reach into its neighbours:
    it is asked with an index of this tile alone. What it fills beyond the tile's border it cuts off again.
    """
    alone = copy.copy(dataset)
    alone.index = dataset.index.iloc[[rows[index]]]
    west, south, east, north = alone.index.geometry.iloc[0].bounds
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Shapely, about the way torchgeo calls it
        sample: Mapping[str, Any] = alone[west:east, south:north]
    return sample


_READERS: dict[str, Callable[[Path, str, Sequence[str], Sequence[SourceFile]], Reader]] = {
    "loveda": _loveda,
    "landcoverai": _landcoverai,
    "deepglobe": _deepglobe,
    "potsdam": _potsdam,
    "vaihingen": _vaihingen,
    "inria": _inria,
    "gid15": _gid15,
    "chesapeake": _chesapeake,
}
