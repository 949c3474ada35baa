"""``geoseg evaluate``: prediction and reference -> metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geoseg.cli import console
from geoseg.cli.options import Debug, Json, Overwrite
from geoseg.cli.progress import progress_bar


def evaluate(
    prediction: Annotated[str, typer.Argument(help="Class raster to judge.", metavar="PREDICTION")],
    reference: Annotated[
        str,
        typer.Argument(
            help="The truth: a class raster, or polygons (.gpkg, .geojson, .fgb, .shp), in any CRS.",
            metavar="REFERENCE",
        ),
    ],
    *,
    class_field: Annotated[
        str | None,
        typer.Option(help="Attribute of the polygons with the class.  [default: class_id]", metavar="NAME"),
    ] = None,
    outside: Annotated[
        str | None,
        typer.Option(
            help="Class of the ground without polygon, such as background.  [default: it does not count]",
            metavar="CLASS",
        ),
    ] = None,
    confidence: Annotated[
        Path | None,
        typer.Option(
            help="Confidence raster for the calibration error.  [default: the one made with PREDICTION]",
            metavar="FILE",
        ),
    ] = None,
    boundary_tolerance: Annotated[
        float, typer.Option(help="Distance in pixels up to which borders agree.", min=0.0, max=64.0, metavar="PX")
    ] = 2.0,
    report: Annotated[
        Path | None,
        typer.Option(help="HTML file to write: figures, confusion matrix, pictures of errors.", metavar="FILE"),
    ] = None,
    overwrite: Overwrite = False,
    json: Json = False,
    _debug: Debug = False,
) -> None:
    """Compare a class raster with a reference.

    Pixel by pixel; pixels without data in either do not count.
    """
    import geoseg

    with progress_bar("evaluate") as progress:
        result = geoseg.evaluate(
            prediction,
            reference,
            class_field=class_field,
            outside=outside,
            confidence=confidence,
            boundary_tolerance=boundary_tolerance,
            report=report,
            overwrite=overwrite,
            progress=progress,
        )
    if json:
        console.print_json(result.to_dict())
    else:
        console.print_result(str(result))
