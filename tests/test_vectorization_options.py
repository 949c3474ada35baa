"""What the options of vectorize() promise, read back from the files."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import geopandas
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

from geoseg.errors import MissingFileError, OutputError, ParameterError
from geoseg.grids import Grid
from geoseg.legend import ClassDef, Legend
from geoseg.rasters import write_class_raster, write_confidence_raster
from geoseg.tiling import Window
from geoseg.vectorization import vectorize
from geoseg.vectorization.settings import find_class

UTM = pyproj.CRS.from_epsg(32633).to_wkt()
NORTH_UP = Affine(10, 0, 500000, 0, -10, 5000000)
LEGEND = Legend.from_names(["Water", "Forest", "Crops", "Built"])
HEIGHT, WIDTH = 300, 90  # more than one row of pins


def make_labels(seed: int = 1, sigma: float = 2.0) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    scores = [ndimage.gaussian_filter(rng.standard_normal((HEIGHT, WIDTH)), sigma) for _ in LEGEND]
    labels = (np.argmax(scores, axis=0) + 1).astype(np.uint8)
    labels[:10, :15] = 0
    labels[250:262, 40:44] = 0
    return labels


def save(folder: Path, labels: NDArray[np.uint8], crs: str | None = UTM, transform: Affine = NORTH_UP) -> Path:
    path = folder / "lc.tif"
    with write_class_raster(path, Grid(crs, transform, *labels.shape), LEGEND) as writer:
        writer.write(Window(0, 0, *labels.shape), labels)
    return path


def load(path: Path, layer: str | None = None) -> Any:
    return pyogrio.read_dataframe(path, layer=layer or path.stem)


def rows(found: Any) -> list[tuple[Any, ...]]:
    return list(zip(found.geometry.to_wkb(), found["class_id"], found["area_m2"], found["pixel_count"], strict=True))


@pytest.fixture(scope="module")
def raster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("raster"), make_labels())


@pytest.fixture(scope="module")
def exact(raster: Path) -> Any:
    return load(vectorize(raster))


def test_only_some_classes(raster: Path, exact: Any, tmp_path: Path) -> None:
    found = load(vectorize(raster, tmp_path / "o.gpkg", classes=["Forest", 4]))
    assert rows(found) == rows(exact[exact["class_id"].isin([2, 4])])


def test_other_classes_still_shape_the_borders(raster: Path, tmp_path: Path) -> None:
    everything = load(vectorize(raster, tmp_path / "a.gpkg", simplify=20.0, smooth=2))
    found = load(vectorize(raster, tmp_path / "o.gpkg", simplify=20.0, smooth=2, classes=["2"]))
    assert rows(found) == rows(everything[everything["class_id"] == 2])


def test_a_layer_for_each_class(raster: Path, exact: Any, tmp_path: Path) -> None:
    path = vectorize(raster, tmp_path / "o.gpkg", split_by_class=True, classes=["Built", "Water"])
    layers = [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
    assert layers == ["Water", "Built"]
    found = [load(path, layer) for layer in layers]
    assert [f["class_name"].unique().tolist() for f in found] == [["Water"], ["Built"]]
    for class_id, some in zip((1, 4), found, strict=True):
        assert rows(some) == rows(exact[exact["class_id"] == class_id])


def test_one_multipolygon_for_each_class(raster: Path, exact: Any, tmp_path: Path) -> None:
    confidence = tmp_path / "c.tif"
    values = np.random.default_rng(0).integers(0, 251, (HEIGHT, WIDTH)).astype(np.uint8)
    values[100:200] = 255
    with write_confidence_raster(confidence, Grid(UTM, NORTH_UP, HEIGHT, WIDTH)) as writer:
        writer.write(Window(0, 0, HEIGHT, WIDTH), values)
    found = load(vectorize(raster, tmp_path / "o.gpkg", dissolve=True, confidence=confidence)).set_index("class_id")
    assert found.index.tolist() == [1, 2, 3, 4]
    assert set(found.geom_type) == {"MultiPolygon"}
    assert found.geometry.is_valid.all()
    labels = make_labels()
    for class_id, parts in exact.groupby("class_id"):
        one = found.loc[class_id]
        assert one.geometry.equals(shapely.MultiPolygon(parts.geometry.tolist()))
        assert one["pixel_count"] == (labels == class_id).sum()
        assert one["area_m2"] == pytest.approx(parts["area_m2"].sum())
        assert one["perimeter_m"] == pytest.approx(parts["perimeter_m"].sum())
        told = values[(labels == class_id) & (values != 255)]
        assert one["mean_confidence"] == pytest.approx(told.mean() / 250, abs=1e-6)


def test_multipolygons_do_not_depend_on_the_strips(raster: Path, tmp_path: Path) -> None:
    wanted, *others = (
        rows(load(vectorize(raster, tmp_path / f"{height}-{threads}.gpkg", dissolve=True, to_crs=4326, **strips)))
        for height, threads in ((64, 1), (64, 2), (17, 2), (300, 1))
        for strips in ({"strip_height": height, "threads": threads},)
    )
    assert others == [wanted] * 3


def test_large_polygons_are_cut_without_gaps(raster: Path, tmp_path: Path) -> None:
    labels = np.where(np.random.default_rng(0).random((HEIGHT, WIDTH)) > 0.8, 2, 1).astype(np.uint8)
    path = save(tmp_path, labels)
    whole = load(vectorize(path))
    assert shapely.get_num_coordinates(whole.geometry).max() > 5000
    for simplify in (0.0, 15.0):
        found = load(vectorize(path, tmp_path / f"{simplify}.gpkg", max_vertices=1000, simplify=simplify))
        corners = shapely.get_num_coordinates(found.geometry) - 1 - shapely.get_num_interior_rings(found.geometry)
        assert corners.max() <= 1000
        assert found.geometry.is_valid.all()
        assert shapely.coverage_is_valid(found.geometry.to_numpy())
        assert found["pixel_count"].sum() == labels.size
        assert found["area_m2"].sum() == pytest.approx(labels.size * 100)


def test_another_crs(raster: Path, exact: Any, tmp_path: Path) -> None:
    found = load(vectorize(raster, tmp_path / "o.gpkg", to_crs="EPSG:4326"))
    assert found.crs.to_epsg() == 4326
    back = pyproj.Transformer.from_crs(4326, 32633, always_xy=True)
    moved = shapely.transform(found.geometry.to_numpy(), lambda p: np.column_stack(back.transform(p[:, 0], p[:, 1])))
    assert shapely.equals_exact(moved, exact.geometry.to_numpy(), 1e-5).all()
    np.testing.assert_array_equal(found["area_m2"], exact["area_m2"])
    np.testing.assert_array_equal(found["perimeter_m"], exact["perimeter_m"])


ACROSS_180 = Affine(100, 0, 690_000, 0, -100, 5_800_000)  # in UTM zone 60


def test_longitudes_go_on_beyond_180(tmp_path: Path) -> None:
    raster = save(tmp_path, np.repeat(make_labels(), 4, axis=1), pyproj.CRS.from_epsg(32660).to_wkt(), ACROSS_180)
    found = load(vectorize(raster, tmp_path / "o.gpkg", to_crs="EPSG:4326"))
    west, _, east, _ = found.total_bounds
    assert east - west < 1
    assert west < -180 < east  # the middle of the raster lies east of it
    assert shapely.coverage_is_valid(found.geometry.to_numpy())


@pytest.mark.parametrize(("crs", "whole"), [("EPSG:3857", False), ("EPSG:3395", False), ("EPSG:3832", True)])
def test_a_raster_across_the_line_where_a_projection_is_torn(tmp_path: Path, crs: str, whole: bool) -> None:
    raster = save(tmp_path, np.repeat(make_labels(), 4, axis=1), pyproj.CRS.from_epsg(32660).to_wkt(), ACROSS_180)
    if whole:
        assert np.ptp(load(vectorize(raster, tmp_path / "o.gpkg", to_crs=crs)).total_bounds[::2]) < 1e5
        return
    with pytest.raises(ParameterError, match=f"{crs} is torn"):
        vectorize(raster, tmp_path / "o.gpkg", to_crs=crs)


def test_a_world_map_in_a_cylinder(tmp_path: Path) -> None:
    labels = make_labels()
    transform = Affine(360 / WIDTH, 0, -180, 0, -170 / HEIGHT, 85)
    raster = save(tmp_path, labels, pyproj.CRS.from_epsg(4326).to_wkt(), transform)
    found = load(vectorize(raster, tmp_path / "o.gpkg", to_crs="EPSG:3857"))
    assert shapely.coverage_is_valid(found.geometry.to_numpy())
    assert shapely.area(found.geometry.to_numpy()).sum() == pytest.approx(
        (labels > 0).sum() / labels.size * np.ptp(found.total_bounds[::2]) * np.ptp(found.total_bounds[1::2]), rel=0.2
    )


def test_holes_are_filled_and_no_data_stays(tmp_path: Path) -> None:
    labels = np.ones((HEIGHT, WIDTH), np.uint8)
    labels[5:8, 5:8] = 2
    labels[6, 6] = 3
    labels[20:24, 20:25] = 2
    labels[254:258, 50:53] = 0
    found = load(vectorize(save(tmp_path, labels), fill_holes=2000.0))
    assert sorted(found["pixel_count"]) == [20, HEIGHT * WIDTH - 20 - 12]
    assert len(found[found["class_id"] == 1].geometry.iloc[0].interiors) == 2


def test_minima_by_class(raster: Path, exact: Any, tmp_path: Path) -> None:
    minima: dict[str | int, float] = {"*": 400.0, "Forest": 3000.0, 4: 0.0}
    found = load(vectorize(raster, tmp_path / "o.gpkg", min_area=minima))
    smallest = found.groupby("class_id")["area_m2"].min()
    assert smallest[1] >= 400
    assert smallest[2] >= 3000
    assert smallest[3] >= 400
    assert found["pixel_count"].sum() == exact["pixel_count"].sum()
    assert len(found) < len(exact)


@pytest.mark.parametrize("method", ["visvalingam", "douglas-peucker"])
@pytest.mark.parametrize("simplify", [5.0, 20.0, 300.0])
@pytest.mark.parametrize("smooth", [0, 2])
def test_changed_borders_are_a_coverage_of_the_same_ground(
    raster: Path, exact: Any, tmp_path: Path, method: Any, simplify: float, smooth: int
) -> None:
    path = vectorize(raster, tmp_path / "o.gpkg", simplify=simplify, simplify_method=method, smooth=smooth)
    found = load(path)
    assert len(found) == len(exact)
    assert found.geometry.is_valid.all()
    assert shapely.coverage_is_valid(found.geometry.to_numpy())
    assert (shapely.get_num_interior_rings(found.geometry) == shapely.get_num_interior_rings(exact.geometry)).all()
    assert found["pixel_count"].tolist() == exact["pixel_count"].tolist()
    assert found["area_m2"].sum() == pytest.approx(exact["area_m2"].sum())
    assert found.union_all().symmetric_difference(exact.union_all()).area == pytest.approx(0, abs=1e-3)


def test_douglas_peucker_keeps_borders_near(raster: Path, exact: Any, tmp_path: Path) -> None:
    found = load(vectorize(raster, tmp_path / "o.gpkg", simplify=15.0, simplify_method="douglas-peucker"))
    far = shapely.hausdorff_distance(found.boundary.to_numpy(), exact.boundary.to_numpy())
    assert far.max() <= 15.0 + 1e-6
    assert shapely.get_num_coordinates(found.geometry).sum() < shapely.get_num_coordinates(exact.geometry).sum() / 2


def test_smoothing_alone_rounds_corners(raster: Path, exact: Any, tmp_path: Path) -> None:
    found = load(vectorize(raster, tmp_path / "o.gpkg", smooth=3))
    assert shapely.coverage_is_valid(found.geometry.to_numpy())
    assert found["perimeter_m"].sum() < 0.95 * exact["perimeter_m"].sum()
    moved = shapely.hausdorff_distance(found.boundary.to_numpy(), exact.boundary.to_numpy())
    assert 0 < moved.max() < 40


@pytest.mark.parametrize("options", [{}, {"simplify": 20.0, "smooth": 1}, {"min_area": 900.0, "fill_holes": 2000.0}])
def test_threads_and_strips_change_nothing(raster: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    found = [
        rows(load(vectorize(raster, tmp_path / f"{n}_{h}.gpkg", threads=n, strip_height=h, **options)))
        for n, h in ((1, 256), (2, 256), (5, 256), (2, 300), (1, 11))
    ]
    assert found[0] == found[1] == found[2]  # the ids, which are the order, too
    assert sorted(found[3]) == sorted(found[0])
    assert sorted(found[4]) == sorted(found[0])


@pytest.mark.parametrize("suffix", [".fgb", ".parquet"])
def test_other_formats_hold_the_same(raster: Path, exact: Any, tmp_path: Path, suffix: str) -> None:
    path = vectorize(raster, tmp_path / f"o{suffix}")
    found = geopandas.read_parquet(path) if suffix == ".parquet" else load(path)
    assert found.crs == exact.crs
    assert sorted(rows(found)) == sorted(rows(exact))
    assert "Forest" in path.with_suffix(".qml").read_text(encoding="utf-8")


def test_a_legend_of_the_users(tmp_path: Path) -> None:
    labels = make_labels()
    profile = {"driver": "GTiff", "height": HEIGHT, "width": WIDTH, "count": 1, "dtype": "uint8", "nodata": 0}
    with rasterio.open(tmp_path / "bare.tif", "w", **profile, crs=UTM, transform=NORTH_UP) as dataset:
        dataset.write(labels, 1)
    legend = tmp_path / "legend.yaml"
    legend.write_text("1: Wasser\n2: Wald\n3: Acker\n4: Haus\n", encoding="utf-8")
    found = load(vectorize(tmp_path / "bare.tif", legend=legend, classes=["Wald"]))
    assert found["class_name"].unique().tolist() == ["Wald"]
    burnt = rasterize(zip(found.geometry, found["class_id"], strict=True), labels.shape, transform=NORTH_UP)
    np.testing.assert_array_equal(burnt == 2, labels == 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ["Wood"]}, r"no class 'Wood'; it has Water \(1\)"),
        ({"min_area": {"Wood": 3.0}}, "no class 'Wood'"),
        ({"min_area": {"Forest": -3.0}}, "min_area of Forest is -3"),
        ({"dissolve": True, "max_vertices": 5000}, "choose one"),
        ({"max_vertices": 10}, "1000 at least"),
        ({"smooth": 9}, "0 to 5"),
        ({"simplify_method": "guess"}, "visvalingam or douglas-peucker"),
        ({"to_crs": "EPSG:0"}, "no CRS"),
        ({"to_crs": "EPSG:4978"}, "not one of a map"),
        ({"to_crs": "EPSG:5773"}, "not one of a map"),
        ({"to_crs": "+proj=ortho +lat_0=-45 +lon_0=-160"}, r"no place in \+proj=ortho"),
        ({"classes": []}, "empty"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_choices_that_cannot_be(raster: Path, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        vectorize(raster, tmp_path / "o.gpkg", **options)
    assert not list(tmp_path.iterdir())


def test_no_room_for_what_waits_to_be_dissolved(raster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("geoseg.vectorization.sinks.tempfile.TemporaryFile", full)
    with pytest.raises(OutputError, match=r"wait to be dissolved.*No space left"):
        vectorize(raster, tmp_path / "o.gpkg", dissolve=True)
    assert not list(tmp_path.iterdir())


def test_a_class_is_found_by_its_name_before_any_id() -> None:
    legend = Legend((ClassDef(2, "Water", "#000000"), ClassDef(3, "2", "#111111")))
    assert (find_class(legend, "2"), find_class(legend, 2), find_class(legend, "3")) == (3, 2, 3)


def test_classes_that_do_not_occur(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    raster = save(tmp_path, np.ones((3, 4), np.uint8))
    assert len(load(vectorize(raster, tmp_path / "o.gpkg", classes=["Forest"]))) == 0
    assert "no pixel of the chosen classes" in caplog.text


def test_no_name_is_no_raster() -> None:
    with pytest.raises(MissingFileError, match="names no file"):
        vectorize("")


def test_several_layers_need_a_geopackage(raster: Path, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"\.gpkg"):
        vectorize(raster, tmp_path / "o.fgb", split_by_class=True)
    assert not list(tmp_path.iterdir())


def test_another_crs_needs_one_to_start_from(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="needs a raster with a CRS"):
        vectorize(save(tmp_path, make_labels(), None), to_crs="EPSG:4326")
