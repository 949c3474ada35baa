"""Options of networks: plain values under names that the network has. They may come from a file: they are checked."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

from geoseg.errors import ModelError, ParameterError
from geoseg.models.files import nearest


def keywords(factory: Callable[..., Any], leave_out: Collection[str]) -> tuple[str, ...]:
    """The named parameters of ``factory``; not what its ``**kwargs`` would take too."""
    parameters = inspect.signature(factory).parameters.values()
    return tuple(
        p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name not in leave_out
    )


def check_options(architecture: str, options: Mapping[str, Any], allowed: Collection[str]) -> None:
    """Options must have a known name and a JSON value.

    Raises:
        ModelError: They have not; names the option and what there is.
    """
    for name, value in options.items():
        if name not in allowed:
            raise ModelError(
                f"{architecture} has no option {name!r}{nearest(name, allowed)}; it has: {', '.join(allowed) or 'none'}"
            )
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise ModelError(f"option {name!r} of {architecture} is no plain JSON value: {value!r}") from error


def check_integer(architecture: str, option: str, value: object, smallest: int, largest: int) -> None:
    """``value`` must be a whole number of that range. It may come from a file: True is none.

    Raises:
        ParameterError: It is not.
    """
    if type(value) is not int or not smallest <= value <= largest:
        raise ParameterError(f"{architecture}: {option} {value!r}; give a whole number of {smallest}..{largest}")


def check_choice(architecture: str, option: str, value: object, choices: Collection[object]) -> None:
    """``value`` must be one of ``choices``, and of its type: 1 is not True.

    Raises:
        ParameterError: It is not.
    """
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        raise ParameterError(f"{architecture}: {option} {value!r}; give one of {', '.join(map(str, choices))}")


def check_share(architecture: str, option: str, value: object) -> None:
    """``value`` must be a number of 0 up to, not including, 1.

    Raises:
        ParameterError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ParameterError(f"{architecture}: {option} {value!r}; give a number of 0 up to, not including, 1")
