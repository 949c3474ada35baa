"""info() and list_models(): what files say of themselves, and that no file makes them fail in more than a line."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import numpy.typing as npt
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from safetensors.numpy import save_file

from geoseg.cli import console
from geoseg.config import ModelSpec
from geoseg.errors import GeosegError, MissingFileError, ModelError, RasterError, VectorError
from geoseg.grids import Grid
from geoseg.inference.job import find_models, open_job
from geoseg.inference.settings import Settings
from geoseg.inspection import ClassRasterInfo, ModelInfo, SceneInfo, VectorInfo, info, list_models
from geoseg.inspection.records import readable_size
from geoseg.legend import Legend
from geoseg.models import create_model, receptive_radius, stride_multiple, surroundings
from geoseg.models.reach import OwnNetwork
from geoseg.rasters import write_class_raster, write_confidence_raster
from geoseg.tiling import TileGrid, Window

TRANSFORM = Affine(2.0, 0, 500_000.0, 0, -2.0, 5_500_000.0)
LEGEND = Legend.from_names(["water", "forest", "field"])


def write(path: Path, values: npt.NDArray[Any], **profile: Any) -> Path:
    """A GeoTIFF of (C, H, W)."""
    count, height, width = values.shape
    profile = {"crs": "EPSG:32633", "transform": TRANSFORM, **profile}
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width, dtype=values.dtype, **profile
    ) as file:
        file.write(values)
    return path


def spec(name: str = "tiny", **changes: Any) -> ModelSpec:
    fields: dict[str, Any] = {
        "name": name, "architecture": "unet", "bands": ("red", "green"), "classes": LEGEND.to_records(),
        "mean": (1.0, 2.0), "std": (1.0, 1.0), "value_range": (0.0, 255.0), "gsd": 0.5, "purpose": "Tests of geoseg.",
        "license": "CC0", "metrics": {"mean_iou": 0.75},
    }  # fmt: skip
    return ModelSpec(**(fields | changes))


def write_model(path: Path, model: ModelSpec) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"weight": np.zeros(1, np.float32)}, path, metadata={"geoseg": model.model_dump_json()})
    return path


def as_json(value: object) -> Any:
    return json.loads(json.dumps(console._plain(value)))


def test_a_scene(tmp_path: Path) -> None:
    values = np.broadcast_to(np.arange(1000, dtype=np.uint16), (2, 600, 1000)).copy()
    values[1] += 7
    values[:, :60] = 0
    path = write(
        tmp_path / "scene.tif", values, nodata=0, tiled=True, blockxsize=256, blockysize=128, compress="deflate"
    )
    with rasterio.open(path, "r+") as file:
        file.descriptions = ("red", "near infrared")
        file.build_overviews([2, 4])
    found = info(path)
    assert isinstance(found, SceneInfo)
    assert (found.height, found.width, found.gsd) == (600, 1000, pytest.approx(2.0, rel=1e-3))
    assert found.crs == "WGS 84 / UTM zone 33N (EPSG:32633)"
    assert found.transform == tuple(TRANSFORM)[:6]
    assert (found.dtype, found.nodata, found.block_shape) == ("uint16", (0.0, 0.0), (128, 256))
    assert (found.compression, found.overviews, found.validity) == ("DEFLATE", (2, 4), ("the nodata tag",))
    assert found.valid_share == pytest.approx(0.9, abs=0.02)
    assert found.tiles == len(TileGrid(600, 1000, 512, 128))
    red, infrared = found.bands
    assert (red.number, red.name, infrared.name) == (1, "red", "near infrared")
    assert red.low == pytest.approx(10, abs=4)
    assert infrared.high == pytest.approx(997, abs=6)
    assert found.size_bytes == path.stat().st_size
    assert "2 near infrared" in str(found)
    assert as_json(found)["bands"][0]["name"] == "red"


def test_alpha_mask_and_nan_are_named_as_validity(tmp_path: Path) -> None:
    rgba = write(tmp_path / "rgba.tif", np.full((4, 8, 8), 200, np.uint8), photometric="RGB", alpha="YES")
    assert info(rgba).validity == ("the alpha band",)  # type: ignore[union-attr]
    masked = write(tmp_path / "masked.tif", np.full((3, 8, 8), 200, np.uint8))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(masked, "r+") as file:
        file.write_mask(np.eye(8, dtype=bool))
    assert info(masked).validity == ("a mask band",)  # type: ignore[union-attr]
    empty = info(write(tmp_path / "float.tif", np.full((1, 8, 8), np.nan, np.float32)))
    assert isinstance(empty, SceneInfo)
    assert (empty.validity, empty.valid_share, empty.bands[0].low) == (("NaN",), 0.0, None)
    assert "no data" in str(empty)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_picture_without_a_crs(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    with rasterio.open(path, "w", driver="PNG", count=3, height=5, width=7, dtype="uint8") as file:
        file.write(np.full((3, 5, 7), 9, np.uint8))
    found = info(path)
    assert isinstance(found, SceneInfo)
    assert (found.driver, found.crs, found.gsd) == ("PNG", None, None)
    assert "size on the ground unknown" in str(found)


def test_a_class_raster(tmp_path: Path) -> None:
    labels = np.zeros((700, 40), np.uint8)
    labels[:350] = 1
    labels[350:400, :20] = 3
    path = tmp_path / "map.tif"
    grid = Grid(rasterio.crs.CRS.from_epsg(32633).to_wkt(), TRANSFORM, 700, 40)
    with write_class_raster(path, grid, LEGEND, tags={"GEOSEG_MODEL": "tiny"}) as file:
        file.write(Window(0, 0, 700, 40), labels)
    found = info(path)
    assert isinstance(found, ClassRasterInfo)
    assert [(c.id, c.name, c.pixels) for c in found.classes] == [
        (1, "water", 14000),
        (2, "forest", 0),
        (3, "field", 1000),
    ]
    assert found.classes[0].share == pytest.approx(14 / 15)
    assert found.nodata_pixels == 13000
    assert found.tags["GEOSEG_MODEL"] == "tiny"
    assert "GEOSEG_LEGEND" not in found.tags
    assert "3 field" in str(found)


def test_a_confidence_raster(tmp_path: Path) -> None:
    path = tmp_path / "confidence.tif"
    with write_confidence_raster(path, Grid(None, TRANSFORM, 4, 4)) as file:
        file.write(Window(0, 0, 4, 4), np.full((4, 4), 200, np.uint8))
    assert info(path).kind == "confidence raster"


def test_a_foreign_map_with_a_palette(tmp_path: Path) -> None:
    path = write(tmp_path / "foreign.tif", np.array([[[1, 1, 2, 0]]], np.uint8), nodata=0)
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, {1: (255, 0, 0, 255), 2: (0, 255, 0, 255)})
    found = info(path)
    assert isinstance(found, ClassRasterInfo)
    assert {c.id: c.pixels for c in found.classes if c.pixels} == {1: 2, 2: 1}


def test_a_geopackage_with_a_style(tmp_path: Path) -> None:
    path = tmp_path / "map.gpkg"
    frame = geopandas.GeoDataFrame(
        {"class_id": [1, 2], "class_name": ["a", "b"]},
        geometry=[shapely.box(0, 0, 1, 1), shapely.box(1, 0, 2, 1)],
        crs="EPSG:32633",
    )
    frame.to_file(path, layer="landcover", engine="pyogrio")
    plain = info(path)
    assert isinstance(plain, VectorInfo)
    (layer,) = plain.layers
    assert (layer.name, layer.geometry, layer.features, layer.style) == ("landcover", "Polygon", 2, None)
    assert layer.crs == "WGS 84 / UTM zone 33N (EPSG:32633)"
    assert (list(layer.fields), layer.fields["class_name"]) == (["class_id", "class_name"], "text")
    styles = geopandas.pd.DataFrame(
        {"f_table_name": ["landcover", "x"], "styleName": ["classes", "y"], "useAsDefault": [1, 1]}
    )
    pyogrio.write_dataframe(styles, path, layer="layer_styles", append=False)
    styled = info(path)
    assert isinstance(styled, VectorInfo)
    assert [(x.name, x.style) for x in styled.layers] == [("landcover", "classes")]
    assert "landcover, 2 × Polygon" in str(styled)


def test_a_geojson(tmp_path: Path) -> None:
    path = tmp_path / "p.geojson"
    geopandas.GeoDataFrame(geometry=[shapely.Point(1, 2)], crs=4326).to_file(path, engine="pyogrio")
    found = info(path)
    assert isinstance(found, VectorInfo)
    assert (found.layers[0].geometry, found.layers[0].features) == ("Point", 1)


def test_a_model(tmp_path: Path) -> None:
    found = info(write_model(tmp_path / "tiny.safetensors", spec()))
    assert isinstance(found, ModelInfo)
    assert found.spec == spec()
    text = str(found)
    for part in ("Tests of geoseg.", "red, green", "1 water (#117733)", "mean_iou 0.75", "0.5 m on the ground", "CC0"):
        assert part in text
    assert as_json(found)["spec"]["classes"][0] == {"id": 1, "name": "water", "color": "#117733"}


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("unet", {"width": 2, "depth": 3}),
        ("UNet", {"width": 2, "depth": 3, "padding": "valid", "upsampling": "bilinear"}),
        ("segnet", {"width": 2}),
        ("enet", {}),
        ("fcn16s", {"width": 2}),
        ("smp.unet", {"encoder": "mobilenet_v2"}),
    ],
)
def test_how_far_a_model_looks(tmp_path: Path, architecture: str, options: dict[str, Any]) -> None:
    """What its network says, and the tiles that predict() takes."""
    network = create_model(architecture, bands=2, classes=3, **options)
    own = isinstance(network, OwnNetwork)
    known = spec(
        architecture=architecture, options=options, stride_multiple=stride_multiple(network), tile_size=530,
        effective_radius=100, context=dataclasses.asdict(surroundings(network)),
    )  # fmt: skip
    path = write_model(tmp_path / "m.safetensors", known)
    found = info(path)
    assert isinstance(found, ModelInfo)
    assert found.receptive_radius == (receptive_radius(network) if own else None)
    scene = write(tmp_path / "scene.tif", np.ones((2, 20, 20), np.uint8))
    with open_job([scene], find_models(path), tmp_path / "map.tif", Settings()) as job:
        assert (found.default_tile_size, found.default_overlap) == (job.grid.tile_size, job.grid.overlap)
    shown, eaten = str(found), surroundings(network).pixels
    assert f"effective 100 px, theoretical {f'{receptive_radius(network)} px' if own else 'not known'}" in shown
    assert f"{found.default_overlap} px, of tiles of {found.default_tile_size} px" in shown
    assert (f"{eaten} px around each tile" in shown) == (eaten > 0)
    told = as_json(found)
    assert told["spec"]["context"]["pixels"] == eaten
    assert told["spec"]["effective_radius"] == 100
    assert told["receptive_radius"] == found.receptive_radius
    assert told["default_overlap"] == found.default_overlap


def test_a_network_that_cannot_be_built_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = info(write_model(tmp_path / "m.safetensors", spec(options={"widht": 8})))
    assert isinstance(found, ModelInfo)
    assert found.receptive_radius is None
    assert "effective not stated, theoretical not known" in str(found)
    assert "'tiny' cannot be built: unet has no option 'widht', did you mean 'width'?" in caplog.text


@pytest.mark.filterwarnings("ignore:GPKG:RuntimeWarning")
@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("absent.tif", None, MissingFileError),
        ("text.tif", b"hello", RasterError),
        ("empty.tif", b"", RasterError),
        ("cut.gpkg", b"SQLite format 3\x00" + b"\x10" * 100, VectorError),
        ("broken.geojson", b"{", VectorError),
        ("broken.safetensors", b"\x08\0\0\0\0\0\0\0{}", ModelError),
        ("folder", "folder", RasterError),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(
    tmp_path: Path, name: str, content: bytes | str | None, error: type[GeosegError]
) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "folder":
        path.mkdir()
    with pytest.raises(error, match=name) as caught:
        info(path)
    assert "\n" not in str(caught.value)


def test_a_scene_cannot_make_info_read_another_file(tmp_path: Path) -> None:
    secret = write(tmp_path / "secret.tif", np.ones((1, 4, 4), np.uint8))
    trap = tmp_path / "trap.tif"
    trap.write_text(
        '<VRTDataset rasterXSize="4" rasterYSize="4"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f'<SourceFilename relativeToVRT="0">{secret}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>'
    )
    with pytest.raises(RasterError):
        info(trap)


def test_models_are_listed_with_runs_first(tmp_path: Path) -> None:
    write_model(tmp_path / "runs" / "mine" / "model.safetensors", spec("mine"))
    broken = tmp_path / "runs" / "broken" / "model.safetensors"
    broken.parent.mkdir()
    broken.write_bytes(b"no")
    found = list_models(tmp_path / "runs")
    assert [(m.name, m.source) for m in found.models[:2]] == [("broken", "run"), ("mine", "run")]
    assert found.models[0].purpose.startswith("cannot be read: ")
    assert (found.models[1].bands, found.models[1].classes) == (("red", "green"), LEGEND.names)
    assert {"unet", "segnet"} <= set(found.architectures)
    assert all(m.source == "built-in" for m in found.models[2:])
    text = str(found)
    assert "mine (run): Tests of geoseg." in text
    assert "red, green, pixels of 0.5 m -> water, forest, field" in text


def test_no_models_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geoseg.models.builtin_models", dict)
    assert str(list_models(tmp_path)).startswith("no models\n")


@pytest.mark.parametrize("kind", ["raster", "model"])
def test_info_on_the_command_line_needs_no_torch(tmp_path: Path, kind: str) -> None:
    """Nor do models of SMP, whose radius is not known."""
    path = (
        write(tmp_path / "s.tif", np.ones((1, 4, 4), np.uint8))
        if kind == "raster"
        else write_model(tmp_path / "m.safetensors", spec(architecture="smp.unet"))
    )
    code = (
        "import sys\nfrom geoseg.cli import main\n"
        f"sys.argv = ['geoseg', 'info', {str(path)!r}, '--json']\n"
        "try:\n    main()\nfinally:\n    assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["kind"] == kind


def test_the_radius_of_a_model_needs_torch_alone(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.safetensors", spec())
    code = (
        f"import sys, geoseg\nfound = geoseg.info({str(path)!r})\n"
        "assert found.receptive_radius is not None\n"
        "assert not {'segmentation_models_pytorch', 'timm', 'torchvision', 'lightning'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_sizes_are_readable() -> None:
    assert [readable_size(n) for n in (None, 5, 2048, 3 * 2**20, 5 * 2**29)] == [
        "", "5 bytes", "2.0 KiB", "3.0 MiB", "2.5 GiB",
    ]  # fmt: skip


def test_real_scenes(shared_data: Path) -> None:
    """Every kind of scene has a description."""
    for path in sorted((shared_data / "scenes").glob("*.tif*")):
        if path.suffix not in (".tif", ".tiff") or "corrupt" in path.name or path.stat().st_size > 30_000_000:
            continue
        found = info(path)
        assert isinstance(found, SceneInfo | ClassRasterInfo), path
        assert str(found)
