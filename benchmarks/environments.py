"""An environment of its own for each peer, made with uv, which keeps one copy of torch for all of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

from common import GIB, RunError, say

ROOT = Path(tempfile.gettempdir()) / "peers"
"""Where the environments are kept."""

# What the harness needs. torch and torchvision from one index, or torchvision's operators do not load; torchgeo 0.8
# imports requests without declaring it.
_COMMON = ("torch>=2.14", "torchvision", "segmentation-models-pytorch", "rasterio", "openvino", "requests")

_FREE = 15 * GIB


def make_environment(root: Path, name: str, packages: Sequence[str], python: str) -> Path:
    """The Python of an environment with these packages; made on the first call.

    Raises:
        RunError: There is too little disk, or the packages cannot be installed; says what the installer said.
    """
    folder = root / name
    interpreter, done = folder / "bin" / "python", folder / "installed.txt"
    wanted = "\n".join([*_COMMON, *packages])
    if done.exists() and done.read_text() == wanted:
        return interpreter
    root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(root).free
    if free < _FREE:
        raise RunError(f"{free / GIB:.0f} GiB free under {root}, {_FREE / GIB:.0f} wanted; not installed")
    say(f"installing {', '.join(packages)} into {folder}")
    uv = _uv(root)
    if not interpreter.exists():
        _call([uv, "venv", "--quiet", "--python", python, str(folder)])
    _call([uv, "pip", "install", "--quiet", "--python", str(interpreter), *_COMMON, *packages])
    done.write_text(wanted)
    return interpreter


def version_of(interpreter: Path, package: str) -> str:
    """Version of an installed package."""
    code = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
    return subprocess.run(
        [str(interpreter), "-c", code, package], check=True, capture_output=True, text=True
    ).stdout.strip()


def _uv(root: Path) -> str:
    found = shutil.which("uv")
    if found:
        return found
    program = root / "uv" / "bin" / "uv"
    if not program.exists():
        venv.create(root / "uv", with_pip=True)
        _call([str(root / "uv" / "bin" / "python"), "-m", "pip", "install", "--quiet", "uv"])
    return str(program)


def _call(command: list[str]) -> None:
    environment = os.environ | {"UV_PYTHON_DOWNLOADS": "never"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise RunError(f"cannot be installed: {' '.join(said[-3:])[:400] or 'the installer said nothing'}")
