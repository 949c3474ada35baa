"""A part of a scene is mapped as the whole is: windows, areas of interest, and other pixel sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from affine import Affine
from rasterio.features import geometry_mask
from scenes import UTM, IdentityNetwork, SmoothNetwork, replace_network, write_scene, write_spec
from shapely.geometry import Polygon, box

from geoseg.errors import ParameterError, RasterError, VectorError
from geoseg.inference import predict

HEIGHT, WIDTH = 90, 110
OPTIONS: dict[str, Any] = {"tile_size": 16, "overlap": 6, "confidence": True}


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    values = np.random.default_rng(4).integers(0, 8, (HEIGHT, WIDTH)).astype(np.uint8)
    return write_scene(tmp_path / "s.tif", values, nodata=0)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_spec(tmp_path / "m.safetensors")


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> SmoothNetwork:
    network = SmoothNetwork()
    replace_network(monkeypatch, network)
    return network


def read(path: Path | None) -> npt.NDArray[Any]:
    assert path is not None
    with rasterio.open(path) as file:
        found: npt.NDArray[Any] = file.read(1)
    return found


@pytest.mark.parametrize("window", [(0, 0, HEIGHT, WIDTH), (13, 40, 1, 1), (37, 21, 40, 66), (80, 100, 10, 10)])
def test_a_window_is_cut_out_of_the_whole_map(
    tmp_path: Path, scene: Path, model: Path, network: SmoothNetwork, window: tuple[int, int, int, int]
) -> None:
    whole = predict(scene, model, tmp_path / "whole.tif", **OPTIONS)
    part = predict(scene, model, tmp_path / "part.tif", window=window, **OPTIONS)
    row, col, height, width = window
    for some, every in ((part.labels, whole.labels), (part.confidence, whole.confidence)):
        np.testing.assert_array_equal(read(some), read(every)[row : row + height, col : col + width])
    with rasterio.open(part.labels) as file:
        assert tuple(file.transform) == tuple(UTM @ Affine.translation(col, row))
        assert file.crs == "EPSG:32633"


def test_a_bbox_is_a_window(tmp_path: Path, scene: Path, model: Path, network: SmoothNetwork) -> None:
    west, north = UTM @ (20, 30)
    east, south = UTM @ (50, 45)
    by_box = predict(scene, model, tmp_path / "b.tif", bbox=(west, south, east, north), **OPTIONS)
    by_window = predict(scene, model, tmp_path / "w.tif", window=(30, 20, 15, 30), **OPTIONS)
    np.testing.assert_array_equal(read(by_box.labels), read(by_window.labels))


def write_area(path: Path, *shapes: Any, crs: str = "EPSG:32633", to: str | None = None) -> Path:
    frame = gpd.GeoDataFrame(geometry=list(shapes), crs=crs)
    (frame if to is None else frame.to_crs(to)).to_file(path)
    return path


@pytest.mark.parametrize("to", [None, "EPSG:4326"])
def test_inside_an_area_of_interest_the_map_is_the_whole_one(
    tmp_path: Path, scene: Path, model: Path, network: SmoothNetwork, to: str | None
) -> None:
    left, top = UTM.c, UTM.f
    area = Polygon([(left + 301, top - 102), (left + 704, top - 233), (left + 425, top - 607)])
    whole = predict(scene, model, tmp_path / "whole.tif", **OPTIONS)
    tiles = network.tiles
    part = predict(scene, model, tmp_path / "part.tif", aoi=write_area(tmp_path / "a.gpkg", area, to=to), **OPTIONS)
    inside = geometry_mask([area], (HEIGHT, WIDTH), UTM, invert=True)
    found, expected = read(part.labels), np.where(inside, read(whole.labels), 0)
    # A pixel whose centre all but lies on the border may change sides when the border goes to degrees and back.
    assert np.count_nonzero(found != expected) <= (0 if to is None else 3)
    np.testing.assert_array_equal(read(part.confidence)[found == 0], 255)
    assert 0 < network.tiles - tiles < 0.7 * tiles


def test_an_area_elsewhere_is_refused(tmp_path: Path, scene: Path, model: Path, network: SmoothNetwork) -> None:
    with pytest.raises(VectorError):
        predict(scene, model, aoi=write_area(tmp_path / "a.gpkg", box(0, 0, 9, 9)), **OPTIONS)
    with pytest.raises(ParameterError):
        predict(scene, model, window=(200, 0, 9, 9), **OPTIONS)


# -- other pixel sizes -------------------------------------------------------------------------------------------------


def blocks(height: int, width: int, side: int) -> npt.NDArray[np.uint8]:
    """Squares of one class each."""
    small = np.random.default_rng(8).integers(1, 8, (-(-height // side), -(-width // side)))
    return np.kron(small, np.ones((side, side), int))[:height, :width].astype(np.uint8)


def test_a_coarser_network_pixel_sees_the_mean_and_the_map_stays_on_the_scene_s_grid(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = IdentityNetwork()
    replace_network(monkeypatch, identity)
    values = blocks(64, 96, 4)
    valid = np.ones(values.shape, bool)
    valid[10:31, 5:50] = False
    scene = write_scene(tmp_path / "s.tif", np.where(valid, values, 0), nodata=0)
    done = predict(scene, model, gsd=40.0, tile_size=8, overlap=2, confidence=True)
    np.testing.assert_array_equal(read(done.labels), np.where(valid, values, 0))
    assert (read(done.confidence)[valid] == 250).all()
    assert identity.tiles <= 3 * 4
    with rasterio.open(scene) as source, rasterio.open(done.labels) as result:
        assert tuple(result.transform) == tuple(source.transform)


def test_auto_takes_the_model_s_pixel_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    identity = IdentityNetwork()
    replace_network(monkeypatch, identity)
    values = blocks(64, 96, 4)
    model = write_spec(tmp_path / "m.safetensors", gsd=40.0)
    scene = write_scene(tmp_path / "s.tif", values)
    done = predict(scene, model, gsd="auto", tile_size=8, overlap=2)
    np.testing.assert_array_equal(read(done.labels), values)
    assert identity.tiles == 3 * 4
    model = write_spec(model, gsd=11.0)
    predict(scene, model, tmp_path / "near.tif", gsd="auto", tile_size=32, overlap=0)
    assert identity.tiles == 3 * 4 + 2 * 3


def test_a_finer_network_pixel(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_network(monkeypatch, IdentityNetwork())
    values = blocks(30, 41, 5)
    valid = np.ones(values.shape, bool)
    valid[12, 7:30] = False
    scene = write_scene(tmp_path / "s.tif", values, valid=valid)
    done = predict(scene, model, gsd=2.5, tile_size=32, overlap=8)
    found = read(done.labels)
    np.testing.assert_array_equal(found == 0, ~valid)
    inner = np.zeros_like(valid)  # where a square's border is not near, interpolation changes nothing
    for row in range(0, 30, 5):
        for col in range(0, 41, 5):
            inner[row + 1 : row + 4, col + 1 : col + 4] = True
    np.testing.assert_array_equal(found[inner & valid], values[inner & valid])


@pytest.mark.parametrize("gsd", [7.0, 13.0, 33.3, 1234.0])
def test_no_data_is_the_scene_s_own_at_any_pixel_size(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, gsd: float
) -> None:
    replace_network(monkeypatch, SmoothNetwork())
    values = np.random.default_rng(6).integers(0, 8, (50, 61)).astype(np.uint8)
    values[20:35, 10:30] = 0
    values[25, 25] = 3  # alone in a hole
    scene = write_scene(tmp_path / "s.tif", values, nodata=0)
    done = predict(scene, model, gsd=gsd, tile_size=16, overlap=4, confidence=True)
    np.testing.assert_array_equal(read(done.labels) == 0, values == 0)
    np.testing.assert_array_equal(read(done.confidence) == 255, values == 0)


def test_an_area_of_interest_at_another_pixel_size(
    tmp_path: Path, scene: Path, model: Path, network: SmoothNetwork
) -> None:
    area = box(UTM.c + 203, UTM.f - 512, UTM.c + 444, UTM.f - 101)
    options = OPTIONS | {"gsd": 23.0}
    whole = predict(scene, model, tmp_path / "whole.tif", **options)
    part = predict(scene, model, tmp_path / "part.tif", aoi=write_area(tmp_path / "a.gpkg", area), **options)
    inside = geometry_mask([area], (HEIGHT, WIDTH), UTM, invert=True)
    np.testing.assert_array_equal(read(part.labels), np.where(inside, read(whole.labels), 0))
    cut = predict(scene, model, tmp_path / "cut.tif", window=(11, 17, 50, 41), **options)
    np.testing.assert_array_equal(read(cut.labels), read(whole.labels)[11:61, 17:58])


def test_a_scene_without_pixel_size_is_not_resampled(tmp_path: Path, model: Path, network: SmoothNetwork) -> None:
    scene = write_scene(tmp_path / "n.tif", blocks(20, 20, 4), crs=None)
    with pytest.raises(RasterError, match="no known pixel size"):
        predict(scene, model, gsd=3.0)
