"""Prediction end to end, with networks whose answer is known: what goes in comes out, at its place."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import rasterio.shutil
import torch
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.errors import NotGeoreferencedWarning
from scenes import UTM, IdentityNetwork, replace_network, write_scene, write_spec

from geoseg.errors import GeosegError, ModelError, OutputExistsError, ParameterError, RasterError, ResourceError
from geoseg.inference import predict, steps
from geoseg.tiling import Blend

BLENDS = get_args(Blend)
RNG = np.random.default_rng(7)


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch) -> IdentityNetwork:
    """Replace the network by one that gives back the scene."""
    predictor = IdentityNetwork()
    replace_network(monkeypatch, predictor)
    return predictor


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_spec(tmp_path / "tiny.safetensors")


def classes(height: int, width: int, dtype: str = "uint8") -> npt.NDArray[Any]:
    return RNG.integers(1, 8, (height, width)).astype(dtype)


def read(path: Path | None) -> npt.NDArray[Any]:
    assert path is not None
    with rasterio.open(path) as file:
        result: npt.NDArray[Any] = file.read(1)
    return result


# -- geometry ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("height", [1, 9, 15, 16, 17, 39])
@pytest.mark.parametrize("width", [1, 15, 17, 39])
@pytest.mark.parametrize("blend", BLENDS)
def test_an_identity_model_gives_back_the_scene(
    tmp_path: Path, identity: IdentityNetwork, model: Path, height: int, width: int, blend: Blend
) -> None:
    values = classes(height, width)
    scene = write_scene(tmp_path / "s.tif", values, nodata=0)
    overlap = {"hann": 4, "gaussian": 5, "linear": 8, "uniform": 12, "crop": 15}[blend]
    done = predict(scene, model, tile_size=16, overlap=overlap, blend=blend, batch=3)
    np.testing.assert_array_equal(read(done.labels), values)


@pytest.mark.parametrize(("tile_size", "overlap"), [(1, 0), (7, 0), (8, 1), (32, 8), (512, 128)])
def test_tile_size_and_overlap_do_not_move_a_pixel(
    tmp_path: Path, identity: IdentityNetwork, model: Path, tile_size: int, overlap: int
) -> None:
    values = classes(33, 21)
    scene = write_scene(tmp_path / "s.tif", values, nodata=0)
    done = predict(scene, model, tile_size=tile_size, overlap=overlap)
    np.testing.assert_array_equal(read(done.labels), values)


@pytest.mark.parametrize("blend", BLENDS)
def test_a_constant_model_gives_a_constant_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Path, blend: Blend
) -> None:
    class Constant(IdentityNetwork):
        def __call__(self, tiles: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
            scores = np.full((len(tiles), 7, *tiles.shape[2:]), 0.1, np.float32)
            scores[:, 4] = 0.4
            return scores

    replace_network(monkeypatch, Constant())
    scene = write_scene(tmp_path / "s.tif", classes(45, 50))
    done = predict(scene, model, tile_size=16, overlap=6, blend=blend, confidence=True)
    assert (read(done.labels) == 5).all()
    assert (read(done.confidence) == 100).all()  # 0.4 at a scale of 0.004


class Convolutional:
    """A random network of receptive radius 3 that pads its tiles with zeros, as networks do."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(3)
        self.kernels = [torch.randn(shape, generator=generator) for shape in ((6, 1, 3, 3), (6, 6, 3, 3), (7, 6, 3, 3))]

    def __call__(self, tiles: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.concatenate([self._one(tile[None]) for tile in tiles])

    @torch.inference_mode()
    def _one(self, tile: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        x = torch.from_numpy(tile)
        for kernel in self.kernels:
            x = torch.nn.functional.conv2d(torch.relu(x), kernel, padding=1)
        return torch.softmax(x / 100, 1).numpy()


@pytest.mark.parametrize(("tile_size", "overlap"), [(16, 6), (16, 7), (20, 12), (64, 6)])
def test_tiled_equals_untiled_where_the_margin_reaches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Path, tile_size: int, overlap: int
) -> None:
    replace_network(monkeypatch, Convolutional())
    values = classes(50, 43)
    scene = write_scene(tmp_path / "s.tif", values)
    done = predict(scene, model, tile_size=tile_size, overlap=overlap, blend="crop", confidence=True)

    mirrored = np.pad(values, 8, mode="reflect").astype(np.float32)
    whole = Convolutional()(mirrored[None, None])[0, :, 8:-8, 8:-8]
    np.testing.assert_array_equal(read(done.labels), whole.argmax(0) + 1)
    np.testing.assert_allclose(read(done.confidence) * 0.004, whole.max(0), atol=0.0021)


def test_pixels_do_not_depend_on_batch_or_panel_width(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Path
) -> None:
    replace_network(monkeypatch, Convolutional())
    scene = write_scene(tmp_path / "s.tif", classes(70, 150))
    results = []
    for number, (batch, panel_bytes) in enumerate([(1, 2**30), (5, 2**30), (2, 7 * 16 * 4 * 24), (3, 1)]):
        monkeypatch.setattr(steps, "PANEL_BYTES", panel_bytes)
        done = predict(
            scene, model, tmp_path / f"o{number}.tif", tile_size=16, overlap=10, batch=batch, confidence=True
        )
        results.append((read(done.labels), read(done.confidence)))
    for labels, confidence in results[1:]:
        np.testing.assert_array_equal(labels, results[0][0])
        np.testing.assert_array_equal(confidence, results[0][1])


GRIDS = {
    "north-up": ("EPSG:32633", UTM),
    "rotated": ("EPSG:32633", Affine.translation(5e5, 5e6) @ Affine.rotation(30.3) @ Affine.scale(0.1, -0.3)),
    "south-up": ("EPSG:32633", Affine(10, 0, 500_000.1, 0, 10, 4_000_000.7)),
    "geographic": ("EPSG:4326", Affine(1 / 3 / 3600, 0, -60.1, 0, -1 / 7 / 3600, -3.3)),
    "dateline": ("EPSG:4326", Affine(0.001, 0, 179.99, 0, -0.001, -17.0)),
    "feet": ("EPSG:2263", Affine(0.5, 0, 981_234.56, 0, -0.5, 198_765.43)),
    "no CRS": (None, Affine(2, 0, 10, 0, -2, 20)),
    "custom CRS": ("+proj=laea +lat_0=10.5 +lon_0=-60.25 +datum=WGS84 +units=m", UTM),
}


@pytest.mark.parametrize("name", GRIDS)
def test_the_output_grid_is_the_scene_s_bit_for_bit(
    tmp_path: Path, identity: IdentityNetwork, model: Path, name: str
) -> None:
    crs, transform = GRIDS[name]
    values = classes(20, 30)
    scene = write_scene(tmp_path / "s.tif", values, crs=crs, transform=transform)
    done = predict(scene, model, confidence=True)
    for path in (done.labels, done.confidence):
        with rasterio.open(scene) as source, rasterio.open(path) as result:
            assert result.transform == source.transform
            assert tuple(result.transform) == tuple(source.transform)
            assert result.crs == source.crs
            assert result.shape == source.shape
    np.testing.assert_array_equal(read(done.labels), values)


def test_ground_control_points_are_kept(tmp_path: Path, identity: IdentityNetwork, model: Path) -> None:
    points = [GroundControlPoint(r, c, 10 + c / 100, 50 - r / 100, 0) for r, c in [(0, 0), (0, 30), (20, 0), (20, 30)]]
    scene = tmp_path / "s.tif"
    values = classes(20, 30)
    with rasterio.open(
        scene, "w", driver="GTiff", height=20, width=30, count=1, dtype="uint8", gcps=points, crs="EPSG:4326"
    ) as file:
        file.write(values, 1)
    done = predict(scene, model)
    with rasterio.open(scene) as source, rasterio.open(done.labels) as result:
        assert result.gcps[1] == source.gcps[1]
        assert [(p.row, p.col, p.x, p.y) for p in result.gcps[0]] == [(p.row, p.col, p.x, p.y) for p in points]


# -- nodata ------------------------------------------------------------------------------------------------------------


def hole(height: int = 40, width: int = 45) -> npt.NDArray[np.bool_]:
    valid = np.ones((height, width), bool)
    valid[10:25, 12:31] = False
    valid[:, :3] = False
    valid[-1, -1] = False
    return valid


def test_the_nodata_tag_comes_out_as_no_data(tmp_path: Path, identity: IdentityNetwork, model: Path) -> None:
    valid = hole()
    values = np.where(valid, classes(*valid.shape), 99).astype(np.uint8)
    done = predict(write_scene(tmp_path / "s.tif", values, nodata=99), model, confidence=True)
    np.testing.assert_array_equal(read(done.labels), np.where(valid, values, 0))
    np.testing.assert_array_equal(read(done.confidence), np.where(valid, 250, 255))


def test_alpha_is_validity_and_never_a_band(tmp_path: Path, identity: IdentityNetwork, model: Path) -> None:
    valid = hole()
    values = classes(*valid.shape)
    bands = np.stack([values, np.where(valid, 255, 0).astype(np.uint8)])
    scene = write_scene(tmp_path / "s.tif", bands, photometric="MINISBLACK", alpha="YES")
    done = predict(scene, model)
    np.testing.assert_array_equal(read(done.labels), np.where(valid, values, 0))


def test_the_mask_band_comes_out_as_no_data(tmp_path: Path, identity: IdentityNetwork, model: Path) -> None:
    valid = hole()
    values = classes(*valid.shape)
    done = predict(write_scene(tmp_path / "s.tif", values, valid=valid), model)
    np.testing.assert_array_equal(read(done.labels), np.where(valid, values, 0))


@pytest.mark.parametrize("junk", [np.nan, np.inf, -9999.0, np.float32(-3.4028234663852886e38)])
def test_float_holes_come_out_as_no_data(tmp_path: Path, identity: IdentityNetwork, model: Path, junk: float) -> None:
    valid = hole()
    values = np.where(valid, classes(*valid.shape), junk).astype(np.float32)
    nodata = float(junk) if np.isfinite(junk) else None
    done = predict(write_scene(tmp_path / "s.tif", values, nodata=nodata), model)
    np.testing.assert_array_equal(read(done.labels), np.where(valid, values, 0))


def test_a_hole_changes_the_map_only_within_the_receptive_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Path
) -> None:
    replace_network(monkeypatch, Convolutional())
    values = classes(40, 45).astype(np.float32)
    holed = values.copy()
    holed[20:23, 20:24] = np.nan
    whole = read(predict(write_scene(tmp_path / "a.tif", values), model, tile_size=16, overlap=8, blend="crop").labels)
    done = read(predict(write_scene(tmp_path / "b.tif", holed), model, tile_size=16, overlap=8, blend="crop").labels)
    reach = np.zeros(values.shape, bool)
    reach[20 - 3 : 23 + 3, 20 - 3 : 24 + 3] = True
    np.testing.assert_array_equal(done[~reach], whole[~reach])
    np.testing.assert_array_equal(done == 0, np.isnan(holed))


def test_tiles_without_a_valid_pixel_never_reach_the_network(
    tmp_path: Path, identity: IdentityNetwork, model: Path
) -> None:
    values = np.zeros((64, 64), np.uint8)
    values[:8, :8] = 3
    done = predict(write_scene(tmp_path / "s.tif", values, nodata=0), model, tile_size=8, overlap=0)
    assert identity.tiles == 1
    np.testing.assert_array_equal(read(done.labels), values)


def test_a_scene_of_nothing_is_a_map_of_nothing(tmp_path: Path, identity: IdentityNetwork, model: Path) -> None:
    done = predict(write_scene(tmp_path / "s.tif", np.zeros((20, 20), np.uint8), nodata=0), model)
    assert not read(done.labels).any()
    assert identity.tiles == 0


# -- values ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"])
def test_every_real_type_is_read(tmp_path: Path, identity: IdentityNetwork, model: Path, dtype: str) -> None:
    values = classes(20, 20, dtype)
    np.testing.assert_array_equal(read(predict(write_scene(tmp_path / "s.tif", values), model).labels), values)


def test_value_range_maps_the_scene_onto_the_model_s_range(
    tmp_path: Path, identity: IdentityNetwork, model: Path
) -> None:
    values = classes(20, 20)
    scene = write_scene(tmp_path / "s.tif", values.astype(np.uint16) * 1000)
    model = write_spec(model, dtype="uint16")
    np.testing.assert_array_equal(read(predict(scene, model, value_range=(0, 7000)).labels), values)


@pytest.mark.parametrize("value_range", [(5.0, 5.0), (9.0, 1.0), (0.0, float("nan"))])
def test_an_empty_value_range_is_refused(
    tmp_path: Path, identity: IdentityNetwork, model: Path, value_range: tuple[float, float]
) -> None:
    with pytest.raises(ParameterError, match="value range"):
        predict(write_scene(tmp_path / "s.tif", classes(9, 9)), model, value_range=value_range)


def test_values_far_from_training_warn_with_both_ranges(
    tmp_path: Path, identity: IdentityNetwork, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    predict(write_scene(tmp_path / "s.tif", classes(20, 20).astype(np.uint16) * 1000), model)
    [warning] = [r.message for r in caplog.records if r.levelname == "WARNING"]
    assert "values 1000..7000" in warning
    assert "0..7" in warning
    assert "--value-range" in warning


@pytest.mark.parametrize(("pixel", "warns"), [(10.0, False), (6.0, False), (19.0, False), (0.5, True), (30.0, True)])
def test_pixel_size_far_from_training_warns_with_both_sizes(
    tmp_path: Path,
    identity: IdentityNetwork,
    model: Path,
    caplog: pytest.LogCaptureFixture,
    pixel: float,
    warns: bool,
) -> None:
    scene = write_scene(tmp_path / "s.tif", classes(20, 20), transform=Affine(pixel, 0, 5e5, 0, -pixel, 5e6))
    predict(scene, model)
    warnings = [r.message for r in caplog.records if r.levelname == "WARNING"]
    assert len(warnings) == warns
    if warns:
        assert f"{pixel:.3g} m" in warnings[0]
        assert "10 m" in warnings[0]


def test_bands_are_counted_and_named(tmp_path: Path, identity: IdentityNetwork) -> None:
    model = write_spec(tmp_path / "rgb.safetensors", bands=("red", "green", "blue"), mean=(0.0,) * 3, std=(1.0,) * 3)
    scene = tmp_path / "s.tif"
    with rasterio.open(
        scene, "w", driver="GTiff", height=9, width=9, count=4, dtype="uint8", crs="EPSG:32633", transform=UTM,
        photometric="MINISBLACK",
    ) as file:  # fmt: skip
        file.write(np.stack([classes(9, 9)] * 4))
        file.descriptions = ("blue", "green", "red", "nir")
    with pytest.raises(RasterError, match=r"gives 4 bands \(blue, green, red, nir\).*expects 3 .*--bands 3,2,1"):
        predict(scene, model)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["rgb.safetensors", "s.tif"]
    predict(scene, model, bands=(3, 2, 1))


@pytest.mark.parametrize(("names", "warns"), [(("green", "red"), True), (("nir", "green"), True), (("", ""), False)])
def test_bands_in_a_wrong_place_warn(
    tmp_path: Path,
    identity: IdentityNetwork,
    caplog: pytest.LogCaptureFixture,
    names: tuple[str, str],
    warns: bool,
) -> None:
    model = write_spec(tmp_path / "m.safetensors", bands=("red", "green"), mean=(0.0,) * 2, std=(1.0,) * 2)
    scene = write_scene(tmp_path / "s.tif", np.stack([classes(9, 9)] * 2))
    with rasterio.open(scene, "r+") as file:
        file.descriptions = names
    predict(scene, model)
    assert any("expects red, green" in r.message and ", ".join(names) in r.message for r in caplog.records) == warns


# -- parameters and files ----------------------------------------------------------------------------------------------


def test_a_tile_size_that_the_network_cannot_take_names_the_nearest(
    tmp_path: Path, identity: IdentityNetwork, model: Path
) -> None:
    model = write_spec(model, stride_multiple=32, tile_size=32)
    scene = write_scene(tmp_path / "s.tif", classes(9, 9))
    with pytest.raises(ParameterError, match="give 96 or 128"):
        predict(scene, model, tile_size=100)
    with pytest.raises(ParameterError, match="give 32"):
        predict(scene, model, tile_size=5)


@pytest.mark.parametrize("batch", [0, -3])
def test_a_batch_needs_a_tile(tmp_path: Path, identity: IdentityNetwork, model: Path, batch: int) -> None:
    with pytest.raises(ParameterError, match="batch"):
        predict(write_scene(tmp_path / "s.tif", classes(9, 9)), model, batch=batch)


def test_outputs_stand_beside_the_scene_and_are_never_overwritten_unasked(
    tmp_path: Path, identity: IdentityNetwork, model: Path
) -> None:
    values = classes(9, 9)
    scene = write_scene(tmp_path / "s.tif", values)
    done = predict(scene, model, confidence=True)
    assert done.labels == tmp_path / "s_landcover.tif"
    assert done.confidence == tmp_path / "s_confidence.tif"
    before = done.labels.read_bytes()
    with pytest.raises(OutputExistsError, match="overwrite"):
        predict(scene, model)
    assert done.labels.read_bytes() == before
    write_scene(scene, values[::-1].copy())
    predict(scene, model, overwrite=True)
    np.testing.assert_array_equal(read(done.labels), values[::-1])


def test_a_folder_takes_the_map_under_its_default_name(tmp_path: Path, identity: IdentityNetwork, model: Path) -> None:
    (tmp_path / "maps.tif").mkdir()
    done = predict(write_scene(tmp_path / "s.tif", classes(9, 9)), model, tmp_path / "maps.tif", confidence=True)
    assert done.labels == tmp_path / "maps.tif" / "s_landcover.tif"
    assert done.confidence == tmp_path / "maps.tif" / "s_confidence.tif"


def test_an_existing_confidence_stops_before_any_work(tmp_path: Path, identity: IdentityNetwork, model: Path) -> None:
    (tmp_path / "s_confidence.tif").write_text("precious")
    with pytest.raises(OutputExistsError, match="s_confidence"):
        predict(write_scene(tmp_path / "s.tif", classes(9, 9)), model, confidence=True)
    assert identity.tiles == 0
    assert not (tmp_path / "s_landcover.tif").exists()


@pytest.mark.parametrize("name", ["{path}", "file://{path}", "GTIFF_DIR:1:{path}"])
def test_the_scene_is_never_its_own_output(tmp_path: Path, identity: IdentityNetwork, model: Path, name: str) -> None:
    scene = write_scene(tmp_path / "s.tif", classes(9, 9))
    before = scene.read_bytes()
    with pytest.raises(ParameterError, match="is an input of this run"):
        predict(name.format(path=scene), model, scene, overwrite=True)
    assert scene.read_bytes() == before


def test_what_a_vrt_names_is_never_an_output(tmp_path: Path, identity: IdentityNetwork, model: Path) -> None:
    scene = write_scene(tmp_path / "s.tif", classes(9, 9))
    vrt = tmp_path / "mosaic.vrt"
    rasterio.shutil.copy(scene, vrt, driver="VRT")
    before = scene.read_bytes()
    with pytest.raises(ParameterError, match="is an input of this run"):
        predict(vrt, model, scene, overwrite=True)
    assert scene.read_bytes() == before


def test_a_style_of_another_file_is_not_replaced(tmp_path: Path, identity: IdentityNetwork, model: Path) -> None:
    scene = write_scene(tmp_path / "s.tif", classes(9, 9))
    (tmp_path / "parcels.qml").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"parcels\.qml"):
        predict(scene, model, tmp_path / "parcels.tif")
    assert (tmp_path / "parcels.qml").read_text() == "mine"


def test_a_stale_world_file_is_refused_where_it_would_georeference(
    tmp_path: Path, identity: IdentityNetwork, model: Path
) -> None:
    scene = tmp_path / "s.png"
    with pytest.warns(NotGeoreferencedWarning):
        write_scene(scene, classes(9, 9), crs=None, transform=Affine.identity(), driver="PNG")
    (tmp_path / "map.tfw").write_text("30\n0\n0\n-30\n1000\n2000\n")
    with pytest.raises(OutputExistsError, match=r"map\.tfw"):
        predict(scene, model, tmp_path / "map.tif")


def test_nodata_of_a_band_is_compared_in_its_own_type(tmp_path: Path, identity: IdentityNetwork) -> None:
    model = write_spec(tmp_path / "m.safetensors", bands=("a", "b"), mean=(0.0,) * 2, std=(1.0,) * 2)
    values, valid = classes(9, 9), np.ones((9, 9), bool)
    valid[:, :4] = False
    for name, dtype, nodata in (("a", "float32", -9999.9), ("b", "float64", -9999.0)):
        write_scene(tmp_path / f"{name}.tif", np.where(valid, values, nodata).astype(dtype), nodata=nodata)
    band = (
        '<VRTRasterBand dataType="{dtype}" band="{band}"><NoDataValue>{nodata}</NoDataValue><SimpleSource>'
        '<SourceFilename relativeToVRT="1">{name}.tif</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource></VRTRasterBand>"
    )
    vrt = tmp_path / "both.vrt"
    vrt.write_text(
        '<VRTDataset rasterXSize="9" rasterYSize="9"><GeoTransform>0, 1, 0, 0, 0, -1</GeoTransform>'
        + band.format(dtype="Float32", band=1, nodata=-9999.9, name="a")
        + band.format(dtype="Float64", band=2, nodata=-9999, name="b")
        + "</VRTDataset>"
    )
    np.testing.assert_array_equal(read(predict(vrt, model).labels), np.where(valid, values, 0))


@pytest.mark.parametrize("output", ["map.png", "map", "map.gpkg"])
def test_outputs_are_tiffs(tmp_path: Path, identity: IdentityNetwork, model: Path, output: str) -> None:
    with pytest.raises(ParameterError, match=r"must end in \.tif"):
        predict(write_scene(tmp_path / "s.tif", classes(9, 9)), model, tmp_path / output)


def test_a_name_that_no_file_system_takes_is_refused(tmp_path: Path, identity: IdentityNetwork, model: Path) -> None:
    scene = write_scene(tmp_path / "s.tif", np.ones((5, 5), np.uint8))
    name = "ü" * 102  # with _confidence.tif 219 bytes
    predict(scene, model, tmp_path / f"{name}.tif", confidence=True)
    with pytest.raises(ParameterError, match="too long by 1 bytes"):
        predict(scene, model, tmp_path / f"{name}ü.tif")


def test_tiles_beyond_all_memory_are_refused_before_one_is_made(
    tmp_path: Path, identity: IdentityNetwork, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from geoseg.inference import estimate_prediction

    replace_network(monkeypatch, None)  # calling it would fail
    scene = write_scene(tmp_path / "s.tif", np.ones((5, 5), np.uint8))
    for call in (predict, estimate_prediction):
        with pytest.raises(ResourceError, match="smaller --tile-size"):
            call(scene, model, tile_size=2**20)


def test_a_small_tile_size_is_warned_of_once(
    tmp_path: Path, identity: IdentityNetwork, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    predict(write_scene(tmp_path / "s.tif", np.ones((5, 5), np.uint8)), model, tile_size=4)
    assert sum("the map may suffer" in r.message for r in caplog.records) == 1


def test_a_failing_writer_stops_the_reader_before_the_scene_is_closed(
    tmp_path: Path, identity: IdentityNetwork, model: Path
) -> None:
    def fail(done: int, total: int) -> None:
        raise OSError("disk full")

    scene = write_scene(tmp_path / "s.tif", classes(400, 60))
    with pytest.raises(OSError, match="disk full"):
        predict(scene, model, tile_size=16, progress=fail)
    assert not [t.name for t in threading.enumerate() if t.name.startswith("geoseg-")]


def test_a_network_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    class Failing(IdentityNetwork):
        def __call__(self, tiles: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
            if self.tiles >= 3:
                raise ModelError("scores are NaN")
            return super().__call__(tiles)

    replace_network(monkeypatch, Failing())
    scene = write_scene(tmp_path / "s.tif", classes(40, 40))
    with pytest.raises(ModelError, match="NaN"):
        predict(scene, model, tile_size=16, confidence=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s.tif", "tiny.safetensors"]


def test_the_map_says_how_it_was_made(tmp_path: Path, identity: IdentityNetwork, model: Path) -> None:
    done = predict(write_scene(tmp_path / "s.tif", classes(9, 9)), model, tile_size=16, confidence=True)
    with rasterio.open(done.labels) as file:
        tags = file.tags()
    assert tags["GEOSEG_MODEL"] == "tiny"
    assert tags["GEOSEG_CONFIDENCE"] == "s_confidence.tif"
    assert len(tags["GEOSEG_MODEL_SHA256"]) == 64
    assert json.loads(tags["GEOSEG_PARAMETERS"])["tile_size"] == 16


def test_progress_ends_at_the_number_of_pixels(tmp_path: Path, identity: IdentityNetwork, model: Path) -> None:
    told: list[tuple[int, int]] = []
    scene = write_scene(tmp_path / "s.tif", classes(50, 20))
    predict(scene, model, tile_size=16, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (1000, 1000)
    assert told == sorted(told)
    assert len(told) > 2


def test_missing_files_are_named(tmp_path: Path, model: Path) -> None:
    with pytest.raises(GeosegError, match=r"nowhere\.tif"):
        predict(tmp_path / "nowhere.tif", model)


def test_memory_does_not_grow_with_height(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, identity: IdentityNetwork, model: Path
) -> None:
    monkeypatch.setattr(steps, "STEP_PIXELS", 1)
    peaks = []
    for height in (512, 2048):
        scene = write_scene(tmp_path / f"{height}.tif", classes(height, 256), tiled=True, blockxsize=64, blockysize=64)
        predict(scene, model, tmp_path / f"warm{height}.tif", tile_size=64)  # caches and imports
        tracemalloc.start()
        predict(scene, model, tmp_path / f"o{height}.tif", tile_size=64)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.15 * peaks[0]


KILLED = """
import sys, time
sys.path.insert(0, {tests!r})
import pytest
from scenes import IdentityNetwork, replace_network
from geoseg.inference import predict, steps
class Slow(IdentityNetwork):
    def __call__(self, tiles):
        print("tile", flush=True)
        time.sleep(0.05)
        return super().__call__(tiles)
steps.STEP_PIXELS = 1
replace_network(pytest.MonkeyPatch(), Slow())
predict({scene!r}, {model!r}, tile_size=16, confidence=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_kill_leaves_nothing_under_the_final_name(tmp_path: Path, identity: IdentityNetwork, model: Path) -> None:
    values = classes(200, 60)
    scene = write_scene(tmp_path / "s.tif", values)
    code = KILLED.format(tests=str(Path(__file__).parent), scene=str(scene), model=str(model))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout is not None
        for _ in range(5):
            assert process.stdout.readline() == "tile\n"
        time.sleep(0.1)
        process.kill()
    assert not (tmp_path / "s_landcover.tif").exists()
    assert not (tmp_path / "s_confidence.tif").exists()
    done = predict(scene, model, tile_size=16, resume=False)
    np.testing.assert_array_equal(read(done.labels), values)
