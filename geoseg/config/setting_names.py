"""The settings of a training by dotted name, such as ``optimizer.lr``: what each means, and which one was meant."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from geoseg.config.training import TrainingConfig

SYNONYMS: Mapping[str, str] = MappingProxyType(
    {
        "amp": "trainer.precision",
        "backbone": "model.options.encoder",
        "batch_size": "chips.batch",
        "chip_size": "chips.size",
        "crop_size": "chips.size",
        "early_stopping": "trainer.patience",
        "encoder": "model.options.encoder",
        "gpus": "trainer.devices",
        "grad_clip": "trainer.clip",
        "learning_rate": "optimizer.lr",
        "max_epochs": "trainer.epochs",
        "max_steps": "trainer.steps",
        "num_epochs": "trainer.epochs",
        "num_workers": "chips.threads",
        "patch_size": "chips.size",
        "pretrained": "model.encoder_weights",
        "root": "data.data_dir",
        "scheduler": "schedule.kind",
        "tile_size": "chips.size",
        "weights": "model.encoder_weights",
        "workers": "chips.threads",
    }
)
"""What other programs call our settings."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One key.

    Attributes:
        name: Dotted.
        meaning: From the docstring of its section, in one line.
        default: What it is where nothing is said.
    """

    name: str
    meaning: str
    default: Any


@cache
def settings() -> Mapping[str, Setting]:
    """All keys in their order, by name; sections are none."""
    return MappingProxyType({s.name: s for s in _settings(TrainingConfig(), "")})


def section_names() -> tuple[str, ...]:
    """The sections in their order."""
    return tuple(dict.fromkeys(name.split(".")[0] for name in settings() if "." in name))


def meanings(section: type[BaseModel]) -> dict[str, str]:
    """The entries of ``Attributes:`` in the docstring of a section, each in one line, in the words of YAML."""
    text = inspect.cleandoc(section.__doc__ or "").partition("Attributes:\n")[2]
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", text, re.MULTILINE)
    plain = {name: " ".join(meaning.replace("``", "").split()) for name, meaning in entries}
    return {name: re.sub(r"\bNone\b", "null", meaning) for name, meaning in plain.items()}


def _settings(section: BaseModel, prefix: str) -> list[Setting]:
    told = meanings(type(section))
    found = []
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            found += _settings(value, f"{prefix}{name}.")
        else:
            found.append(Setting(prefix + name, told[name], value))
    return found


def unknown(name: str) -> str:
    """What to say of a name that no setting has: the one that was probably meant, or those that there are."""
    close = _closest(name)
    if close:
        return f"{name} is no setting, did you mean {close}?"
    section = name.split(".", maxsplit=1)[0]
    if section in section_names():
        others = [n.split(".", 1)[1] for n in settings() if n.startswith(f"{section}.")]
        return f"{name} is no setting; those of {section} are {', '.join(others)}"
    top = [n for n in settings() if "." not in n]
    return f"{name} is no setting; there are {', '.join(top)} and the sections {', '.join(section_names())}"


def _closest(name: str) -> str | None:
    """Of the same section if one fits, then what others call ours, then by the last part anywhere."""
    *section, last = name.lower().replace("-", "_").split(".")
    top = {n: n for n in (*settings(), *section_names()) if "." not in n}
    own = {n.split(".")[1]: n for n in settings() if n.split(".")[:-1] == section} if section else top
    if last in own:
        return own[last]
    if last in SYNONYMS:
        return SYNONYMS[last]
    everywhere = {n.rpartition(".")[2]: n for n in settings()}
    for table in (own, everywhere):
        near = difflib.get_close_matches(last, table, n=1, cutoff=0.7)
        if near:
            return table[near[0]]
    return None
