"""Polygons as labels: order of drawing, values that mean something else, one file for many grids."""

from __future__ import annotations

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
from rasterio.crs import CRS
from rasterio.features import rasterize

from geoseg.errors import LegendError, VectorError
from geoseg.grids import Grid
from geoseg.legend import Legend
from geoseg.polygon_labels import (
    Overlapping,
    class_ids,
    field_names,
    legend_of_values,
    meets,
    open_area,
    open_layer,
    open_polygon_labels,
)
from geoseg.tiling import Window

TRANSFORM = Affine(10, 0, 500_000, 0, -10, 5_000_000)
GRID = Grid(CRS.from_epsg(32633).to_wkt(), TRANSFORM, 40, 50)
WHOLE = Window(0, 0, 40, 50)
LEGEND = Legend.from_names(["water", "forest", "road"])


def box(left: int, top: int, right: int, bottom: int) -> shapely.Polygon:
    """A rectangle of whole pixels."""
    return shapely.box(500_000 + 10 * left, 5_000_000 - 10 * bottom, 500_000 + 10 * right, 5_000_000 - 10 * top)


def save(path: Path, shapes: list[Any], **fields: list[Any]) -> Path:
    geopandas.GeoDataFrame(fields, geometry=shapes, crs="EPSG:32633").to_file(path)
    return path


def painted(order: list[int], boxes: list[tuple[int, int, int, int]], ids: list[int]) -> npt.NDArray[np.uint8]:
    labels = np.zeros((40, 50), np.uint8)
    for i in order:
        left, top, right, bottom = boxes[i]
        labels[top:bottom, left:right] = ids[i]
    return labels


NESTED = [(5, 5, 25, 25), (10, 10, 15, 15), (0, 0, 40, 30)]


@pytest.mark.parametrize(
    ("overlapping", "order"),
    [("last", [0, 1, 2]), ("first", [2, 1, 0]), ("smallest", [2, 0, 1]), ("legend", [1, 2, 0])],
)
@pytest.mark.parametrize("suffix", ["gpkg", "geojson", "fgb"])
def test_what_counts_where_polygons_overlap(
    tmp_path: Path, suffix: str, overlapping: Overlapping, order: list[int]
) -> None:
    ids = [3, 1, 2]
    path = save(tmp_path / f"t.{suffix}", [box(*b) for b in NESTED], kind=["road", "water", "forest"])
    if suffix == "fgb":  # it orders features by place, so that the file's order is another
        order = {"last": list(range(3)), "first": [2, 1, 0]}.get(overlapping, order)
        stored = pyogrio.read_dataframe(path)["kind"].tolist()
        order = (
            [["road", "water", "forest"].index(stored[i]) for i in order] if overlapping in ("last", "first") else order
        )
    found = open_polygon_labels(path, GRID, LEGEND, class_field="kind", overlapping=overlapping)
    np.testing.assert_array_equal(found.read(WHOLE), painted(order, NESTED, ids))
    part = Window(8, 3, 20, 30)
    np.testing.assert_array_equal(found.read(part), painted(order, NESTED, ids)[8:28, 3:33])
    assert any("where they overlap" in note for note in found.notes)


def test_values_may_mean_something_else_or_nothing(tmp_path: Path) -> None:
    path = save(tmp_path / "t.gpkg", [box(*b) for b in NESTED], kind=["lake", None, "sand"])
    with pytest.raises(LegendError, match=r"'lake' \(1\), 'sand' \(1\); its classes are 1 water"):
        open_polygon_labels(path, GRID, LEGEND, class_field="kind")
    found = open_polygon_labels(path, GRID, LEGEND, class_field="kind", meanings={"lake": 1, "sand": 0})
    assert found.ids.tolist() == [1, 0, 0]
    assert any("2 of 3 shapes" in note and "no class" in note for note in found.notes)


def test_nan_and_none_are_no_class_and_numbers_are_ids_in_any_dress() -> None:
    ids, notes = class_ids(np.array([1.0, np.nan, 3.0]), LEGEND, "f")
    assert ids.tolist() == [1, 0, 3]
    assert "1 of 3 shapes" in notes[0]
    assert class_ids(np.array(["2", "FOREST", " water ", "", None], object), LEGEND, "f")[0].tolist() == [2, 2, 1, 0, 0]


def test_a_legend_of_what_the_polygons_say() -> None:
    assert legend_of_values([3, 1, None, 255, 0]).to_records() == Legend.from_values([1, 3]).to_records()
    assert legend_of_values(["sea", "field", None]).names == ("field", "sea")
    codes = legend_of_values([312, 2])
    assert codes.names == ("2", "312")
    assert class_ids(np.array([2, 312]), codes, "f")[0].tolist() == [1, 2]
    with pytest.raises(LegendError):
        legend_of_values([None, 0])


def test_an_area_is_inside_or_outside(tmp_path: Path) -> None:
    path = save(tmp_path / "a.gpkg", [box(5, 5, 25, 25), box(20, 10, 30, 20)])
    inside = painted([0, 1], [(5, 5, 25, 25), (20, 10, 30, 20)], [1, 1])
    np.testing.assert_array_equal(open_area(path, GRID).read(WHOLE), inside)
    elsewhere = Grid(GRID.crs_wkt, TRANSFORM @ Affine.translation(1000, 0), 8, 9)
    assert not open_area(path, elsewhere).read(Window(0, 0, 8, 9)).any()


@pytest.mark.parametrize("suffix", ["gpkg", "geojson"])
def test_one_file_serves_many_grids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    shapes = [box(*b) for b in NESTED] + [box(1000, 5, 1010, 15)]
    path = save(tmp_path / f"t.{suffix}", shapes, class_id=[3, 1, 2, 1])
    layer = open_layer(path, None)
    read: list[int] = []
    original = pyogrio.raw.read

    def counted(*given: Any, **named: Any) -> Any:
        found = original(*given, **named)
        read.append(len(found[1]))
        return found

    monkeypatch.setattr("pyogrio.raw.read", counted)
    far = Grid(GRID.crs_wkt, TRANSFORM @ Affine.translation(1000, 0), 20, 20)
    for grid, count in ((GRID, 3), (far, 1)):
        assert len(open_polygon_labels(layer, grid, LEGEND).polygons) == count
    assert read == ([] if suffix == "geojson" else [3, 1])
    empty = Grid(GRID.crs_wkt, TRANSFORM @ Affine.translation(-1000, 0), 20, 20)
    with pytest.raises(VectorError, match="lies on the raster"):
        open_polygon_labels(layer, empty, LEGEND)
    assert not open_polygon_labels(layer, empty, LEGEND, needed=False).read(Window(0, 0, 20, 20)).any()
    boxes = layer.summary().boxes
    assert [meets(layer, boxes, grid) for grid in (GRID, far, empty)] == [True, True, False]


@pytest.mark.parametrize("batch", [1, 2, 50])
def test_a_layer_is_summed_up_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    monkeypatch.setattr("geoseg.polygon_labels.layers._BATCH", batch)
    bow_tie = shapely.Polygon([(0, 0), (100, 100), (100, 0), (0, 100)])
    shapes = [box(*NESTED[0]), bow_tie, shapely.Point(1, 1), None]
    path = save(tmp_path / "t.gpkg", shapes, kind=["a", "a", None, "b"])
    found = open_layer(path, "kind").summary()
    assert (found.count, found.invalid, found.areal) == (4, 1, 2)
    assert found.values == {"a": 2, None: 1, "b": 1}
    assert found.boxes.shape == (4, 4)
    assert np.isnan(found.boxes[3]).all()
    assert field_names(path) == ("kind",)


def test_real_polygons_of_another_crs_fall_where_geopandas_puts_them(shared_data: Path) -> None:
    """Edges are bent less than a pixel over so short a way: only centres on an edge may differ."""
    folder = shared_data / "kampala_buildings"
    with rasterio.open(folder / "kampala_z21_rgba.tif") as file:
        grid = Grid(file.crs.to_wkt(), file.transform, file.height, file.width)
    shapes = geopandas.read_file(folder / "buildings_labels.geojson").to_crs(3857)
    middle = shapes.geometry.iloc[shapes.area.argmax()].centroid
    col, row = (int(v) for v in ~grid.transform @ (middle.x, middle.y))
    window = Window(row - 700, col - 700, 1400, 1400)
    here = grid.part(window)
    expected = rasterize(shapes.geometry, here.shape, transform=here.transform)
    found = open_area(folder / "buildings_labels.geojson", grid).read(window)
    assert expected.sum() > 10_000
    assert (found != expected).sum() <= 2
