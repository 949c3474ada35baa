"""predict_array(): the pixels of predict(), lazily, whatever the chunks."""

from __future__ import annotations

import json
import logging
import pickle
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import rasterio
import rioxarray
import torch
import xarray as xr
from affine import Affine
from scenes import UTM, IdentityNetwork, SmoothNetwork, replace_network, write_scene, write_spec

import geoseg
from geoseg import predict, predict_array
from geoseg.arrays import blocks, tasks
from geoseg.arrays.agreeing import Arithmetic
from geoseg.errors import ClusterError, GeosegError, ModelError
from geoseg.rasters import CONFIDENCE_NODATA

CHOICES: dict[str, Any] = {"tile_size": 8, "overlap": 4}


class AllBands(SmoothNetwork):
    """The same of a sum in which each band counts for itself."""

    def __call__(self, tiles: np.ndarray) -> np.ndarray:
        weights = np.array([0.6, 0.3, 0.1], np.float32)[:, None, None]
        return super().__call__((tiles * weights).sum(1, keepdims=True))


RGB: dict[str, Any] = {"bands": ("red", "green", "blue"), "mean": (0.0,) * 3, "std": (1.0,) * 3}


@pytest.fixture(autouse=True)
def network(monkeypatch: pytest.MonkeyPatch) -> Iterator[SmoothNetwork]:
    """Each pixel depends on all of every tile over it: a tile that is not where it should be changes the map."""
    made = SmoothNetwork()
    tasks.forget()
    replace_network(monkeypatch, made)
    yield made
    tasks.forget()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_spec(tmp_path / "m.safetensors")


@pytest.fixture
def rgb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    replace_network(monkeypatch, AllBands())
    return write_spec(tmp_path / "rgb.safetensors", **RGB)


def values_of(height: int, width: int, bands: int = 1, holes: bool = True) -> np.ndarray:
    """Numbers 1..7 in patches, and holes of 0: a tile's worth, single pixels, and a corner."""
    generator = np.random.default_rng(height * 1000 + width)
    patches = generator.integers(1, 8, (bands, height // 5 + 1, width // 5 + 1)).astype(np.uint8)
    values = patches.repeat(5, 1).repeat(5, 2)[:, :height, :width].copy()
    if holes:
        values[:, height // 3 : height // 3 + 14, width // 4 : width // 4 + 17] = 0
        values[:, generator.random((height, width)) < 0.02] = 0
        values[:, -3:, -5:] = 0
    return values


def opened(path: Path, **chunks: int) -> xr.DataArray:
    found = rioxarray.open_rasterio(path, chunks=chunks or None)
    assert isinstance(found, xr.DataArray)
    return found


def predicted(scene: Path, model: Path, **choices: Any) -> np.ndarray:
    """Labels, and what else there is, of the map that is written: (P, H, W)."""
    made = predict(scene, model, scene.with_name("map.tif"), overwrite=True, **CHOICES | choices)
    planes = []
    for path in (made.labels, made.confidence):
        if path is not None:
            with rasterio.open(path) as file:
                planes.append(file.read())
    return np.concatenate(planes)


def mapped(array: xr.DataArray | xr.Dataset, model: Path, **choices: Any) -> Any:
    return predict_array(array, model, **CHOICES | choices)


@pytest.mark.parametrize(
    ("size", "chunks"),
    [
        ((45, 58), (20, 33)), ((41, 50), (9, 50)), ((45, 33), (45, 7)), ((32, 32), (32, 32)), ((23, 22), (3, 22)),
        ((5, 6), (2, 4)), ((1, 40), (1, 30)), ((3, 1), (2, 1)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("least", [0, 4], ids=["as chunked", "merged"])
def test_any_chunks_give_the_pixels_of_a_file(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], chunks: Any, least: int
) -> None:
    monkeypatch.setattr(blocks, "LEAST_TILES", least)
    scene = write_scene(tmp_path / "s.tif", values_of(*size), nodata=0)
    found = mapped(opened(scene, y=chunks[0], x=chunks[1]), model)
    assert isinstance(found.data, da.Array)
    if not least:
        assert found.chunks == opened(scene, y=chunks[0], x=chunks[1]).chunks[1:]
    assert found.dtype == found.compute().dtype == np.uint8
    assert np.array_equal(found, predicted(scene, model)[0])


@pytest.mark.parametrize(
    "choices",
    [
        {"tile_size": 16, "overlap": 6}, {"tile_size": 16, "overlap": 12}, {"overlap": 0}, {"blend": "crop"},
        {"blend": "gaussian", "batch": 3}, {"refine": "crf,iterations=2,radius=2"}, {"gsd": 17.0}, {"gsd": 6.3},
        {"gsd": 25.0, "refine": "crf,iterations=1,radius=2", "tile_size": 16}, {"value_range": (0.0, 300.0)},
    ],
    ids=str,
)  # fmt: skip
def test_any_choice_gives_the_pixels_of_a_file(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, choices: dict[str, Any]
) -> None:
    monkeypatch.setattr(blocks, "LEAST_TILES", 0)
    scene = write_scene(tmp_path / "s.tif", values_of(45, 58), nodata=0)
    expected = predicted(scene, model, **choices)[0]
    assert np.array_equal(mapped(opened(scene, y=25, x=31), model, **choices), expected)
    assert np.array_equal(mapped(opened(scene), model, **choices), expected)
    assert len(np.unique(expected)) > 3


def test_an_array_in_memory_is_mapped_at_once(tmp_path: Path, model: Path) -> None:
    scene = write_scene(tmp_path / "s.tif", values_of(41, 50), nodata=0)
    found = mapped(opened(scene), model)
    assert isinstance(found.data, np.ndarray)
    assert np.array_equal(found, predicted(scene, model)[0])


def test_coordinates_crs_and_legend_come_with_it(tmp_path: Path, model: Path) -> None:
    scene = write_scene(tmp_path / "s.tif", values_of(41, 50), nodata=0)
    source = opened(scene, y=16, x=16)
    found = mapped(source, model)
    assert found.name == "landcover"
    assert found.dims == ("y", "x")
    for name in ("x", "y", "spatial_ref"):
        assert found[name].identical(source[name])
    assert "band" not in found.coords
    assert found.rio.crs == source.rio.crs == "EPSG:32633"
    assert found.rio.transform() == source.rio.transform() == UTM
    assert found.rio.nodata == 0
    assert list(found.attrs["flag_values"]) == [1, 2, 3, 4, 5, 6, 7]
    assert found.attrs["flag_meanings"].split() == [f"class_{i}" for i in range(1, 8)]
    assert len(found.attrs["flag_colors"].split()) == 7
    assert found.attrs["GEOSEG_MODEL"] == "tiny"
    assert len(found.attrs["GEOSEG_MODEL_SHA256"]) == 64
    assert found.attrs["GEOSEG_VERSION"] == geoseg.__version__
    assert json.loads(found.attrs["GEOSEG_PARAMETERS"])["tile_size"] == 8


def test_what_rioxarray_writes_is_a_class_raster(tmp_path: Path, model: Path) -> None:
    """With its legend: vectorize, evaluate and the like take it as one of predict's."""
    from geoseg.rasters import open_class_raster

    scene = write_scene(tmp_path / "s.tif", values_of(41, 50), nodata=0)
    mapped(opened(scene, y=16, x=16), model).rio.to_raster(tmp_path / "there.tif")
    expected = predicted(scene, model)[0]
    with open_class_raster(tmp_path / "there.tif") as raster, open_class_raster(tmp_path / "map.tif") as own:
        assert raster.legend == own.legend
        assert raster.grid == own.grid
    with rasterio.open(tmp_path / "there.tif") as file:
        assert np.array_equal(file.read(1), expected)
        assert file.nodata == 0


@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning:odc")
def test_odc_geo_sees_the_same_geobox(tmp_path: Path, model: Path) -> None:
    pytest.importorskip("odc.geo.xr", reason="odc-geo is not installed")
    from importlib import import_module

    geobox = import_module("odc.geo.geobox").GeoBox((41, 50), Affine(10, 0, 5e5, 0, -10, 5e6), "EPSG:32633")
    values = xr.DataArray(values_of(41, 50)[0], dims=("y", "x"))
    made = import_module("odc.geo.xr").wrap_xr(values.data, geobox, nodata=0)
    for source in (made, made.chunk(y=16, x=16)):
        found = mapped(source, model)
        assert found.odc.geobox == source.odc.geobox == geobox
        assert found.odc.nodata == 0
        assert found.rio.crs == "EPSG:32633"
        scene = write_scene(tmp_path / "s.tif", values_of(41, 50), nodata=0)
        assert np.array_equal(found, predicted(scene, model)[0])


def test_confidence_and_probabilities_are_those_of_the_file(tmp_path: Path, model: Path) -> None:
    scene = write_scene(tmp_path / "s.tif", values_of(41, 50), nodata=0)
    choices: dict[str, Any] = {"probabilities": True, "uncertainty": "entropy"}
    planes = predicted(scene, model, **choices)
    found = mapped(opened(scene, y=32, x=32), model, **choices)
    assert isinstance(found, xr.Dataset)
    assert set(found.data_vars) == {"landcover", "confidence", "entropy", "probabilities"}
    assert found["probabilities"].dims == ("class", "y", "x")
    assert list(found["class"].values) == [f"class {i}" for i in range(1, 8)]
    assert np.array_equal(found["landcover"], planes[0])
    shares = np.concatenate([[found["confidence"], found["entropy"]], found["probabilities"]])
    assert shares.dtype == np.float32
    assert np.array_equal(np.isnan(shares), planes[1:] == CONFIDENCE_NODATA)
    assert np.array_equal(np.rint(np.nan_to_num(shares, nan=CONFIDENCE_NODATA / 250) * 250), planes[1:])
    for name in found.data_vars:
        assert found[name].rio.crs == "EPSG:32633"


@pytest.mark.parametrize("kind", ["NaN", "nodata", "_FillValue", "argument", "odc", "float -9999"])
def test_no_data_comes_out_as_no_data(tmp_path: Path, model: Path, kind: str) -> None:
    values = values_of(41, 50)
    hole = values[0] == 0
    source = xr.DataArray(values[0], dims=("y", "x")).chunk(y=16, x=16)
    choices: dict[str, Any] = {}
    if kind == "NaN":
        source = source.where(~da.from_array(hole, (16, 16)))
    elif kind == "argument":
        choices["nodata"] = 0
    elif kind == "odc":
        source.attrs["nodata"], source.encoding["_FillValue"] = 0, 0
    elif kind == "float -9999":
        source = source.astype(np.float32).where(~da.from_array(hole, (16, 16)), -9999).assign_attrs(_FillValue=-9999.0)
    else:
        source.attrs[kind] = 0
    found = mapped(source, model, **choices)
    assert np.array_equal(found == 0, hole)
    scene = write_scene(tmp_path / "s.tif", values, nodata=0)
    assert np.array_equal(found, predicted(scene, model)[0])


def test_without_nodata_all_is_data(model: Path) -> None:
    found = mapped(xr.DataArray(values_of(41, 50)[0], dims=("y", "x")).chunk(y=16), model)
    assert (found != 0).all()
    assert found.rio.crs is None


def test_each_time_is_a_scene_of_its_own(tmp_path: Path, model: Path) -> None:
    times = np.array(["2024-05-01", "2024-06-01", "2024-07-01"], "datetime64[ns]")
    stack = np.stack([np.roll(values_of(41, 50), 3 * k, 2) for k in range(3)])
    source = xr.DataArray(
        stack, {"time": times, "season": ("time", ["a", "b", "c"])}, ("time", "band", "y", "x"), attrs={"nodata": 0}
    )
    expected = [
        predicted(write_scene(tmp_path / f"{k}.tif", values, nodata=0), model)[0] for k, values in enumerate(stack)
    ]
    for given in (source, source.chunk(time=2, y=32), source.transpose("y", "x", "band", "time").chunk(x=40)):
        found = mapped(given, model)
        assert found.dims == ("time", "y", "x")
        assert np.array_equal(found.time, times)
        assert list(found.season.values) == ["a", "b", "c"]
        assert np.array_equal(found, expected)


def test_the_variables_of_a_dataset_are_bands(tmp_path: Path, rgb: Path) -> None:
    values = values_of(41, 50, bands=3)
    expected = predicted(write_scene(tmp_path / "s.tif", values, nodata=0), rgb)[0]
    parts = {
        name: xr.DataArray(band, dims=("y", "x"), attrs={"nodata": 0}) for name, band in zip("rgb", values, strict=True)
    }
    named = {
        "Blue": parts["b"],
        "nir": parts["g"] * 0,
        "green": parts["g"],
        "red": parts["r"],
        "scalar": xr.DataArray(3),
    }
    for dataset in (xr.Dataset(named), xr.Dataset(named).chunk(y=16, x=20)):
        assert np.array_equal(mapped(dataset, rgb), expected)
        assert np.array_equal(mapped(dataset, rgb, bands=["red", "green", "BLUE"]), expected)
        assert np.array_equal(mapped(dataset, rgb, bands=[4, 3, 1]), expected)
    assert np.array_equal(mapped(xr.Dataset(parts), rgb), expected)


def test_coordinates_of_what_the_map_has_not_are_left_out(tmp_path: Path, model: Path) -> None:
    scene = write_scene(tmp_path / "s.tif", values_of(45, 58), nodata=0)
    dem = opened(scene, y=20, x=20)[0].drop_vars("band")
    days = {"time": np.array(["2024-06-01", "2024-06-03"], "datetime64[ns]"), "orbit": ("time", [22, 65])}
    source = xr.Dataset({"red": dem.expand_dims(time=2), "dem": dem}).assign_coords(days).assign_coords(place=7)
    found = mapped(source, model, bands=["dem"])
    assert found.dims == ("y", "x")
    assert set(found.coords) == {"y", "x", "spatial_ref", "place"}
    assert np.array_equal(found, predicted(scene, model)[0])
    assert set(mapped(source, model, bands=["red"]).coords) == {"y", "x", "spatial_ref", "place", "time", "orbit"}


def test_bands_of_an_array_by_name_and_number(tmp_path: Path, rgb: Path) -> None:
    values = values_of(41, 50, bands=3)
    expected = predicted(write_scene(tmp_path / "s.tif", values, nodata=0), rgb)[0]
    source = xr.DataArray(
        np.concatenate([values, values[:1]])[::-1],
        {"band": ["nir", "blue", "green", "red"]}, ("band", "y", "x"), attrs={"nodata": 0},
    )  # fmt: skip
    for given in (source, source.chunk(band=1, x=20), source.transpose("y", "x", "band").chunk(band=3)):
        assert np.array_equal(mapped(given, rgb, bands=["red", "green", "blue"]), expected)
        assert np.array_equal(mapped(given, rgb, bands=(4, 3, 2)), expected)
    assert np.array_equal(mapped(source.isel(band=slice(3, 0, -1)).rename(band="channel"), rgb), expected)


def test_types_of_bands_meet_in_one_that_holds_all(tmp_path: Path, rgb: Path) -> None:
    values = values_of(41, 50, bands=3).astype(np.int32)
    expected = predicted(write_scene(tmp_path / "s.tif", values, nodata=0), rgb)[0]
    types = {"red": "uint16", "green": "int16", "blue": "uint8"}
    dataset = xr.Dataset({
        name: xr.DataArray(band.astype(dtype), dims=("y", "x"), attrs={"nodata": 0})
        for (name, dtype), band in zip(types.items(), values, strict=True)
    }).chunk(y=16)  # fmt: skip
    assert np.array_equal(mapped(dataset, rgb), expected)


def test_a_coordinate_called_band_that_is_no_dimension_stays(rgb: Path) -> None:
    """As isel leaves it; and another dimension is that of bands."""
    source = xr.DataArray(values_of(20, 20, 3), {"band": 7}, ("channel", "y", "x")).chunk(y=10)
    found = mapped(source, rgb)
    assert found.dims == ("y", "x")
    assert found.band == 7
    assert (found.compute() != 0).all()


def counted(values: np.ndarray, chunk: int, read: set[tuple[int, int]]) -> xr.DataArray:
    """An array that tells which of its chunks is computed."""

    def load(block_info: Any = None) -> np.ndarray:
        (_, (top, bottom), (left, right)) = block_info[None]["array-location"]
        read.add((top // chunk, left // chunk))
        return values[:, top:bottom, left:right]

    sizes = [tuple(min(chunk, size - at) for at in range(0, size, chunk)) for size in values.shape[1:]]
    lazy = da.map_blocks(
        load, chunks=((values.shape[0],), *sizes), dtype=values.dtype, meta=np.empty((0, 0, 0), values.dtype)
    )
    return xr.DataArray(lazy, dims=("band", "y", "x"), attrs={"nodata": 0})


def test_a_block_reads_the_chunks_that_its_tiles_show_and_no_others(
    model: Path, monkeypatch: pytest.MonkeyPatch, network: SmoothNetwork
) -> None:
    monkeypatch.setattr(blocks, "LEAST_TILES", 0)
    read: set[tuple[int, int]] = set()
    found = mapped(counted(values_of(160, 160, holes=False), 16, read), model)
    assert not read
    assert network.tiles == 0
    # Tiles of 8 px every 4 px from -2 on: rows 64..79 are shown by tiles over 58..85.
    found[64:80, 64:80].compute(scheduler="synchronous")
    assert read == {(i, j) for i in (3, 4, 5) for j in (3, 4, 5)}
    assert network.tiles == 36
    read.clear()
    found[0, 0].compute(scheduler="synchronous")
    assert read == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_a_whole_map_computes_each_chunk_once(model: Path) -> None:
    calls: list[int] = []

    def load(block_info: Any = None) -> np.ndarray:
        calls.append(1)
        return np.ones(block_info[None]["chunk-shape"], np.uint8)

    lazy = da.map_blocks(load, chunks=((1,), (40,) * 3, (40,) * 3), dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8))
    mapped(xr.DataArray(lazy, dims=("band", "y", "x")), model).compute(scheduler="threads")
    assert len(calls) == 9


def test_tasks_are_small_and_hold_no_network(model: Path) -> None:
    lazy = da.zeros((1, 400, 400), chunks=(1, 40, 40), dtype=np.uint8)
    found = mapped(xr.DataArray(lazy, dims=("band", "y", "x")), model)
    graph = dict(found.data.__dask_graph__())
    assert len(found.data.to_delayed().ravel()) == 100
    assert max(len(pickle.dumps(task)) for task in graph.values()) < 10_000


def test_the_same_map_has_the_same_keys_and_another_has_others(model: Path) -> None:
    source = xr.DataArray(da.zeros((1, 40, 40), chunks=20, dtype=np.uint8), dims=("band", "y", "x"))
    name = mapped(source, model).data.name
    assert mapped(source, model).data.name == name
    others = [{"overlap": 2}, {"tta": "d4"}, {"value_range": (0, 9)}, {"nodata": 3}, {"confidence": True}]
    assert all(_name(mapped(source, model, **other)) != name for other in others)


def _name(found: xr.DataArray | xr.Dataset) -> str:
    return str((found if isinstance(found, xr.DataArray) else found["landcover"]).data.name)


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_a_process_loads_the_network_once(
    model: Path, monkeypatch: pytest.MonkeyPatch, network: SmoothNetwork, scheduler: str
) -> None:
    from scenes import FakePredictor

    from geoseg.inference import network as home

    loaded: list[int] = []

    def load(job: Any, _: object) -> FakePredictor:
        loaded.append(1)
        return FakePredictor(network, job)

    monkeypatch.setattr(home, "load_network", load)
    source = xr.DataArray(values_of(40, 40)[0], dims=("y", "x"), attrs={"nodata": 0}).chunk(y=20, x=20)
    first = mapped(source, model)
    assert not loaded
    first.compute(scheduler=scheduler)
    mapped(source, model, blend="crop").compute(scheduler=scheduler)
    assert len(loaded) == 1


def test_planning_loads_no_torch(tmp_path: Path, model: Path) -> None:
    write_scene(tmp_path / "s.tif", values_of(45, 58), nodata=0)
    script = (
        "import sys, geoseg, rioxarray\n"
        f"scene = rioxarray.open_rasterio({str(tmp_path / 's.tif')!r}, chunks={{'x': 20, 'y': 20}})\n"
        f"found = geoseg.predict_array(scene, {str(model)!r}, tile_size=8, overlap=4, probabilities=True)\n"
        "assert found['landcover'].chunks and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_blocks_without_data_load_nothing(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_network(monkeypatch, None)  # calling it would fail
    source = xr.DataArray(da.zeros((80, 80), chunks=40, dtype=np.uint8), dims=("y", "x"), attrs={"nodata": 0})
    assert not mapped(source, model).any()
    assert not tasks._READY


def test_workers_of_a_cluster_give_the_same_pixels(tmp_path: Path, model: Path, client: Any) -> None:
    scene = write_scene(tmp_path / "s.tif", values_of(45, 58), nodata=0)
    with client.as_current():
        found = mapped(opened(scene, y=20, x=33), model).compute()
    assert np.array_equal(found, predicted(scene, model)[0])


def test_a_model_that_was_replaced_is_refused(model: Path) -> None:
    found = mapped(xr.DataArray(da.ones((20, 20), dtype=np.uint8), dims=("y", "x")), model)
    write_spec(model, name="another")
    with pytest.raises(ModelError, match=r"is another file \(SHA-256"):
        found.compute(scheduler="synchronous")


def test_processes_that_compute_otherwise_are_refused(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that is asked first has a GPU, those that compute blocks have none."""
    found = mapped(xr.DataArray(da.ones((20, 20), dtype=np.uint8), dims=("y", "x")), model)
    answers = [Arithmetic("torch", "2.9", "bf16", "cuda"), Arithmetic("openvino", "2026.1", "bf16", "cpu")]
    monkeypatch.setattr(tasks, "arithmetic_of", lambda _: answers.pop(0))
    with pytest.raises(ClusterError, match=r"backend is openvino and not torch; .*device is cpu and not cuda; give a"):
        found.compute(scheduler="synchronous")
    assert not answers


def test_auto_is_settled_where_blocks_are_computed(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from geoseg.predictors import machine

    monkeypatch.setattr(machine, "this_machine", lambda: machine.Machine(cuda=1, cuda_bf16=True))
    asked: list[Any] = []
    monkeypatch.setattr(tasks, "refuse_unlike", lambda *both: asked.append(both))
    mapped(xr.DataArray(da.ones((20, 20), dtype=np.uint8), dims=("y", "x")), model).compute(scheduler="synchronous")
    gpu = Arithmetic("torch", version("torch"), "bf16", "cuda")
    assert asked == [(gpu, gpu)]


def test_another_version_of_geoseg_is_refused(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = mapped(xr.DataArray(da.ones((20, 20), dtype=np.uint8), dims=("y", "x")), model)
    monkeypatch.setattr(tasks, "__version__", "9.9")
    with pytest.raises(ClusterError, match=rf"has geoseg 9\.9, but the map was planned with {geoseg.__version__}"):
        found.compute(scheduler="synchronous")


def test_small_chunks_are_merged_and_costly_ones_warned_of(
    model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = xr.DataArray(da.zeros((200, 200), chunks=10, dtype=np.uint8), dims=("y", "x"))
    with caplog.at_level(logging.INFO, "geoseg"):
        found = mapped(source, model, overlap=2)
    assert {side for sides in found.chunks for side in sides[:-1]} == {40}  # 4 tiles of 8 px are 32
    assert "25 blocks of up to 40×40 pixels; 3" in caplog.text
    assert "are computed twice, because" not in caplog.text
    monkeypatch.setattr(blocks, "LEAST_TILES", 0)
    mapped(source, model, overlap=2)
    (warning,) = [r.getMessage() for r in caplog.records if "because" in r.getMessage()]
    assert "because 400 blocks of up to 10×10 pixels meet; with .chunk(y=64, x=64) it is" in warning


def test_what_is_unlike_training_is_warned_of(
    model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The pixel size when the map is planned, the values with the first block, each once a map."""
    replace_network(monkeypatch, IdentityNetwork())
    fields = {"y": 5e6 - np.arange(40) * 100.0, "x": 5e5 + np.arange(40) * 100.0}
    source = xr.DataArray(da.full((40, 40), 90, dtype=np.uint8, chunks=20), fields, ("y", "x")).rio.write_crs(
        "EPSG:32633"
    )
    found = mapped(source, model)
    assert [r.getMessage().split(":")[0] for r in caplog.records] == [
        "the array has pixels of 100 m but model 'tiny' was trained at 10 m"
    ]
    caplog.clear()
    found.compute(scheduler="synchronous")
    (told,) = [r.getMessage() for r in caplog.records]
    assert "has values 90..90 but model 'tiny' was trained on" in told
    # Another map has values of its own, the network being ready or not.
    mapped(source + np.uint8(10), model).compute(scheduler="synchronous")
    assert "has values 100..100 but model 'tiny'" in caplog.messages[-1]


PLANE = xr.DataArray(np.ones((12, 12), np.uint8), dims=("y", "x"))
ROWS = da.ones(12, chunks=6, dtype=np.uint8)
UNKNOWN = xr.DataArray(da.ones((12, 12), chunks=6, dtype=np.uint8)[ROWS > 0], dims=("y", "x"))


@pytest.mark.parametrize(
    ("source", "choices", "message"),
    [
        (PLANE.rename(y="rows"), {}, r"dimensions \(rows, x\) but none called y and x"),
        (
            PLANE.expand_dims(band=3),
            {},
            r"gives 3 bands \(band 1, band 2, band 3\) but model 'tiny' expects 1 \(value\)",
        ),
        (PLANE, {"bands": [2]}, r"band 2 was asked of the array, which has 1 \(band 1\)"),
        (PLANE.rename("ndvi"), {"bands": ["red"]}, r"band 'red' was asked of array 'ndvi', which has 1 \(ndvi\)"),
        (PLANE, {"bands": []}, "no band was asked for"),
        (PLANE.astype(np.int64), {}, r"holds int64 samples; convert them, e\.g\. \.astype\('float32'\)"),
        (PLANE.astype(complex), {}, "holds complex128 samples"),
        (PLANE[:0], {}, "has no pixel: 0×12"),
        (PLANE.expand_dims(time=0), {}, "dimension 'time' of the array is empty"),
        (PLANE.expand_dims(band=0), {}, "dimension 'band' of the array is empty: no band"),
        (xr.Dataset({"a": PLANE.expand_dims(band=1)}), {}, r"variable 'a' has a dimension 'band'"),
        (xr.Dataset({"a": ("y", [1]), "b": ("x", [1])}), {}, "no variable with dimensions y and x"),
        (PLANE.values, {}, "a ndarray is no scene; give an xarray.DataArray"),
        (PLANE, {"precision": "int8"}, "int8 is calibrated on tiles from all over a scene"),
        (PLANE, {"overlap": 8}, "overlap 8 does not fit tile size 8"),
        (PLANE, {"gsd": 3.0}, "has no known pixel size"),
        (PLANE, {"value_range": (3, 3)}, "value range 3,3 is empty"),
        (PLANE, {"nodata": "x"}, "nodata is 'x', which is no number; give a number"),
        (
            PLANE.assign_attrs(nodata="none"),
            {},
            r"attribute nodata of the array is 'none', which is no number; give nodata",
        ),
        (PLANE.assign_attrs(_FillValue=[0]), {}, r"attribute _FillValue of the array is \[0\], which is no number"),
        (PLANE.assign_attrs(nodata=np.array([0, 255])), {}, r"nodata of the array is array\(\[  0, 255\]\)"),
        (PLANE.assign_attrs(crs="nonsense"), {}, r"the array has a CRS that cannot be read \(.*\.rio\.write_crs"),
        (UNKNOWN, {}, r"chunks of unknown size along y; .*compute_chunk_sizes\(\)"),
    ],
)
def test_what_cannot_be_mapped_is_refused_in_one_line(
    model: Path, source: Any, choices: dict[str, Any], message: str
) -> None:
    with pytest.raises(GeosegError, match=message) as caught:
        mapped(source, model, **choices)
    assert "\n" not in str(caught.value)


def test_a_keyword_that_only_files_have_is_refused(model: Path) -> None:
    with pytest.raises(TypeError, match=r"predict_array\(\) got an unexpected keyword argument 'aoi'"):
        mapped(PLANE, model, aoi="fields.gpkg")


def test_names_of_geographic_coordinates_do(tmp_path: Path, model: Path) -> None:
    transform = Affine(0.0001, 0, 15, 0, -0.0001, 50)
    scene = write_scene(tmp_path / "s.tif", values_of(41, 50), nodata=0, crs="EPSG:4326", transform=transform)
    expected = predicted(scene, model)[0]
    for rows, cols in (("latitude", "longitude"), ("lat", "lon")):
        found = mapped(opened(scene, y=16, x=16).rename(y=rows, x=cols), model)
        assert found.dims == (rows, cols)
        assert np.array_equal(found, expected)


def test_merging_ends_where_chunks_end() -> None:
    assert blocks.merged((10, 10, 10, 10, 10), 20) == (20, 30)
    assert blocks.merged((30, 5, 30), 20) == (30, 35)
    assert blocks.merged((5, 5), 20) == (10,)
    assert blocks.merged((5, 6, 7), 0) == (5, 6, 7)


def test_identity_survives_every_block(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that gives back what it sees: the map is the scene."""
    replace_network(monkeypatch, IdentityNetwork())
    values = values_of(45, 58)
    source = xr.DataArray(values[0], dims=("y", "x"), attrs={"nodata": 0}).chunk(y=20, x=33)
    with dask.config.set(scheduler="threads"):
        assert np.array_equal(mapped(source, model), values[0])


@pytest.mark.slow
@pytest.mark.timeout(900)  # each process loads torch
@pytest.mark.parametrize("kind", ["processes", "cluster"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Dask does not close all of its sockets
def test_processes_give_the_same_pixels_with_a_real_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    from geoseg.models import create_model, read_spec, save_model

    monkeypatch.undo()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # the sums of torch depend on it
    monkeypatch.setenv("DASK_LOGGING__DISTRIBUTED", "critical")
    monkeypatch.setattr(blocks, "LEAST_TILES", 1)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    spec = read_spec(
        write_spec(
            tmp_path / "spec.safetensors", architecture="unet", tile_size=32, stride_multiple=16, options={"width": 4},
            **{**RGB, "mean": (3.0,) * 3},
        )
    )  # fmt: skip
    torch.manual_seed(0)
    save_model(tmp_path / "m.safetensors", create_model("unet", bands=3, classes=7, width=4), spec)
    scene = write_scene(tmp_path / "s.tif", values_of(150, 170, 3), nodata=0)
    choices: dict[str, Any] = {
        "tile_size": 32, "overlap": 12, "backend": "torch", "precision": "fp32", "device": "cpu",
        "probabilities": True, "tta": "d4",
    }  # fmt: skip
    try:
        planes = predicted(scene, tmp_path / "m.safetensors", **choices)
        found = mapped(opened(scene, y=50, x=64), tmp_path / "m.safetensors", **choices)
        if kind == "processes":
            got = found.compute(scheduler="processes", num_workers=2)
        else:
            from distributed import Client, LocalCluster

            with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster, Client(cluster):
                got = found.compute()
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(got["landcover"], planes[0])
    shares = np.nan_to_num(got["probabilities"], nan=CONFIDENCE_NODATA / 250) * 250
    assert np.array_equal(np.rint(shares), planes[2:])
