"""Vector files: what is in a GeoPackage, and what happens when writing goes wrong, in every format."""

from __future__ import annotations

import os
import sqlite3
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pyogrio
import pyproj
import pytest
import shapely
from vector_files import LEGEND, UTM, fail, features_of, make_features, names_in, query, write

from geoseg.errors import OutputError, OutputExistsError, ParameterError
from geoseg.legend import ClassDef, Legend
from geoseg.qgis import raster_qml
from geoseg.vectors import SUFFIXES, Features, check_output, layer_names, outputs, write_vectors

EVERY_FORMAT = pytest.mark.parametrize("suffix", SUFFIXES)


def files(suffix: str, stem: str = "lc") -> list[str]:
    """What an output of ``suffix`` consists of."""
    return [f"{stem}{suffix}"] if suffix == ".gpkg" else sorted([f"{stem}{suffix}", f"{stem}.qml"])


def threads_alive() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("geoseg-")]


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


@pytest.mark.parametrize("pragma", ["auto_vacuum=FULL", "auto_vacuum=INCREMENTAL", "page_size=1024"])
@pytest.mark.parametrize("journal", ["WAL", "TRUNCATE"])
def test_what_the_environment_tells_gdal_of_sqlite_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pragma: str, journal: str
) -> None:
    monkeypatch.setenv("OGR_SQLITE_PRAGMA", pragma)
    monkeypatch.setenv("OGR_SQLITE_JOURNAL", journal)
    write(tmp_path / "lc.gpkg", make_features(3000))
    assert query(tmp_path / "lc.gpkg", "PRAGMA integrity_check") == [("ok",)]
    assert query(tmp_path / "lc.gpkg", "SELECT rtreecheck('rtree_lc_geom')") == [("ok",)]
    assert query(tmp_path / "lc.gpkg", "PRAGMA journal_mode") == [("delete",)]
    assert names_in(tmp_path) == ["lc.gpkg"]


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


@EVERY_FORMAT
def test_existing_output_is_kept(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"lc{suffix}", make_features(1))
    before = (tmp_path / f"lc{suffix}").read_bytes()
    with pytest.raises(OutputExistsError, match="--overwrite"):
        write(tmp_path / f"lc{suffix}", make_features(2))
    assert (tmp_path / f"lc{suffix}").read_bytes() == before


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


@EVERY_FORMAT
def test_an_error_in_the_middle_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(OSError, match=r"^my own$"):
        write(tmp_path / f"lc{suffix}", make_features(5), then=fail)
    assert names_in(tmp_path) == []
    assert not threads_alive()


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
    monkeypatch.setattr(outputs.os, "access", lambda *_: False)
    with pytest.raises(OutputError, match="read-only"):
        check_output(tmp_path / "lc.gpkg", False)


@pytest.mark.parametrize("name", ["lc.tif", "lc", "missing/lc.gpkg", "missing/lc.fgb", "folder.gpkg"])
def test_names_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.gpkg").mkdir()
    with pytest.raises(OutputError):
        check_output(tmp_path / name, True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a\nb.gpkg", "line breaks"),
        ("a\tb.fgb", "line breaks"),
        ("\udcff.gpkg", "GDAL loses"),
        ("n" * 260 + ".gpkg", "247"),
    ],
)
def test_names_that_gdal_or_the_file_system_cannot_take(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(OutputError, match=message):
        check_output(tmp_path / name, False)
    check_output(tmp_path / "名\N{NO-BREAK SPACE}é.gpkg", False)


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file can grow beyond 300 kB."""
    resource = pytest.importorskip("resource", reason="this system has no limit on the size of files")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@EVERY_FORMAT
def test_full_disk(tmp_path: Path, suffix: str, full_disk: None) -> None:
    path = tmp_path / f"lc{suffix}"
    write(path, make_features(3))
    before = path.read_bytes()
    rng = np.random.default_rng(1)
    noise = [features_of(shapely.box(*rng.random((2, 10_000)), *rng.random((2, 10_000)) + 1)) for _ in range(5)]
    with pytest.raises(OutputError, match="disk full"):
        write(path, *noise, overwrite=True)
    assert path.read_bytes() == before
    assert names_in(tmp_path) == files(suffix)
    assert not threads_alive()


@EVERY_FORMAT
def test_lost_features_are_noticed(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(OutputError, match="only 5 of 6"):
        write(tmp_path / f"lc{suffix}", make_features(5), then=lambda writer: writer.counts.__setitem__(0, 6))
    assert names_in(tmp_path) == []


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    write(tmp_path / "lc.gpkg", make_features(1))
    (tmp_path / "plain").touch()
    assert os.stat(tmp_path / "lc.gpkg").st_mode == os.stat(tmp_path / "plain").st_mode  # noqa: PTH116


# Layers


def test_a_layer_for_each_class(tmp_path: Path) -> None:
    path = tmp_path / "lc.gpkg"
    layers = layer_names(path, LEGEND, split_by_class=True)
    assert layers == LEGEND.names
    with write_vectors(path, LEGEND, UTM, layers=layers) as writer:
        for count in (300, 0, 1, 2000):  # in turns
            writer.write(make_features(count), 0)
            writer.write(make_features(count + 1), 1)
        assert writer.counts == [2301, 2305]
    for number, (layer, count) in enumerate(zip(layers, (2301, 2305), strict=True)):
        table = layer.replace('"', '""')
        assert query(path, f'SELECT count(*), min(fid), max(fid) FROM "{table}"') == [(count, 1, count)]
        assert query(path, f'SELECT count(*) FROM "rtree_{table}_geom"') == [(count,)]
        assert query(path, f"SELECT rtreecheck('rtree_{layer.replace(chr(39), chr(39) * 2)}_geom')") == [("ok",)]
        found = pyogrio.read_dataframe(path, layer=layer)
        assert len(found) == count
        ((qml,),) = query(path, f"SELECT styleQML FROM layer_styles WHERE id = {number + 1}")
        assert [e.get("value") for e in ET.fromstring(str(qml)).iter("category")] == [layer]
    assert query(path, "SELECT f_table_name, useAsDefault FROM layer_styles ORDER BY id") == [(n, 1) for n in layers]
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    assert names_in(tmp_path) == ["lc.gpkg"]


def test_overwriting_replaces_all_layers_and_styles(tmp_path: Path) -> None:
    path = tmp_path / "lc.gpkg"
    with write_vectors(path, LEGEND, UTM, layers=["a", "b"]) as writer:
        writer.write(make_features(3), 1)
    write(path, make_features(2), overwrite=True)
    assert query(path, "SELECT f_table_name FROM layer_styles") == [("lc",)]
    assert [name for name, _ in pyogrio.list_layers(path)] == ["lc", "layer_styles"]


def test_names_of_classes_become_names_of_layers_that_sqlite_tells_apart(tmp_path: Path) -> None:
    names = ["Water", "water", "gpkg 1", "(no)", "-", "WATER (2)", "rtree_Water_geom"]
    legend = Legend(tuple(ClassDef(i, n, "#000000") for i, n in enumerate(names, start=1)))
    layers = layer_names(tmp_path / "lc.gpkg", legend, split_by_class=True)
    expected = ("Water", "water (2)", "class_gpkg 1", "no)", "class_", "WATER (2) (6)", "class_rtree_Water_geom")
    assert layers == expected
    with write_vectors(tmp_path / "lc.gpkg", legend, UTM, layers=layers) as writer:
        for i in range(len(names)):
            writer.write(make_features(i), i)
    for i, layer in enumerate(layers):
        assert pyogrio.read_info(tmp_path / "lc.gpkg", layer=layer)["features"] == i


@pytest.mark.parametrize("suffix", [".fgb", ".parquet", ".geoparquet"])
def test_other_formats_hold_one_layer(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"lc{suffix}"
    with pytest.raises(ParameterError, match=r"\.gpkg"):
        layer_names(path, LEGEND, split_by_class=True)
    with pytest.raises(ParameterError, match=r"\.gpkg"), write_vectors(path, LEGEND, UTM, layers=["a", "b"]):
        pass
    assert names_in(tmp_path) == []


# What is handed over


def test_features_are_those_announced(tmp_path: Path) -> None:
    with write_vectors(tmp_path / "lc.gpkg", LEGEND, UTM) as writer:
        with pytest.raises(ParameterError, match="confidence"):
            writer.write(make_features(1, confidence=True))
        with pytest.raises(ParameterError, match="layer 1"):
            writer.write(make_features(1), 1)
        other = make_features(2)
        other.class_id[1] = 7
        with pytest.raises(ParameterError, match="not all in the legend"):
            writer.write(other)
    assert query(tmp_path / "lc.gpkg", "SELECT count(*) FROM lc") == [(0,)]


def test_features_fit_together() -> None:
    good = make_features(3)
    with pytest.raises(ValueError, match="as many values"):
        Features(good.wkb, good.offsets, good.class_id[:2], good.area_m2, good.perimeter_m, good.pixel_count)
    with pytest.raises(ValueError, match="offsets"):
        Features(good.wkb[:-1], good.offsets, good.class_id, good.area_m2, good.perimeter_m, good.pixel_count)


def test_choosing_features_takes_the_memory_of_those_chosen() -> None:
    size = 4_000_000
    wkb, offsets = np.arange(3 * size, dtype=np.uint32).astype(np.uint8), np.arange(4) * size
    numbers = np.arange(3.0)
    features = Features(wkb, offsets, np.ones(3, np.int32), numbers, numbers, np.arange(3))
    features.take(np.array([0]))  # compiles
    tracemalloc.start()
    chosen = features.take(np.array([2, 0]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(chosen.wkb, np.concatenate([wkb[2 * size :], wkb[:size]]))
    assert chosen.area_m2.tolist() == [2, 0]
    assert peak < 2.5 * size


@pytest.mark.parametrize("suffix", [".gpkg", ".parquet"])
@pytest.mark.parametrize("geometry", [shapely.MultiPolygon([shapely.box(0, 0, 1, 1)]), shapely.Point(0, 0)])
def test_a_geometry_of_another_type_is_refused(tmp_path: Path, suffix: str, geometry: shapely.Geometry) -> None:
    wrong = features_of(np.array([shapely.box(0, 0, 1, 1), geometry], object))
    with pytest.raises(ValueError, match="geometry 1 is no little-endian polygon"):
        write(tmp_path / f"lc{suffix}", wrong)
    assert names_in(tmp_path) == []


def test_truncated_geometry_is_refused(tmp_path: Path) -> None:
    good = make_features(1)
    for length in (9, 12, 40, len(good.wkb) - 1):
        cut = Features(
            good.wkb[:length], np.array([0, length]), good.class_id, good.area_m2, good.perimeter_m, good.pixel_count
        )
        with pytest.raises(ValueError, match="geometry 0"):
            write(tmp_path / "lc.gpkg", cut)
    assert names_in(tmp_path) == []


@EVERY_FORMAT
def test_an_interrupt_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / f"lc{suffix}", *[make_features(100)] * 20, then=interrupt)
    assert names_in(tmp_path) == []
    assert not threads_alive()


# Beside the file


@pytest.mark.parametrize("suffix", [".fgb", ".parquet", ".geoparquet"])
def test_the_style_lies_beside_what_cannot_hold_it(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"lc{suffix}", make_features(3))
    assert names_in(tmp_path) == files(suffix)
    root = ET.parse(tmp_path / "lc.qml").getroot()
    assert [e.get("value") for e in root.iter("category")] == list(LEGEND.names)


@pytest.mark.parametrize("suffix", [".fgb", ".parquet"])
def test_the_style_of_a_raster_is_never_replaced(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "lc.qml").write_text(raster_qml(LEGEND), encoding="utf-8")
    for overwrite, problem in ((False, OutputExistsError), (True, OutputError)):
        with pytest.raises(problem, match=r"lc\.qml"):
            write(tmp_path / f"lc{suffix}", make_features(3), overwrite=overwrite)
    assert (tmp_path / "lc.qml").read_text(encoding="utf-8") == raster_qml(LEGEND)
    write(tmp_path / "lc.gpkg", make_features(3))
    assert names_in(tmp_path) == ["lc.gpkg", "lc.qml"]


def test_a_read_only_output_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "lc.fgb", make_features(1))
    monkeypatch.setattr(outputs.os, "access", lambda path, _: Path(path).is_dir())
    with pytest.raises(OutputError, match="is read-only"):
        check_output(tmp_path / "lc.fgb", True)
