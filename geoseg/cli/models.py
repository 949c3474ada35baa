"""``geoseg models``: which models are there?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geoseg.cli import console
from geoseg.cli.options import Debug, Json


def models(
    *,
    runs: Annotated[Path, typer.Option(help="Folder of training runs.", metavar="FOLDER")] = Path("runs"),
    json: Json = False,
    _debug: Debug = False,
) -> None:
    """List models, and architectures with what they cost and are for."""
    import geoseg

    found = geoseg.list_models(runs)
    if json:
        console.print_json(found)
    else:
        console.print_result(str(found))
