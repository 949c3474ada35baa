"""GeoPackages: layers of features, their spatial index, and their style.

A GeoPackage is an SQLite file (https://www.geopackage.org/spec130/). GDAL makes it, with empty layers; the rows of
features and index are written as pages, at several times its speed; the style goes into ``layer_styles``, the table in
which QGIS keeps the styles of a database.
"""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import OutputError
from geoseg.legend import Legend
from geoseg.qgis import layer_qml
from geoseg.vectors.description import GEOMETRY, Description
from geoseg.vectors.features import Features
from geoseg.vectors.pages import Bytes, Integers, PageFile, TableBuilder
from geoseg.vectors.records import feature_records
from geoseg.vectors.rtree import RTreeBuilder, outward

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
_SET_EXTENT = "UPDATE gpkg_contents SET min_x = ?, max_x = ?, min_y = ?, max_y = ? WHERE table_name = ?"
_SET_COUNT = "UPDATE gpkg_ogr_contents SET feature_count = ? WHERE table_name = ?"
_SET_LAST_ID = "INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)"


class GeoPackageSink:
    """Writes a GeoPackage at ``path``, which does not exist yet. Layers may take turns."""

    def __init__(self, path: Path, description: Description) -> None:
        self._path = path
        self._description = description

    def consume(self, batches: Iterator[tuple[Features, int]]) -> None:
        """Write all features, each with the index of its layer."""
        self._create()
        names, name_offsets = _packed_names(self._description.legend)
        multi = self._description.multi
        places = [self._find(layer) for layer in self._description.layers]
        with PageFile(self._path) as file:
            layers = [_Layer(file, place) for place in places]
            for features, index in batches:
                layer = layers[index]
                layer.append(*feature_records(features, names, name_offsets, layer.srs_id, multi))
            for layer in layers:
                layer.finish()
        with closing(sqlite3.connect(self._path)) as connection, connection:
            for name, layer in zip(self._description.layers, layers, strict=True):
                self._describe(connection, name, layer)
            self._add_styles(connection)

    def stored(self) -> list[int]:
        """How many features SQLite finds in each layer."""
        with closing(sqlite3.connect(self._path)) as connection:
            counts = (
                connection.execute(f"SELECT count(*) FROM {_identifier(layer)}") for layer in self._description.layers
            )
            return [int(count.fetchone()[0]) for count in counts]

    def _create(self) -> None:
        """The file with its empty layers."""
        import pyogrio  # here, in a thread, because it takes a third of a second

        about = self._description
        values: dict[str, type] = {"class_name": np.object_, "class_id": np.int32, "pixel_count": np.int64}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="'crs' was not provided", category=UserWarning)
            for index, layer in enumerate(about.layers):
                # 1.4, the default of newer GDAL, makes QGIS 3.22 warn.
                creation = {} if index else {"dataset_options": {"VERSION": "1.3"}}
                pyogrio.raw.write(
                    self._path,
                    np.zeros(0, object),
                    [np.zeros(0, values.get(name, np.float64)) for name in about.columns],
                    list(about.columns),
                    layer=layer,
                    driver="GPKG",
                    geometry_type=about.geometry_type,
                    crs=about.crs_wkt,
                    append=index > 0,
                    layer_options={
                        "GEOMETRY_NAME": GEOMETRY,
                        "SPATIAL_INDEX": "YES",
                        "IDENTIFIER": layer,
                        "DESCRIPTION": about.text,
                    },
                    **creation,
                )
        _make_plain(self._path)

    def _find(self, layer: str) -> _Place:
        """Where the tables of an empty layer are, as GDAL has made them."""
        index = f"rtree_{layer}_{GEOMETRY}"
        with closing(sqlite3.connect(self._path)) as connection:
            found = [row[1] for row in connection.execute(f"PRAGMA table_info({_identifier(layer)})")]
            expected = ["fid", GEOMETRY, *self._description.columns]
            roots = dict(connection.execute("SELECT name, rootpage FROM sqlite_master WHERE type = 'table'"))
            (node_size,) = connection.execute(f"SELECT length(data) FROM {_identifier(index + '_node')}").fetchone()
            srs = "SELECT srs_id FROM gpkg_geometry_columns WHERE table_name = ?"
            (srs_id,) = connection.execute(srs, (layer,)).fetchone()
        if found != expected:
            raise OutputError(f"GDAL made a layer of {', '.join(found)}, not of {', '.join(expected)}")
        rowid, node, parent = (roots[f"{index}_{table}"] for table in ("rowid", "node", "parent"))
        return _Place(roots[layer], rowid, node, parent, node_size, srs_id)

    def _describe(self, connection: sqlite3.Connection, name: str, layer: _Layer) -> None:
        """What GDAL and QGIS want to know of a layer without reading it."""
        if layer.count:
            connection.execute(_SET_EXTENT, (*layer.extent.tolist(), name))
            connection.execute(_SET_LAST_ID, (name, layer.count))
        connection.execute(_SET_COUNT, (layer.count, name))

    def _add_styles(self, connection: sqlite3.Connection) -> None:
        connection.execute(_CREATE_STYLES)
        connection.execute(_REGISTER_STYLES)
        for layer, classes in zip(self._description.layers, self._description.styles, strict=True):
            connection.execute(_INSERT_STYLE, (layer, GEOMETRY, layer_qml(classes)))


@dataclass(frozen=True, slots=True)
class _Place:
    """Root pages of a layer's table and of the three of its index; the size of an index node; the id of its CRS."""

    features: int
    rowid: int
    node: int
    parent: int
    node_size: int
    srs_id: int


class _Layer:
    """The rows of one layer and its index, as they are written.

    Attributes:
        srs_id: Of its CRS in the file.
        extent: (4,) min x, max x, min y, max y of what was written.
    """

    def __init__(self, file: PageFile, place: _Place) -> None:
        self.srs_id = place.srs_id
        self.extent = np.array([np.inf, -np.inf, np.inf, -np.inf])
        self._rows = TableBuilder(file, place.features)
        self._index = RTreeBuilder(
            TableBuilder(file, place.rowid),
            TableBuilder(file, place.node),
            TableBuilder(file, place.parent, first=2),
            place.node_size,
        )

    @property
    def count(self) -> int:
        """Features so far."""
        return self._rows.last

    def append(self, records: Bytes, offsets: Integers, envelopes: NDArray[np.float64]) -> None:
        """Append features as :func:`feature_records` gives them."""
        self._rows.append(records, offsets)
        self._index.append(outward(envelopes))
        if len(envelopes):
            low, high = envelopes.min(axis=0), envelopes.max(axis=0)
            self.extent[0::2] = np.minimum(self.extent[0::2], low[0::2])
            self.extent[1::2] = np.maximum(self.extent[1::2], high[1::2])

    def finish(self) -> None:
        """Complete the tables."""
        self._rows.finish()
        self._index.finish()


def _make_plain(path: Path) -> None:
    """Undo what environment variables may have told GDAL: write-ahead logging, and maps of pages between the pages."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        if connection.execute("PRAGMA auto_vacuum").fetchone() != (0,):
            connection.execute("PRAGMA auto_vacuum=NONE")
            connection.execute("VACUUM")


def check_unused(path: Path) -> None:
    """See that no other program holds a GeoPackage: replacing it beside a live log would corrupt the new one.

    Raises:
        OutputError: It is held, or is something else.
    """
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


def _packed_names(legend: Legend) -> tuple[Bytes, Integers]:
    """Names of the classes in UTF-8, one after the other by id; (257,) where that of each id begins and ends."""
    names = {c.id: c.name.encode() for c in legend}
    offsets = np.zeros(257, np.int64)
    np.cumsum([len(names.get(i, b"")) for i in range(256)], out=offsets[1:])
    packed = b"".join(names[i] for i in sorted(names))
    return np.frombuffer(bytearray(packed), np.uint8), offsets  # writable: one version of the compiled code


def _identifier(name: str) -> str:
    """``name`` quoted for SQL."""
    return '"' + name.replace('"', '""') + '"'
