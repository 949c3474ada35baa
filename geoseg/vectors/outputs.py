"""Names, checks and publishing of vector files: all of an output under its final name, or nothing."""

from __future__ import annotations

import os
import sqlite3
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from geoseg.durable import sync
from geoseg.errors import GeosegError, OutputError, OutputExistsError, ParameterError
from geoseg.legend import ClassDef, Legend
from geoseg.vectors.geopackage import check_unused
from geoseg.vectors.leftovers import temporary_base

GEOPACKAGE, FLATGEOBUF, GEOPARQUET = (".gpkg",), (".fgb",), (".parquet", ".geoparquet")
"""Suffixes of the formats."""

SUFFIXES = (*GEOPACKAGE, *FLATGEOBUF, *GEOPARQUET)

# Beginnings of tables that GeoPackage, SQLite and QGIS keep for themselves; characters that GDAL refuses as the first.
_RESERVED = ("gpkg", "rtree_", "sqlite_", "layer_styles")
_NEVER_FIRST = "`~!@#$%^&*()+-={}|[]\\:\";'<>?,./ "

# What file systems take, less what SQLite and QGIS append (-journal).
_MOST_NAME = 247

_LOGS = ("-wal", "-shm", "-journal")


def check_output(path: Path, overwrite: bool) -> None:
    """See before any work whether a vector file can be written.

    Raises:
        OutputExistsError: It exists, or the style that would lie beside it, and ``overwrite`` is not given.
        OutputError: It is no name for a vector file; its folder is missing or read-only; another program holds the
            existing file; or the style beside it is that of a raster.
    """
    _check_name(path)
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise OutputError(f"the folder of {path} does not exist; create {path.parent} first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(f"the folder {path.parent} is read-only; choose another one for {path.name}")
    style = style_of(path)
    for file in (path, *([style] if style else [])):
        if file.exists():
            _check_replaceable(file, overwrite)
    if style and style.exists() and b"<rasterrenderer" in style.read_bytes():
        raise OutputError(
            f"{style} is the style of a raster and would be replaced by that of {path.name}; rename either"
        )
    if path.suffix.lower() in GEOPACKAGE and path.exists():
        check_unused(path)


def _check_name(path: Path) -> None:
    """See that programs can read a file of this name."""
    if path.suffix.lower() not in SUFFIXES:
        raise OutputError(
            f"{path} must end in .gpkg (GeoPackage), .fgb (FlatGeobuf), .parquet or .geoparquet (GeoParquet)"
        )
    if "!" in str(path.absolute()):
        raise OutputError(f"{path}: GDAL takes what stands before a '!' for an archive; choose a path without one")
    if any(unicodedata.category(ch) in ("Cc", "Cs") for ch in str(path.absolute())):
        raise OutputError(f"{str(path)!r} has characters that GDAL loses, such as line breaks; choose another path")
    if len(os.fsencode(path.name)) > _MOST_NAME:
        raise OutputError(f"the name {path.name[:40]}… is longer than {_MOST_NAME} bytes; choose a shorter one")


def style_of(path: Path) -> Path | None:
    """Where the style of a vector file lies beside it; None for a GeoPackage, which holds it."""
    return None if path.suffix.lower() in GEOPACKAGE else path.with_suffix(".qml")


def layer_names(path: Path, legend: Legend, split_by_class: bool) -> tuple[str, ...]:
    """Names of the layers of an output: that of the file, or one for each class, in the order of the legend.

    Raises:
        ParameterError: Several layers are asked of a format that holds one.
    """
    if not split_by_class:
        return (_allowed(path.stem, "land_cover_"),)
    if path.suffix.lower() not in GEOPACKAGE:
        raise ParameterError(f"{path} holds one layer, not one for each class; write a .gpkg, or all classes together")
    names: list[str] = []
    for c in legend:
        name = _allowed(c.name, "class_")
        names.append(_distinct(name, c, {n.lower() for n in names}))
    return tuple(names)


@contextmanager
def staged(path: Path, overwrite: bool) -> Iterator[Path]:
    """A temporary name beside ``path`` whose file, and the style beside it, take their places when the block ends.

    Raises:
        OutputExistsError: ``path`` exists and ``overwrite`` is not given.
        OutputError: The output cannot be replaced.
    """
    check_output(path, overwrite)
    with temporary_base(path) as base:
        temporary = base.with_name(base.name + path.suffix.lower())
        yield temporary
        with write_errors(path):
            _publish(path, temporary, overwrite)


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """What goes wrong while ``path`` is written is an OutputError."""
    try:
        yield
    except GeosegError:
        raise
    except Exception as error:
        if not isinstance(error, (sqlite3.Error, OSError, *_errors_of_gdal())):
            raise
        text = " ".join(str(error).split())[:300]
        raise OutputError(f"{path} cannot be written: {text}; is the disk full or the folder read-only?") from error


def _errors_of_gdal() -> tuple[type[Exception], ...]:
    """What pyogrio raises, where it was imported at all: that takes a third of a second."""
    errors = sys.modules.get("pyogrio.errors")
    return () if errors is None else (errors.DataSourceError, errors.DataLayerError)


def _publish(path: Path, temporary: Path, overwrite: bool) -> None:
    style, temporary_style = style_of(path), style_of(temporary)
    files = [(temporary, path)]
    if style is not None and temporary_style is not None:
        files.insert(0, (temporary_style, style))
    for file, _ in files:
        sync(file)
    check_output(path, overwrite)
    if path.suffix.lower() in GEOPACKAGE:
        for suffix in _LOGS:  # a log of a file that is gone would be replayed into ours
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    for file, final in files:
        file.replace(final)
    with suppress(OSError):  # some network file systems cannot
        sync(path.parent)


def _check_replaceable(file: Path, overwrite: bool) -> None:
    if not overwrite:
        raise OutputExistsError(f"{file} exists; give --overwrite (overwrite=True) to replace it")
    if not os.access(file, os.W_OK):
        raise OutputError(f"{file} is read-only; make it writable, or choose another output")


def _allowed(name: str, prefix: str) -> str:
    """``name`` where a layer may have it, else the nearest that it may."""
    stripped = name.lstrip(_NEVER_FIRST)
    return f"{prefix}{stripped}" if not stripped or stripped.lower().startswith(_RESERVED) else stripped


def _distinct(name: str, c: ClassDef, taken: set[str]) -> str:
    """``name``, with the class id where SQLite takes it for one of ``taken``."""
    while name.lower() in taken:
        name = f"{name} ({c.id})"
    return name
