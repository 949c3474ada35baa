"""Where the classes of a raster come from: a file that says so, its own tags, what lies beside it, or bare values."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.io import DatasetReader

from geoseg.config import parse_legend
from geoseg.errors import LegendError, MissingFileError, RasterError
from geoseg.legend import IGNORE_ID, NODATA_ID, ClassDef, Legend
from geoseg.qgis import parse_pam, parse_qml
from geoseg.rasters.opening import display_name, open_dataset, stands_alone
from geoseg.rasters.scenes import Scene
from geoseg.rasters.writing import LEGEND_TAG
from geoseg.tiling import Window

log = logging.getLogger("geoseg")

_RESERVED = (NODATA_ID, IGNORE_ID)
_SCAN_PIXELS = 2**24

# No legend of 254 classes is larger; a table of statistics beside them may be.
_MAX_BYTES = 2**24


def read_legend(path: str | Path) -> Legend:
    """Read a legend from a file.

    Args:
        path: ``.yaml``, ``.yml`` or ``.json``: a list of ``{id, name, color}``, a mapping of ids to names such as
            ``{1: water, 2: forest}``, or either of them under ``classes``; colours may be left out. ``.qml``: the style
            of a paletted raster in QGIS.

    Raises:
        MissingFileError: There is no such file, or it cannot be read.
        LegendError: It holds no legend; the message says where it goes wrong.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".yaml", ".yml", ".json", ".qml"):
        raise LegendError(f"{path} must end in .yaml, .yml, .json or .qml to be read as a legend")
    if suffix == ".qml":
        return _styled_legend(_read_text(path), str(path))
    return parse_legend(_read_text(path, strict=True), str(path))


def own_legend(tags: Mapping[str, str], name: str) -> Legend | None:
    """The legend that geoseg wrote into a raster."""
    text = tags.get(LEGEND_TAG)
    if text is None:
        return None
    try:
        return Legend.from_records(json.loads(text))
    except (ValueError, LegendError) as error:
        raise RasterError(f"{name}: its {LEGEND_TAG} tag is not a legend ({error}); remove or repair it") from error


def describe_classes(path: str | Path) -> tuple[Legend | None, dict[int, str], dict[int, str]]:
    """What a raster says of its classes, without a look at its pixels.

    Returns:
        The legend that geoseg wrote into it; names and colours by value from the files beside it and its colour table.

    Raises:
        MissingFileError: There is nothing under that name.
        RasterError: It is no raster, or what it says is damaged.
    """
    with open_dataset(path) as dataset:
        return own_legend(dataset.tags(), display_name(path)), *_described(dataset, path)


def found_legend(scene: Scene, dataset: DatasetReader, path: str | Path) -> Legend:
    """A legend of the values that occur, with what names and colours there are."""
    counts = _count_values(scene)
    for value in _RESERVED:
        if counts[value]:
            log.warning(
                "%s: %d pixels have the reserved value %d and are taken for no data; a class needs another value",
                scene.name, counts[value], value,
            )  # fmt: skip
    values = [int(v) for v in np.flatnonzero(counts) if v not in _RESERVED]
    if not values:
        raise RasterError(f"{scene.name} holds no class: all its pixels are no data, 0 or 255")
    return legend_of(values, *_described(dataset, path))


def legend_of(values: list[int], names: Mapping[int, str], colors: Mapping[int, str]) -> Legend:
    """A legend of ``values``; names and colours that are missing, unprintable or not unique are made up."""
    classes: list[ClassDef] = []
    taken: set[str] = set()
    for plain in Legend.from_values(values):
        name = "".join(ch if ch.isprintable() else " " for ch in names.get(plain.id, "")).strip() or plain.name
        name = f"{name} ({plain.id})" if name in taken else name
        taken.add(name)
        classes.append(ClassDef(plain.id, name, colors.get(plain.id, plain.color)))
    return Legend(tuple(classes))


def _count_values(scene: Scene) -> NDArray[np.int64]:
    """(256,) how many valid pixels have each value."""
    from geoseg.rasters.counting import count_values

    counts = np.zeros(256, np.int64)
    height, width = scene.grid.shape
    step = max(1, _SCAN_PIXELS // width // scene.block_shape[0]) * scene.block_shape[0]
    for top in range(0, height, step):
        pixels = scene.read(Window(top, 0, min(step, height - top), width))
        counts += count_values(np.asarray(pixels.values[0], np.uint8), pixels.valid)
    return counts


def _described(dataset: DatasetReader, path: str | Path) -> tuple[dict[int, str], dict[int, str]]:
    """Names and colours by value: those of the ``.aux.xml`` before the ``.qml`` before the colour table."""
    names: dict[int, str] = {}
    colors: dict[int, str] = {}
    if dataset.colorinterp[0] == ColorInterp.palette:
        colors = {v: f"#{r:02x}{g:02x}{b:02x}" for v, (r, g, b, _) in dataset.colormap(1).items()}
    if stands_alone(path):
        return names, colors
    local = Path(str(path).removeprefix("file://"))
    style, pam = local.with_suffix(".qml"), local.with_name(local.name + ".aux.xml")
    for sidecar, parse in ((style, parse_qml), (pam, parse_pam)):
        if sidecar.is_file():
            try:
                more_names, more_colors = parse(_read_text(sidecar))
            except RasterError as error:
                raise RasterError(f"{sidecar}: {error}") from error
            names |= more_names
            colors |= more_colors
    return names, colors


def _styled_legend(text: str, source: str) -> Legend:
    """The legend that a style gives."""
    try:
        names, colors = parse_qml(text)
    except RasterError as error:
        raise LegendError(f"{source} is no legend: {error}") from error
    for value in set(_RESERVED) & (names.keys() | colors.keys()):
        log.warning("%s: its entry for the reserved value %d is left out; that is no data", source, value)
    values = sorted((names.keys() | colors.keys()) - set(_RESERVED))
    if not values:
        raise LegendError(
            f"{source} lists no classes; save the style of a raster that QGIS draws as Paletted/Unique values"
        )
    return legend_of(values, names, colors)


def _read_text(path: Path, *, strict: bool = False) -> str:
    """A small text file; without ``strict``, what is not UTF-8 in it is replaced.

    Raises:
        MissingFileError: It cannot be read.
        LegendError: It is far too large for what it should hold, or not in UTF-8.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise MissingFileError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(content) > _MAX_BYTES:
        raise LegendError(f"{path} has more than {_MAX_BYTES >> 20} MiB, too much for a legend; is it another file?")
    try:
        return content.decode("utf-8-sig", errors="strict" if strict else "replace")
    except UnicodeDecodeError as error:
        raise LegendError(f"{path} is not in UTF-8 (byte {error.start}); save it as UTF-8 text") from error
