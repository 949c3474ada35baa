"""``geoseg doctor``: is this installation sound?"""

from __future__ import annotations

import typer

from geoseg.cli import console
from geoseg.cli.options import Debug, Json


def doctor(*, json: Json = False, _debug: Debug = False) -> None:
    """Check the installation and the machine.

    Exit code 1 where something fails.
    """
    import geoseg

    diagnosis = geoseg.diagnose()
    if json:
        console.print_json({"ok": diagnosis.ok, "checks": diagnosis.checks})
    else:
        console.print_result(str(diagnosis))
    if not diagnosis.ok:
        raise typer.Exit(1)
