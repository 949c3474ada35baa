"""The settings of a training from a file and from ``key=value``, and back into a file.

Relative paths in a file count from the working folder, as those on the command line do: a file means the same wherever
it lies, in ``configs`` or in the folder of a run.
"""

from __future__ import annotations

import difflib
import os
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from geoseg.config.setting_names import meanings, section_names, settings, unknown
from geoseg.config.training import TrainingConfig
from geoseg.config.yaml_text import SettingsLoader, format_value, parse_value
from geoseg.errors import MissingFileError, ParameterError

RECIPES = Path(__file__).parent / "recipes"
"""The files that ``load_config`` finds by name."""

_WIDTH = 118
_LONGEST_VALUE = 60
_MOST_COMPLAINTS = 5

# What pydantic calls wrong types, in words for those who write YAML.
_WORDS = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "a mapping such as {a: 1}",
    "path_type": "a path",
    "string_pattern_mismatch": "letters, digits, '.', '_' and '-', the first of them a letter or digit",
    "string_type": "text; put it in quotes",
    "tuple_type": "a list such as [1, 2]",
}


def load_config(
    path: str | Path | None = None, overrides: Sequence[str] | Mapping[str, Any] | None = None
) -> TrainingConfig:
    """The settings of a training.

    Args:
        path: YAML file, or the name of a recipe that comes with geoseg (:func:`recipe_names`); None takes the defaults.
        overrides: What is to stand for what the file says: texts such as ``optimizer.lr=3e-4``, with values in YAML, or
            values by dotted name.

    Returns:
        All settings, checked. Relative paths count from the working folder.

    Raises:
        MissingFileError: There is neither such a file nor such a recipe.
        ParameterError: Not YAML, an unknown key (the message names the nearest), or values that are not allowed.
    """
    content, origins = ({}, {}) if path is None else _read(find_config(path))
    given = overrides or {}
    values = given if isinstance(given, Mapping) else parse_overrides(given)
    origins |= dict.fromkeys(values, "" if isinstance(given, Mapping) else "--set: ")
    for name, value in values.items():
        _place(content, name, value)
    try:
        return TrainingConfig.model_validate(_without_empty_sections(content))
    except ValidationError as error:
        raise ParameterError("; ".join(_complaints(error, content, origins))) from error


def parse_overrides(texts: Iterable[str]) -> dict[str, Any]:
    """Texts such as ``optimizer.lr=3e-4`` as values by dotted name; of two for one name the later counts.

    Raises:
        ParameterError: One of them is not ``KEY=VALUE``, or its value is not YAML.
    """
    return dict(map(_parse_override, texts))


def read_settings(path: str | Path) -> dict[str, Any]:
    """What a file says, unchecked: for looking before overriding.

    Raises:
        MissingFileError: There is neither such a file nor such a recipe.
        ParameterError: It does not hold a mapping in YAML.
    """
    return _read(find_config(path))[0]


def recipe_names() -> tuple[str, ...]:
    """Names of the files that come with geoseg, for ``--config``."""
    return tuple(sorted(path.stem for path in RECIPES.glob("*.yaml")))


def find_config(path: str | Path) -> Path:
    """The file of that path, or of a recipe of that name.

    Raises:
        MissingFileError: There is neither.
    """
    if Path(path).is_file():
        return Path(path)
    name = os.fspath(path)
    if name in recipe_names():
        return RECIPES / f"{name}.yaml"
    near = difflib.get_close_matches(Path(path).stem, recipe_names(), n=1)
    meant = f", did you mean {near[0]}?" if near else ";"
    raise MissingFileError(f"there is no file {name}{meant} configs that come along: {', '.join(recipe_names())}")


def _read(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """What a file says, and for each dotted name the line where it says so."""
    try:
        text = path.read_text(encoding="utf-8")
        content, tree = parse_value(text), yaml.compose(text, SettingsLoader)
    except OSError as error:
        raise MissingFileError(f"{path} cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:  # ValueError: also of bytes that are no text
        raise ParameterError(f"{path} is no YAML: {_problem(error)}") from error
    if content is None:
        return {}, {}
    if not isinstance(content, dict):
        raise ParameterError(f"{path} holds no settings but {_short(content)}; write key: value")
    return content, {name: f"{path}, line {line}: " for name, line in _lines(tree, "")}


def _lines(node: yaml.Node | None, prefix: str) -> Iterator[tuple[str, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = f"{prefix}{key.value}"
            yield name, key.start_mark.line + 1
            yield from _lines(value, f"{name}.")


def _parse_override(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not (equals and name.strip()):
        raise ParameterError(f"{text!r} sets nothing; write KEY=VALUE, such as optimizer.lr=3e-4")
    try:
        return name.strip(), parse_value(value)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ParameterError(f"{text!r} has no value in YAML: {_problem(error)}") from error


def _problem(error: Exception) -> str:
    """What is wrong with a YAML text, and in which line."""
    mark = getattr(error, "problem_mark", None)
    text = str(error) if mark is None else f"line {mark.line + 1}: {getattr(error, 'problem', None)}"
    return " ".join(text.split())


def _place(content: dict[str, Any], name: str, value: Any) -> None:
    """Write ``value`` where the dotted name says."""
    *sections, last = name.split(".")
    for section in sections:
        inner = content.get(section)
        content[section] = dict(inner) if isinstance(inner, Mapping) else {}
        content = content[section]
    # The keys of legend and label_values are numbers.
    key: Any = int(last) if len(sections) > 1 and sections[0] == "data" and last.isdecimal() else last
    content[key] = deepcopy(value)


def _without_empty_sections(content: Mapping[str, Any]) -> dict[str, Any]:
    """A section of which every key is commented out is None in YAML."""
    return {k: v for k, v in content.items() if not (v is None and k in section_names())}


def _complaints(error: ValidationError, content: Mapping[str, Any], origins: Mapping[str, str]) -> list[str]:
    """What is wrong, each with its place."""
    wanted: dict[str, list[str]] = {}
    for found in error.errors():
        name = _setting_of(found["loc"])
        wanted.setdefault(name, []).append(_reason(found["type"], found["msg"], name))
    texts = []
    for name, reasons in wanted.items():
        where = origins.get(name, "")
        told = " or ".join(dict.fromkeys(reasons))
        stated = told.startswith(name) or not name or name in section_names()
        texts.append(where + (told if stated else f"{name} is {_short(_value(content, name))}, but should be {told}"))
    more = len(texts) - _MOST_COMPLAINTS
    return [*texts[:_MOST_COMPLAINTS], f"and {more} more"] if more > 0 else texts


def _setting_of(place: Sequence[int | str]) -> str:
    """The setting that a place in pydantic's words lies in; all of it where there is none of that name."""
    parts = [str(part) for part in place]
    names = [".".join(parts[:count]) for count in (1, 2)]
    return next((name for name in names if name in settings()), ".".join(parts))


def _reason(kind: str, message: str, name: str) -> str:
    if kind == "extra_forbidden":
        return unknown(name)
    if kind in ("model_type", "model_attributes_type"):
        inside = [n for n in settings() if n.startswith(f"{name}.")]
        return f"{name} is a section; its settings are {', '.join(inside)}"
    if kind in _WORDS:
        return _WORDS[kind]
    return message.removeprefix("Value error, ").removeprefix("Input should be ").partition(", unable to parse")[0]


def _value(content: Mapping[str, Any], name: str) -> Any:
    value: Any = content
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _short(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


def dump_config(config: TrainingConfig, *, changed_only: bool = False) -> str:
    """The settings as YAML that :func:`load_config` reads back to the same ones, each key under a comment.

    Args:
        config: Settings.
        changed_only: Write keys that have their default as comments: what a file of one's own best starts from.
    """
    top = TrainingConfig()
    lines: list[str] = []
    for name, meaning in meanings(TrainingConfig).items():
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            lines += ["", *_comment(meaning), f"{name}:"]
            for key, told in meanings(type(value)).items():
                default = getattr(getattr(top, name), key)
                lines += _entry(key, told, getattr(value, key), default, "  ", changed_only)
        else:
            lines += _entry(name, meaning, value, getattr(top, name), "", changed_only)
    return "\n".join(lines) + "\n"


def _entry(key: str, meaning: str, value: Any, default: Any, indent: str, changed_only: bool) -> Iterable[str]:
    hidden = "# " if changed_only and value == default else ""
    return [*_comment(meaning, indent), f"{indent}{hidden}{key}: {format_value(_plain(value))}"]


def _comment(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")


def _plain(value: Any) -> Any:
    """``value`` in the types that YAML has."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value
