"""Where each dataset keeps its files, as torchgeo's classes expect them, and which of them are missing.

torchgeo looks for folders only, or silently leaves out what is not there; here every image is asked for its labels and
all labels for their image, so that a half unpacked dataset is found before anything trains on it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geoseg.errors import MissingFileError

INRIA_VAL = 5
"""Images of each city that are for validation: the first five, as the makers advise and torchgeo does."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """An image and its labels.

    Attributes:
        name: Path of the image below the dataset's folder.
        image: File.
        labels: File; None where the split has none.
        subset: The named area it belongs to, if the dataset has such.
    """

    name: str
    image: Path
    labels: Path | None
    subset: str | None = None


@dataclass(slots=True)
class Found:
    """What is there of one split, and what is not.

    Attributes:
        folder: The dataset's.
        files: Images with all that belongs to them, in the order of torchgeo's class.
        missing: Paths and patterns below the folder.
    """

    folder: Path
    files: list[SourceFile] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def add(self, image: str, labels: str | None, subset: str | None = None) -> None:
        """Take an image in if it and its labels are there."""
        absent = [name for name in (image, labels) if name is not None and not _is_there(self.folder / name)]
        self.missing += absent
        if not absent:
            chosen = None if labels is None else self.folder / labels
            self.files.append(SourceFile(image, self.folder / image, chosen, subset))

    def require(self, names: Iterable[str]) -> None:
        """Note which of ``names`` are not there."""
        self.missing += [name for name in names if not (self.folder / name).exists()]

    def add_folders(
        self,
        images: str,
        image_end: str,
        labels: str | None,
        label_end: str,
        subset: str | None = None,
        keep: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """Take in two folders whose files differ in their ends only."""
        stems = {path.name.removesuffix(image_end) for path in (self.folder / images).glob(f"*{image_end}")}
        if labels is not None:
            stems |= {path.name.removesuffix(label_end) for path in (self.folder / labels).glob(f"*{label_end}")}
        if not stems:
            self.missing.append(f"{images}/*{image_end}")
        for name in sorted(f"{stem}{image_end}" for stem in stems if keep(stem)):
            stem = name.removesuffix(image_end)
            self.add(f"{images}/{name}", None if labels is None else f"{labels}/{stem}{label_end}", subset)


def find_files(name: str, folder: Path, split: str, subsets: Sequence[str], *, labelled: bool) -> Found:
    """Look for the files of one split.

    Args:
        name: Of the dataset.
        folder: The one that torchgeo calls root.
        split: One that the dataset has.
        subsets: Those wanted, of a dataset that has them.
        labelled: Whether the split has labels.
    """
    found = Found(folder)
    _LAYOUTS[name](found, split, subsets, labelled)
    return found


def _is_there(path: Path) -> bool:
    """A file with something in it: unpacking that stopped may leave an empty one."""
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def _loveda(found: Found, split: str, subsets: Sequence[str], labelled: bool) -> None:
    for subset in sorted(subsets):
        area = f"{split.capitalize()}/{subset.capitalize()}"
        found.add_folders(f"{area}/images_png", ".png", f"{area}/masks_png" if labelled else None, ".png", subset)


def _landcoverai(found: Found, split: str, subsets: Sequence[str], labelled: bool) -> None:  # noqa: ARG001
    # All three lists: torchgeo refuses all splits where the chips of one are incomplete.
    for other in ("train", "val", "test"):
        listed = found.folder / f"{other}.txt"
        if not _is_there(listed):
            found.missing.append(listed.name)
            continue
        chips = Found(found.folder)
        for stem in listed.read_text().split():
            chips.add(f"output/{stem}.jpg", f"output/{stem}_m.png")
        found.missing += chips.missing
        if other == split:
            found.files += chips.files


def _deepglobe(found: Found, split: str, subsets: Sequence[str], labelled: bool) -> None:  # noqa: ARG001
    area = "data/training_data" if split == "train" else "data/test_data"
    found.add_folders(f"{area}/images", "_sat.jpg", f"{area}/masks", "_mask.png")


def _potsdam(found: Found, split: str, subsets: Sequence[str], labelled: bool) -> None:  # noqa: ARG001
    from torchgeo.datasets import Potsdam2D

    for stem in Potsdam2D.splits[split]:
        found.add(f"{Potsdam2D.image_root}/{stem}_RGBIR.tif", f"{stem}_label.tif")


def _vaihingen(found: Found, split: str, subsets: Sequence[str], labelled: bool) -> None:  # noqa: ARG001
    from torchgeo.datasets import Vaihingen2D

    for name in Vaihingen2D.splits[split]:
        found.add(f"{Vaihingen2D.image_root}/{name}", name)


def _inria(found: Found, split: str, subsets: Sequence[str], labelled: bool) -> None:  # noqa: ARG001
    area = "AerialImageDataset/" + ("train" if labelled else "test")

    def keep(stem: str) -> bool:
        number = re.search(r"\d+$", stem)
        return not labelled or (number is not None and (int(number[0]) <= INRIA_VAL) == (split == "val"))

    found.add_folders(f"{area}/images", ".tif", f"{area}/gt" if labelled else None, ".tif", keep=keep)


def _gid15(found: Found, split: str, subsets: Sequence[str], labelled: bool) -> None:  # noqa: ARG001
    found.add_folders(f"GID/img_dir/{split}", ".tif", f"GID/ann_dir/{split}" if labelled else None, "_15label.png")


def _chesapeake(found: Found, split: str, subsets: Sequence[str], labelled: bool) -> None:  # noqa: ARG001
    # What the class itself demands, of all states, whichever is asked for.
    found.require(demanded_by_chesapeake())
    for tile in read_chesapeake_index(found.folder):
        state, _, part = str(tile["split"]).partition("-")
        if part == split and state in subsets:
            found.add(tile["naip-new"], tile["lc"], state)


def demanded_by_chesapeake() -> tuple[str, ...]:
    """The files and folders without which torchgeo's class refuses; from 0.10 on, those of the first archive alone."""
    from torchgeo.datasets import ChesapeakeCVPR

    demanded: Any = ChesapeakeCVPR._files
    return tuple(demanded["base"] if isinstance(demanded, Mapping) else demanded)


def read_chesapeake_index(folder: Path) -> list[dict[str, Any]]:
    """The tiles in ``spatial_index.geojson``, in its order: split, and the path of each layer; empty where absent.

    Raises:
        MissingFileError: It is there but cannot be read.
    """
    index = folder / "spatial_index.geojson"
    if not index.exists():
        return []
    try:
        return [tile["properties"] for tile in json.loads(index.read_text())["features"]]
    except (ValueError, KeyError, TypeError) as error:
        raise MissingFileError(f"{index} is not a whole index of tiles ({error}); unpack it again") from error


_LAYOUTS: dict[str, Callable[[Found, str, Sequence[str], bool], None]] = {
    "loveda": _loveda,
    "landcoverai": _landcoverai,
    "deepglobe": _deepglobe,
    "potsdam": _potsdam,
    "vaihingen": _vaihingen,
    "inria": _inria,
    "gid15": _gid15,
    "chesapeake": _chesapeake,
}
