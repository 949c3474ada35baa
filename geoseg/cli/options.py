"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from geoseg.cli import console

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace existing outputs, once the new ones are complete.")
]

Debug = Annotated[
    bool,
    typer.Option("--debug", callback=console.set_debug, is_eager=True, help="On an error, show the whole traceback."),
]


def parse_bands(text: str | None) -> tuple[int, ...] | None:
    """``4,3,2`` as band numbers."""
    if text is None:
        return None
    try:
        bands = tuple(int(part) for part in text.split(","))
    except ValueError:
        bands = ()
    if not bands or min(bands) < 1:
        raise typer.BadParameter(f"{text!r} is not a list of band numbers such as 4,3,2", param_hint="--bands")
    return bands


def parse_range(text: str | None) -> tuple[float, float] | None:
    """``0,10000`` as a lower and an upper value."""
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        message = f"{text!r} is not two numbers such as 0,10000"
        raise typer.BadParameter(message, param_hint="--value-range") from None
    return low, high
