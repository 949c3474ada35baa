"""The command line: one file per command, each a thin shell over one public function."""

from __future__ import annotations

import sys

USAGE_ERROR = 2
INTERRUPTED = 130


def main() -> None:
    """Run ``geoseg``; exit 0, 1 with one line ``error: …``, 2 for a wrong command line, or 130 on Ctrl-C."""
    from geoseg.cli import console

    try:
        from geoseg.cli.app import app

        app(prog_name="geoseg")
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            console.report_interrupt()
        raise
    except KeyboardInterrupt:
        console.report_interrupt()
        sys.exit(INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - the last stop: users get one line, with --debug the whole story
        console.report_error(error)
        sys.exit(1)
