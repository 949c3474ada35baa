"""Options that say what to train on, shared by the commands that read labelled imagery."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from geoseg.cli.options import parse_bands

ConfigFile = Annotated[
    str | None,
    typer.Option("--config", help="YAML file with settings, or the name of one that comes along.", metavar="FILE"),
]
Dataset = Annotated[str | None, typer.Option(help="A dataset that geoseg datasets lists.", metavar="NAME")]
DataDir = Annotated[Path | None, typer.Option(help="Folder of the dataset.", metavar="DIR")]
Subset = Annotated[str | None, typer.Option(help="One of the dataset's named areas.  [default: all]", metavar="NAME")]
Download = Annotated[bool, typer.Option("--download", help="Fetch the dataset where it is not there.")]
Images = Annotated[
    list[str] | None,
    typer.Option(help="Own images: file, folder or pattern; may be given several times.", metavar="PATH"),
]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        help="Their labels: rasters as file, folder or pattern, or one vector file; may be given several times.",
        metavar="PATH",
    ),
]
ClassField = Annotated[
    str | None, typer.Option(help="Attribute of the polygons with the class, by name or id.", metavar="NAME")
]
LegendFile = Annotated[
    Path | None,
    typer.Option("--legend", help="YAML file with the classes.  [default: what the labels say]", metavar="FILE"),
]
LabelValues = Annotated[
    str | None,
    typer.Option(
        help="What values of label rasters mean that are no class ids, such as 7=forest,9=ignore.", metavar="LIST"
    ),
]
Bands = Annotated[
    str | None,
    typer.Option(help="Bands to learn from, such as 4,3,2; from 1.  [default: all but alpha]", metavar="LIST"),
]
Unlabelled = Annotated[
    str | None,
    typer.Option(help="Class of the ground without polygon.  [default: ignore]", metavar="CLASS"),
]
Overlapping = Annotated[
    Literal["last", "first", "smallest", "legend"] | None,
    typer.Option(help="Which polygon counts where several lie.  [default: last]"),
]
Aoi = Annotated[
    Path | None,
    typer.Option(help="Vector file; outside its polygons nothing is learned or judged.", metavar="FILE"),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting, such as data.synthetic=8; may be given several times.", metavar="KEY=VALUE"),
]


def data_overrides(
    *, bands: str | None = None, label_values: str | None = None, download: bool = False, **given: Any
) -> dict[str, Any]:
    """What was given on the command line, by setting: ``data.images`` and so on.

    Args:
        bands: As text.
        label_values: As text.
        download: Whether it was asked for.
        given: All others, by their names in the section ``data``; None where they were not given.
    """
    values = given | {"bands": parse_bands(bands), "label_values": parse_label_values(label_values)}
    found = {f"data.{name}": _plain(value) for name, value in values.items() if value not in (None, [])}
    return found | ({"data.download": True} if download else {})


def override_texts(values: dict[str, Any], sets: Sequence[str] | None) -> list[str]:
    """Overrides for ``load_config``: those of options, then those of ``--set``, which count for more."""
    return [*(f"{name}={json.dumps(value)}" for name, value in values.items()), *(sets or ())]


def parse_label_values(text: str | None) -> dict[str, str] | None:
    """``7=forest,9=ignore`` as what values mean."""
    if text is None:
        return None
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(value.strip().isdecimal() and name.strip() for value, _, name in pairs):
        message = f"{text!r} is not values with their meaning such as 7=forest,9=ignore"
        raise typer.BadParameter(message, param_hint="--label-values")
    return {value.strip(): name.strip() for value, _, name in pairs}


def _plain(value: Any) -> Any:
    """``value`` in the types that JSON has."""
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value
