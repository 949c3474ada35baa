"""``geoseg evaluate``: prediction and reference -> metrics."""

from __future__ import annotations

from typing import Annotated

import typer

from geoseg.cli import console
from geoseg.cli.options import Debug, Json
from geoseg.cli.progress import progress_bar


def evaluate(
    prediction: Annotated[str, typer.Argument(help="Class raster to judge.", metavar="PREDICTION")],
    reference: Annotated[str, typer.Argument(help="The truth, on the same grid.", metavar="REFERENCE")],
    *,
    json: Json = False,
    _debug: Debug = False,
) -> None:
    """Compare a class raster with a reference.

    Pixel by pixel; pixels without data in either do not count.
    """
    import geoseg

    with progress_bar("evaluate") as progress:
        result = geoseg.evaluate(prediction, reference, progress=progress)
    if json:
        console.print_json(result.to_dict())
    else:
        console.print_result(str(result))
