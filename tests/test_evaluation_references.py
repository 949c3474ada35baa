"""evaluate() against references of another grid, another CRS, and of polygons."""

from __future__ import annotations

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

from geoseg.errors import LegendError, MissingFileError, ParameterError, RasterError, VectorError
from geoseg.evaluation import evaluate
from geoseg.grids import Grid
from geoseg.legend import Legend
from geoseg.metrics import confusion_matrix
from geoseg.rasters import open_class_raster_on, write_class_raster
from geoseg.tiling import Window

Labels = npt.NDArray[np.uint8]

LEGEND = Legend.from_names(["water", "forest", "road"])
TRANSFORM = Affine(10, 0, 500_000, 0, -10, 5_000_000)
UTM = CRS.from_epsg(32633).to_wkt()
SHAPE = (60, 50)


def labels(seed: int, shape: tuple[int, int] = SHAPE) -> Labels:
    return np.random.default_rng(seed).integers(0, 4, shape).astype(np.uint8)


def write(path: Path, values: Labels, transform: Affine = TRANSFORM, crs: str = UTM) -> Path:
    with write_class_raster(path, Grid(crs, transform, *values.shape), LEGEND) as writer:
        writer.write(Window(0, 0, *values.shape), values)
    return path


def at(t: Affine, x: Any, y: Any) -> tuple[Any, Any]:
    """Where the transform puts points."""
    return t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f


def nearest(values: Labels, transform: Affine, crs: str, shape: tuple[int, int] = SHAPE) -> Labels:
    """Labels of another raster at the pixel centres of the prediction, one by one; 0 beyond its edges."""
    rows, cols = np.indices(shape)
    x, y = at(TRANSFORM, cols.ravel() + 0.5, rows.ravel() + 0.5)
    x, y = Transformer.from_crs(UTM, crs, always_xy=True).transform(x, y)
    col, row = (np.floor(v).astype(int) for v in at(~transform, np.asarray(x), np.asarray(y)))
    inside = (row >= 0) & (row < values.shape[0]) & (col >= 0) & (col < values.shape[1])
    found = np.zeros(row.shape, np.uint8)
    found[inside] = values[row[inside], col[inside]]
    return found.reshape(shape)


@pytest.mark.parametrize(
    "transform",
    [
        TRANSFORM @ Affine.translation(-7, 4),
        TRANSFORM @ Affine.translation(0.3, -0.2) @ Affine.scale(0.37, 1.3),
        Affine(30, 0, 499_900, 0, -30, 4_999_900),
    ],
)
def test_raster_of_another_grid_is_read_at_the_nearest_pixel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transform: Affine
) -> None:
    predicted, truth = labels(1), labels(2, (70, 64))
    ours, theirs = write(tmp_path / "p.tif", predicted), write(tmp_path / "t.tif", truth, transform)
    found = evaluate(ours, theirs)
    expected = confusion_matrix(nearest(truth, transform, UTM), predicted, LEGEND.ids)
    np.testing.assert_array_equal(found.confusion, expected)
    (note,) = found.notes
    assert "t.tif (70×64 px" in note
    assert "resampled to the grid of" in note
    assert note in str(found)
    assert found.to_dict()["notes"] == [note]
    monkeypatch.setattr("geoseg.evaluation.comparing._STRIP_PIXELS", 1)
    np.testing.assert_array_equal(evaluate(ours, theirs).confusion, expected)


def test_the_same_grid_needs_no_resampling(tmp_path: Path) -> None:
    assert evaluate(write(tmp_path / "p.tif", labels(1)), write(tmp_path / "t.tif", labels(2))).notes == ()


def test_raster_of_another_crs(tmp_path: Path) -> None:
    """Against the pixel-wise oracle; GDAL may be off by an eighth of a pixel, so patches are larger than pixels."""
    crs = CRS.from_epsg(4326).to_wkt()
    transform = Affine(0.0004, 0, 14.995, 0, -0.0003, 45.16)
    truth = labels(2, (40, 40))
    ours = write(tmp_path / "p.tif", labels(1))
    theirs = write(tmp_path / "t.tif", truth, transform, crs)
    with open_class_raster_on(theirs, Grid(UTM, TRANSFORM, *SHAPE)) as raster:
        found = raster.read(Window(0, 0, *SHAPE))
    expected = nearest(truth, transform, crs)
    assert np.count_nonzero(expected) > 1000
    assert (found == expected).mean() > 0.98
    np.testing.assert_array_equal(evaluate(ours, theirs).confusion, confusion_matrix(found, labels(1), LEGEND.ids))


def foreign(path: Path, values: Labels, *, nodata: int | None, alpha: Labels | None, band: Labels | None) -> Path:
    height, width = values.shape
    profile: dict[str, Any] = {
        "driver": "GTiff", "height": height, "width": width, "dtype": "uint8", "crs": UTM, "transform": TRANSFORM,
        "nodata": nodata, "count": 1 if alpha is None else 2,
    }  # fmt: skip
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **profile) as file:
        if alpha is not None:
            file.colorinterp = [ColorInterp.gray, ColorInterp.alpha]
            file.write(alpha, 2)
        file.write(values, 1)
        if band is not None:
            file.write_mask(band)
    return path


@pytest.mark.parametrize("kind", ["plain", "nodata 0", "nodata 2", "nodata 255", "alpha", "band", "nodata and alpha"])
def test_no_data_stays_no_data_when_resampled(tmp_path: Path, kind: str) -> None:
    """GDAL's warper moves values away from a nodata value, and sees one kind of no data at a time."""
    values = labels(5)
    values[3:6, 3:6] = 255
    seen = (labels(6) > 1).astype(np.uint8) * 255
    nodata = next((v for v in (0, 2, 255) if f"nodata {v}" == kind), 2 if " and " in kind else None)
    alpha, band = (seen if "alpha" in kind else None), (seen if kind == "band" else None)
    path = foreign(tmp_path / "t.tif", values, nodata=nodata, alpha=alpha, band=band)
    expected = values.copy()
    expected[(values == 255) | (values == (nodata or 0))] = 0
    if alpha is not None or band is not None:
        expected[seen == 0] = 0
    shifted = Grid(UTM, TRANSFORM @ Affine.translation(-3, 2), *SHAPE)
    with open_class_raster_on(path, shifted, LEGEND) as raster:
        found = raster.read(Window(0, 0, *SHAPE))
    np.testing.assert_array_equal(found[:-2, 3:], expected[2:, :-3])
    assert not found[-2:].any()
    assert not found[:, :3].any()


def test_no_data_in_two_ways_is_refused(tmp_path: Path) -> None:
    path = foreign(tmp_path / "t.tif", labels(5), nodata=2, alpha=None, band=np.full(SHAPE, 255, np.uint8))
    with (
        pytest.raises(RasterError, match=r"nodata value \(2\) and a validity band"),
        open_class_raster_on(path, Grid(UTM, TRANSFORM, 9, 9), LEGEND),
    ):
        pass


def test_a_reference_elsewhere_has_nothing_to_compare(tmp_path: Path) -> None:
    theirs = write(tmp_path / "t.tif", labels(2), TRANSFORM @ Affine.translation(5000, 0))
    with pytest.raises(RasterError, match=r"nothing to compare: .* and 0 pixels of .*t\.tif"):
        evaluate(write(tmp_path / "p.tif", labels(1)), theirs)


def pixel_box(top: int, left: int, bottom: int, right: int) -> shapely.Polygon:
    x0, y0 = at(TRANSFORM, left, top)
    x1, y1 = at(TRANSFORM, right, bottom)
    return shapely.box(x0, y1, x1, y0)


def save(path: Path, shapes: list[Any], crs: str | None = "EPSG:32633", **fields: list[Any]) -> Path:
    geopandas.GeoDataFrame(fields, geometry=shapes, crs=crs).to_file(path)
    return path


BOXES = [pixel_box(0, 0, 30, 25), pixel_box(20, 10, 50, 40), pixel_box(40, 0, 60, 20)]


def drawn() -> Labels:
    truth = np.zeros(SHAPE, np.uint8)
    truth[0:30, 0:25], truth[20:50, 10:40], truth[40:60, 0:20] = 2, 1, 3
    return truth


@pytest.mark.parametrize(
    "values", [["forest", "water", "road"], ["Forest", " WATER", "road"], [2, 1, 3], [2.0, 1.0, 3.0], ["2", "1", "3"]]
)
@pytest.mark.parametrize("name", ["t.gpkg", "t.geojson"])
def test_polygons_are_drawn_in_the_order_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: list[Any], name: str
) -> None:
    ours = write(tmp_path / "p.tif", labels(1))
    theirs = save(tmp_path / name, BOXES, kind=values)
    expected = confusion_matrix(drawn(), labels(1), LEGEND.ids)
    found = evaluate(ours, theirs, class_field="kind")
    np.testing.assert_array_equal(found.confusion, expected)
    assert found.legend == LEGEND
    assert any("3 polygons of" in note and "the later one counts" in note for note in found.notes)
    monkeypatch.setattr("geoseg.evaluation.comparing._STRIP_PIXELS", 1)
    np.testing.assert_array_equal(evaluate(ours, theirs, class_field="kind").confusion, expected)


def test_our_own_polygons_need_no_field(tmp_path: Path) -> None:
    theirs = save(tmp_path / "t.gpkg", BOXES, class_id=[2, 1, 3])
    found = evaluate(write(tmp_path / "p.tif", drawn()), theirs)
    assert found.metrics.overall_accuracy == 1.0
    assert found.compared_pixels == np.count_nonzero(drawn())


@pytest.mark.parametrize("outside", ["road", 3])
def test_ground_without_polygon_may_count_as_a_class(tmp_path: Path, outside: str | int) -> None:
    truth = drawn()
    truth[truth == 0] = 3
    theirs = save(tmp_path / "t.gpkg", BOXES, class_id=[2, 1, 3])
    found = evaluate(write(tmp_path / "p.tif", labels(1)), theirs, outside=outside, window=Window(5, 5, 50, 40))
    inside = np.s_[5:55, 5:45]
    np.testing.assert_array_equal(found.confusion, confusion_matrix(truth[inside], labels(1)[inside], LEGEND.ids))
    assert "ground without polygon counts as 'road'" in found.notes


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:3035"])
def test_polygons_of_another_crs_fall_on_the_same_pixels(tmp_path: Path, crs: str) -> None:
    """Edges through pixel centres would be a matter of rounding; these run along pixel edges, half a pixel off."""
    shapes = geopandas.GeoSeries(BOXES, crs="EPSG:32633").segmentize(10).to_crs(crs)
    theirs = save(tmp_path / "t.gpkg", list(shapes), crs, class_id=[2, 1, 3])
    found = evaluate(write(tmp_path / "p.tif", labels(1)), theirs)
    np.testing.assert_array_equal(found.confusion, confusion_matrix(drawn(), labels(1), LEGEND.ids))
    assert any("was reprojected from" in note for note in found.notes)


def test_long_edges_bend_with_the_projection(tmp_path: Path) -> None:
    """A straight edge of 50 km in degrees is a curve in UTM; its ends alone would cut off hundreds of pixels."""
    shape, transform = (500, 500), Affine(100, 0, 300_000, 0, -100, 7_050_000)
    box = shapely.box(11.0, 63.25, 12.0, 63.4)
    theirs = save(tmp_path / "t.geojson", [box], "EPSG:4326", class_id=[1])
    ours = write(tmp_path / "p.tif", np.ones(shape, np.uint8), transform)
    rows, cols = np.indices(shape)
    x, y = at(transform, cols.ravel() + 0.5, rows.ravel() + 0.5)
    lon, lat = Transformer.from_crs(UTM, 4326, always_xy=True).transform(x, y)
    expected = int(np.count_nonzero(shapely.contains_xy(box, lon, lat)))
    assert expected > 10_000
    assert evaluate(ours, theirs).reference_pixels == pytest.approx(expected, abs=5)


def test_invalid_shapes_are_repaired_counted_and_named(tmp_path: Path) -> None:
    x, y = at(TRANSFORM, 10, 10)
    bow_tie = shapely.Polygon([(x, y), (x + 100, y - 100), (x + 100, y), (x, y - 100)])
    line = shapely.LineString([(x, y), (x + 50, y)])
    theirs = save(tmp_path / "t.gpkg", [BOXES[0], bow_tie, line], class_id=[2, 1, 3])
    found = evaluate(write(tmp_path / "p.tif", np.ones(SHAPE, np.uint8)), theirs)
    text = "\n".join(found.notes)
    assert "1 of 3 shapes of" in text
    assert "are invalid and were repaired: fid 2 (the first: Self-intersection)" in text
    assert "no polygons or have no area and were left out: fid 3" in text
    assert found.metrics.support[0] == pytest.approx(50, abs=10)


def test_shapes_without_class_are_not_compared(tmp_path: Path) -> None:
    theirs = save(tmp_path / "t.gpkg", BOXES, kind=["forest", None, "road"])
    truth = drawn()
    truth[truth == 1] = 0
    found = evaluate(write(tmp_path / "p.tif", labels(1)), theirs, class_field="kind")
    np.testing.assert_array_equal(found.confusion, confusion_matrix(truth, labels(1), LEGEND.ids))
    assert any("1 of 3 shapes" in note and "have no class" in note for note in found.notes)


def test_what_polygons_cannot_be(tmp_path: Path) -> None:
    ours = write(tmp_path / "p.tif", labels(1))
    theirs = save(tmp_path / "t.gpkg", BOXES, kind=["forest", "sea", "sea"])
    with pytest.raises(LegendError, match=r"'sea' \(2\); its classes are 1 water, 2 forest, 3 road"):
        evaluate(ours, theirs, class_field="kind")
    with pytest.raises(VectorError, match=r"no field 'class_id'; its fields are kind; .*--class-field"):
        evaluate(ours, theirs)
    with pytest.raises(LegendError, match="'sky' is no class"):
        evaluate(ours, theirs, class_field="kind", outside="sky")
    with pytest.raises(MissingFileError, match="does not exist"):
        evaluate(ours, tmp_path / "none.gpkg")
    with pytest.raises(VectorError, match="layername"):
        evaluate(ours, f"{theirs}|layer=2")
    with pytest.raises(VectorError, match="has no layer roofs"):
        evaluate(ours, f"{theirs}|layername=roofs")
    with pytest.raises(ParameterError, match="class_field says nothing"):
        evaluate(ours, ours, class_field="kind")
    (tmp_path / "bad.geojson").write_text("{")
    with pytest.raises(VectorError, match="cannot be read"):
        evaluate(ours, tmp_path / "bad.geojson")
    far = save(tmp_path / "far.gpkg", [shapely.box(0, 0, 1, 1)], class_id=[1])
    with pytest.raises(VectorError, match=r"no polygon of .* lies on the raster"):
        evaluate(ours, far)
    points = save(tmp_path / "points.gpkg", [shapely.Point(at(TRANSFORM, 5, 5))], class_id=[1])
    with pytest.raises(VectorError, match="labels are made of polygons"):
        evaluate(ours, points)


def test_layers_are_chosen_by_name(tmp_path: Path) -> None:
    path = tmp_path / "t.gpkg"
    frame = geopandas.GeoDataFrame({"class_id": [2, 1, 3]}, geometry=BOXES, crs="EPSG:32633")
    frame.to_file(path, layer="truth")
    frame.iloc[:1].to_file(path, layer="part", mode="a")
    ours = write(tmp_path / "p.tif", drawn())
    with pytest.raises(VectorError, match=r"has the layers truth, part; choose one with .*layername=truth"):
        evaluate(ours, path)
    assert (
        evaluate(ours, f"{path}|layername=part").compared_pixels
        < evaluate(ours, f"{path}|layername=truth").compared_pixels
        == np.count_nonzero(drawn())
    )
