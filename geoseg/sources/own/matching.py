"""Which files are meant, and which labels belong to which image: by name."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from geoseg.errors import MissingFileError, ParameterError
from geoseg.polygon_labels import is_vector

SUFFIXES = (".tif", ".tiff", ".vrt", ".png", ".jpg", ".jpeg", ".jp2", ".img", ".bmp", ".webp")
"""Names that end so are images or label rasters, in a folder."""

_LABEL_WORDS = "masks?|labels?|gt|truth|ground_?truth|annotations?|segmentation|seg|lc|classes"
_IMAGE_WORDS = "images?|img|scene|sat|rgb|rgbnir|rgbir|ortho"


def find_files(specs: Sequence[str], what: str) -> list[Path]:
    """Files that folders, patterns and names stand for, each once, in the order given; of a folder in that of names.

    Args:
        specs: Files, folders or patterns such as ``scenes/**/*.tif``.
        what: Images or labels, for messages.

    Raises:
        MissingFileError: One of them stands for no file.
    """
    found: dict[Path, Path] = {}
    for spec in specs:
        for path in _files_of(spec, what):
            found.setdefault(path.absolute(), path)
    return list(found.values())


def split_shared(images: list[Path], labels: list[Path]) -> tuple[list[Path], list[Path]]:
    """Images and labels that lie in one folder, told apart by names such as ``a.tif`` and ``a_mask.tif``.

    Raises:
        ParameterError: Files are named as both and nothing tells which they are.
    """
    both = {p.absolute() for p in images} & {p.absolute() for p in labels}
    if not both:
        return images, labels
    stems = {p.stem for p in both}
    marked = {p for p in both if core_of(p.stem, _LABEL_WORDS) != p.stem}
    plain = both - marked
    cores = {core_of(p.stem, _IMAGE_WORDS).casefold() for p in plain} | {s.casefold() for s in stems}
    lone = [p for p in marked if core_of(p.stem, _LABEL_WORDS).casefold() not in cores]
    if not marked or lone:
        raise ParameterError(
            f"{len(both)} files are named as images and as labels, such as {min(both)}; name them apart with patterns"
        )
    return [p for p in images if p.absolute() not in marked], [p for p in labels if p.absolute() not in plain]


def match_names(images: Sequence[Path], labels: Sequence[Path]) -> dict[Path, Path]:
    """The labels of each image by stem; else by what is left of stems without words such as ``mask`` and ``image``.

    Where several have one stem, those belong together whose folders share the longest start.

    Raises:
        ParameterError: Several labels fit an image, or several images fit labels; names them.
    """
    pairs = _match(images, labels, lambda p: p.stem, lambda p: p.stem)
    rest = [p for p in images if p not in pairs]
    free = [p for p in labels if p not in set(pairs.values())]
    return pairs | _match(rest, free, lambda p: core_of(p.stem, _IMAGE_WORDS), lambda p: core_of(p.stem, _LABEL_WORDS))


def core_of(stem: str, words: str) -> str:
    """A stem without a first or last word that only says what kind of file it is."""
    bare = re.sub(rf"[_.\-\s]+({words})$|^({words})[_.\-\s]+", "", stem, flags=re.IGNORECASE)
    return bare or stem


def _match(
    images: Sequence[Path], labels: Sequence[Path], image_key: Callable[[Path], str], label_key: Callable[[Path], str]
) -> dict[Path, Path]:
    by_key: dict[str, list[Path]] = {}
    for path in labels:
        by_key.setdefault(label_key(path).casefold(), []).append(path)
    pairs: dict[Path, Path] = {}
    owners: dict[Path, Path] = {}
    for image in images:
        fitting = by_key.get(image_key(image).casefold())
        if not fitting:
            continue
        chosen = _nearest_folder(image, fitting)
        if chosen in owners:
            raise ParameterError(
                f"the labels {chosen} fit {owners[chosen]} and {image} by their names; name images and labels so that "
                "each stem occurs once, or leave one out"
            )
        pairs[image], owners[chosen] = chosen, image
    return pairs


def _nearest_folder(image: Path, fitting: list[Path]) -> Path:
    ranked = sorted(fitting, key=lambda p: -_shared_parts(image, p))
    if len(ranked) > 1 and _shared_parts(image, ranked[0]) == _shared_parts(image, ranked[1]):
        raise ParameterError(
            f"the labels of {image} may be {ranked[0]} or {ranked[1]} by their names; leave one of them out"
        )
    return ranked[0]


def _shared_parts(one: Path, other: Path) -> int:
    pairs = zip(one.absolute().parent.parts, other.absolute().parent.parts, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), 10_000)


def _files_of(spec: str, what: str) -> list[Path]:
    bare = spec.partition("|")[0]
    if Path(spec).is_dir():
        inside = sorted(Path(spec).iterdir())
        found = [p for p in inside if p.suffix.lower() in SUFFIXES and p.is_file() and not p.name.startswith(".")]
        found = found or [p for p in inside if is_vector(p)]
        if not found:
            raise MissingFileError(
                f"the folder {spec} holds no {what} ({', '.join(SUFFIXES)}); for folders below it give a pattern such "
                f"as '{spec}/**/*.tif'"
            )
        return found
    if Path(bare).is_file() or "://" in spec or spec.startswith("/vsi"):
        return [Path(spec)]
    names = sorted(glob.glob(spec, recursive=True))  # noqa: PTH207  Path.glob takes no absolute pattern
    matched = [Path(p) for p in names if Path(p).is_file()]
    if not matched:
        raise MissingFileError(f"{spec} is no file, no folder and no pattern that any file fits; it should name {what}")
    return matched
