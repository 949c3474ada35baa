"""``geoseg vectorize``: class raster -> GeoPackage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geoseg.cli import console
from geoseg.cli.options import Debug, Json, Overwrite
from geoseg.cli.progress import progress_bar


def vectorize(
    raster: Annotated[str, typer.Argument(help="Class raster, such as geoseg predict writes.", metavar="RASTER")],
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="GeoPackage to write.  [default: RASTER.gpkg]", metavar="FILE")
    ] = None,
    confidence: Annotated[
        Path | None,
        typer.Option(
            help="Confidence raster for mean_confidence.  [default: the one made with RASTER]", metavar="FILE"
        ),
    ] = None,
    min_area: Annotated[
        float, typer.Option(help="Merge patches below this area into a neighbour, in m².", min=0.0, metavar="M2")
    ] = 0.0,
    simplify: Annotated[
        float, typer.Option(help="Simplify shared borders by about this distance, in m.", min=0.0, metavar="M")
    ] = 0.0,
    overwrite: Overwrite = False,
    json: Json = False,
    _debug: Debug = False,
) -> None:
    """Turn a class raster into polygons.

    Prints the path of the GeoPackage.
    """
    import geoseg

    with progress_bar("vectorize") as progress:
        path = geoseg.vectorize(
            raster,
            output,
            confidence=confidence,
            min_area=min_area,
            simplify=simplify,
            overwrite=overwrite,
            progress=progress,
        )
    if json:
        console.print_json({"output": path})
    else:
        console.print_result(str(path))
