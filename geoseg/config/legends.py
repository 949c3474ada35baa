"""Legends in YAML files."""

from __future__ import annotations

from collections.abc import Mapping

import yaml

from geoseg.config.yaml_text import UniqueKeyLoader
from geoseg.errors import LegendError
from geoseg.legend import ClassDef, Legend


def parse_legend(text: str, source: str) -> Legend:
    """Read a legend from YAML, of which JSON is a part.

    Args:
        text: A list of ``{id, name, color}``, a mapping of ids to names or to ``{name, color}``, or either of them
            under ``classes``. Colours may be left out.
        source: File name, for the message.

    Raises:
        LegendError: Not that, or it breaks the rules of a legend.
    """
    try:
        content = yaml.load(text, UniqueKeyLoader)
        content = content.get("classes", content) if isinstance(content, Mapping) else content
        if isinstance(content, Mapping):
            content = [_class_entry(key, value) for key, value in content.items()]
        if not isinstance(content, list) or not content:
            raise LegendError("it holds no list of {id, name, color} and no mapping such as {1: water, 2: forest}")
        return Legend(tuple(_class_of(entry) for entry in content))
    except (yaml.YAMLError, RecursionError, ValueError) as error:  # ValueError: also of a date that is none
        raise LegendError(f"{source} is no legend: {' '.join(str(error).split())}") from error


def _class_entry(key: object, value: object) -> object:
    """``{id, name, color}`` of an item of a mapping; the keys of JSON are text."""
    class_id = int(key) if isinstance(key, str) and key.strip().isdecimal() else key
    return {"id": class_id, **value} if isinstance(value, Mapping) else {"id": class_id, "name": value}


def _class_of(entry: object) -> ClassDef:
    if not isinstance(entry, Mapping) or not {"id", "name"} <= entry.keys() <= {"id", "name", "color"}:
        raise LegendError(f"a class is {{id, name, color}}, not {str(entry)[:80]}")
    class_id, name = entry["id"], entry["name"]
    if not isinstance(name, str):
        raise LegendError(f"the name of class {class_id} is read as {name!r}; put it in quotes")
    plain = ClassDef(class_id, name, "#000000")
    return ClassDef(class_id, name, entry.get("color") or Legend.from_values([plain.id]).classes[0].color)
