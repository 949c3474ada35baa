from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.merge
import rasterio.windows
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint
from scenes import UTM, write_scene

import geoseg.rasters.mosaic
from geoseg.errors import CorruptRasterError, MissingFileError, ParameterError, RasterError
from geoseg.rasters import MosaicScene, Scene, open_mosaic, open_scene
from geoseg.tiling import Window

RNG = np.random.default_rng(3)
TRANSFORMS = {
    "north up": UTM,
    "south up": Affine(10, 0, 500_000, 0, 10, 5_000_000),
    "rotated": Affine(8, 6, 500_000, 6, -8, 5_000_000),
    "odd": Affine(0.1, 0, 1 / 3, 0, -0.1, 1e6 / 7),
}


def noise(*shape: int, dtype: str = "uint8") -> np.ndarray:
    return RNG.integers(1, 200, shape).astype(dtype)


def at(row: float, col: float, transform: Affine = UTM) -> Affine:
    return transform @ Affine.translation(col, row)


def whole(scene: Scene) -> Window:
    return Window(0, 0, *scene.grid.shape)


def cut(path: Path, values: np.ndarray, row: int, col: int, size: tuple[int, int], **options) -> Path:
    """A part of a larger picture as a file of its own."""
    height, width = size
    transform = at(row, col, options.pop("transform", UTM))
    return write_scene(path, values[:, row : row + height, col : col + width], transform=transform, **options)


def quarters(folder: Path, values: np.ndarray, **options) -> list[Path]:
    """A picture cut into four unequal files, in an order that is not theirs."""
    _, height, width = values.shape
    row, col = height // 3, width // 2 + 3
    boxes = [
        (row, col, height - row, width - col),
        (0, 0, row, col),
        (0, col, row, width - col),
        (row, 0, height - row, col),
    ]
    return [cut(folder / f"{i}.tif", values, r, c, (h, w), **options) for i, (r, c, h, w) in enumerate(boxes)]


# The same as one file


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_a_picture_in_four_files_is_the_picture(tmp_path, transform):
    values = noise(3, 41, 57)
    paths = quarters(tmp_path, values, transform=transform)
    one = write_scene(tmp_path / "one.tif", values, transform=transform)
    with open_mosaic(paths) as mosaic, open_scene(one) as scene:
        pixels = mosaic.read(whole(mosaic))
        assert np.array_equal(pixels.values, values)
        assert pixels.valid.all()
        assert pixels.present.all()
        assert mosaic.always_valid
        assert mosaic.grid.shape == scene.grid.shape
        assert mosaic.grid.crs_wkt == scene.grid.crs_wkt
        assert np.allclose(mosaic.grid.transform, scene.grid.transform, rtol=1e-12, atol=1e-7)
        for window in (Window(0, 0, 1, 57), Window(12, 29, 3, 5), Window(40, 56, 1, 1), Window(5, 0, 20, 57)):
            part = mosaic.read(window)
            assert np.array_equal(
                part.values, values[:, window.row_off : window.row_end, window.col_off : window.col_end]
            )


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        ("uint8", {"nodata": 7}),
        ("int16", {"nodata": -1}),
        ("float32", {"nodata": 7}),
        ("uint8", {"valid": np.tri(20, 30, dtype=bool)}),
        ("uint8", {"photometric": "rgb", "alpha": "YES"}),
    ],
    ids=str,
)
def test_a_mosaic_of_one_file_is_the_file(tmp_path, dtype, options):
    """With all it says: values where there is no data included."""
    values = RNG.integers(5, 9, (4, 20, 30)).astype(dtype)
    if dtype == "int16":
        values[values == 7] = -1
    if dtype == "float32":
        values[1, 3] = np.nan
        values[:, 4] = np.nan
    if "alpha" in options:
        values[3] = np.tri(20, 30, dtype=bool) * 255
    path = write_scene(tmp_path / "s.tif", values, **options)
    with open_mosaic([path]) as mosaic, open_scene(path) as scene:
        for window in (whole(scene), Window(3, 2, 5, 20)):
            a, b = mosaic.read(window), scene.read(window)
            assert np.array_equal(a.values, b.values, equal_nan=dtype == "float32")
            assert np.array_equal(a.valid, b.valid)
            assert np.array_equal(a.present, b.present)
        for name in ("name", "grid", "dtype", "bands", "band_names", "nodata", "block_shape", "files", "always_valid"):
            assert getattr(mosaic, name) == getattr(scene, name), name
        assert tuple(mosaic.grid.transform) == tuple(scene.grid.transform)


def test_a_scene_of_one_pixel(tmp_path):
    paths = [
        write_scene(tmp_path / f"{c}.tif", np.full((1, 1, 1), c + 1, np.uint8), transform=at(0, c)) for c in range(3)
    ]
    with open_mosaic(paths[:1]) as mosaic:
        assert mosaic.read(Window(0, 0, 1, 1)).values.item() == 1
        assert mosaic.sample().values.shape == (1, 1, 1)
    with open_mosaic(paths) as mosaic:
        assert mosaic.read(Window(0, 0, 1, 3)).values.tolist() == [[[1, 2, 3]]]


def test_windows_stay_inside(tmp_path):
    with (
        open_mosaic([write_scene(tmp_path / "s.tif", noise(1, 4, 5))]) as mosaic,
        pytest.raises(ParameterError, match="4×5"),
    ):
        mosaic.read(Window(0, 0, 4, 6))


# Overlaps, gaps and validity


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_the_later_file_shows_where_it_has_data(tmp_path_factory, data):
    """Against a canvas that the files are painted on, one after the other."""
    folder = tmp_path_factory.mktemp("m")
    dtype = data.draw(st.sampled_from(["uint8", "int16", "float32"]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    paths, canvas, boxes = [], {}, []
    for i in range(data.draw(st.integers(1, 4))):
        row, col = data.draw(st.integers(-15, 15)), data.draw(st.integers(-15, 15))
        height, width = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 20))
        values = rng.integers(0, 3, (2, height, width)).astype(dtype)
        nodata = data.draw(st.sampled_from([None, 0, 1]))
        if dtype == "float32":
            values[rng.random(values.shape) < 0.2] = np.nan
        options = {"nodata": nodata} if nodata is not None else {}
        if data.draw(st.booleans()):
            options["valid"] = rng.random((height, width)) < 0.7
        paths.append(write_scene(folder / f"{i}.tif", values, transform=at(row, col), **options))
        boxes.append((row, col, height, width))
        with open_scene(paths[-1]) as scene:
            pixels = scene.read(whole(scene))
        for r, c in np.argwhere(pixels.valid):
            canvas[r + row, c + col] = pixels.values[:, r, c], pixels.present[:, r, c]
    top, left = min(b[0] for b in boxes), min(b[1] for b in boxes)
    with open_mosaic(paths) as mosaic:
        bottom, right = max(b[0] + b[2] for b in boxes), max(b[1] + b[3] for b in boxes)
        assert mosaic.grid.shape == (bottom - top, right - left)
        a, b = sorted((data.draw(st.integers(0, bottom - top - 1)), data.draw(st.integers(0, bottom - top - 1))))
        window = Window(a, 0, b - a + 1, right - left)
        pixels = mosaic.read(window)
        every_sample = bool(mosaic.read(whole(mosaic)).present.all())
        assert every_sample or not mosaic.always_valid
    for r in range(window.height):
        for c in range(window.width):
            expected = canvas.get((r + a + top, c + left))
            assert pixels.valid[r, c] == (expected is not None)
            if expected is None:
                assert not pixels.present[:, r, c].any()
            else:
                assert np.array_equal(pixels.values[:, r, c], expected[0], equal_nan=dtype == "float32")
                assert np.array_equal(pixels.present[:, r, c], expected[1])


def test_ground_without_a_file_is_no_data(tmp_path):
    """Also where 0, which stands there, is a value like others."""
    values = np.zeros((1, 4, 4), np.uint8)
    paths = [write_scene(tmp_path / f"{i}.tif", values, transform=at(8 * i, 8 * i)) for i in range(2)]
    with open_mosaic(paths) as mosaic:
        assert mosaic.grid.shape == (12, 12)
        expected = np.zeros((12, 12), bool)
        expected[:4, :4] = expected[8:, 8:] = True
        assert np.array_equal(mosaic.read(whole(mosaic)).valid, expected)
        assert not mosaic.read(Window(4, 0, 4, 12)).valid.any()
        assert not mosaic.always_valid
        assert not mosaic.sample(8).values[:, :2].any()


def test_each_file_has_its_own_nodata_value_type_and_alpha(tmp_path):
    byte, wide = np.full((3, 6, 6), 9, np.uint8), np.full((3, 6, 6), 300, np.uint16)
    byte[:, 0], wide[:, 0] = 7, 9
    colored = np.concatenate([np.full((3, 6, 6), 7, np.uint8), np.full((1, 6, 6), 255, np.uint8)])
    colored[3, :, 0] = 0
    paths = [
        write_scene(tmp_path / "byte.tif", byte, nodata=7),
        write_scene(tmp_path / "wide.tif", wide, nodata=9, transform=at(0, 6)),
        write_scene(tmp_path / "alpha.tif", colored, photometric="rgb", alpha="YES", transform=at(0, 12)),
    ]
    with open_mosaic(paths) as mosaic:
        assert (mosaic.dtype, mosaic.nodata) == ("uint16", (None, None, None))
        pixels = mosaic.read(whole(mosaic))
    expected = np.ones((6, 18), bool)
    expected[0, :12] = expected[:, 12] = False
    assert np.array_equal(pixels.valid, expected)
    assert pixels.values.dtype == np.uint16
    assert (pixels.values[:, 1:, 6:12] == 300).all()


def test_the_order_decides(tmp_path):
    paths = [write_scene(tmp_path / f"{v}.tif", np.full((1, 5, 5), v, np.uint8)) for v in (1, 2)]
    for order, seen in ((paths, 2), (paths[::-1], 1)):
        with open_mosaic(order) as mosaic:
            assert (mosaic.read(whole(mosaic)).values == seen).all()
    with open_mosaic(paths) as a, open_mosaic(paths[::-1]) as b:
        assert a.identity != b.identity


def test_rasterio_merges_alike(tmp_path):
    """rasterio.merge with "last" and one nodata value is what can be compared with."""
    values = [RNG.integers(0, 4, (2, 30, 30)).astype(np.int16) for _ in range(4)]
    for v in values:
        v[:, v[0] == 0] = 0
        v[1, v[1] == 0] = 1
        v[:, v[0] == 0] = 0
    paths = [
        write_scene(tmp_path / f"{i}.tif", v, nodata=0, transform=at(7 * i, 11 * (i % 3))) for i, v in enumerate(values)
    ]
    merged, transform = rasterio.merge.merge(paths, method="last")
    with open_mosaic(paths) as mosaic:
        pixels = mosaic.read(whole(mosaic))
        assert np.allclose(mosaic.grid.transform, transform)
    assert np.array_equal(np.where(pixels.valid, pixels.values, 0), merged)


# Bands, names, identity


def test_bands_are_those_of_every_file(tmp_path, caplog):
    values = noise(4, 8, 8)
    paths = quarters(tmp_path, values)
    with open_mosaic(paths, [3, 1]) as mosaic:
        assert mosaic.bands == (3, 1)
        assert np.array_equal(mosaic.read(whole(mosaic)).values, values[[2, 0]])
    with rasterio.open(paths[1], "r+") as dataset:
        dataset.set_band_description(1, "near infrared")
    with open_mosaic(paths):
        assert "bands are called near infrared, green, blue, those of" in caplog.text


def test_names_files_and_identity(tmp_path):
    paths = quarters(tmp_path, noise(1, 20, 20))
    with open_mosaic(paths) as mosaic:
        assert mosaic.name == f"{paths[0]} and 3 more"
        assert mosaic.files == frozenset(paths)
        first = mosaic.identity
        assert json.loads(json.dumps(first)) == first
    os.utime(paths[2], ns=(5, 5))
    with open_mosaic(paths) as mosaic:
        second = mosaic.identity
    assert first != second
    many = [write_scene(tmp_path / f"m{i}.tif", noise(1, 2, 2), transform=at(0, 2 * i)) for i in range(9)]
    with open_mosaic(many) as mosaic:
        before = mosaic.identity
    os.utime(many[8], ns=(5, 5))
    with open_mosaic(many) as mosaic:
        assert mosaic.identity != before
        assert len(json.dumps(before)) < 1000


def test_what_files_have_in_common_is_said_once(tmp_path, caplog):
    paths = quarters(tmp_path, noise(1, 20, 20), crs=None)
    with caplog.at_level(logging.INFO, "geoseg"), open_mosaic(paths) as mosaic:
        assert mosaic.grid.crs_wkt is None
    assert len([r for r in caplog.records if "no CRS" in r.getMessage()]) == 1
    assert "and 3 more: it has no CRS" in caplog.text


def test_the_same_crs_in_other_words(tmp_path):
    values = noise(1, 10, 10)
    a = cut(tmp_path / "a.tif", values, 0, 0, (10, 5))
    words = rasterio.crs.CRS.from_epsg(32633).to_wkt().replace("WGS 84 / UTM zone 33N", "a zone")
    b = cut(tmp_path / "b.tif", values, 0, 5, (10, 5), crs=words)
    with open_mosaic([a, b]) as mosaic:
        assert np.array_equal(mosaic.read(whole(mosaic)).values, values)


# What does not fit


def refused(paths: list[Path], match: str) -> str:
    with pytest.raises(RasterError, match=match) as caught, open_mosaic(paths):
        pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_that_do_not_fit_are_named_with_their_figures(tmp_path):
    a = write_scene(tmp_path / "a.tif", noise(3, 8, 8))

    def other(**options) -> Path:
        return write_scene(tmp_path / "b.tif", noise(options.pop("count", 3), 8, 8), **options)

    assert "b.tif" in refused(
        [a, other(crs="EPSG:32634")], r"a\.tif and .*UTM zone 33N and .*UTM zone 34N.*gdalwarp -t_srs"
    )
    refused([a, other(crs=None)], "UTM zone 33N and no CRS")
    refused([a, other(count=2)], r"3 bands .* and 2 .*bands")
    refused(
        [a, other(transform=Affine(5, 0, 5e5, 0, -5, 5e6))], r"\(10, 0, 0, -10\) and \(5, 0, 0, -5\).*-tr 10 10 -tap"
    )
    refused([a, other(transform=Affine(10, 0, 5e5, 0, 10, 5e6))], r"\(10, 0, 0, -10\) and \(10, 0, 0, 10\)")
    refused([a, other(transform=at(3, 4.5))], r"0\.5 pixels off.*500000.*500045.*gdalwarp -tr 10 10 -tap")
    refused([a, other(transform=at(0, 0.02))], "pixels off")
    points = [GroundControlPoint(r, c, 15 + c, 45 - r) for r in (0, 8) for c in (0, 8)]
    refused([a, other(transform=None, gcps=points, crs="EPSG:4326")], "ground control points.*gdalwarp")
    odd = [write_scene(tmp_path / f"{t}.tif", noise(3, 8, 8, dtype=t)) for t in ("uint32", "int8")]
    refused(odd, r"no type holds.*uint32 \(.*int8 \(.*gdal_translate -ot")


def test_files_without_a_place(tmp_path):
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        paths = [
            write_scene(tmp_path / f"{i}.tif", noise(1, 4, 4), crs=None, transform=Affine.identity()) for i in range(2)
        ]
    refused(paths, "not georeferenced")
    with open_mosaic(paths[:1]) as mosaic:
        assert mosaic.grid.transform == Affine.identity()


def test_a_hundredth_of_a_pixel_is_rounding(tmp_path):
    values = noise(1, 8, 16)
    a = cut(tmp_path / "a.tif", values, 0, 0, (8, 8))
    b = write_scene(tmp_path / "b.tif", values[:, :, 8:], transform=at(0.004, 7.993))
    with open_mosaic([a, b]) as mosaic:
        assert np.array_equal(mosaic.read(whole(mosaic)).values, values)


def test_files_far_apart(tmp_path, caplog):
    a = write_scene(tmp_path / "a.tif", noise(1, 4, 4))
    far = write_scene(tmp_path / "b.tif", noise(1, 4, 4), transform=at(100_000, 0))
    with open_mosaic([a, far]) as mosaic:
        assert mosaic.read(Window(99_999, 0, 2, 4)).valid.tolist() == [[False] * 4, [True] * 4]
        assert mosaic.sample(64).valid.any()
    assert "far away" in caplog.text
    refused([a, write_scene(tmp_path / "c.tif", noise(1, 4, 4), transform=at(3e9, 0))], "more than a raster can have")


def test_nothing_missing_and_damaged(tmp_path):
    with pytest.raises(ParameterError, match="at least one"), open_mosaic([]):
        pass
    a = write_scene(tmp_path / "a.tif", noise(1, 64, 64), compress="deflate")
    with pytest.raises(MissingFileError, match=r"none\.tif"), open_mosaic([a, tmp_path / "none.tif"]):
        pass
    b = write_scene(tmp_path / "b.tif", noise(1, 64, 64), compress="deflate", transform=at(0, 64))
    b.write_bytes(b.read_bytes()[:-1000])
    with open_mosaic([a, b]) as mosaic:
        assert mosaic.read(Window(0, 0, 64, 64)).valid.all()
        with pytest.raises(CorruptRasterError, match=r"b\.tif: the block"):
            mosaic.read(whole(mosaic))


# Many files


def test_few_files_are_open_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(geoseg.rasters.mosaic, "_LEAST_OPEN", 2)
    values = noise(1, 40, 10)
    paths = [cut(tmp_path / f"{i}.tif", values, 4 * i, 0, (4, 10)) for i in range(10)]
    with open_mosaic(paths) as mosaic:
        held = mosaic._open._held
        assert not held
        most = 0
        for top in range(0, 40, 5):
            assert np.array_equal(mosaic.read(Window(top, 0, 5, 10)).values, values[:, top : top + 5])
            most = max(most, len(held))
        assert np.array_equal(mosaic.read(whole(mosaic)).values, values)
        assert most <= len(held) == mosaic._open._most < 10
        last = [scene._dataset for scene, _ in held.values()]
    assert not held
    assert all(dataset.closed for dataset in last)


def test_files_hidden_by_others_are_not_read(tmp_path):
    below = write_scene(tmp_path / "below.tif", noise(1, 8, 8))
    above = write_scene(tmp_path / "above.tif", noise(1, 20, 20))
    with open_mosaic([below, above]) as mosaic:
        mosaic.read(whole(mosaic))
        assert len(mosaic._open._held) == 1


def test_a_file_that_changes_meanwhile_is_refused(tmp_path):
    paths = quarters(tmp_path, noise(1, 20, 20))
    with open_mosaic(paths) as mosaic:
        write_scene(paths[0], noise(1, 5, 5))
        with pytest.raises(RasterError, match=r"0\.tif has changed"):
            mosaic.read(whole(mosaic))


def test_a_sample_has_the_values_of_all_files(tmp_path):
    paths = [
        write_scene(tmp_path / f"{i}.tif", np.full((2, 40, 40), i + 1, np.uint8), transform=at(0, 40 * i))
        for i in range(5)
    ]
    with open_mosaic(paths) as mosaic:
        sample = mosaic.sample(64)
        assert sample.values.shape == (2, 64, 64)
        assert np.all(np.bincount(sample.values.ravel())[1:] > 64 * 64 * 2 // 8)
        assert isinstance(mosaic, MosaicScene)


def test_strips_decode_each_block_about_once(tmp_path):
    """Strips that cut through blocks read none twice: with the files gone, what is cached must do."""
    values = noise(3, 256, 400)
    options = {"tiled": True, "blockxsize": 128, "blockysize": 128, "compress": "deflate"}
    paths = [cut(tmp_path / f"{i}.tif", values, 0, 200 * i, (256, 200), **options) for i in range(2)]
    with open_mosaic(paths) as mosaic:
        assert mosaic.block_shape == (128, 128)
        first = mosaic.read(Window(0, 0, 70, 400)).values
        for path in paths:
            os.truncate(path, 0)
        second = mosaic.read(Window(70, 0, 58, 400)).values
    assert np.array_equal(np.concatenate([first, second], axis=1), values[:, :128])


def test_real_neighbours_off_the_lattice(shared_data):
    paths = sorted((shared_data / "new_brunswick").glob("*.tif"))
    refused(paths, r"0\.45 pixels off the first's lattice .*gdalwarp -tr 0\.5 0\.5 -tap")


@pytest.mark.parametrize("name", ["rasterio_RGB.byte_utm18_striped_nodata0.tif", "riotiler_rgb_mask_utm13.tif"])
def test_a_real_scene_in_overlapping_pieces(shared_data, tmp_path, name):
    """Cut by rasterio with some 100 px of overlap, validity band included."""
    path, paths = shared_data / "scenes" / name, []
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path) as source:
        height, width = source.shape
        own = source.mask_flag_enums[0] == [rasterio.enums.MaskFlags.per_dataset]
        for top in (0, height // 2 - 50):
            for left in (0, width // 2 - 50):
                window = Window(top, left, min(height // 2 + 60, height - top), min(width // 2 + 60, width - left))
                rectangle = rasterio.windows.Window(left, top, window.width, window.height)
                profile = {"nodata": source.nodata} if source.nodata is not None else {}
                if own:
                    profile["valid"] = source.dataset_mask(window=rectangle) > 0
                paths.append(
                    write_scene(
                        tmp_path / f"{len(paths)}.tif",
                        source.read(window=rectangle),
                        crs=source.crs,
                        transform=source.window_transform(rectangle),
                        **profile,
                    )
                )
    with open_mosaic(paths) as mosaic, open_scene(path) as scene:
        assert mosaic.grid.shape == scene.grid.shape
        found, expected = mosaic.read(whole(mosaic)), scene.read(whole(scene))
        assert np.allclose(mosaic.grid.transform, scene.grid.transform, rtol=1e-12, atol=1e-6)
    assert np.array_equal(found.valid, expected.valid)
    assert np.array_equal(found.values[found.present], expected.values[expected.present])
