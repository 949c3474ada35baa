"""What users see: results on stdout; log, warnings and errors on stderr, one line each."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import re
import shlex
import sys
import traceback
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from geoseg.errors import GeosegError
from geoseg.threads import SCENE_THREAD

log = logging.getLogger("geoseg")

CLEAR_LINE = "\r\x1b[K"

# How PROJ and GDAL say that they were sent to the data of another installation.
_CLASH = re.compile(r"DATABASE\.LAYOUT\.VERSION|proj\.db|proj_create_from_database|no database context|gdalvrt\.xsd")
_CLASH_VARIABLES = ("PROJ_LIB", "PROJ_DATA", "GDAL_DATA", "GDAL_DRIVER_PATH")


@dataclass
class _State:
    debug: bool = False
    line_open: bool = False  # a progress bar stands on the last line of the terminal
    checkpoint: Path | None = None  # what an interrupted training goes on from, once it is there
    replaced: int = 0  # when an older run that this one starts over was written, in ns; 0 = there is none


state = _State()


class _StderrHandler(logging.Handler):
    """``warning: …`` and ``error: …`` in one line; notices as they are. Steps over a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write to the present stderr."""
        # rasterio logs every GDAL error that it also raises; geoseg.rasters listens and says what matters.
        if record.name.startswith("rasterio") and not state.debug:
            return
        text = record.getMessage()
        if (record.threadName or "").startswith(SCENE_THREAD):  # one of several that are under way at once
            text = f"{(record.threadName or '').removeprefix(SCENE_THREAD)}: {text}"
        write_stderr(f"{record.levelname.lower()}: {one_line(text)}" if record.levelno >= logging.WARNING else text)


_handler = _StderrHandler()


def set_up_logging() -> None:
    """Notices of geoseg, and warnings of all libraries, to stderr."""
    root = logging.getLogger()
    if _handler not in root.handlers:
        root.addHandler(_handler)
    root.setLevel(logging.WARNING)
    log.setLevel(logging.INFO)
    warnings.showwarning = _log_warning


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,  # noqa: ARG001 - the signature is that of the standard library
    line: object = None,  # noqa: ARG001
) -> None:
    """Stands in for ``warnings.showwarning``: a Python warning as a line of the log."""
    where = f" ({category.__name__} at {filename}:{lineno})" if state.debug else ""
    log.warning("%s%s", message, where)


def set_debug(wanted: bool) -> bool:
    """Callback of ``--debug``, which may stand before or after the command."""
    state.debug = state.debug or wanted
    return wanted


def write_stderr(line: str) -> None:
    """One line to stderr, in place of a progress bar if there is one."""
    start = CLEAR_LINE if state.line_open else ""
    state.line_open = False
    sys.stderr.write(f"{start}{line}\n")
    sys.stderr.flush()


def print_result(text: str) -> None:
    """The result to stdout, now: a closed pipe must show while there is someone to handle it."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def print_json(value: object) -> None:
    """A result as JSON to stdout; what is not a number becomes null."""
    print_result(json.dumps(_plain(value), indent=2, ensure_ascii=False))


def report_interrupt() -> None:
    """The line for Ctrl-C, with the command that goes on."""
    arguments = [a for a in sys.argv[1:] if a != "--no-resume"]
    advice = "the output is not finished; run the same command again"
    if state.checkpoint is not None and _is_of_this_run(run_settings(state.checkpoint)):
        arguments = [*(a for a in arguments if a not in ("--overwrite", "--resume")), "--resume"]
        # Before the end of the first epoch there is a run, but nothing that was learned.
        learned = state.checkpoint.exists()
        advice = "what was learned is kept; go on with" if learned else "no epoch was finished; begin it again with"
    write_stderr(f"interrupted: {advice}: {shlex.join(['geoseg', *arguments])}")


def run_settings(checkpoint: Path) -> Path:
    """The file that a training writes first, and once."""
    return checkpoint.parents[1] / "config.yaml"


def _is_of_this_run(path: Path) -> bool:
    try:
        return path.stat().st_mtime_ns > state.replaced
    except OSError:
        return False


def report_error(error: Exception) -> None:
    """One line for an error; with ``--debug`` the traceback before it."""
    if state.debug:
        write_stderr("".join(traceback.format_exception(error)).rstrip())
    write_stderr(f"error: {error_line(error)}")


def error_line(error: Exception) -> str:
    """What went wrong and what to do, in one line."""
    texts = [one_line(str(e)) for e in _chain(error)]
    inherited = [name for name in _CLASH_VARIABLES if name in os.environ]
    if inherited and any(_CLASH.search(text) for text in texts):
        names = " ".join(inherited)
        return f"{texts[0]}; {names} of this shell may point to another installation: unset {names} and run again"
    if isinstance(error, GeosegError):
        return texts[0]
    remedy = "run again with --debug"
    if any(isinstance(e, ImportError) or "torchvision::" in str(e) for e in _chain(error)):
        remedy = "check the installation with geoseg doctor"
    return f"unexpected {type(error).__name__}: {texts[0] or 'no message'}; {remedy}"


def one_line(text: str) -> str:
    """``text`` without line breaks."""
    return " ".join(text.split()) if "\n" in text else text


def _chain(error: BaseException) -> Iterable[BaseException]:
    """The error, and those that led to it."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


def _plain(value: object) -> object:
    """``value`` in the types that JSON has."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, PathLike):
        return os.fspath(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if hasattr(value, "model_dump"):  # a pydantic model, without importing pydantic
        return _plain(value.model_dump())
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if hasattr(value, "tolist"):  # NumPy scalars and arrays, without importing NumPy
        return _plain(value.tolist())
    if isinstance(value, Iterable):
        return [_plain(v) for v in value]
    raise TypeError(f"{type(value).__name__} has no form in JSON")
