"""Features and their style into a GeoPackage: all of it under the final name, or nothing.

A GeoPackage is an SQLite file (https://www.geopackage.org/spec130/). Features go through GDAL, which keeps the R-tree;
the style goes into ``layer_styles``, the table in which QGIS keeps the styles of a database.
"""

from __future__ import annotations

import glob
import logging
import os
import secrets
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError

from geoseg.durable import sync
from geoseg.errors import GeosegError, OutputError, OutputExistsError
from geoseg.legend import Legend
from geoseg.polygons import Features
from geoseg.qgis import layer_qml

GEOMETRY_COLUMN = "geom"

# Beginnings of tables that GeoPackage, SQLite and QGIS keep for themselves; characters that GDAL refuses as the first.
_RESERVED = ("gpkg", "rtree_", "sqlite_", "layer_styles")
_NEVER_FIRST = "`~!@#$%^&*()+-={}|[]\\:\";'<>?,./ "

# The columns in the words of QGIS (QgsOgrProviderUtils); NULL instead of '' in the first two hides the style from it.
_CREATE_STYLES = """
    CREATE TABLE layer_styles (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, f_table_catalog TEXT(256),
    f_table_schema TEXT(256), f_table_name TEXT(256), f_geometry_column TEXT(256), styleName TEXT(30), styleQML TEXT,
    styleSLD TEXT, useAsDefault BOOLEAN, description TEXT, owner TEXT(30), ui TEXT(30),
    update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')))
"""
_REGISTER_STYLES = """
    INSERT INTO gpkg_contents (table_name, data_type, identifier, description, srs_id)
    VALUES ('layer_styles', 'attributes', 'layer_styles', '', 0)
"""
_INSERT_STYLE = """
    INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName, styleQML,
    styleSLD, useAsDefault, description, owner) VALUES ('', '', ?, ?, 'land cover', ?, '', 1, 'Classes by name', '')
"""

_log = logging.getLogger("geoseg")


def check_geopackage(path: Path, overwrite: bool) -> None:
    """See before any work whether a GeoPackage can be written.

    Raises:
        OutputExistsError: It exists and ``overwrite`` is not given.
        OutputError: It is no name for a GeoPackage; its folder is missing or read-only; or another program holds the
            existing file.
    """
    if path.suffix.lower() != ".gpkg":
        raise OutputError(f"{path} must end in .gpkg: polygons are written as GeoPackage")
    if "!" in str(path.absolute()):
        raise OutputError(f"{path}: GDAL takes what stands before a '!' for an archive; choose a path without one")
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise OutputError(f"the folder of {path} does not exist; create {path.parent} first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(f"the folder {path.parent} is read-only; choose another one for {path.name}")
    if path.exists():
        if not overwrite:
            raise OutputExistsError(f"{path} exists; give --overwrite (overwrite=True) to replace it")
        _check_unused(path)


def layer_name(path: Path) -> str:
    """The layer of the GeoPackage ``path``: named as the file, where a layer may have that name."""
    name = path.stem.lstrip(_NEVER_FIRST)
    return f"land_cover_{name}" if not name or name.lower().startswith(_RESERVED) else name


class LayerWriter:
    """Appends features to the one layer of a GeoPackage that is being written."""

    def __init__(self, path: Path, temporary: Path, crs_wkt: str | None, description: str) -> None:
        self.layer = layer_name(path)
        self.temporary = temporary
        self.count = 0
        self._path = path
        self._created = False
        self._crs_wkt = crs_wkt
        self._layer_options = {
            "GEOMETRY_NAME": GEOMETRY_COLUMN,
            "SPATIAL_INDEX": "YES",
            "IDENTIFIER": self.layer,
            "DESCRIPTION": description,
        }

    def write(self, features: Features) -> None:
        """Append ``features``; the first call, which may bring none, creates the layer and fixes its fields.

        Raises:
            OutputError: They cannot be written.
        """
        columns: dict[str, Any] = {
            "class_id": features.class_id,
            "class_name": features.class_name,
            "area_m2": features.area_m2,
            "perimeter_m": features.perimeter_m,
            "pixel_count": features.pixel_count,
        }
        if features.mean_confidence is not None:
            columns["mean_confidence"] = features.mean_confidence
        # 1.4, the default of newer GDAL, makes QGIS 3.22 warn.
        creation = {"dataset_options": {"VERSION": "1.3"}, "layer_options": self._layer_options}
        with _write_errors(self._path), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="'crs' was not provided", category=UserWarning)
            pyogrio.raw.write(
                self.temporary,
                np.asarray(shapely.to_wkb(features.polygons), object),
                list(columns.values()),
                list(columns),
                layer=self.layer,
                driver="GPKG",
                geometry_type="Polygon",
                crs=self._crs_wkt,
                append=self._created,
                **({} if self._created else creation),
            )
        self._created = True
        self.count += len(features)


@contextmanager
def write_geopackage(
    path: Path, legend: Legend, crs_wkt: str | None, *, description: str = "", overwrite: bool = False
) -> Iterator[LayerWriter]:
    """Write a GeoPackage with one layer of polygons, named as the file, styled by ``legend``.

    The file is made beside ``path`` under another name and takes its place when the block ends without an error.

    Args:
        path: Output, ending in .gpkg.
        legend: Names and colours of the classes.
        crs_wkt: CRS of the polygons, of any kind; None for undefined.
        description: What the layer is, for catalogues.
        overwrite: Replace an existing file as a whole, all its layers included.

    Raises:
        OutputExistsError: ``path`` exists and ``overwrite`` is not given.
        OutputError: The output cannot be written: read-only, in use, disk full. What was there before still is.
    """
    check_geopackage(path, overwrite)
    temporary = path.with_name(f".{path.stem[:150]}.{secrets.token_hex(4)}.gpkg")
    try:
        writer = LayerWriter(path, temporary, crs_wkt, description)
        yield writer
        with _write_errors(path):
            _finish(writer, legend)
            sync(temporary)
            check_geopackage(path, overwrite)
            for suffix in ("-wal", "-shm", "-journal"):  # a log of a file that is gone would be replayed into ours
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            temporary.replace(path)
            with suppress(OSError):  # some network file systems cannot
                sync(path.parent)
    finally:
        for left in path.parent.glob(f"{glob.escape(temporary.name)}*"):
            left.unlink(missing_ok=True)


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    """What goes wrong while ``path`` is written is an OutputError."""
    try:
        yield
    except GeosegError:
        raise
    except (DataSourceError, DataLayerError, sqlite3.Error, OSError) as error:
        text = " ".join(str(error).split())[:300]
        raise OutputError(f"{path} cannot be written: {text}; is the disk full or the folder read-only?") from error


def _finish(writer: LayerWriter, legend: Legend) -> None:
    """Add the style, and see that every feature arrived: GDAL may only mention what it could not write."""
    with closing(sqlite3.connect(writer.temporary)) as connection:
        (stored,) = connection.execute(f"SELECT count(*) FROM {_identifier(writer.layer)}").fetchone()
        if stored != writer.count:
            raise OutputError(f"only {stored} of {writer.count} polygons could be stored; is the disk full?")
        with connection:
            connection.execute(_CREATE_STYLES)
            connection.execute(_REGISTER_STYLES)
            connection.execute(_INSERT_STYLE, (writer.layer, GEOMETRY_COLUMN, layer_qml(legend)))
        connection.execute("PRAGMA journal_mode=DELETE")


def _check_unused(path: Path) -> None:
    """See that no other program holds the file: replacing it beside a live write-ahead log would corrupt the new one.

    Raises:
        OutputError: It is held, or read-only.
    """
    if not os.access(path, os.W_OK):
        raise OutputError(f"{path} is read-only; make it writable, or choose another output")
    uri = f"{path.resolve().as_uri()}?mode=rw"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=0, isolation_level=None)) as connection:
            # Leaving write-ahead logging, in which QGIS opens files, takes the only connection there is.
            connection.execute("PRAGMA journal_mode=DELETE")
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        raise OutputError(f"{path} is in use ({error}); close it in QGIS and other programs, then try again") from error
    except sqlite3.DatabaseError as error:
        if path.stat().st_size:
            raise OutputError(f"{path} is no GeoPackage but something else; choose another output") from error


def _identifier(name: str) -> str:
    """``name`` quoted for SQL."""
    return '"' + name.replace('"', '""') + '"'
