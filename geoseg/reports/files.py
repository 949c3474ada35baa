"""A report as a file: its name, and that it appears whole."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from geoseg.durable import sync
from geoseg.errors import OutputError, OutputExistsError

_SUFFIXES = (".html", ".htm")


def check_report(path: Path, overwrite: bool) -> None:
    """See before any work whether a report can be written.

    Raises:
        OutputExistsError: It exists and ``overwrite`` is not given.
        OutputError: It is no name for an HTML file, or its folder is missing or read-only.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise OutputError(f"{path} must end in .html: the report is an HTML file")
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise OutputError(f"the folder of {path} does not exist; create {path.parent} first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(f"the folder {path.parent} is read-only; choose another one for {path.name}")
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} exists; give --overwrite (overwrite=True) to replace it")


def write_page(path: Path, page: str, overwrite: bool) -> None:
    """Write a page, whole or not at all.

    Args:
        path: Ends in ``.html``.
        page: HTML.
        overwrite: Replace an older report.

    Raises:
        OutputExistsError: It has come into being meanwhile and ``overwrite`` is not given.
        OutputError: It cannot be written.
    """
    unfinished = path.with_name(f".{path.name[:150]}.{secrets.token_hex(4)}")
    try:
        unfinished.write_text(page, encoding="utf-8")
        sync(unfinished)
        check_report(path, overwrite)
        unfinished.replace(path)
    except (OutputExistsError, OutputError):
        raise
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror or error}); is the disk full?") from error
    finally:
        unfinished.unlink(missing_ok=True)
