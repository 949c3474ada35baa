"""Which files are the images and labels of a source, and which belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from geoseg.config.training import DataConfig
from geoseg.errors import GeosegError, ParameterError
from geoseg.polygon_labels import DEFAULT_FIELD, VectorLayer, field_names, is_vector, open_layer
from geoseg.sources.own.files import ImageFile, LabelFile, describe_images, describe_labels
from geoseg.sources.own.matching import find_files, match_names, split_shared
from geoseg.sources.own.nearest import lonlat_box
from geoseg.sources.values import LeftOut, Role
from geoseg.wording import listed

Pairs = dict[ImageFile, tuple[LabelFile, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Images of one role with their labels, as files.

    Attributes:
        role: What they are meant for.
        images: Those that have labels, or may have.
        labels: Rasters by image, or polygons for all.
        notes: What was matched and left out.
    """

    role: Role | None
    images: list[ImageFile]
    labels: Pairs | VectorLayer
    notes: list[str]


def gather(data: DataConfig, images: Sequence[str], labels: Sequence[str], role: Role | None) -> Part:
    """The files of one role, matched.

    Raises:
        MissingFileError: Files, folders or patterns name nothing.
        RasterError: Images are not of one kind, or none is a raster.
        VectorError: The polygons cannot be read.
        ParameterError: Names match ambiguously or not at all, or settings do not fit the kind of labels.
    """
    if any(is_vector(spec) for spec in labels):
        return _with_polygons(data, images, labels, role)
    found = find_files(labels, "labels")
    if is_vector(found[0]):  # of a folder that holds nothing else
        return _with_polygons(data, images, [str(p) for p in found], role)
    for option, given in (
        ("class_field", data.class_field is not None),
        ("unlabelled", data.unlabelled != "ignore"),
        ("overlapping", data.overlapping != "last"),
    ):
        if given:
            raise ParameterError(f"the labels are rasters, for which {option} says nothing; leave it out")
    image_paths, label_paths = split_shared(find_files(images, "images"), found)
    described, notes = describe_images(image_paths, data.bands)
    pairs, more = _pairs(described, label_paths)
    return Part(role, list(pairs), pairs, notes + more)


def _with_polygons(data: DataConfig, images: Sequence[str], labels: Sequence[str], role: Role | None) -> Part:
    if len(labels) > 1:
        raise ParameterError(
            f"{len(labels)} files of labels with polygons among them ({listed(labels)}); give one vector file, "
            "or rasters (ogrmerge.py puts vector files into one)"
        )
    described, notes = describe_images(find_files(images, "images"), data.bands)
    classed = data.class_field is not None or DEFAULT_FIELD in field_names(labels[0])
    return Part(role, described, open_layer(labels[0], data.class_field, classed=classed), notes)


def _pairs(images: Sequence[ImageFile], paths: Sequence[Path]) -> tuple[Pairs, list[str]]:
    """Images with their label rasters, and what was left out."""
    by_path = {image.path: image for image in images}
    chosen = match_names(list(by_path), paths)
    how = "by name"
    if not chosen and len(images) == len(paths) == 1:
        chosen, how = {images[0].path: paths[0]}, "as the only ones"
    labels, notes = _described([p for p in paths if not chosen or p in set(chosen.values())])
    if chosen:
        pairs: Pairs = {by_path[i]: (labels[p],) for i, p in chosen.items() if p in labels}
    else:
        pairs, how = _by_place(images, list(labels.values())), "by place"
    if not pairs:
        raise ParameterError(
            f"none of {len(images)} images has labels among {len(paths)} files, by name or by place: images such as "
            f"{images[0].path.name}, labels such as {paths[0].name}"
        )
    pairs = {image: pairs[image] for image in images if image in pairs}
    used = {label.path for group in pairs.values() for label in group}
    notes.append(f"{len(pairs)} images and {len(used)} label files were matched {how}")
    notes += left_out("images have no labels and are left out", [i.path.name for i in images if i not in pairs])
    notes += left_out("label files have no image and are left out", [p.name for p in paths if p not in used])
    return pairs, notes


def _described(paths: Sequence[Path]) -> tuple[dict[Path, LabelFile], list[str]]:
    """What label files are; those that cannot be opened are left out.

    Raises:
        GeosegError: None of them can be opened.
    """
    found: dict[Path, LabelFile] = {}
    failed: list[GeosegError] = []
    for path in paths:
        try:
            found[path] = describe_labels(path)
        except GeosegError as error:
            failed.append(error)
    if failed and not found:
        raise failed[0]
    return found, [LeftOut(f"left out, because its labels cannot be used: {why}") for why in failed]


def _by_place(images: Sequence[ImageFile], labels: Sequence[LabelFile]) -> Pairs:
    boxes = [(label, lonlat_box(label.grid)) for label in labels if not label.grid.gcps]
    pairs: Pairs = {}
    for image in images:
        ours = None if image.grid.gcps else lonlat_box(image.grid)
        if ours is not None:
            met = tuple(label for label, theirs in boxes if theirs is not None and _overlap(ours, theirs))
            if met:
                pairs[image] = met
    return pairs


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def left_out(what: str, names: Sequence[str]) -> list[str]:
    """A note about what has no counterpart, where there is any."""
    return [LeftOut(f"{len(names)} {what}: {listed(names)}")] if names else []
