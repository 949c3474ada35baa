"""Own images and labels as a source: matched, placed, drawn, and read as prediction reads."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import shapely
from affine import Affine
from pyproj import Transformer
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from rasterio.features import rasterize

from geoseg.config.training import DataConfig
from geoseg.errors import (
    LabelMismatchError,
    LegendError,
    MissingFileError,
    ParameterError,
    RasterError,
    VectorError,
)
from geoseg.rasters import open_scene
from geoseg.sources import Source, open_source
from geoseg.tiling import Window

Array = npt.NDArray[Any]

TRANSFORM = Affine(10, 0, 500_000, 0, -10, 5_000_000)
SHAPE = (40, 50)
RNG = np.random.default_rng(0)
IMAGE = RNG.integers(1, 250, (3, *SHAPE)).astype(np.uint8)
LABELS = RNG.integers(0, 4, SHAPE).astype(np.uint8)
LEGEND = {1: "water", 2: "forest", 3: "road"}


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(
    name: str, values: Array, transform: Affine | None = TRANSFORM, crs: int | None = 32633, **profile: Any
) -> str:
    """A raster of (C, H, W) or (H, W); without place where ``transform`` is None."""
    values = values if values.ndim == 3 else values[None]
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    place = {} if transform is None else {"transform": transform, "crs": None if crs is None else CRS.from_epsg(crs)}
    count, height, width = values.shape
    driver = {"png": "PNG", "jpg": "JPEG"}.get(name.rpartition(".")[2], "GTiff")
    options = {"driver": driver, "count": count, "height": height, "width": width, "dtype": values.dtype}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(name, "w", **options, **place, **profile) as file:
            file.write(values)
    return name


def at(t: Affine, x: Any, y: Any) -> tuple[Any, Any]:
    """Where the transform puts points."""
    return t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f


def source(images: Any, labels: Any, **settings: Any) -> Source:
    many = [tuple([given] if isinstance(given, str) else given) for given in (images, labels)]
    return open_source(DataConfig(images=many[0], labels=many[1], **settings))


def indices_of(values: Array) -> Array:
    """Of the ids 1..3; 0 and 255 are ignored."""
    return np.where((values == 0) | (values == 255), 255, values - 1).astype(np.uint8)


def whole(found: Source, sheet: int = 0) -> Any:
    return found.read(sheet, found.sheets[sheet].window)


def test_georeferenced_pairs_are_read_by_window() -> None:
    found = source(write("i/a.tif", IMAGE), write("l/a.tif", LABELS), legend=LEGEND)
    assert found.legend.names == ("water", "forest", "road")
    assert (found.dtype, len(found.band_names)) == ("uint8", 3)
    (sheet,) = found.sheets
    assert (sheet.name, sheet.height, sheet.width, sheet.role) == ("a.tif", *SHAPE, None)
    assert sheet.grid is not None
    assert sheet.grid.transform == TRANSFORM
    window = Window(7, 11, 20, 30)
    here = np.s_[7:27, 11:41]
    got = found.read(0, window)
    np.testing.assert_array_equal(got.pixels, IMAGE[(slice(None), *here)])
    np.testing.assert_array_equal(got.indices, indices_of(LABELS[here]))
    assert got.present.all()
    assert got.unknown == {}


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("i/Amazon_1110.tiff_25.tiff", "l/Amazon_1110.tiff_25.png"),
        ("i/a.tif", "l/a_mask.png"),
        ("i/a.tif", "l/mask_a.png"),
        ("i/12_sat.jpg", "l/12_mask.png"),
        ("i/A.tif", "l/a-labels.png"),
        ("d/a.tif", "d/a_gt.png"),
    ],
)
def test_labels_are_found_by_name(image: str, label: str) -> None:
    write(image, IMAGE, None)
    write(label, LABELS, None)
    write(
        image.replace("Amazon_1110", "other").replace("a.", "c.").replace("A.", "c.").replace("12_", "13_"), IMAGE, None
    )
    found = source(str(Path(image).parent), str(Path(label).parent))
    assert [sheet.name for sheet in found.sheets] == [Path(image).name]
    assert found.sheets[0].grid is None
    assert any("1 images have no labels and are left out" in note for note in found.notes)
    assert any("matched by name" in note for note in found.notes)
    np.testing.assert_array_equal(whole(found).indices, indices_of(LABELS))


def test_folders_tell_apart_what_names_do_not() -> None:
    for place, add in (("Urban", 0), ("Rural", 1)):
        write(f"{place}/images/1.png", IMAGE, None)
        write(f"{place}/masks/1.png", np.full(SHAPE, 1 + add, np.uint8), None)
    found = source("*/images/*.png", "*/masks/*.png")
    assert [s.name for s in found.sheets] == ["Rural/images/1.png", "Urban/images/1.png"]
    assert [int(whole(found, i).indices[0, 0]) for i in (0, 1)] == [1, 0]


def test_what_fits_twice_is_refused() -> None:
    image = write("i/a.tif", IMAGE)
    write("l/a.tif", LABELS)
    write("l/a.png", LABELS, None)
    with pytest.raises(ParameterError, match=r"may be l/a\.\w+ or l/a\.\w+"):
        source(image, "l")
    write("i/a.png", IMAGE, None)
    with pytest.raises(ParameterError, match=r"the labels l/a.tif fit i/a\.\w+ and i/a\.\w+"):
        source("i", "l/a.tif")


def test_what_is_not_there() -> None:
    write("i/a.tif", IMAGE)
    Path("empty").mkdir()
    with pytest.raises(MissingFileError, match="empty holds no labels"):
        source("i", "empty")
    with pytest.raises(MissingFileError, match="no pattern"):
        source("i", "none*.tif")
    for name in ("x", "y"):
        write(f"l/{name}.png", LABELS, None)
    with pytest.raises(ParameterError, match="none of 1 images has labels among 2 files"):
        source("i", "l")
    with pytest.raises(ParameterError, match="no imagery is named"):
        open_source(DataConfig())


def test_a_label_of_another_size_is_listed_and_refused_when_read() -> None:
    write("i/a.tif", IMAGE)
    write("l/a.png", np.ones((43, 50), np.uint8), None)
    found = source("i", "l")
    with pytest.raises(LabelMismatchError, match=r"l/a.png are 43×50 pixels .* a.tif is 40×50"):
        whole(found)


def test_labels_of_another_grid_are_read_at_the_nearest_pixel() -> None:
    coarse = RNG.integers(0, 4, (30, 30)).astype(np.uint8)
    transform = Affine(23, 0, 500_030, 0, -17, 4_999_950)
    found = source(write("i/a.tif", IMAGE), write("l/x.tif", coarse, transform), legend=LEGEND)
    rows, cols = np.indices(SHAPE)
    x, y = at(TRANSFORM, cols + 0.5, rows + 0.5)
    col, row = (np.floor(v).astype(int) for v in at(~transform, x, y))
    inside = (row >= 0) & (row < 30) & (col >= 0) & (col < 30)
    expected = np.zeros(SHAPE, np.uint8)
    expected[inside] = coarse[row[inside], col[inside]]
    assert 0 < inside.sum() < inside.size
    np.testing.assert_array_equal(whole(found).indices, indices_of(expected))
    np.testing.assert_array_equal(found.read(0, Window(3, 4, 9, 8)).indices, indices_of(expected)[3:12, 4:12])
    assert "1 images have labels on another grid, and take the nearest: a.tif" in found.notes


def test_labels_of_another_crs_by_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two images, one of them elsewhere; two label tiles in degrees that cover the first."""
    values = RNG.integers(1, 4, (60, 60)).astype(np.uint8)
    lon, lat = Transformer.from_crs(32633, 4326, always_xy=True).transform(500_000, 5_000_000)
    transform = Affine(0.00013, 0, lon - 0.0005, 0, -0.0001, lat + 0.0004)
    write("l/p.tif", values[:, :30], transform, 4326)
    write("l/q.tif", values[:, 30:], transform @ Affine.translation(30, 0), 4326)
    write("i/a.tif", IMAGE)
    write("i/far.tif", IMAGE, TRANSFORM @ Affine.translation(5000, 0))
    found = source("i", "l", legend=LEGEND)
    rows, cols = np.indices(SHAPE)
    x, y = Transformer.from_crs(32633, 4326, always_xy=True).transform(*at(TRANSFORM, cols + 0.5, rows + 0.5))
    col, row = (np.floor(v).astype(int) for v in at(~transform, x, y))
    assert [s.name for s in found.sheets] == ["a.tif"]
    assert any("matched by place" in note for note in found.notes)
    assert any("far.tif" in note for note in found.notes)
    expected = indices_of(values[row, col])
    np.testing.assert_array_equal(whole(found).indices, expected)
    monkeypatch.setattr("geoseg.sources.own.nearest._CHUNK", 60)
    np.testing.assert_array_equal(whole(found).indices, expected)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32"])
def test_values_mean_what_the_settings_say(dtype: str) -> None:
    values = np.array([[0, 1, 2, 3, 4, 9, 9, 255]], dtype)
    image = np.ones((3, 1, 8), np.uint8)
    found = source(
        write("i/a.tif", image), write("l/a.tif", values), legend=LEGEND, label_values={0: "road", 4: "ignore"}
    )
    got = whole(found)
    assert got.indices.tolist() == [[2, 0, 1, 2, 255, 254, 254, 255]]
    assert got.unknown == {9: 2}
    found = source("i", "l", label_values={0: "background", 255: "building"})
    assert found.legend.names == ("background", "building")
    got = whole(found)
    assert got.indices.tolist() == [[0, 254, 254, 254, 254, 254, 254, 1]]
    assert got.unknown == {1: 1, 2: 1, 3: 1, 4: 1, 9: 2}


def test_values_beyond_a_byte_and_no_number() -> None:
    image = np.ones((3, 1, 5), np.uint8)
    write("i/a.tif", image)
    write("l/a.tif", np.array([[-9999, 300, 700, 2, 0]], np.int16))
    got = whole(source("i", "l", legend=LEGEND, label_values={300: "water", -9999: "ignore"}))
    assert got.indices.tolist() == [[255, 0, 254, 1, 255]]
    assert got.unknown == {700: 1}
    write("l/a.tif", np.array([[np.nan, 1, 2, 3, 0]], np.float32))
    assert whole(source("i", "l", legend=LEGEND)).indices.tolist() == [[255, 0, 1, 2, 255]]
    write("l/a.tif", np.array([[0.5, 1, 2, 3, 0]], np.float32))
    with pytest.raises(ParameterError, match=r"l/a.tif: labels hold 0.5"):
        whole(source("i", "l", legend=LEGEND))


def test_nodata_of_labels_is_ignored_unless_it_is_given_a_meaning() -> None:
    image = np.ones((3, 1, 3), np.uint8)
    write("i/a.tif", image)
    write("l/a.tif", np.array([[3, 1, 0]], np.uint8), nodata=3)
    assert whole(source("i", "l", legend=LEGEND)).indices.tolist() == [[255, 0, 255]]
    assert whole(source("i", "l", legend=LEGEND, label_values={3: "road"})).indices.tolist() == [[2, 0, 255]]


def test_the_legend_is_that_of_the_files_else_of_their_values() -> None:
    write("i/a.tif", IMAGE)
    labels = write("l/a.tif", LABELS + 4)
    with rasterio.open(labels, "r+") as file:
        file.write_colormap(1, {4: (1, 2, 3, 255), 5: (255, 0, 0, 255)})
    found = source("i", "l")
    assert found.legend.ids == (4, 5, 6, 7)
    assert found.legend.classes[1].color == "#ff0000"
    assert any("no legend was given" in note for note in found.notes)
    Path("legend.yaml").write_text("{4: a, 5: b, 6: c}")
    assert source("i", "l", legend="legend.yaml").legend.names == ("a", "b", "c")
    assert whole(source("i", "l", legend="legend.yaml")).unknown == {7: int((LABELS == 3).sum())}
    write("l/a.tif", np.zeros(SHAPE, np.uint8))
    with pytest.raises(RasterError, match="hold no class"):
        source("i", "l")
    with pytest.raises(LegendError, match="sky"):
        source("i", "l", legend=LEGEND, label_values={7: "sky"})


def test_what_is_data_is_that_of_prediction() -> None:
    alpha = (RNG.random(SHAPE) > 0.4).astype(np.uint8) * 255
    image = write("i/a.tif", np.concatenate([IMAGE, alpha[None]]))
    with rasterio.open(image, "r+") as file:
        file.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    write("l/a.tif", LABELS)
    got = whole(source("i", "l", legend=LEGEND))
    with open_scene(image) as scene:
        expected = scene.read(Window(0, 0, *SHAPE))
    np.testing.assert_array_equal(got.pixels, expected.values)
    np.testing.assert_array_equal(got.present, expected.present)
    np.testing.assert_array_equal(got.indices, np.where(alpha > 0, indices_of(LABELS), 255))
    named = source("i", "l", legend=LEGEND, bands=(4, 1))
    np.testing.assert_array_equal(whole(named).pixels, np.stack([alpha, IMAGE[0]]))
    assert whole(named).present.all()


def test_nan_is_absent_band_by_band_and_unknown_values_count_where_data_is() -> None:
    values = np.ones((2, 1, 4), np.float32)
    values[0, 0, 1] = values[:, 0, 2] = np.nan
    write("i/a.tif", values)
    write("l/a.tif", np.array([[1, 1, 9, 9]], np.uint8))
    got = whole(source("i", "l", legend=LEGEND))
    assert got.present.tolist() == [[[True, False, False, True]], [[True, True, False, True]]]
    assert got.indices.tolist() == [[0, 0, 255, 254]]
    assert got.unknown == {9: 1}


def test_mixed_images_are_refused_and_broken_ones_left_out() -> None:
    for name in "abc":
        write(f"i/{name}.tif", IMAGE)
        write(f"l/{name}.tif", LABELS)
    Path("i/broken.tif").write_bytes(b"II*\0nothing")
    found = source("i", "l", legend=LEGEND)
    assert len(found.sheets) == 3
    assert any("left out" in note and "broken.tif" in note for note in found.notes)
    write("i/c.tif", IMAGE.astype(np.uint16))
    with pytest.raises(RasterError, match=r"2 with 3 bands of uint8, such as i/a.tif, 1 with 3 bands of uint16.*c.tif"):
        source("i", "l", legend=LEGEND)
    write("i/c.tif", IMAGE)
    write("l/c.tif", IMAGE)
    found = source("i", "l", legend=LEGEND)
    assert [s.name for s in found.sheets] == ["a.tif", "b.tif"]
    assert any("labels l/c.tif have 3 bands" in note for note in found.notes)


def test_images_to_validate_on_have_their_role() -> None:
    for folder in ("t", "v"):
        write(f"{folder}/i/a.tif", IMAGE)
        write(f"{folder}/l/a.tif", LABELS)
    found = source("t/i", "t/l", legend=LEGEND, validation_images=("v/i",), validation_labels=("v/l",))
    assert [(s.name, s.role) for s in found.sheets] == [("t/i/a.tif", "train"), ("v/i/a.tif", "validation")]


def test_reading_from_many_threads_gives_the_same() -> None:
    for i in range(5):
        write(f"i/{i}.tif", np.roll(IMAGE, i, 2))
        write(f"l/{i}.tif", np.roll(LABELS, i, 1))
    found = source("i", "l", legend=LEGEND)
    jobs = [(s, Window(r, 3, 20, 40)) for s in range(5) for r in range(20)] * 3
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda job: found.read(*job), jobs))
    for (sheet, window), read in zip(jobs, got, strict=True):
        here = np.s_[window.row_off : window.row_end, 3:43]
        np.testing.assert_array_equal(read.pixels, np.roll(IMAGE, sheet, 2)[(slice(None), *here)])
        np.testing.assert_array_equal(read.indices, indices_of(np.roll(LABELS, sheet, 1))[here])


def box(left: int, top: int, right: int, bottom: int) -> shapely.Polygon:
    return shapely.box(500_000 + 10 * left, 5_000_000 - 10 * bottom, 500_000 + 10 * right, 5_000_000 - 10 * top)


def vectors(name: str, shapes: list[Any], **fields: list[Any]) -> str:
    geopandas.GeoDataFrame(fields, geometry=shapes, crs="EPSG:32633").to_file(name)
    return name


BOXES = [box(2, 2, 20, 20), box(10, 10, 30, 30), box(35, 5, 45, 15)]


@pytest.mark.parametrize("unlabelled", ["ignore", "meadow"])
def test_polygons_give_legend_and_labels(unlabelled: str) -> None:
    write("i/a.tif", IMAGE)
    write("i/far.tif", IMAGE, TRANSFORM @ Affine.translation(5000, 0))
    labels = vectors("p.gpkg", BOXES, kind=["wood", None, "lake"])
    found = source("i", labels, class_field="kind", unlabelled=unlabelled)
    assert found.legend.names == ("lake", "wood") + (("meadow",) if unlabelled != "ignore" else ())
    expected = rasterize(
        zip(BOXES, [1, 255, 0], strict=True), SHAPE, fill=255 if unlabelled == "ignore" else 2, transform=TRANSFORM
    )
    np.testing.assert_array_equal(whole(found).indices, expected)
    assert any("1 of 3 polygons of p.gpkg have no class" in note for note in found.notes)
    assert any("1 images have no polygon" in note and "far.tif" in note for note in found.notes)
    assert len(found.sheets) == (1 if unlabelled == "ignore" else 2)


def test_polygons_of_one_class_need_no_field() -> None:
    write("i/a.tif", IMAGE)
    labels = vectors("p.geojson", BOXES, osm=[1.5, 2.5, 3.5])
    found = source("i", labels, unlabelled="other", legend={1: "other", 2: "building"})
    np.testing.assert_array_equal(
        whole(found).indices, rasterize(zip(BOXES, [1, 1, 1], strict=True), SHAPE, transform=TRANSFORM)
    )
    with pytest.raises(LegendError, match="leaves 3 classes"):
        source("i", labels, legend=LEGEND)
    with pytest.raises(VectorError, match="no field 'kind'"):
        source("i", labels, class_field="kind")


def test_what_polygons_cannot_be() -> None:
    write("i/a.tif", IMAGE)
    labels = vectors("p.gpkg", BOXES, kind=["water", "sea", "sea"])
    with pytest.raises(LegendError, match=r"'sea' \(2\)"):
        source("i", labels, class_field="kind", legend=LEGEND)
    with pytest.raises(LegendError, match="'meadow' is no class"):
        source(
            "i", vectors("q.gpkg", BOXES, kind=["water"] * 3), class_field="kind", legend=LEGEND, unlabelled="meadow"
        )
    with pytest.raises(VectorError, match="lies on any of 1 images"):
        source("i", vectors("r.gpkg", [shapely.box(0, 0, 1, 1)], kind=["water"]), class_field="kind")
    with pytest.raises(ParameterError, match="one vector file"):
        source("i", ("p.gpkg", "q.gpkg"), class_field="kind")
    with pytest.raises(ParameterError, match="class_field says nothing"):
        source("i", write("l/a.tif", LABELS), class_field="kind")


@pytest.mark.parametrize("labels", ["raster", "polygons"])
def test_an_area_of_interest_cuts_labels_off(labels: str) -> None:
    write("i/a.tif", IMAGE)
    write("i/b.tif", IMAGE, TRANSFORM @ Affine.translation(5000, 0))
    for name in "ab":
        write(f"l/{name}.tif", LABELS)
    aoi = vectors("aoi.gpkg", [box(5, 5, 25, 35)])
    given = "l" if labels == "raster" else vectors("p.gpkg", BOXES, class_id=[1, 2, 3])
    everywhere = source("i", given, legend=LEGEND)
    found = source("i", given, legend=LEGEND, aoi=aoi)
    assert [s.name for s in found.sheets] == ["a.tif"]
    expected = np.full(SHAPE, 255, np.uint8)
    expected[5:35, 5:25] = whole(everywhere).indices[5:35, 5:25]
    np.testing.assert_array_equal(whole(found).indices, expected)
    np.testing.assert_array_equal(found.read(0, Window(3, 4, 30, 30)).indices, expected[3:33, 4:34])


def middle(found: Source, sheet: int, size: int = 256) -> Window:
    told = found.sheets[sheet]
    height, width = min(size, told.height), min(size, told.width)
    return Window((told.height - height) // 2, (told.width - width) // 2, height, width)


def test_real_folders_of_pairs(shared_data: Path) -> None:
    folder = shared_data / "amazon_forest"
    data: dict[str, Any] = {}
    for prefix, part in (("", "training"), ("validation_", "validation")):
        data[f"{prefix}images"] = (str(folder / part / "images"),)
        data[f"{prefix}labels"] = (str(folder / part / "masks"),)
    found = open_source(DataConfig(**data, legend={1: "forest", 2: "other"}))
    assert [s.role for s in found.sheets] == ["train"] * 30 + ["validation"] * 8
    refused = []
    for i, sheet in enumerate(found.sheets):
        assert sheet.files[0].stem == sheet.files[1].stem
        try:
            assert not found.read(i, middle(found, i)).unknown
        except LabelMismatchError:
            refused.append(sheet.name)
    assert refused == ["Amazon_181.tiff_34.tiff"]


@pytest.mark.parametrize(
    ("image", "vector", "field", "settings", "bands"),
    [
        ("atlanta_buildings/*.tif", "atlanta_buildings/buildings_732701_3729639.geojson", None,
         {"bands": (1, 2, 3, 4), "unlabelled": "other"}, 4),
        ("massachusetts_buildings/*.tif", "massachusetts_buildings/22978945_15.gpkg", "class", {}, 3),
        ("new_brunswick/*.tif", "new_brunswick/BakerLake_2017_clipped.gpkg", "Quatreclasses", {}, 3),
    ],
)  # fmt: skip
def test_real_polygons_fall_where_geopandas_and_rasterio_put_them(
    shared_data: Path, image: str, vector: str, field: str | None, settings: dict[str, Any], bands: int
) -> None:
    found = source(str(shared_data / image), str(shared_data / vector), class_field=field, **settings)
    assert len(found.band_names) == bands
    for i, sheet in enumerate(found.sheets):
        window = middle(found, i)
        assert sheet.grid is not None
        here = sheet.grid.part(window)
        frame = geopandas.read_file(shared_data / vector).to_crs(sheet.grid.crs_wkt)
        values = [1] * len(frame) if field is None else [int(v) if int(v) < 255 else 0 for v in frame[field]]
        expected = rasterize(
            zip(frame.geometry, values, strict=True), here.shape, transform=here.transform,
            fill=2 if "unlabelled" in settings else 0, dtype="uint8",
        )  # fmt: skip
        got = found.read(i, window)
        table = np.full(256, 255, np.uint8)
        table[list(found.legend.ids)] = np.arange(len(found.legend))
        expected = np.where(got.present if got.present.ndim == 2 else got.present.any(axis=0), table[expected], 255)
        assert len(np.unique(expected)) > 1
        assert (got.indices != expected).sum() <= 2


def test_a_real_drone_scene_with_polygons_of_another_crs(shared_data: Path) -> None:
    folder = shared_data / "kampala_buildings"
    found = source(
        str(folder / "kampala_z21_rgba.tif"), str(folder / "buildings_labels.geojson"), unlabelled="background"
    )
    assert len(found.band_names) == 3
    assert any("reprojected from WGS 84 to" in note for note in found.notes)
    assert any("1 of 206 shapes" in note and "repaired" in note for note in found.notes)
    got = found.read(0, Window(0, 0, 5120, 512))
    absent = ~got.present if got.present.ndim == 2 else ~got.present.any(axis=0)
    assert absent.any()
    assert (got.indices[absent] == 255).all()
    assert (got.indices[~absent] < 2).all()
