"""Libraries that are loaded only where they run something, without what they would say or send on their own."""

from __future__ import annotations

import importlib
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.jit import TracerWarning  # type: ignore[attr-defined]

from geoseg.errors import ParameterError

_TELEMETRY = "openvino_telemetry"


def load_toolkit(name: str, remedy: str) -> Any:
    """Import ``openvino``, ``nncf``, ``onnxruntime``, ...

    Raises:
        ParameterError: It is not installed, or broken; says what to do.
    """
    try:
        with without_telemetry(), quiet():
            return importlib.import_module(name)
    except (ImportError, OSError) as error:
        raise ParameterError(f"{name} cannot be loaded ({reason_of(error)}); {remedy}") from error


def reason_of(error: BaseException) -> str:
    """One line of what a toolkit raised: the first, or OpenVINO's last, whose first is a place in its source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1 if lines[0].startswith(("Exception from", "Check '")) else 0]


@contextmanager
def without_telemetry() -> Iterator[None]:
    """OpenVINO and NNCF report their use to their makers without asking; they do not where this package is absent."""
    if _TELEMETRY in sys.modules:
        yield
        return
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.modules.pop(_TELEMETRY, None)


@contextmanager
def quiet() -> Iterator[None]:
    """What tracing, exporting and these imports say to their developers: deprecations, and constants in a trace.

    That a constant was traced wrongly would show in the comparison with the network itself.
    """
    # NNCF makes its own class that of every logger to come, and has torch say that there is no CUDA compiler.
    loggers, torchs = logging.getLoggerClass(), logging.getLogger("torch.utils.cpp_extension")
    level = torchs.level
    torchs.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for kind in (FutureWarning, DeprecationWarning, UserWarning, TracerWarning):
                warnings.simplefilter("ignore", kind)
            yield
    finally:
        logging.setLoggerClass(loggers)
        torchs.setLevel(level)
