"""``geoseg submission``: maps of a benchmark's test images -> the folder that it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geoseg.cli import console
from geoseg.cli.options import Debug, Json
from geoseg.cli.progress import progress_bar


def submission(
    dataset: Annotated[str, typer.Argument(help="A dataset whose test labels are kept back: loveda.", metavar="NAME")],
    predictions: Annotated[
        Path,
        typer.Argument(help="Folder with the map of each test image, as geoseg predict names them.", metavar="DIR"),
    ],
    output: Annotated[Path, typer.Argument(help="Folder to write; must not exist.", metavar="OUTPUT")],
    *,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of the dataset.  [default: data/NAME]", metavar="DIR")
    ] = None,
    json: Json = False,
    _debug: Debug = False,
) -> None:
    """Turn maps of test images into what a benchmark takes.

    Prints the path of the folder: one PNG for each image, values 0 to 6 for LoveDA.
    """
    import geoseg

    with progress_bar("submission") as progress:
        folder = geoseg.write_submission(dataset, predictions, output, data_dir=data_dir, progress=progress)
    if json:
        console.print_json({"output": folder})
    else:
        console.print_result(str(folder))
