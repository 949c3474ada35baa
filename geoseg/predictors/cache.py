"""Compiled models on disk: made once, checked when they are used again."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path

_log = logging.getLogger("geoseg")

_SUMS = "sums.json"

Make = Callable[[Path], None]
"""Writes the files of an entry into an empty folder."""


class ModelCache:
    """A folder of entries, each a folder of files named by a hash of all that they depend on.

    An entry appears whole, by a rename, and carries the checksums of its files: a damaged one is made anew. Several
    processes may use one cache.

    Args:
        folder: Where; made when first needed. None keeps nothing beyond :meth:`close`.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._temporary: Path | None = None

    def entry(self, kind: str, key: Mapping[str, object], make: Make) -> Path:
        """The folder of an entry, made if it is not there.

        Args:
            kind: What it is, such as ``openvino``.
            key: JSON values: all that the files depend on.
            make: Writes them.
        """
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
        root = self._writable()
        place = root / f"{kind}-{digest}"
        if place.is_dir():
            if _is_sound(place):
                return place
            _log.warning("the compiled model in %s is damaged: it is made anew", place)
            shutil.rmtree(place, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=f".{kind}-", dir=root))
        try:
            make(work)
            sums = {path.name: _sum(path) for path in sorted(work.iterdir())}
            (work / _SUMS).write_text(json.dumps({"files": sums, "key": dict(key)}, indent=1), encoding="utf-8")
            return _renamed(work, place)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise

    def _writable(self) -> Path:
        if self._folder is not None and self._temporary is None:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                _log.warning("compiled models are not kept: %s cannot be made (%s)", self._folder, error.strerror)
            else:
                if os.access(self._folder, os.W_OK):
                    return self._folder
                _log.warning("compiled models are not kept: %s cannot be written", self._folder)
        if self._temporary is None:
            self._temporary = Path(tempfile.mkdtemp(prefix="geoseg-"))
            self._clean = weakref.finalize(self, shutil.rmtree, self._temporary, ignore_errors=True)
        return self._temporary

    def close(self) -> None:
        """Remove what was kept for this run only; happens at the latest when the process ends."""
        if self._temporary is not None:
            self._clean()
            self._temporary = None


def _renamed(work: Path, place: Path) -> Path:
    try:
        return work.rename(place)
    except OSError:
        if not _is_sound(place):
            raise
        shutil.rmtree(work, ignore_errors=True)  # another process was faster
        return place


def _is_sound(place: Path) -> bool:
    try:
        files = json.loads((place / _SUMS).read_text(encoding="utf-8"))["files"]
        return bool(files) and all(_sum(place / name) == value for name, value in files.items())
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        return False


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
