"""vectorize(): from the class raster on disk to the GeoPackage on disk."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pyproj
import pytest
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize
from scipy import ndimage

from geoseg import memory
from geoseg.errors import (
    GeosegError,
    OutputError,
    OutputExistsError,
    ParameterError,
    RasterError,
    ResourceError,
)
from geoseg.grids import Grid, GroundControlPoint
from geoseg.legend import Legend
from geoseg.rasters import write_class_raster, write_confidence_raster
from geoseg.tiling import Window
from geoseg.vectorization import vectorize

UTM = pyproj.CRS.from_epsg(32633).to_wkt()
NORTH_UP = Affine(10, 0, 500000, 0, -10, 5000000)
LEGEND = Legend.from_names(["Water & <wet>", 'Forest "old"', "Köln 森林", "d'Or"])


def make_labels(height: int = 60, width: int = 80) -> NDArray[np.uint8]:
    rng = np.random.default_rng(1)
    scores = [ndimage.gaussian_filter(rng.standard_normal((height, width)), 2) for _ in LEGEND]
    labels = (np.argmax(scores, axis=0) + 1).astype(np.uint8)
    labels[:10, :15] = 0
    labels[30:33, 40:44] = 0
    return labels


def save(folder: Path, labels: NDArray[np.uint8], grid: Grid | None = None, **tags: str) -> Path:
    path = folder / "lc.tif"
    with write_class_raster(path, grid or Grid(UTM, NORTH_UP, *labels.shape), LEGEND, tags=tags) as writer:
        writer.write(Window(0, 0, *labels.shape), labels)
    return path


def save_confidence(path: Path, values: NDArray[np.uint8], grid: Grid | None = None) -> Path:
    with write_confidence_raster(path, grid or Grid(UTM, NORTH_UP, *values.shape)) as writer:
        writer.write(Window(0, 0, *values.shape), values)
    return path


def load(path: Path) -> Any:
    return pyogrio.read_dataframe(path, layer=path.stem)


def burn(found: Any, shape: tuple[int, int], transform: Affine) -> NDArray[Any]:
    return rasterize(zip(found.geometry, found["class_id"], strict=True), shape, transform=transform, dtype="uint8")


PLACES = {
    "projected": Grid(UTM, NORTH_UP, 60, 80),
    "not square": Grid(UTM, Affine(10, 0, 500000, 0, -4, 5000000), 60, 80),
    "south up": Grid(UTM, Affine(10, 0, 500000, 0, 10, 5000000), 60, 80),
    "rotated": Grid(UTM, Affine(8.6, 5.1, 5e5, 5.1, -8.6, 5e6), 60, 80),
    "geographic": Grid(pyproj.CRS.from_epsg(4326).to_wkt(), Affine(1e-3, 0, 11, 0, -1e-3, 60), 60, 80),
    "dateline": Grid(pyproj.CRS.from_epsg(4326).to_wkt(), Affine(1e-3, 0, 179.95, 0, -1e-3, 60), 60, 80),
    "mercator": Grid(pyproj.CRS.from_epsg(3857).to_wkt(), Affine(10, 0, 1e6, 0, -10, 8e6), 60, 80),
    "no code": Grid(pyproj.CRS.from_proj4("+proj=laea +lat_0=47.3 +lon_0=11.1").to_wkt(), NORTH_UP, 60, 80),
    "no crs": Grid(None, NORTH_UP, 60, 80),
}


@pytest.mark.parametrize("place", PLACES)
def test_polygons_rasterize_back_to_the_labels(tmp_path: Path, place: str) -> None:
    grid, labels = PLACES[place], make_labels()
    path = save(tmp_path, labels, grid)
    assert vectorize(path) == tmp_path / "lc.gpkg"
    found = load(tmp_path / "lc.gpkg")
    np.testing.assert_array_equal(burn(found, labels.shape, grid.transform), labels)
    assert len(found) == sum(ndimage.label(labels == c.id)[1] for c in LEGEND)
    assert found.geometry.is_valid.all()
    assert set(found.geom_type) == {"Polygon"}
    assert found.geometry.exterior.is_ccw.all()
    assert (found["class_name"] == found["class_id"].map(LEGEND.name_of)).all()
    assert found["pixel_count"].sum() == np.count_nonzero(labels)
    areas = np.repeat(grid.row_areas(), 80).reshape(60, 80)
    assert found["area_m2"].sum() == pytest.approx(areas[labels > 0].sum(), rel=1e-3)
    expected = None if grid.crs_wkt is None else pyproj.CRS.from_wkt(grid.crs_wkt).name
    assert (found.crs.name if found.crs else None) == expected


def test_areas_and_perimeters_of_known_rectangles(tmp_path: Path) -> None:
    labels = np.ones((4, 6), np.uint8)
    labels[1:3, 1:4] = 2
    found = load(vectorize(save(tmp_path, labels))).set_index("class_id")
    assert found["area_m2"].to_dict() == pytest.approx({1: 1800, 2: 600})
    assert found["perimeter_m"].to_dict() == pytest.approx({1: 300, 2: 100})


def test_geographic_areas_are_geodesic(tmp_path: Path) -> None:
    found = load(vectorize(save(tmp_path, make_labels(), PLACES["geographic"])))
    geod = pyproj.Geod(ellps="WGS84")
    for _, row in found.iterrows():
        area, length = geod.geometry_area_perimeter(row.geometry)  # the length is that of the outer ring alone
        length += sum(geod.geometry_length(ring) for ring in row.geometry.interiors)
        assert row["area_m2"] == pytest.approx(abs(area), rel=1e-4)
        assert row["perimeter_m"] == pytest.approx(length, rel=1e-4)


def test_a_raster_without_a_place_lies_where_qgis_shows_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    labels = make_labels()
    with caplog.at_level(logging.WARNING, logger="geoseg"):
        found = load(vectorize(save(tmp_path, labels, Grid(None, Affine.identity(), 60, 80))))
    np.testing.assert_array_equal(burn(found, labels.shape, Affine(1, 0, 0, 0, -1, 0)), labels)
    assert found["area_m2"].tolist() == found["pixel_count"].tolist()
    assert "no CRS" in caplog.text


def test_control_points_place_the_polygons(tmp_path: Path) -> None:
    exact = Affine(10, 0.5, 500000, 0.2, -10, 5000000)
    corners = np.array([(0, 0), (80, 0), (0, 60), (80, 60)], np.float64)
    world = Grid(UTM, exact, 60, 80).to_world(corners)
    points = tuple(GroundControlPoint(row, col, x, y) for (col, row), (x, y) in zip(corners, world, strict=True))
    labels = make_labels()
    found = load(vectorize(save(tmp_path, labels, Grid(UTM, Affine.identity(), 60, 80, points))))
    np.testing.assert_array_equal(burn(found, labels.shape, exact), labels)


@pytest.mark.parametrize(
    "options", [{}, {"min_area": 700.0}, {"simplify": 15.0}, {"min_area": 700.0, "simplify": 15.0}]
)
def test_strips_change_nothing(tmp_path: Path, options: dict[str, float]) -> None:
    path = save(tmp_path, make_labels())
    found = [
        load(vectorize(path, tmp_path / f"{h}.gpkg", strip_height=h, **options))
        for h in (1, 7, 1024)  # type: ignore[arg-type]
    ]
    rows = [sorted(zip(f.geometry.to_wkb(), f["class_id"], f["area_m2"], strict=True)) for f in found]
    assert rows[0] == rows[1] == rows[2]


def test_min_area_is_in_square_metres(tmp_path: Path) -> None:
    labels = make_labels()
    path = save(tmp_path, labels, PLACES["mercator"])
    found = load(vectorize(path, min_area=300))
    assert found["area_m2"].min() >= 299
    assert found["pixel_count"].min() > 3  # a pixel of 10 units is not 100 m² at 58° north
    assert found["pixel_count"].sum() == np.count_nonzero(labels)
    assert len(found) < len(load(vectorize(path, tmp_path / "all.gpkg")))


def test_simplify_is_in_metres_and_tears_nothing(tmp_path: Path) -> None:
    labels = make_labels()
    path = save(tmp_path, labels)
    exact, simple = load(vectorize(path)), load(vectorize(path, tmp_path / "s.gpkg", simplify=20))
    assert len(simple) == len(exact)
    assert shapely.get_num_coordinates(simple.geometry).sum() < 0.5 * shapely.get_num_coordinates(exact.geometry).sum()
    assert simple.geometry.is_valid.all()
    assert shapely.coverage_is_valid(simple.geometry.to_numpy(), gap_width=0)
    assert simple["area_m2"].sum() == pytest.approx(100 * np.count_nonzero(labels))
    np.testing.assert_allclose(simple["area_m2"], simple.geometry.area)
    assert simple.union_all().symmetric_difference(exact.union_all()).area == pytest.approx(0, abs=1e-3)
    barely = load(vectorize(path, tmp_path / "t.gpkg", simplify=0.2))
    assert sorted(barely["area_m2"]) == pytest.approx(sorted(exact["area_m2"]))


def test_mean_confidence_is_the_mean_over_the_merged_patch(tmp_path: Path) -> None:
    labels = np.array([[1, 1, 1, 2, 2, 2, 3, 0, 4]], np.uint8)
    confidence = save_confidence(tmp_path / "c.tif", np.array([[50, 100, 255, 200, 200, 200, 0, 250, 255]], np.uint8))
    found = load(vectorize(save(tmp_path, labels), confidence=confidence, min_area=150)).set_index("class_id")
    assert found["mean_confidence"][1] == pytest.approx(0.3)  # the pixel without confidence does not count
    assert found["mean_confidence"][2] == pytest.approx(0.6)  # 3 of 0.8 and the absorbed one of 0
    assert np.isnan(found["mean_confidence"][4])
    with closing(sqlite3.connect(tmp_path / "lc.gpkg")) as connection:
        assert connection.execute("SELECT mean_confidence FROM lc WHERE class_id = 4").fetchone() == (None,)


def test_the_confidence_made_with_the_raster_is_found(tmp_path: Path) -> None:
    labels = make_labels()
    path = save(tmp_path, labels, GEOSEG_CONFIDENCE="c.tif")
    assert "mean_confidence" not in load(vectorize(path))
    save_confidence(tmp_path / "c.tif", np.full(labels.shape, 125, np.uint8))
    assert load(vectorize(path, overwrite=True))["mean_confidence"].tolist() == pytest.approx(
        [0.5] * len(load(tmp_path / "lc.gpkg"))
    )


def test_a_raster_cannot_name_a_file_elsewhere(tmp_path: Path) -> None:
    labels = make_labels()
    (tmp_path / "here").mkdir()
    outside = save_confidence(tmp_path / "c.tif", np.full(labels.shape, 125, np.uint8))
    for name in (str(outside), "../c.tif"):
        path = save(tmp_path / "here", labels, GEOSEG_CONFIDENCE=name)
        assert "mean_confidence" not in load(vectorize(path, overwrite=True))
        for left in path.parent.iterdir():
            left.unlink()


def test_confidence_of_another_run_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    labels = make_labels()
    path = save(tmp_path, labels, GEOSEG_CONFIDENCE="c.tif", GEOSEG_RUN="one")
    save_confidence(tmp_path / "c.tif", np.full(labels.shape, 125, np.uint8))
    assert "mean_confidence" not in load(vectorize(path))
    assert "is not of the run" in caplog.text


def test_the_raster_is_never_its_own_output(tmp_path: Path) -> None:
    path = save(tmp_path, make_labels())
    disguised = path.rename(tmp_path / "own.gpkg")
    before = disguised.read_bytes()
    with pytest.raises(GeosegError, match=r"own\.gpkg"):
        vectorize(disguised, overwrite=True)
    assert disguised.read_bytes() == before


def test_confidence_on_another_grid(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = save(tmp_path, make_labels(), GEOSEG_CONFIDENCE="c.tif")
    other = save_confidence(tmp_path / "c.tif", np.full((50, 80), 125, np.uint8))
    with pytest.raises(RasterError, match=r"50×80 px.*60×80 px"):
        vectorize(path, confidence=other)
    assert "mean_confidence" not in load(vectorize(path))
    assert "is not of the run" in caplog.text


def test_nothing_valid(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = save(tmp_path, np.zeros((5, 7), np.uint8))
    for options in ({}, {"min_area": 10.0, "simplify": 10.0}):
        found = load(vectorize(path, overwrite=True, **options))  # type: ignore[arg-type]
        assert len(found) == 0
    assert "no valid pixel" in caplog.text


def test_a_raster_of_another_program(tmp_path: Path) -> None:
    labels = make_labels()
    profile = {"driver": "GTiff", "height": 60, "width": 80, "count": 1, "dtype": "uint8", "nodata": 0}
    with rasterio.open(tmp_path / "foreign.tif", "w", **profile, crs=UTM, transform=NORTH_UP) as dataset:
        dataset.write(labels, 1)
    found = load(vectorize(tmp_path / "foreign.tif"))
    np.testing.assert_array_equal(burn(found, labels.shape, NORTH_UP), labels)
    assert set(found["class_name"]) == {f"class {i}" for i in range(1, 5)}


def test_a_value_that_the_legend_does_not_name(tmp_path: Path) -> None:
    path = save(tmp_path, make_labels())
    with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dataset:
        dataset.write(np.full((1, 1), 9, np.uint8), 1, window=rasterio.windows.Window(0, 0, 1, 1))
    with pytest.raises(RasterError, match="does not name: 9"):
        vectorize(path)


def test_progress_counts_pixels(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    vectorize(save(tmp_path, make_labels()), strip_height=25, progress=lambda *c: calls.append(c))
    assert calls == [(2000, 4800), (4000, 4800), (4800, 4800)]


@pytest.mark.parametrize("options", [{"min_area": 500.0}, {"min_area": 500.0, "fill_holes": 900.0}])
def test_progress_counts_every_pass(tmp_path: Path, options: dict[str, float]) -> None:
    calls: list[tuple[int, int]] = []
    vectorize(save(tmp_path, make_labels()), strip_height=25, progress=lambda *c: calls.append(c), **options)  # type: ignore[arg-type]
    done = [d for d, _ in calls]
    passes = 1 + len(options)
    assert done == sorted(set(done))
    assert done[-4:] == [4800 * (60 * (passes - 1) + rows) // (60 * passes) for rows in (0, 25, 50, 60)]
    assert {total for _, total in calls} == {4800}


@pytest.mark.parametrize(
    "options", [{"min_area": -1.0}, {"min_area": float("nan")}, {"simplify": float("inf")}, {"strip_height": 0}]
)
def test_parameters_out_of_range(tmp_path: Path, options: dict[str, float]) -> None:
    with pytest.raises(ParameterError, match=next(iter(options))):
        vectorize(tmp_path / "lc.tif", **options)  # type: ignore[arg-type]


def test_outputs_are_checked_before_any_work(tmp_path: Path) -> None:
    path = save(tmp_path, make_labels())
    vectorize(path)
    with pytest.raises(OutputExistsError):
        vectorize(path)
    with pytest.raises(OutputError, match="does not exist"):
        vectorize(path, tmp_path / "missing/lc.gpkg")
    with pytest.raises(OutputError, match=r"\.gpkg"):
        vectorize(path, path, overwrite=True)


def test_missing_memory_is_said_with_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path, make_labels(600, 800))
    monkeypatch.setattr(memory, "free_memory", lambda: 1_000_000)
    with pytest.raises(ResourceError, match=r"strips of 600×800 pixels needs about 0\.1 GiB .* but 0\.0 GiB"):
        vectorize(path)
    assert not (tmp_path / "lc.gpkg").exists()


def test_free_memory_is_known_or_none() -> None:
    free = memory.free_memory()
    assert free is None or free > 0
    if not Path("/proc/meminfo").exists():
        assert free is None


def test_an_error_half_way_leaves_what_was_there(tmp_path: Path) -> None:
    path = save(tmp_path, make_labels())
    before = vectorize(path).read_bytes()

    def stop(done: int, total: int) -> None:
        if done > total / 2:
            raise GeosegError("stopped")

    with pytest.raises(GeosegError, match="stopped"):
        vectorize(path, overwrite=True, strip_height=10, progress=stop)
    assert (tmp_path / "lc.gpkg").read_bytes() == before
    with pytest.raises(GeosegError, match="stopped"):
        vectorize(path, tmp_path / "other.gpkg", strip_height=10, progress=stop)
    assert {p.suffix for p in tmp_path.iterdir()} == {".gpkg", ".tif", ".qml", ".xml"}
    assert not (tmp_path / "other.gpkg").exists()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system cannot kill a process outright")
def test_kill_half_way_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    path = save(tmp_path, make_labels())
    program = (
        "import os, sys; from geoseg.vectorization import vectorize\n"
        "vectorize(sys.argv[1], strip_height=10, progress=lambda d, t: os.kill(os.getpid(), 9) if d > t / 2 else None)"
    )
    ended = subprocess.run([sys.executable, "-c", program, os.fspath(path)], check=False, timeout=120)
    assert ended.returncode == -signal.SIGKILL
    assert not (tmp_path / "lc.gpkg").exists()
    assert len(load(vectorize(path))) > 0


def test_a_real_class_map(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "scenes/riotiler_cmap_classmap_7168x8704_3857.tif"
    window = rasterio.windows.Window(3000, 3000, 500, 400)
    with rasterio.open(source) as dataset:
        labels, place = dataset.read(1, window=window), dataset.transform
        transform = Affine(place.a, 0, place.c + 3000 * place.a, 0, place.e, place.f + 3000 * place.e)
        profile = dataset.profile | {"driver": "GTiff", "height": 400, "width": 500, "transform": transform}
        with rasterio.open(tmp_path / "cut.tif", "w", **profile) as cut:
            cut.write(labels, 1)
            cut.write_colormap(1, dataset.colormap(1))
    found = load(vectorize(tmp_path / "cut.tif"))
    np.testing.assert_array_equal(burn(found, labels.shape, transform), labels)
