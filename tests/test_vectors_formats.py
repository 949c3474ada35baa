"""The same polygons in every format: what readers find, with shapely, GDAL and geopandas as referees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyogrio
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from vector_files import LEGEND, UTM, features_of, make_features, query, squares, write

from geoseg.vectors import SUFFIXES, write_vectors

pq = pytest.importorskip("pyarrow.parquet")

EVERY_FORMAT = pytest.mark.parametrize("suffix", SUFFIXES)
WITH_HOLES = shapely.box(0, 0, 9, 9).difference(
    shapely.MultiPolygon([shapely.box(1, 1, 2, 2), shapely.box(4, 4, 8, 5)])
)


def read(path: Path) -> Any:
    """A GeoDataFrame, ordered by geometry: FlatGeobuf orders by place."""
    if path.suffix in (".parquet", ".geoparquet"):
        found = geopandas.read_parquet(path)
    else:
        found = pyogrio.read_dataframe(path, layer=path.stem)
    return found.iloc[np.lexsort(shapely.bounds(found.geometry.to_numpy()).T)]


def many_cornered(corners: int) -> shapely.Polygon:
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return shapely.Polygon(np.stack([np.cos(angle), np.sin(angle)], axis=1) * 1e6)


@EVERY_FORMAT
@pytest.mark.parametrize("multi", [False, True])
def test_every_format_gives_back_what_it_got(tmp_path: Path, suffix: str, multi: bool) -> None:
    path = tmp_path / f"lc{suffix}"
    shapes: list[shapely.Geometry] = [*squares(4), shapely.transform(WITH_HOLES, lambda p: p + 100)]
    shapes.append(shapely.transform(many_cornered(3000), lambda p: p + 1e8))
    if multi:
        shapes = [shapely.MultiPolygon([g, shapely.transform(g, lambda p: p + np.array([0, 1e9]))]) for g in shapes]
    given_shapes = np.array(shapes, object)
    with write_vectors(path, LEGEND, UTM, multi=multi, confidence=True) as writer:
        writer.write(features_of(given_shapes[:4], True))
        writer.write(features_of(given_shapes[4:], True))
    found = read(path)
    assert list(found.columns) == [
        "class_id", "class_name", "area_m2", "perimeter_m", "pixel_count", "mean_confidence", "geometry",
    ]  # fmt: skip
    assert all(a.equals_exact(b) or a.normalize() == b.normalize() for a, b in zip(found.geometry, shapes, strict=True))
    assert found["class_id"].tolist() == [1, 2, 1, 2, 1, 2]
    assert found["class_name"].tolist() == [LEGEND.names[i] for i in (0, 1, 0, 1, 0, 1)]
    assert found["class_id"].dtype == np.int32
    assert found["pixel_count"].tolist() == [2**40] * 6
    assert found["area_m2"].tolist() == [1.5] * 6
    assert found["mean_confidence"].isna().tolist() == [False, True] * 3
    assert found.crs == pyproj.CRS.from_epsg(32633)
    assert set(found.geometry.geom_type) == {"MultiPolygon" if multi else "Polygon"}


@EVERY_FORMAT
def test_no_features_and_no_crs(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"lc{suffix}", make_features(0), crs_wkt=None)
    found = read(tmp_path / f"lc{suffix}")
    assert len(found) == 0
    assert found.crs is None
    assert list(found.columns)[:2] == ["class_id", "class_name"]


@EVERY_FORMAT
@pytest.mark.parametrize(
    "wkt",
    [
        pyproj.CRS.from_proj4("+proj=laea +lat_0=47.3 +lon_0=11.1 +x_0=7 +ellps=GRS80 +units=m").to_wkt(),
        'LOCAL_CS["site",UNIT["metre",1],AXIS["x",EAST],AXIS["y",NORTH]]',
        pyproj.CRS.from_epsg(4326).to_wkt(),
    ],
    ids=["no EPSG code", "local", "geographic"],
)
def test_any_crs_is_kept(tmp_path: Path, suffix: str, wkt: str) -> None:
    write(tmp_path / f"lc{suffix}", make_features(1), crs_wkt=wkt)
    found = read(tmp_path / f"lc{suffix}").crs
    assert found.equals(pyproj.CRS.from_wkt(wkt), ignore_axis_order=True) or found.is_engineering


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb"])
def test_the_index_finds_what_a_search_finds(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(5)
    low = rng.random((3000, 2)) * 1000 + 4e6  # where float32 has steps of half a metre
    shapes = shapely.box(*low.T, *(low + rng.random((3000, 2)) * 20).T)
    write(tmp_path / f"lc{suffix}", features_of(shapes[:1000]), features_of(shapes[1000:]))
    for _ in range(20):
        x, y = rng.random(2) * 1000 + 4e6
        box = (x, y, x + rng.random() * 30, y + rng.random() * 30)
        found = pyogrio.read_dataframe(tmp_path / f"lc{suffix}", layer="lc", bbox=box)
        assert len(found) == np.count_nonzero(shapely.intersects(shapes, shapely.box(*box)))


def test_a_geopackage_says_where_it_is_and_how_many_it_holds(tmp_path: Path) -> None:
    write(tmp_path / "lc.gpkg", make_features(3), features_of(np.array([WITH_HOLES], object)))
    extent = "SELECT min_x, min_y, max_x, max_y FROM gpkg_contents WHERE table_name = 'lc'"
    assert query(tmp_path / "lc.gpkg", extent) == [(0, 0, 9, 9)]
    assert query(tmp_path / "lc.gpkg", "SELECT feature_count FROM gpkg_ogr_contents") == [(4,)]
    assert query(tmp_path / "lc.gpkg", "SELECT seq FROM sqlite_sequence WHERE name = 'lc'") == [(4,)]


def test_a_geopackage_can_be_edited_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "lc.gpkg"
    write(path, make_features(2000))
    more = pyogrio.read_dataframe(path, layer="lc", max_features=500)
    pyogrio.write_dataframe(more, path, layer="lc", append=True)
    assert query(path, "SELECT count(*), max(fid) FROM lc") == [(2500, 2500)]
    assert query(path, "SELECT count(*) FROM rtree_lc_geom") == [(2500,)]
    assert query(path, "SELECT rtreecheck('rtree_lc_geom')") == [("ok",)]
    assert query(path, "PRAGMA integrity_check") == [("ok",)]


@given(st.lists(st.integers(3, 1500), max_size=30), st.integers(1, 30))
@settings(max_examples=25, deadline=None)
def test_a_geopackage_holds_polygons_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, corners: list[int], batch: int
) -> None:
    path = tmp_path_factory.mktemp("any") / "lc.gpkg"
    shapes: NDArray[np.object_] = np.array([many_cornered(n) for n in corners] + [None], object)[:-1]
    write(path, *[features_of(shapes[i : i + batch]) for i in range(0, len(shapes), batch)])
    found = pyogrio.raw.read(path, layer="lc", read_geometry=True)[2]
    assert [shapely.get_num_coordinates(g) for g in shapely.from_wkb(found)] == [n + 1 for n in corners]
    assert query(path, "PRAGMA integrity_check") == [("ok",)]
    assert query(path, "SELECT rtreecheck('rtree_lc_geom')") == [("ok",)]


# GeoParquet


def test_geoparquet_keeps_its_specification(tmp_path: Path) -> None:
    path = tmp_path / "lc.parquet"
    write(path, make_features(3), features_of(np.array([WITH_HOLES], object)))
    file = pq.ParquetFile(path)
    geo = json.loads(file.metadata.metadata[b"geo"])
    assert (geo["version"], geo["primary_column"], list(geo["columns"])) == ("1.1.0", "geometry", ["geometry"])
    column = geo["columns"]["geometry"]
    assert (column["encoding"], column["geometry_types"], column["bbox"]) == ("WKB", ["Polygon"], [0, 0, 9, 9])
    assert pyproj.CRS.from_json_dict(column["crs"]) == pyproj.CRS.from_epsg(32633)
    assert column["covering"]["bbox"] == {s: ["bbox", s] for s in ("xmin", "ymin", "xmax", "ymax")}
    names = [file.schema.column(i).path for i in range(len(file.schema.names))]
    assert {"geometry", "bbox.xmin", "bbox.ymin", "bbox.xmax", "bbox.ymax"} <= set(names)
    assert file.schema.column(names.index("geometry")).physical_type == "BYTE_ARRAY"
    wkb = pq.read_table(path).column("geometry").to_pylist()
    assert [w[:5] for w in wkb] == [b"\x01\x03\x00\x00\x00"] * 4


def test_geoparquet_without_polygons_or_crs(tmp_path: Path) -> None:
    write(tmp_path / "lc.parquet", crs_wkt=None)
    geo = json.loads(pq.read_metadata(tmp_path / "lc.parquet").metadata[b"geo"])
    assert geo["columns"]["geometry"]["crs"] is None  # absent, it would mean longitude and latitude
    assert "bbox" not in geo["columns"]["geometry"]


def test_geoparquet_boxes_hold_their_polygons(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    low = rng.random((500, 2)) * 1e6 + 4e6
    shapes = shapely.box(*low.T, *(low + 3.3).T)
    write(tmp_path / "lc.parquet", features_of(shapes))
    box = pq.read_table(tmp_path / "lc.parquet").column("bbox").combine_chunks().flatten()
    west, east, south, north = (np.asarray(side) for side in box)
    bounds = shapely.bounds(shapes)
    assert (west <= bounds[:, 0]).all() and (south <= bounds[:, 1]).all()  # noqa: PT018
    assert (east >= bounds[:, 2]).all() and (north >= bounds[:, 3]).all()  # noqa: PT018
    assert (east - west < 5).all()
    area = (low[0, 0], low[0, 1], low[0, 0] + 1, low[0, 1] + 1)
    assert len(geopandas.read_parquet(tmp_path / "lc.parquet", bbox=area)) == 1


def test_geoparquet_gathers_batches_into_row_groups(tmp_path: Path) -> None:
    write(tmp_path / "lc.parquet", *[make_features(1000)] * 70)
    sizes = [pq.ParquetFile(tmp_path / "lc.parquet").metadata.row_group(i).num_rows for i in range(2)]
    assert sizes == [66_000, 4000]
