"""``geoseg info``: what is this file?"""

from __future__ import annotations

from typing import Annotated

import typer

from geoseg.cli import console
from geoseg.cli.options import Debug, Json


def info(
    path: Annotated[str, typer.Argument(help="A scene, class raster, GeoPackage or model file.", metavar="FILE")],
    *,
    json: Json = False,
    _debug: Debug = False,
) -> None:
    """Say what a file holds.

    A scene, a class raster, a GeoPackage or a model.
    """
    import geoseg

    found = geoseg.info(path)
    if json:
        console.print_json(found)
    else:
        console.print_result(str(found))
