"""YAML as our files mean it: no key twice, and 3e-4 is a number."""

from __future__ import annotations

import re
from typing import Any

import yaml

# YAML 1.2 reads 3e-4, 1E5 and .5e3 as numbers; PyYAML follows 1.1, which wants 3.0e-4.
_FLOAT = re.compile(r"[-+]?(\.[0-9][0-9_]*|[0-9][0-9_]*(\.[0-9_]*)?)[eE][-+]?[0-9]+$")
_FLOAT_TAG = "tag:yaml.org,2002:float"


class UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a mapping that names a key twice, of which YAML would keep the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A dictionary of unique keys."""
        keys = [key.value for key, _ in node.value]
        twice = sorted({k for k in keys if isinstance(k, str) and keys.count(k) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(problem=f"named more than once: {', '.join(twice)}")
        return super().construct_mapping(node, deep)


class SettingsLoader(UniqueKeyLoader):
    """Takes 3e-4 for a number, as YAML 1.2 does."""


class SettingsDumper(yaml.SafeDumper):
    """Quotes the text ``3e-4``, which :class:`SettingsLoader` would take for a number."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the signature is PyYAML's
        """Values are written out each time: ``&id001`` means nothing to most readers."""
        return True


def _represent_text(dumper: SettingsDumper, text: str) -> yaml.ScalarNode:
    """Double quotes where PyYAML might break lines: they alone keep a text in one line."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')


SettingsDumper.add_representer(str, _represent_text)
for _class in (SettingsLoader, SettingsDumper):
    _class.add_implicit_resolver(_FLOAT_TAG, _FLOAT, list("-+.0123456789"))


def parse_value(text: str) -> Any:
    """The value that ``text`` is in YAML.

    Raises:
        yaml.YAMLError: Not YAML, or a key twice.
        ValueError: A date that is none.
    """
    return yaml.load(text, SettingsLoader)


def format_value(value: object) -> str:
    """``value`` in one line of YAML."""
    text: str = yaml.dump(
        value, Dumper=SettingsDumper, default_flow_style=True, allow_unicode=True, width=10**9, sort_keys=False
    )
    return text.removesuffix("\n").removesuffix("\n...")
