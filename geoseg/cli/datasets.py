"""``geoseg datasets``: which labelled datasets can be trained on by name?"""

from __future__ import annotations

from geoseg.cli import console
from geoseg.cli.options import Debug, Json


def datasets(*, json: Json = False, _debug: Debug = False) -> None:
    """List the datasets that can be trained on by name.

    With classes, resolution, size, licence, and where to get them.
    """
    import geoseg

    found = geoseg.list_datasets()
    if json:
        console.print_json(found)
    else:
        console.print_result(str(found))
