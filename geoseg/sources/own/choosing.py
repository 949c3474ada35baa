"""The legend of own labels, and what their values mean: as given, as the label files say, or as their values are."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from geoseg.config import parse_legend
from geoseg.config.training import DataConfig
from geoseg.errors import LegendError, RasterError
from geoseg.legend import IGNORE_ID, NODATA_ID, Legend
from geoseg.polygon_labels import LayerSummary, VectorLayer, field_names, id_of, ids_of, legend_of_values
from geoseg.rasters import FileScene, legend_of, open_quietly, read_legend
from geoseg.sources.own.files import LabelFile
from geoseg.sources.own.labelling import PolygonFile
from geoseg.sources.own.meanings import IGNORE_WORD, Meanings, named_classes
from geoseg.sources.values import LeftOut
from geoseg.tiling import Window

log = logging.getLogger("geoseg")

_SCAN_PIXELS = 2**24
_ONE_CLASS = "labelled"


def given_legend(data: DataConfig) -> Legend | None:
    """The legend that the settings give.

    Raises:
        MissingFileError: Its file is not there.
        LegendError: It is none.
    """
    if data.legend is None:
        return None
    if isinstance(data.legend, Path):
        return read_legend(data.legend)
    return parse_legend(json.dumps(data.legend), "data.legend")


def raster_meanings(data: DataConfig, legend: Legend | None, labels: Sequence[LabelFile]) -> tuple[Meanings, list[str]]:
    """What the values of label rasters mean, and where that is known from.

    Raises:
        LegendError: Label files contradict each other, or a class is not in the legend.
        RasterError: No legend is given and the labels hold no class.
    """
    named = named_classes(data.label_values)
    if legend is None and named:
        made = Legend.from_names(named)
        return Meanings.parse(made, data.label_values, ids_count=False), [
            "the classes are those that label_values names"
        ]
    if legend is not None:
        return Meanings.parse(legend, data.label_values), []
    own = _own_legend(labels)
    if own is not None:
        return Meanings.parse(own, data.label_values), [f"the classes are those that {labels[0].path.name} says it has"]
    values = _values_found(labels) - set(data.label_values or {})
    if not values:
        raise RasterError(
            f"the {len(labels)} label files hold no class: all is no data, 0 or 255; give label_values, such as "
            "{0: background, 255: building}"
        )
    names = {v: n for label in reversed(labels) for v, n in label.names.items()}
    colors = {v: c for label in reversed(labels) for v, c in label.colors.items()}
    found = legend_of(sorted(values), names, colors)
    note = f"no legend was given: the classes are the values that occur in {len(labels)} label files"
    return Meanings.parse(found, data.label_values), [note]


def polygon_file(
    data: DataConfig, legend: Legend | None, layer: VectorLayer, summary: LayerSummary
) -> tuple[PolygonFile, list[str]]:
    """Polygons with their legend, and what is noteworthy about them.

    Raises:
        LegendError: Polygons have a class that the legend does not know, or there is no class.
    """
    name = Path(layer.name).name
    notes = _polygon_notes(name, summary)
    outside = None if data.unlabelled.strip().casefold() == IGNORE_WORD else data.unlabelled
    meanings: dict[int | str, int] = {NODATA_ID: NODATA_ID, IGNORE_ID: NODATA_ID}
    if legend is None:
        named = named_classes(data.label_values)
        told = [v for v in summary.values if v not in (data.label_values or {})]
        legend = _with(legend_of_values([*told, *named]) if layer.field else Legend.from_names([_ONE_CLASS]), outside)
        notes.append(f"no legend was given: the classes are {', '.join(legend.names)}, of {name}")
    meanings.update(Meanings.parse(legend, data.label_values).given.items())
    if layer.field is None:
        meanings[""] = _only_class(legend, outside, layer)
        fields = ", ".join(field_names(layer.name)) or "none"
        only = legend.name_of(meanings[""])
        notes.append(f"all polygons of {name} are {only!r}: no class field was named (its fields: {fields})")
    else:
        found = ids_of(summary.values, legend, f"{layer.name}, field {layer.field!r}", meanings)
        empty = sum(n for value, n in summary.values.items() if found[value] == NODATA_ID)
        if empty:
            notes.append(
                LeftOut(f"{empty} of {summary.count} polygons of {name} have no class: their ground is ignored")
            )
    notes.append(f"ground without polygon is {outside or IGNORE_WORD!r}")
    notes.append(f"where polygons overlap, {data.overlapping} counts")
    if outside is not None:
        id_of(outside, legend)
    return PolygonFile(layer, legend, outside, data.overlapping, meanings), notes


def _polygon_notes(name: str, summary: LayerSummary) -> list[str]:
    notes = [f"{name} has {summary.areal} polygons"]
    if summary.invalid:
        notes.append(f"{summary.invalid} of {summary.count} shapes of {name} are invalid and are repaired")
    if summary.areal < summary.count:
        left = summary.count - summary.areal
        notes.append(LeftOut(f"{left} of {summary.count} shapes of {name} are no polygons or have no area: left out"))
    return notes


def _with(legend: Legend, name: str | None) -> Legend:
    """A legend with one more class, where it lacks it."""
    if name is None or name in legend.names:
        return legend
    free = next(i for i in range(1, IGNORE_ID) if i not in legend.ids)
    added = Legend.from_values([free]).to_records()[0]
    return Legend.from_records([*legend.to_records(), {**added, "name": name}])


def _only_class(legend: Legend, outside: str | None, layer: VectorLayer) -> int:
    rest = set(legend.ids) - (set() if outside is None else {id_of(outside, legend)})
    if len(rest) != 1:
        raise LegendError(
            f"{layer.name} has no field 'class_id', and the legend leaves {len(rest)} classes for its polygons; name "
            "the field with the class with --class-field (class_field=...)"
        )
    return rest.pop()


def _own_legend(labels: Sequence[LabelFile]) -> Legend | None:
    """The legend that geoseg wrote into the labels."""
    first = labels[0].legend
    for label in labels:
        if label.legend != first:
            raise LegendError(
                f"{labels[0].path} and {label.path} have different legends; give one for all with --legend (legend=...)"
            )
    return first


def _values_found(labels: Sequence[LabelFile]) -> set[int]:
    """Values 1..254 that occur; goes through all pixels."""
    log.info("looking for the classes in %d label files; a legend would spare that", len(labels))
    found: set[int] = set()
    for label in labels:
        with open_quietly(label.path) as scene:
            for window in _strips(scene):
                pixels = scene.read(window)
                found.update(int(v) for v in np.unique(pixels.values[0][pixels.valid]) if NODATA_ID < v < IGNORE_ID)
    return found


def _strips(scene: FileScene) -> Iterable[Window]:
    height, width = scene.grid.shape
    step = max(1, _SCAN_PIXELS // width // scene.block_shape[0]) * scene.block_shape[0]
    return [Window(top, 0, min(step, height - top), width) for top in range(0, height, step)]
