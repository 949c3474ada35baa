"""Options of networks: plain values under names that the network has. They may come from a file: they are checked."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

from geoseg.errors import ModelError
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
