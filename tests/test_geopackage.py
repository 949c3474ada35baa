"""GeoPackages: their tables, their style, and what happens when writing goes wrong."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pyogrio
import pyproj
import pytest
import shapely

from geoseg import geopackage
from geoseg.errors import OutputError, OutputExistsError
from geoseg.geopackage import LayerWriter, check_geopackage, write_geopackage
from geoseg.legend import Legend
from geoseg.polygons import Features

UTM = pyproj.CRS.from_epsg(32633).to_wkt()
LEGEND = Legend.from_names(['Water & <wet> "land"', "d'Or Köln 森林"])


def make_features(count: int, confidence: bool = False) -> Features:
    x = np.arange(count, dtype=np.float64)
    classes = np.arange(count) % 2
    return Features(
        polygons=np.asarray(shapely.box(x, 0, x + 1, 1), object).reshape(-1),
        class_id=(classes + 1).astype(np.int32),
        class_name=np.array(LEGEND.names, object)[classes],
        area_m2=np.full(count, 1.5),
        perimeter_m=np.full(count, 4.5),
        pixel_count=np.full(count, 2**40, np.int64),
        mean_confidence=np.where(classes == 0, 0.25, np.nan) if confidence else None,
    )


def write(
    path: Path,
    *batches: Features,
    crs_wkt: str | None = UTM,
    overwrite: bool = False,
    then: Callable[[LayerWriter], object] | None = None,
) -> None:
    with write_geopackage(path, LEGEND, crs_wkt, description="a <test>", overwrite=overwrite) as layer:
        for features in batches:
            layer.write(features)
        if then is not None:
            then(layer)


def fail(_: LayerWriter) -> None:
    raise OSError("my own")


def query(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def names_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_attributes_and_geometries_come_back(tmp_path: Path) -> None:
    write(tmp_path / "lc.gpkg", make_features(3, True), make_features(2, True))
    found = pyogrio.read_dataframe(tmp_path / "lc.gpkg", layer="lc")
    assert list(found.columns) == [
        "class_id", "class_name", "area_m2", "perimeter_m", "pixel_count", "mean_confidence", "geometry",
    ]  # fmt: skip
    assert found["class_id"].tolist() == [1, 2, 1, 1, 2]
    assert found["class_name"].tolist() == [LEGEND.names[i] for i in (0, 1, 0, 0, 1)]
    assert found["pixel_count"].tolist() == [2**40] * 5
    assert found["mean_confidence"].isna().tolist() == [False, True, False, False, True]
    assert found.geometry.iloc[2].equals(shapely.box(2, 0, 3, 1))
    assert found.crs == pyproj.CRS.from_epsg(32633)
    assert query(tmp_path / "lc.gpkg", "SELECT count(*) FROM lc WHERE mean_confidence IS NULL") == [(2,)]


def test_layer_is_indexed_and_described(tmp_path: Path) -> None:
    path = tmp_path / "land cover.gpkg"
    write(path, make_features(3), make_features(4))
    assert query(path, 'SELECT count(*) FROM "rtree_land cover_geom"') == [(7,)]
    assert query(path, "SELECT table_name, column_name, geometry_type_name FROM gpkg_geometry_columns") == [
        ("land cover", "geom", "POLYGON")
    ]
    contents = "SELECT table_name, data_type, identifier, description FROM gpkg_contents ORDER BY 1"
    assert query(path, contents) == [
        ("land cover", "features", "land cover", "a <test>"),
        ("layer_styles", "attributes", "layer_styles", ""),
    ]
    assert query(path, "PRAGMA user_version") == [(10300,)]
    assert query(path, "PRAGMA journal_mode") == [("delete",)]
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    assert names_in(tmp_path) == ["land cover.gpkg"]


def test_style_is_the_default_of_the_layer(tmp_path: Path) -> None:
    write(tmp_path / "lc.gpkg", make_features(1))
    row = "f_table_catalog, f_table_schema, f_table_name, f_geometry_column, useAsDefault, styleSLD"
    assert query(tmp_path / "lc.gpkg", f"SELECT {row} FROM layer_styles") == [("", "", "lc", "geom", 1, "")]
    ((qml,),) = query(tmp_path / "lc.gpkg", "SELECT styleQML FROM layer_styles")
    assert [e.get("value") for e in ET.fromstring(str(qml)).iter("category")] == list(LEGEND.names)
    assert query(tmp_path / "lc.gpkg", "SELECT srs_id FROM gpkg_contents WHERE table_name = 'layer_styles'") == [(0,)]


def test_no_features_are_a_valid_layer(tmp_path: Path) -> None:
    write(tmp_path / "lc.gpkg", make_features(0))
    info = pyogrio.read_info(tmp_path / "lc.gpkg", layer="lc")
    assert (info["features"], info["geometry_type"]) == (0, "Polygon")
    assert list(info["fields"])[:2] == ["class_id", "class_name"]


@pytest.mark.parametrize(
    "wkt",
    [
        pyproj.CRS.from_proj4("+proj=laea +lat_0=47.3 +lon_0=11.1 +x_0=7 +ellps=GRS80 +units=m").to_wkt(),
        'LOCAL_CS["site",UNIT["metre",1],AXIS["x",EAST],AXIS["y",NORTH]]',
        pyproj.CRS.from_user_input("EPSG:25832+5783").to_wkt(),
    ],
    ids=["no EPSG code", "local", "compound"],
)
def test_any_crs_is_kept(tmp_path: Path, wkt: str) -> None:
    write(tmp_path / "lc.gpkg", make_features(1), crs_wkt=wkt)
    found = pyproj.CRS.from_user_input(pyogrio.read_info(tmp_path / "lc.gpkg", layer="lc")["crs"])
    assert found.to_wkt("WKT1_GDAL").split('"')[1] == pyproj.CRS.from_wkt(wkt).to_wkt("WKT1_GDAL").split('"')[1]
    assert found.equals(pyproj.CRS.from_wkt(wkt), ignore_axis_order=True) or found.is_engineering


def test_no_crs_stays_undefined(tmp_path: Path) -> None:
    write(tmp_path / "lc.gpkg", make_features(1), crs_wkt=None)
    assert pyogrio.read_info(tmp_path / "lc.gpkg", layer="lc")["crs"] is None


@pytest.mark.parametrize("stem", ["ä ö 森", "it's", 'a"b', "a.b-c", "x[y]*", "1", "select"])
def test_any_file_name_is_a_layer_name(tmp_path: Path, stem: str) -> None:
    write(tmp_path / f"{stem}.gpkg", make_features(2))
    assert pyogrio.read_info(tmp_path / f"{stem}.gpkg", layer=stem)["features"] == 2
    assert query(tmp_path / f"{stem}.gpkg", "SELECT f_table_name FROM layer_styles") == [(stem,)]
    assert names_in(tmp_path) == [f"{stem}.gpkg"]


@pytest.mark.parametrize(
    ("stem", "layer"),
    [("[x]*", "x]*"), ("(copy) of a", "copy) of a"), ("-", "land_cover_"), ("GPKG_a", "land_cover_GPKG_a"),
     ("layer_styles", "land_cover_layer_styles")],
)  # fmt: skip
def test_names_that_a_layer_must_not_have(tmp_path: Path, stem: str, layer: str) -> None:
    write(tmp_path / f"{stem}.gpkg", make_features(2))
    assert pyogrio.read_info(tmp_path / f"{stem}.gpkg", layer=layer)["features"] == 2
    assert names_in(tmp_path) == [f"{stem}.gpkg"]


def test_existing_output_is_kept(tmp_path: Path) -> None:
    write(tmp_path / "lc.gpkg", make_features(1))
    before = (tmp_path / "lc.gpkg").read_bytes()
    with pytest.raises(OutputExistsError, match="--overwrite"):
        write(tmp_path / "lc.gpkg", make_features(2))
    assert (tmp_path / "lc.gpkg").read_bytes() == before


def test_overwriting_leaves_one_style(tmp_path: Path) -> None:
    write(tmp_path / "lc.gpkg", make_features(1))
    write(tmp_path / "lc.gpkg", make_features(2), overwrite=True)
    assert query(tmp_path / "lc.gpkg", "SELECT count(*) FROM layer_styles") == [(1,)]
    assert query(tmp_path / "lc.gpkg", "SELECT count(*) FROM lc") == [(2,)]


def test_overwriting_something_else(tmp_path: Path) -> None:
    (tmp_path / "lc.gpkg").write_text("no database")
    with pytest.raises(OutputError, match="is no GeoPackage"):
        write(tmp_path / "lc.gpkg", make_features(2), overwrite=True)
    assert (tmp_path / "lc.gpkg").read_text() == "no database"


def test_a_log_of_a_file_that_is_gone_is_not_replayed(tmp_path: Path) -> None:
    for suffix in ("-wal", "-shm", "-journal"):
        (tmp_path / f"lc.gpkg{suffix}").write_bytes(b"left behind")
    write(tmp_path / "lc.gpkg", make_features(2))
    assert names_in(tmp_path) == ["lc.gpkg"]
    assert query(tmp_path / "lc.gpkg", "SELECT count(*) FROM lc") == [(2,)]


def test_a_path_that_gdal_takes_for_an_archive(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="archive"):
        write(tmp_path / "a!b.gpkg", make_features(2))
    assert names_in(tmp_path) == []


def test_an_error_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"^my own$"):
        write(tmp_path / "lc.gpkg", make_features(5), then=fail)
    assert names_in(tmp_path) == []


def test_an_error_in_the_middle_keeps_the_old_file(tmp_path: Path) -> None:
    write(tmp_path / "lc.gpkg", make_features(3))
    with pytest.raises(OSError, match=r"^my own$"):
        write(tmp_path / "lc.gpkg", make_features(5), overwrite=True, then=fail)
    assert query(tmp_path / "lc.gpkg", "SELECT count(*) FROM lc") == [(3,)]
    assert names_in(tmp_path) == ["lc.gpkg"]


@pytest.mark.parametrize("journal", ["WAL", "DELETE"])
def test_a_file_in_use_is_not_replaced(tmp_path: Path, journal: str) -> None:
    path = tmp_path / "lc.gpkg"
    write(path, make_features(3))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute(f"PRAGMA journal_mode={journal}")
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM lc").fetchone()
        with pytest.raises(OutputError, match=r"in use.*close it"):
            write(path, make_features(5), overwrite=True)
        assert other.execute("SELECT count(*) FROM lc").fetchone() == (3,)
    write(path, make_features(5), overwrite=True)
    assert query(path, "SELECT count(*) FROM lc") == [(5,)]
    assert names_in(tmp_path) == ["lc.gpkg"]


def test_a_file_taken_into_use_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "lc.gpkg"
    write(path, make_features(3))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        with pytest.raises(OutputError, match="in use"):
            write(path, make_features(5), overwrite=True, then=lambda _: other.execute("BEGIN IMMEDIATE"))
        other.execute("ROLLBACK")
    assert query(path, "SELECT count(*) FROM lc") == [(3,)]


def test_a_stale_log_does_not_reach_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "lc.gpkg"
    write(path, make_features(3))
    # What a crash of QGIS leaves: changes in a write-ahead log whose connection is gone.
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode=WAL")
        other.execute("DELETE FROM layer_styles")
        left = {name: (tmp_path / name).read_bytes() for name in ("lc.gpkg", "lc.gpkg-wal")}
    for name, content in left.items():
        (tmp_path / name).write_bytes(content)
    write(path, make_features(5), overwrite=True)
    assert names_in(tmp_path) == ["lc.gpkg"]
    assert query(path, "SELECT count(*) FROM layer_styles") == [(1,)]


def test_read_only_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Faked: permissions do not bind the administrator, under whom tests may run.
    monkeypatch.setattr(geopackage.os, "access", lambda *_: False)
    with pytest.raises(OutputError, match="read-only"):
        check_geopackage(tmp_path / "lc.gpkg", False)


@pytest.mark.parametrize("name", ["lc.tif", "lc", "missing/lc.gpkg", "folder.gpkg"])
def test_names_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.gpkg").mkdir()
    with pytest.raises(OutputError):
        check_geopackage(tmp_path / name, True)


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file can grow beyond 300 kB."""
    resource = pytest.importorskip("resource", reason="this system has no limit on the size of files")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_full_disk(tmp_path: Path, full_disk: None) -> None:
    write(tmp_path / "lc.gpkg", make_features(3))
    with pytest.raises(OutputError, match="disk full"):
        write(tmp_path / "lc.gpkg", *[make_features(2000)] * 5, overwrite=True)
    assert query(tmp_path / "lc.gpkg", "SELECT count(*) FROM lc") == [(3,)]
    assert names_in(tmp_path) == ["lc.gpkg"]


def test_lost_features_are_noticed(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="only 5 of 6"):
        write(tmp_path / "lc.gpkg", make_features(5), then=lambda layer: setattr(layer, "count", 6))
    assert names_in(tmp_path) == []


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    write(tmp_path / "lc.gpkg", make_features(1))
    (tmp_path / "plain").touch()
    assert os.stat(tmp_path / "lc.gpkg").st_mode == os.stat(tmp_path / "plain").st_mode  # noqa: PTH116
