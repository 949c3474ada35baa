"""Options that several commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from geoseg.cli import console
from geoseg.tiling import Blend

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]

Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace existing outputs, once the new ones are complete.")
]

Debug = Annotated[
    bool,
    typer.Option("--debug", callback=console.set_debug, is_eager=True, help="On an error, show the whole traceback."),
]

Bands = Annotated[
    str | None,
    typer.Option(
        help="Bands of the scene in the order the model wants, e.g. 4,3,2.  [default: all but alpha]", metavar="LIST"
    ),
]

ValueRange = Annotated[
    str | None, typer.Option(help="Scene values that stand for the model's range, e.g. 0,3000.", metavar="LOW,HIGH")
]

AreaOfInterest = Annotated[
    str | None, typer.Option("--aoi", help="Vector file of polygons; outside them is no data.", metavar="FILE")
]

PixelWindow = Annotated[
    str | None, typer.Option("--window", help="Map only this part, in pixels.", metavar="ROW,COL,HEIGHT,WIDTH")
]

TileSize = Annotated[
    int | None, typer.Option(help="Side of a network input in pixels.  [default: 512, or as trained]", metavar="PX")
]

Overlap = Annotated[
    int | None, typer.Option(help="Pixels that neighbouring tiles share.  [default: by the model]", metavar="PX")
]

Blending = Annotated[Blend, typer.Option("--blend", help="How overlapping tiles are weighted.")]

Workers = Annotated[
    int | None, typer.Option(help="Compute in so many processes of this machine, or one for each GPU.", metavar="N")
]

Scheduler = Annotated[
    str | None, typer.Option(help="Compute on a Dask cluster, e.g. tcp://host:8786.", metavar="ADDRESS")
]

SchedulerFile = Annotated[
    Path | None, typer.Option(help="The same, by the file in which its scheduler wrote its address.", metavar="FILE")
]

RegionParts = Annotated[
    int | None,
    typer.Option(help="Parts that a task on a cluster makes.  [default: few, and little is done twice]", metavar="N"),
]

TaskTimeout = Annotated[
    float | None,
    typer.Option(help="Give up a worker without a sign of life.  [default: 10 times the longest]", metavar="SECONDS"),
]

AllowMixed = Annotated[
    bool, typer.Option("--allow-mixed", help="Let workers differ in geoseg's version, backend or precision.")
]

Resume = Annotated[
    bool, typer.Option("--resume/--no-resume", help="Go on with what an interrupted run left, or start over.")
]

PartsFolder = Annotated[
    str | None,
    typer.Option(
        help="Keep finished parts there until the map is complete, e.g. s3://bucket/prefix.  [default: beside the map]",
        metavar="FOLDER",
    ),
]


def cluster_choices(
    workers: int | None,
    scheduler: str | None,
    scheduler_file: Path | None,
    region_parts: int | None,
    task_timeout: float | None,
    allow_mixed: bool,
) -> dict[str, Any]:
    """Where to compute, as keyword arguments; empty where that is in this process."""
    given = {
        "workers": workers,
        "scheduler": scheduler,
        "scheduler_file": scheduler_file,
        "region_parts": region_parts,
        "task_timeout": task_timeout,
        "allow_mixed": allow_mixed or None,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    if chosen:  # Dask reads it when it is loaded, here and in its workers: else it tells of every connection
        os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "error")
    return chosen


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


def parse_numbers(text: str | None, count: int | None, option: str, example: str) -> tuple[float, ...] | None:
    """``1,2.5`` as numbers: ``count`` of them, or any number."""
    if text is None:
        return None
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or len(numbers) != (count or len(numbers)):
        many = "numbers" if count is None else f"{count} numbers"
        raise typer.BadParameter(f"{text!r} is not {many} such as {example}", param_hint=option)
    return numbers


def parse_window(text: str | None) -> tuple[int, int, int, int] | None:
    """``0,512,1024,1024`` as row, column, height and width."""
    numbers = parse_numbers(text, 4, "--window", "0,512,1024,1024")
    if numbers is None:
        return None
    if not all(n.is_integer() for n in numbers):
        raise typer.BadParameter(f"{text!r} is not whole pixels such as 0,512,1024,1024", param_hint="--window")
    row, col, height, width = (int(n) for n in numbers)
    return row, col, height, width


def parse_batch(text: str) -> int | None:
    """``8``, or None for ``auto``."""
    if text == "auto":
        return None
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither a number nor auto", param_hint="--batch") from None


def parse_gsd(text: str) -> float | str:
    """``native``, ``auto`` or metres."""
    if text in ("native", "auto"):
        return text
    try:
        return float(text)
    except ValueError:
        message = f"{text!r} is neither native nor auto nor a pixel size in metres such as 0.3"
        raise typer.BadParameter(message, param_hint="--gsd") from None


def parse_minima(text: str | None) -> float | dict[str | int, float]:
    """``20`` as a minimum for all classes, ``10,forest=500`` as minima by class, ``*`` standing for all others."""
    minima: dict[str | int, float] = {}
    for part in ("0" if text is None else text).split(","):
        name, _, value = part.rpartition("=")
        try:
            area = float(value)
        except ValueError:
            area = -1.0
        if not 0 <= area < float("inf"):
            message = f"{text!r} is neither an area such as 20 nor areas by class such as building=20,forest=500"
            raise typer.BadParameter(message, param_hint="--min-area")
        key = name.strip() or "*"
        if key in minima:
            what = "all classes" if key == "*" else key
            raise typer.BadParameter(f"{text!r} gives two areas for {what}", param_hint="--min-area")
        minima[key] = area
    return minima["*"] if set(minima) == {"*"} else minima
