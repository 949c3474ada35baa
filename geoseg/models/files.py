"""Model files without torch: where they are, and what their headers say.

A model file is one ``.safetensors`` (https://github.com/huggingface/safetensors) whose header carries the
:class:`~geoseg.config.ModelSpec` as JSON under the key ``geoseg``. Nothing in it is ever executed.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Collection
from pathlib import Path

from safetensors import SafetensorError, safe_open

from geoseg.config import ModelSpec, parse_model_spec
from geoseg.errors import MissingFileError, ModelError

HEADER_KEY = "geoseg"
"""Where the spec stands in the header."""

MODEL_FILE = "model.safetensors"
"""Name of the model file in a run folder."""

_BUILTIN = Path(__file__).parent / "builtin"

# How a zip archive (torch.save since 1.6) and a bare pickle begin.
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def builtin_models() -> dict[str, Path]:
    """The models that come with geoseg, by name."""
    return {path.stem: path for path in sorted(_BUILTIN.glob("*.safetensors"))}


def resolve_model(name: str | Path, runs: Path = Path("runs")) -> Path:
    """Find a model file: an existing path, else a run in ``runs``, else a built-in model.

    Args:
        name: Path or name.
        runs: Folder of training runs; a run's model is ``<runs>/<name>/model.safetensors``.

    Raises:
        MissingFileError: A path that does not exist.
        ModelError: A name that neither a run nor a built-in model has; lists all that exist.
    """
    text, path = str(name), Path(name)
    if path.is_file():
        return path
    if path.suffix == ".safetensors" or len(path.parts) != 1 or text in (".", ".."):
        raise MissingFileError(f"model file {text} does not exist")
    known = builtin_models() | {p.parent.name: p for p in sorted(runs.glob(f"*/{MODEL_FILE}"))}
    if text in known:
        return known[text]
    raise ModelError(f"there is no model {text!r}{nearest(text, known)}; there are: {', '.join(known) or 'none'}")


def nearest(name: str, known: Collection[str]) -> str:
    """``, did you mean 'x'?`` for the known name closest to ``name``, or nothing."""
    close = difflib.get_close_matches(name.lower(), list(known), n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def read_spec(path: str | Path) -> ModelSpec:
    """Read what a model file says of itself; neither torch nor pickle has a part in it.

    Raises:
        MissingFileError: The file does not exist or cannot be read.
        ModelError: Not a safetensors file, damaged, or not written by geoseg.
    """
    path = Path(path)
    _check_readable(path)
    try:
        with safe_open(path, framework="np") as file:
            header = file.metadata() or {}
    except SafetensorError as error:
        raise ModelError(f"{path} is damaged or no .safetensors file ({str(error).splitlines()[0]})") from error
    if HEADER_KEY not in header:
        raise ModelError(
            f"{path} is a .safetensors file but not a geoseg model: its header has no {HEADER_KEY!r} entry; "
            "write model files with geoseg.models.save_model"
        )
    return parse_model_spec(header[HEADER_KEY], path.name)


def _check_readable(path: Path) -> None:
    if path.is_dir():
        raise ModelError(f"{path} is a folder; give the model file in it")
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except FileNotFoundError as error:
        raise MissingFileError(f"model file {path} does not exist") from error
    except OSError as error:
        raise MissingFileError(f"model file {path} cannot be read: {error.strerror}") from error
    # Eight bytes of length and the header's brace: a length of 640 begins like a pickle.
    if start.startswith(_PICKLES) and start[8:] != b"{":
        raise ModelError(f"{path} is a pickled checkpoint, which can run code; geoseg loads .safetensors only")


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        MissingFileError: The file does not exist or cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise MissingFileError(f"{path} cannot be read: {error.strerror}") from error
