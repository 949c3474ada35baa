"""The command line: one file per command, each a thin shell over one public function."""

from __future__ import annotations

import signal
import sys

USAGE_ERROR = 2
INTERRUPTED = 130
TERMINATED = 143


def main() -> None:
    """Run ``geoseg``.

    Exit 0; 1 with one line ``error: …``; 2 for a wrong command line; 130 on Ctrl-C; 143 on SIGTERM.
    """
    from geoseg.cli import console

    # Batch systems send it before they kill: what is finished is kept, and temporary files go.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        from geoseg.cli.app import app

        app(prog_name="geoseg")
    except SystemExit as stop:
        if stop.code in (INTERRUPTED, TERMINATED):
            console.report_interrupt()
        raise
    except KeyboardInterrupt:
        console.report_interrupt()
        sys.exit(INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - the last stop: users get one line, with --debug the whole story
        code = _interruption(error)
        if code is not None:
            console.report_interrupt()
            sys.exit(code)
        console.report_error(error)
        sys.exit(1)
    finally:
        signal.signal(signal.SIGTERM, before)


def _interruption(error: BaseException | None) -> int | None:
    """The exit code where an error wraps Ctrl-C or SIGTERM, as Python does with what comes up in ``__set_name__``."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return INTERRUPTED
        if isinstance(error, SystemExit) and error.code == TERMINATED:
            return TERMINATED
        error = error.__cause__ or error.__context__
    return None
