"""What ``geoseg train`` and ``geoseg check-data`` are told in the same words: where imagery and labels come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from geoseg.errors import ParameterError

if TYPE_CHECKING:
    from geoseg.config.training import TrainingConfig

OverlapRule = Literal["last", "first", "smallest", "legend"]

ConfigFile = Annotated[
    str | None,
    typer.Option("--config", help="YAML file, or the name of a recipe such as loveda_unet.", metavar="FILE"),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any setting, e.g. optimizer.lr=3e-4; may be repeated, wins.", metavar="KEY=VALUE"),
]
Dataset = Annotated[str | None, typer.Option(help="A dataset by name; geoseg datasets lists them.", metavar="NAME")]
DataDir = Annotated[Path | None, typer.Option(help="Folder of the dataset.  [default: data/NAME]", metavar="DIR")]
Download = Annotated[bool, typer.Option("--download", help="Fetch the dataset where it is not there.")]
Subset = Annotated[str | None, typer.Option(help="One of its named areas, such as rural.", metavar="NAME")]
Images = Annotated[
    list[str] | None,
    typer.Option(
        help="Own images: a folder, a file, or a pattern in quotes; may be repeated.", metavar="DIR|FILE|PATTERN"
    ),
]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        help="Their labels: rasters as with --images, or one vector file of polygons.", metavar="DIR|FILE|PATTERN"
    ),
]
ClassField = Annotated[str | None, typer.Option(help="Attribute of the polygons with the class.", metavar="NAME")]
LegendFile = Annotated[
    Path | None,
    typer.Option("--legend", help="YAML file with the classes.  [default: what the labels say]", metavar="FILE"),
]
LabelValues = Annotated[
    str | None,
    typer.Option(
        help="What values of label rasters mean, e.g. 0=ignore,255=building.  [default: class ids]", metavar="LIST"
    ),
]
Bands = Annotated[
    str | None, typer.Option(help="Bands to learn from, e.g. 4,3,2.  [default: all but alpha]", metavar="LIST")
]
Unlabelled = Annotated[
    str | None,
    typer.Option(help="Class of ground without polygon.  [default: ignore, nothing is learned there]", metavar="CLASS"),
]
Overlapping = Annotated[OverlapRule | None, typer.Option(help="Which of several polygons counts.  [default: last]")]
Aoi = Annotated[
    Path | None, typer.Option(help="Vector file; outside its polygons nothing is learned or judged.", metavar="FILE")
]

# What belongs to one kind of source, as it is where the source is another.
_OF_DATASETS = {"dataset": None, "data_dir": None, "subset": None, "download": False}
_OF_IMAGES = {
    "images": (), "labels": (), "validation_images": (), "validation_labels": (), "class_field": None,
    "legend": None, "label_values": None, "aoi": None,
}  # fmt: skip
_OF_SYNTHETIC = {"synthetic": None}


def find_recipe(config: str | None, dataset: str | None) -> str | None:
    """``config``, or the recipe that comes with geoseg for this dataset, or None."""
    from geoseg.config.loading import recipe_names

    name = f"{dataset}_unet"
    return name if config is None and name in recipe_names() else config


def data_settings(given: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that options on data stand for, by dotted name.

    A source that is given replaces the one of another kind that the file has.

    Args:
        given: Values of the options by the names of the settings; None, False and empty where not given.
        written: What the file says of data.
    """
    wanted = {name: value for name, value in given.items() if value}
    dataset = wanted.get("dataset")
    if dataset:
        other = {} if written.get("dataset") == dataset else {**_OF_DATASETS, "data_dir": Path("data") / dataset}
        wanted = {**_OF_IMAGES, **_OF_SYNTHETIC, **other, **wanted}
    elif "images" in wanted:
        wanted = {**_OF_DATASETS, **_OF_SYNTHETIC, **wanted}
    return {f"data.{name}": value for name, value in wanted.items()}


def require_source(written: Mapping[str, Any], chosen: Mapping[str, Any]) -> None:
    """Refuse to go on without imagery.

    Raises:
        ParameterError: Neither the file nor the command line names any.
    """
    names = ("dataset", "images", "synthetic")
    if not any(chosen.get(f"data.{name}", written.get(name)) for name in names):
        raise ParameterError(
            "there is nothing to train on: give --dataset NAME, or --images with --labels, or a --config with data"
        )


def parse_label_values(text: str | None) -> dict[int, str] | None:
    """``0=ignore,255=building`` as classes by value."""
    if text is None:
        return None
    values: dict[int, str] = {}
    for part in text.split(","):
        number, _, name = (piece.strip() for piece in part.partition("="))
        if not number.isdecimal() or not name:
            raise typer.BadParameter(
                f"{text!r} is not values with their meaning such as 0=ignore,255=building", param_hint="--label-values"
            )
        if int(number) in values:
            raise typer.BadParameter(f"{text!r} gives two meanings to {number}", param_hint="--label-values")
        values[int(number)] = name
    return values


def choose_settings(
    config: str | None, data: Mapping[str, Any], more: Mapping[str, Any], sets: Sequence[str] | None
) -> TrainingConfig:
    """All settings: of the file or of the dataset's recipe, below the options, below ``--set``.

    Args:
        config: File or name of a recipe.
        data: Options on data by the names of the settings; None, False and empty where not given.
        more: Other settings by dotted name.
        sets: Texts of ``--set``.

    Raises:
        GeosegError: An unknown key, a wrong value, no such file, or no imagery at all.
    """
    from geoseg.config.loading import load_config, parse_overrides, read_settings

    recipe = find_recipe(config, data.get("dataset"))
    written = {} if recipe is None else read_settings(recipe).get("data") or {}
    known = written if isinstance(written, Mapping) else {}
    chosen = {**data_settings(data, known), **more, **parse_overrides(sets or ())}
    require_source(known, chosen)
    return load_config(recipe, chosen)
