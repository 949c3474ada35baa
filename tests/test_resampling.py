from __future__ import annotations

import itertools
import json
import math
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from scenes import UTM, write_scene

import geoseg.rasters.resampling
from geoseg.errors import ParameterError, RasterError
from geoseg.grids import Grid
from geoseg.rasters import Pixels, Scene, open_mosaic, open_scene, resampled
from geoseg.rasters.resampling import ResampledScene
from geoseg.tiling import Window

RNG = np.random.default_rng(11)


def whole(scene: Scene) -> Window:
    return Window(0, 0, *scene.grid.shape)


def noise(*shape: int, dtype: str = "uint8") -> np.ndarray:
    return RNG.integers(0, 256, shape).astype(dtype)


def weights(size: int, count: int, new: int) -> dict[int, Fraction]:
    """Which share each old pixel of an axis has in a new one."""
    if count <= size:
        low, high = Fraction(new * size, count), Fraction((new + 1) * size, count)
        shares = {o: min(high, Fraction(o + 1)) - max(low, Fraction(o)) for o in range(size)}
        return {o: s for o, s in shares.items() if s > 0}
    middle = Fraction((2 * new + 1) * size, 2 * count) - Fraction(1, 2)
    before = math.floor(middle)
    found: dict[int, Fraction] = {}
    for o, share in ((before, 1 - (middle - before)), (before + 1, middle - before)):
        inside = min(max(o, 0), size - 1)
        if share:
            found[inside] = found.get(inside, Fraction(0)) + share
    return found


def exact(pixels: Pixels, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The definition, pixel by pixel in fractions: (C, h, w) means and whether anything has a share in them."""
    count, height, width = pixels.values.shape
    means, shares = np.zeros((count, *shape), object), np.zeros((count, *shape), object)
    for b, r, c in np.ndindex(count, *shape):
        down, across = weights(height, shape[0], r), weights(width, shape[1], c)
        for o, p in itertools.product(down, across):
            if pixels.present[b, o, p]:
                shares[b, r, c] += down[o] * across[p]
                means[b, r, c] += down[o] * across[p] * Fraction(float(pixels.values[b, o, p]))
    found = shares > 0
    means[found] /= shares[found]
    return means, found.astype(bool)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_it_is_the_mean_of_what_is_data(tmp_path_factory, data):
    """For any sizes, types and gaps; whole numbers to the last one, halves upwards, whatever the strips."""
    dtype = data.draw(st.sampled_from(["uint8", "int16", "uint32", "float32"]))
    height, width = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    shape = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    values = rng.integers(0, 4, (2, height, width)).astype(dtype)
    options = {"nodata": 0} if data.draw(st.booleans()) else {}
    if dtype == "float32":
        values[rng.random(values.shape) < 0.3] = rng.choice([np.nan, np.inf])
    if data.draw(st.booleans()):
        options["valid"] = rng.random((height, width)) < 0.6
    path = write_scene(tmp_path_factory.mktemp("r") / "s.tif", values, **options)
    with open_scene(path) as scene:
        pixels = scene.read(whole(scene))
        seen = ResampledScene(scene, *shape)
        found = seen.read(whole(seen))
        means, present = exact(pixels, shape)
        step = data.draw(st.integers(1, 5))
        strips = [seen.read(Window(t, 0, min(step, shape[0] - t), shape[1])) for t in range(0, shape[0], step)]
        columns = [seen.read(Window(0, t, shape[0], min(step, shape[1] - t))) for t in range(0, shape[1], step)]
    assert np.array_equal(found.present, present)
    assert np.array_equal(found.valid, present.any(axis=0))
    assert found.values.dtype == np.dtype(dtype)
    if dtype == "float32":
        assert np.allclose(found.values, means.astype(float), rtol=1e-6)
    else:
        assert np.array_equal(found.values, [[[math.floor(v + Fraction(1, 2)) for v in r] for r in b] for b in means])
    for parts, axis in ((strips, 1), (columns, 2)):
        assert np.array_equal(np.concatenate([p.values for p in parts], axis=axis), found.values)
        assert np.array_equal(np.concatenate([p.valid for p in parts], axis=axis - 1), found.valid)
        assert np.array_equal(np.concatenate([p.present for p in parts], axis=axis), found.present)


@pytest.mark.parametrize("shape", [(20, 30), (37, 50), (7, 11), (1, 1), (120, 180), (99, 131)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_gdal_makes_the_same_of_whole_data(tmp_path, shape, dtype):
    """A warped VRT, average where pixels grow and bilinear where they shrink, within rounding."""
    values = noise(3, 60, 90, dtype=dtype)
    path = write_scene(tmp_path / "s.tif", values)
    kind = Resampling.average if shape[0] <= 60 else Resampling.bilinear
    with rasterio.open(path) as dataset, open_scene(path) as scene:
        transform = dataset.transform @ Affine.scale(90 / shape[1], 60 / shape[0])
        with WarpedVRT(
            dataset, crs=dataset.crs, transform=transform, height=shape[0], width=shape[1], resampling=kind
        ) as vrt:
            expected = vrt.read().astype(float)
        seen = ResampledScene(scene, *shape)
        pixels = seen.read(whole(seen))
    assert pixels.valid.all()
    assert np.abs(pixels.values - expected).max() <= (1e-3 if dtype == "float32" else 1)
    assert np.abs(pixels.values - expected).mean() < 0.01


def test_gdal_agrees_on_one_nodata_value(tmp_path):
    """One signed band with a nodata tag is what both judge alike."""
    values = RNG.integers(1, 200, (1, 64, 64)).astype(np.int16)
    values[0, 10:40, 5:30] = -1
    path = write_scene(tmp_path / "s.tif", values, nodata=-1)
    with rasterio.open(path) as dataset, open_scene(path) as scene:
        transform = dataset.transform @ Affine.scale(4, 4)
        with WarpedVRT(
            dataset, crs=dataset.crs, transform=transform, height=16, width=16, resampling=Resampling.average
        ) as vrt:
            expected = vrt.read(1)
        seen = ResampledScene(scene, 16, 16)
        pixels = seen.read(whole(seen))
    assert np.array_equal(pixels.valid, expected != -1)
    assert np.array_equal(pixels.values[0][pixels.valid], expected[pixels.valid])


# Where pixels come to lie


@pytest.mark.parametrize(
    "transform",
    [
        UTM,
        Affine(10, 0, 500_000, 0, 10, 5_000_000),
        Affine(8, 6, 500_000, 6, -8, 5_000_000),
        Affine(5, 0, 5e5, 0, -20, 5e6),
    ],
)
@pytest.mark.parametrize("gsd", [3.7, 10, 20, 33.3, 1e6])
def test_the_extent_stays(tmp_path, transform, gsd):
    path = write_scene(tmp_path / "s.tif", noise(1, 60, 90), transform=transform)
    with open_scene(path) as scene, resampled(scene, gsd) as seen:
        a, b = scene.grid, seen.grid
        sides = math.hypot(transform.b, transform.e), math.hypot(transform.a, transform.d)
        assert b.shape == (max(1, round(60 * sides[0] / gsd)), max(1, round(90 * sides[1] / gsd)))
        corners = np.array([(0, 0), (1, 0), (0, 1), (1, 1)])
        assert np.allclose(b.to_world(corners * b.shape[::-1]), a.to_world(corners * a.shape[::-1]), rtol=0, atol=1e-6)
        assert (b.transform.c, b.transform.f) == (a.transform.c, a.transform.f)
        assert seen.read(whole(seen)).values.shape == (1, *b.shape)


def test_pixels_in_degrees_become_square(tmp_path):
    """At 60° north a degree of longitude is half as long."""
    path = write_scene(
        tmp_path / "s.tif", noise(1, 100, 100), crs="EPSG:4326", transform=Affine(1e-4, 0, 10, 0, -1e-4, 60)
    )
    with open_scene(path) as scene, resampled(scene, 11.14) as seen:
        assert seen.grid.shape == (100, 50)
        down, across = seen.grid.pixel_sides()
        assert down == pytest.approx(across, rel=0.01)
        assert seen.grid.ground_sample_distance() == pytest.approx(11.14, rel=0.01)


def test_the_own_size_is_the_scene_itself(tmp_path):
    with open_scene(write_scene(tmp_path / "s.tif", noise(1, 60, 90))) as scene:
        for gsd in (10, 10.01, 9.99):
            with resampled(scene, gsd) as seen:
                assert seen is scene


def test_control_points(tmp_path):
    points = [
        GroundControlPoint(r, c, 15 + c * 1e-4, 45 - r * 1e-4, 3) for r, c in ((0, 0), (0, 60), (60, 60), (60, 0))
    ]
    path = write_scene(tmp_path / "s.tif", noise(2, 60, 60), transform=None, crs="EPSG:4326", gcps=points)
    with open_scene(path) as scene, resampled(scene, 30) as seen:
        assert seen.grid.shape == (round(60 * 11.11 / 30), round(60 * 7.88 / 30))
        far = np.array([seen.grid.shape[::-1]])
        assert np.allclose(seen.grid.to_world(far), scene.grid.to_world(np.array([(60, 60)])))
        assert seen.read(whole(seen)).valid.all()


def test_a_scene_without_crs(tmp_path):
    path = write_scene(tmp_path / "s.tif", noise(1, 6, 9), crs=None)
    told = pytest.raises(RasterError, match=r"has no CRS.*gdal_edit\.py -a_srs")
    with open_scene(path) as scene, told, resampled(scene, 5):
        pass


@pytest.mark.parametrize("gsd", [0, -1, math.nan, math.inf])
def test_sizes_that_are_none(tmp_path, gsd):
    path = write_scene(tmp_path / "s.tif", noise(1, 6, 9))
    with open_scene(path) as scene, pytest.raises(ParameterError, match="no pixel size"), resampled(scene, gsd):
        pass


def test_more_pixels_than_a_raster_has(tmp_path):
    path = write_scene(tmp_path / "s.tif", noise(1, 6, 9))
    told = pytest.raises(ParameterError, match=r"6e\+10×9e\+10 pixels.*10×10 m")
    with open_scene(path) as scene, told, resampled(scene, 1e-9):
        pass


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1)])
def test_one_pixel_and_one_line(tmp_path, shape):
    values = noise(2, *shape)
    with open_scene(write_scene(tmp_path / "s.tif", values)) as scene:
        with resampled(scene, 5) as seen:
            assert seen.grid.shape == (2 * shape[0], 2 * shape[1])
            pixels = seen.read(whole(seen))
            assert pixels.valid.all()
            if shape == (1, 1):
                assert (pixels.values == values).all()
        with resampled(scene, 500) as seen:
            assert seen.grid.shape == (1, 1)
            assert np.array_equal(seen.read(whole(seen)).values[:, 0, 0], np.floor(values.mean(axis=(1, 2)) + 0.5))


# What a scene has to say


def test_it_is_a_scene(tmp_path):
    path = write_scene(
        tmp_path / "s.tif", noise(3, 64, 64), photometric="rgb", tiled=True, blockxsize=16, blockysize=32
    )
    with open_scene(path) as scene, resampled(scene, 20) as seen, resampled(scene, 40) as other:
        assert (seen.name, seen.files, seen.dtype) == (scene.name, scene.files, scene.dtype)
        assert (seen.bands, seen.band_names) == (scene.bands, scene.band_names)
        assert seen.block_shape == (16, 8)
        assert seen.always_valid
        assert seen.nodata == (None, None, None)
        assert "64×64 pixels are averaged to 32×32" in seen.notices[-1]
        assert json.loads(json.dumps(seen.identity)) == seen.identity
        assert seen.identity != other.identity != scene.identity
        assert seen.sample(16).values.shape == (3, 16, 16)
        with pytest.raises(ParameterError, match="32×32"):
            seen.read(Window(0, 0, 33, 1))


def test_an_average_that_equals_nodata_is_data(tmp_path):
    values = np.array([[[0, 9], [4, 2]]], np.int16)
    with open_scene(write_scene(tmp_path / "s.tif", values, nodata=5)) as scene, resampled(scene, 20) as seen:
        values[0, 0, 0] = 5
        pixels = seen.read(whole(seen))
        assert pixels.values.item() == 4  # (0 + 9 + 4 + 2) / 4
    values[0] = [[5, 7], [3, 5]]
    values[0, 0, 0] = 5
    with open_scene(write_scene(tmp_path / "t.tif", values, nodata=5)) as scene, resampled(scene, 20) as seen:
        pixels = seen.read(whole(seen))
        assert pixels.values.item() == 5  # of 7 and 3
        assert pixels.valid.all()
        assert pixels.present.all()


def test_all_kinds_of_no_data_have_no_weight(tmp_path):
    """Alpha and NaN, nodata and a validity band together: GDAL would see one of each two."""
    values = np.full((2, 8, 8), 10, np.float32)
    values[:, :2, :] = np.nan
    values[0, 2:4] = -9999
    own = np.ones((8, 8), bool)
    own[:, :2] = False
    values[:, :, :2] = 1e6
    path = write_scene(tmp_path / "s.tif", values, nodata=-9999, valid=own)
    with open_scene(path) as scene, resampled(scene, 20) as seen:
        pixels = seen.read(whole(seen))
    assert pixels.valid.tolist() == [[False] * 4] + [[False, True, True, True]] * 3
    assert pixels.present[0].tolist() == [[False] * 4] * 2 + [[False, True, True, True]] * 2
    assert (pixels.values[pixels.present] == 10).all()
    colored = np.full((4, 8, 8), 40, np.uint8)
    colored[3] = np.tri(8, dtype=bool) * 255
    colored[:3, colored[3] == 0] = 255
    path = write_scene(tmp_path / "c.tif", colored, photometric="rgb", alpha="YES")
    with open_scene(path) as scene, resampled(scene, 20) as seen:
        pixels = seen.read(whole(seen))
    assert np.array_equal(pixels.valid, np.tri(4, dtype=bool))
    assert (pixels.values[pixels.present] == 40).all()


# Mosaics, memory, real scenes


@pytest.mark.parametrize("gsd", [7, 25, 41])
def test_a_mosaic_is_resampled_like_one_file(tmp_path, gsd):
    values = noise(2, 50, 70)
    one = write_scene(tmp_path / "one.tif", values)
    left = write_scene(tmp_path / "l.tif", values[:, :, :33])
    right = write_scene(tmp_path / "r.tif", values[:, :, 33:], transform=UTM @ Affine.translation(33, 0))
    with (
        open_scene(one) as scene,
        open_mosaic([left, right]) as mosaic,
        resampled(scene, gsd) as a,
        resampled(mosaic, gsd) as b,
    ):
        assert a.grid.shape == b.grid.shape
        assert np.array_equal(a.read(whole(a)).values, b.read(whole(b)).values)
        assert b.always_valid


class _Counting:
    """A scene of one value that remembers how much was asked of it at once."""

    def __init__(self, grid: Grid) -> None:
        self.name, self.grid, self.dtype, self.bands, self.band_names = "made up", grid, "uint8", (1, 2), ("a", "b")
        self.nodata, self.block_shape, self.files = (None, None), (512, 512), frozenset()
        self.notices, self.always_valid, self.identity = (), True, {"path": "made up"}
        self.most = self.read_in_all = 0

    def read(self, window: Window) -> Pixels:
        size = window.height * window.width
        self.most, self.read_in_all = max(self.most, size), self.read_in_all + size
        valid = np.ones((window.height, window.width), bool)
        return Pixels(np.full((2, *valid.shape), 7, np.uint8), valid, np.broadcast_to(valid, (2, *valid.shape)))

    def sample(self, max_side: int = 512) -> Pixels:
        return self.read(Window(0, 0, max_side, max_side))


@pytest.mark.parametrize(
    ("height", "width", "gsd"), [(3000, 200, 170), (100, 9000, 1500), (60, 50, 0.7), (700, 700, 6000)]
)
def test_memory_is_bounded_and_little_is_read_twice(monkeypatch, height, width, gsd):
    monkeypatch.setattr(geoseg.rasters.resampling, "_CHUNK_SAMPLES", 20_000)
    crs = rasterio.crs.CRS.from_epsg(32633).to_wkt()
    source = _Counting(Grid(crs, UTM, height, width))
    with resampled(source, gsd) as seen:
        pixels = seen.read(whole(seen))
        assert (pixels.values == 7).all()
        covered = math.ceil(max(1, height / seen.grid.height) + 1) * math.ceil(max(1, width / seen.grid.width) + 1)
        assert source.most <= max(20_000, covered)
        assert source.read_in_all < 3 * height * width


def test_chunks_change_nothing(tmp_path, monkeypatch):
    values = noise(3, 100, 130, dtype="uint16")
    values[:, 20:50, 30:60] = 0
    with open_scene(write_scene(tmp_path / "s.tif", values, nodata=0)) as scene:
        for gsd in (23, 71, 6.3):
            with resampled(scene, gsd) as seen:
                expected = seen.read(whole(seen))
                with monkeypatch.context() as patch:
                    patch.setattr(geoseg.rasters.resampling, "_CHUNK_SAMPLES", 500)
                    found = seen.read(whole(seen))
            assert np.array_equal(found.values, expected.values)
            assert np.array_equal(found.valid, expected.valid)
            assert np.array_equal(found.present, expected.present)


@pytest.mark.parametrize(
    "name",
    [
        "ftw_s2_uint16x8_utm33.tif",
        "rasterio_RGB.byte_utm18_striped_nodata0.tif",
        "riotiler_gcps_nocrs_uint16.tif",
        "riotiler_pix4d_rgba_utm50s.tif",
        "riotiler_rgb_mask_utm13.tif",
        "terratorch_hls_float32x10_utm14_nodata-9999.tif",
    ],
)
@pytest.mark.parametrize("factor", [2.7, 0.8])
def test_real_scenes(shared_data: Path, name, factor):
    """Strips are the whole, what is data keeps its share of the scene, and its mean."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with (
            open_scene(shared_data / "scenes" / name) as scene,
            resampled(scene, scene.grid.ground_sample_distance() * factor) as seen,
        ):
            pixels, before = seen.read(whole(seen)), scene.read(whole(scene))
            height, width = seen.grid.shape
            strips = [seen.read(Window(t, 0, min(37, height - t), width)) for t in range(0, height, 37)]
    assert np.array_equal(np.concatenate([s.values for s in strips], axis=1), pixels.values)
    assert np.array_equal(np.concatenate([s.valid for s in strips], axis=0), pixels.valid)
    assert before.valid.mean() - 0.01 <= pixels.valid.mean() <= before.valid.mean() + 0.1
    old, new = before.values[before.present].astype(float), pixels.values[pixels.present].astype(float)
    assert new.mean() == pytest.approx(old.mean(), rel=0.05)
    assert old.min() <= new.min() <= new.max() <= old.max()
