from __future__ import annotations

import json
import logging
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyogrio
import pyproj
import pytest
import shapely
from affine import Affine
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rasterio.features import geometry_mask

from geoseg.errors import MissingFileError, ParameterError, VectorError
from geoseg.grids import Grid, GroundControlPoint
from geoseg.inference.areas import Area
from geoseg.inference.places import to_pixels
from geoseg.inference.selection import Selection, select
from geoseg.rasters import open_scene
from geoseg.tiling import Window

UTM = pyproj.CRS("EPSG:32633").to_wkt()
WGS = pyproj.CRS("EPSG:4326").to_wkt()
NORTH_UP = Affine(10, 0, 500_000, 0, -10, 5_000_000)
TRANSFORMS = {
    "north up": NORTH_UP,
    "south up": Affine(10, 0, 500_000, 0, 10, 5_000_000),
    "rotated": Affine(8, 6, 500_000, 6, -8, 5_000_000),
    "mirrored": Affine(-10, 0, 500_000, 0, -5, 5_000_000),
}


def grid_of(height: int = 60, width: int = 80, transform: Affine = NORTH_UP, crs: str | None = UTM) -> Grid:
    return Grid(crs, transform, height, width)


def write_shapes(path: Path, shapes: list, crs: str | None = "EPSG:32633", layer: str | None = None, **options) -> Path:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided")
        pyogrio.raw.write(
            path, shapely.to_wkb(shapes), [], [], layer=layer, geometry_type="Unknown", crs=crs, **options
        )
    return path


def on_ground(grid: Grid, shape: shapely.Geometry) -> shapely.Geometry:
    """A shape given in pixels, in the scene's CRS."""
    return shapely.transform(shape, grid.to_world)


def whole(grid: Grid) -> Window:
    return Window(0, 0, *grid.shape)


def oracle(grid: Grid, shapes: list) -> np.ndarray:
    return geometry_mask(shapes, grid.shape, Affine.identity(), invert=True)


def centres(height: int, width: int) -> np.ndarray:
    return shapely.points(*np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5))


def clear_of_borders(shape: shapely.Geometry, grid: Grid) -> np.ndarray:
    """Pixels whose centre lies on no border, where rounding would decide."""
    return shapely.distance(shapely.boundary(shape), centres(*grid.shape)) > 1e-6


# The rectangle


def test_nothing_chosen_is_the_whole_scene():
    grid = grid_of()
    selection = select(grid)
    assert selection.window == whole(grid)
    assert selection.grid == grid
    assert selection.is_whole
    assert not selection.has_aoi
    assert selection.inside(Window(3, 4, 2, 5)).all()
    assert selection.inside(Window(3, 4, 2, 5)).shape == (2, 5)
    assert selection.touches(Window(3, 4, 2, 5))


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
@pytest.mark.parametrize(
    "window", [Window(0, 0, 60, 80), Window(7, 11, 1, 1), Window(59, 79, 1, 1), Window(5, 0, 9, 80)]
)
def test_a_window_and_the_bbox_of_its_pixels(transform, window):
    """The bbox that bounds whole pixels is those pixels, for scenes along the axes."""
    grid = grid_of(transform=transform)
    by_window = select(grid, window=(window.row_off, window.col_off, window.height, window.width))
    assert by_window.window == window
    assert by_window.grid == grid.part(window)
    x, y = (
        grid.part(window)
        .to_world(np.array([(0, 0), (window.width, 0), (window.width, window.height), (0, window.height)]))
        .T
    )
    if transform.b == 0:
        assert select(grid, bbox=(x.min(), y.min(), x.max(), y.max())).window == window
    else:
        found = select(grid, bbox=(x.min(), y.min(), x.max(), y.max())).window
        assert found.row_off <= window.row_off
        assert found.row_end >= window.row_end
        assert found.col_off <= window.col_off
        assert found.col_end >= window.col_end


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_rounded_bounds_do_not_take_in_another_pixel(data):
    """Pixel sizes and origins that no float holds; bounds as a program prints them."""
    size = data.draw(st.sampled_from([0.1, 0.3, 1 / 3, 10 / 7, 0.07, 30.000000000001, 8.983152841195215e-05]))
    x, y = data.draw(st.floats(-1e6, 1e6)), data.draw(st.floats(-1e6, 1e6))
    grid = grid_of(50, 70, Affine(size, 0, x, 0, -size, y), crs=None)
    top, left = data.draw(st.integers(0, 49)), data.draw(st.integers(0, 69))
    window = Window(top, left, data.draw(st.integers(1, 50 - top)), data.draw(st.integers(1, 70 - left)))
    west, north = grid.transform @ (window.col_off, window.row_off)
    east, south = grid.transform @ (window.col_end, window.row_end)
    slack = size * 1e-4
    bbox = tuple(v + data.draw(st.floats(-slack, slack)) for v in (west, south, east, north))
    assert select(grid, bbox=bbox).window == window


def test_a_bbox_is_snapped_outwards_and_clipped():
    grid = grid_of()
    assert select(grid, bbox=(500_011, 4_999_971, 500_029, 4_999_989)).window == Window(1, 1, 2, 2)
    assert select(grid, bbox=(0, 4_999_000, 500_015, 6_000_000)).window == Window(0, 0, 60, 2)
    # Thinner than what rounding leaves open: still the pixels that it lies on.
    assert select(grid, bbox=(500_009.999, 4_999_981, 500_010.001, 4_999_982)).window == Window(1, 0, 1, 2)
    assert select(grid, bbox=(500_012.0, 4_999_981, 500_012.001, 4_999_982)).window == Window(1, 1, 1, 1)


@pytest.mark.parametrize(
    "bbox",
    [(499_000, 4_999_000, 500_000, 5_001_000), (500_800, 0, 600_000, 9e6), (500_000, 5_000_000, 500_100, 5_000_100)],
)
def test_a_bbox_beside_the_scene_names_both_extents(bbox):
    with pytest.raises(ParameterError, match=r"outside the scene, which covers 500000, 4999400, 500800, 5000000"):
        select(grid_of(), bbox=bbox)


@pytest.mark.parametrize(
    "bbox", [(2, 0, 1, 1), (0, 2, 1, 1), (1, 0, 1, 2), (float("nan"), 0, 1, 1), (0, 0, float("inf"), 1)]
)
def test_a_bbox_that_is_none(bbox):
    with pytest.raises(ParameterError, match="west,south,east,north"):
        select(grid_of(), bbox=bbox)


def test_a_bbox_in_another_crs_covers_what_it_names():
    """Every pixel whose ground lies in the bbox is chosen, and the bbox reaches every border row and column."""
    grid = grid_of(600, 800)
    to_degrees = pyproj.Transformer.from_crs(32633, 4326, always_xy=True)
    rows, cols = np.indices((601, 801))
    lon, lat = to_degrees.transform(500_000 + cols * 10, 5_000_000 - rows * 10)
    west, south, east, north = lon[100, 200], lat[500, 200], lon[100, 600], lat[100, 600]
    window = select(grid, bbox=(west, south, east, north), bbox_crs="EPSG:4326").window
    within = (lon >= west) & (lon <= east) & (lat >= south) & (lat <= north)
    found_rows, found_cols = np.flatnonzero(within.any(axis=1)), np.flatnonzero(within.any(axis=0))
    # Corners of pixels that lie within: the pixels on both sides of them are chosen, and not one more.
    assert window.row_off in (found_rows[0] - 1, found_rows[0])
    assert window.row_end in (found_rows[-1], found_rows[-1] + 1)
    assert window.col_off in (found_cols[0] - 1, found_cols[0])
    assert window.col_end in (found_cols[-1], found_cols[-1] + 1)
    assert select(grid, bbox=(500_000, 4_999_000, 500_100, 5e6), bbox_crs="EPSG:32633") == select(
        grid, bbox=(500_000, 4_999_000, 500_100, 5e6)
    )
    with pytest.raises(ParameterError, match=r"EPSG:4326 lies outside the scene, which covers 15, 45"):
        select(grid, bbox=(30, 0, 31, 1), bbox_crs="EPSG:4326")


def test_a_bbox_across_the_date_line():
    degrees = Grid(WGS, Affine(0.1, 0, 170, 0, -0.1, 10), 100, 200)
    assert select(degrees, bbox=(179, 0, -179, 5)).window == Window(50, 90, 50, 20)
    assert select(degrees, bbox=(-179, 0, -178, 5)).window == Window(50, 110, 50, 10)
    assert select(degrees, bbox=(179, 0, -179, 5), bbox_crs="EPSG:4326").window == Window(50, 90, 50, 20)
    utm = Grid(pyproj.CRS("EPSG:32660").to_wkt(), Affine(100, 0, 800_000, 0, -100, 1_000_000), 500, 500)
    window = select(utm, bbox=(179.9, 8.7, -179.9, 8.8), bbox_crs="EPSG:4326").window
    assert 200 < window.width < 240
    with pytest.raises(ParameterError, match="west must be less"):
        select(grid_of(), bbox=(2, 0, 1, 1))


def test_a_bbox_outside_of_a_projection():
    with pytest.raises(ParameterError, match="outside the scene"):
        select(grid_of(), bbox=(1e20, 1e20, 2e20, 2e20), bbox_crs="EPSG:3035")


@pytest.mark.parametrize("window", [(60, 0, 1, 1), (0, 80, 5, 5), (-5, 0, 5, 5)])
def test_a_window_beside_the_scene(window):
    with pytest.raises(ParameterError, match=r"outside the scene of 60×80"):
        select(grid_of(), window=window)


def test_a_window_that_is_none():
    with pytest.raises(ParameterError, match="first row, first column, height, width"):
        select(grid_of(), window=(0, 0, 0, 5))


def test_a_window_across_the_border_is_cut_loudly(caplog):
    assert select(grid_of(), window=(-2, 75, 10, 10)).window == Window(0, 75, 8, 5)
    assert "reaches outside" in caplog.text


def test_one_rectangle_only():
    with pytest.raises(ParameterError, match="one of them"):
        select(grid_of(), bbox=(0, 0, 1, 1), window=(0, 0, 1, 1))
    with pytest.raises(ParameterError, match="none is given"):
        select(grid_of(), bbox_crs="EPSG:4326")
    with pytest.raises(ParameterError, match="'nonsense' is no CRS"):
        select(grid_of(), bbox=(0, 0, 1, 1), bbox_crs="nonsense")


# Scenes without a transform or CRS


def test_control_points_take_a_window_only(tmp_path):
    points = tuple(GroundControlPoint(r, c, 15 + c * 1e-4, 45 - r * 1e-4) for r in (0, 50) for c in (0, 50))
    grid = Grid(WGS, Affine.identity(), 60, 80, points)
    part = select(grid, window=(10, 20, 5, 6)).grid
    assert part.shape == (5, 6)
    assert np.allclose(part.to_world(np.array([(0, 0)])), grid.to_world(np.array([(20, 10)])))
    with pytest.raises(ParameterError, match="window in pixels"):
        select(grid, bbox=(15, 44, 16, 45))
    aoi = write_shapes(tmp_path / "a.gpkg", [shapely.box(15, 44, 16, 45)], "EPSG:4326")
    with pytest.raises(ParameterError, match="window"):
        select(grid, aoi=aoi)


def test_a_scene_without_crs(tmp_path, caplog):
    grid = grid_of(crs=None)
    assert select(grid, bbox=(500_010, 4_999_900, 500_020, 5_000_000)).window == Window(0, 1, 10, 1)
    with pytest.raises(ParameterError, match="no CRS"):
        select(grid, bbox=(15, 45, 16, 46), bbox_crs="EPSG:4326")
    box = on_ground(grid, shapely.box(3, 4, 10, 12))
    selection = select(grid, aoi=write_shapes(tmp_path / "plain.geojson.gpkg", [box], None))
    assert selection.inside(whole(grid)).sum() == 7 * 8
    assert not caplog.records
    with pytest.raises(ParameterError, match="the scene has none"):
        select(grid, aoi=write_shapes(tmp_path / "utm.gpkg", [box]))


def test_polygons_without_crs_are_taken_for_the_scenes_loudly(tmp_path, caplog):
    grid = grid_of()
    aoi = write_shapes(tmp_path / "a.gpkg", [on_ground(grid, shapely.box(3, 4, 10, 12))], None)
    assert select(grid, aoi=aoi).inside(whole(grid)).sum() == 7 * 8
    assert "has no CRS" in caplog.text


# The area


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_pixels_whose_centre_lies_in_a_polygon(tmp_path, transform):
    """With holes, several polygons that overlap, a multipolygon, and across all borders of the scene."""
    grid = grid_of(transform=transform)
    shapes = [
        shapely.Polygon(
            [(5.1, 5.2), (30.3, 8.7), (25.8, 40.1), (3.3, 30.9)], [[(10.1, 12.3), (20.4, 14.2), (15.7, 25.1)]]
        ),
        shapely.Point(28, 20).buffer(9.3),
        shapely.MultiPolygon([shapely.Point(78, 3).buffer(10.1), shapely.box(-20, 50.2, 3.7, 90)]),
        shapely.box(60.6, 30.6, 200, 41.2),
    ]
    aoi = write_shapes(tmp_path / "a.gpkg", [on_ground(grid, s) for s in shapes])
    selection = select(grid, aoi=aoi)
    assert selection.window == whole(grid)
    assert selection.has_aoi
    assert not selection.is_whole
    found, expected = selection.inside(whole(grid)), oracle(grid, shapes)
    clear = clear_of_borders(shapely.union_all(shapes), grid)
    assert clear.mean() > 0.99
    assert np.array_equal(found[clear], expected[clear])


POINTS = st.tuples(st.floats(-20, 60), st.floats(-20, 60)).map(lambda p: (round(p[0], 7), round(p[1], 7)))
LATTICE = st.tuples(st.integers(-20, 120), st.integers(-20, 120)).map(lambda p: (p[0] / 2, p[1] / 2))


@given(st.lists(st.lists(st.one_of(POINTS, LATTICE), min_size=3, max_size=9), min_size=1, max_size=4), st.data())
@settings(max_examples=100, deadline=None)
def test_windows_put_together_are_the_whole(rings, data):
    """For any polygons, those with corners and edges exactly on pixel centres included."""
    shapes = [s for r in rings for s in shapely.get_parts(shapely.get_parts(shapely.make_valid(shapely.Polygon(r))))]
    shapes = [s for s in shapes if s.geom_type == "Polygon"]
    assume(shapes)
    area = Area(np.array(shapes, dtype=object), 40)
    found = area.inside(Window(0, 0, 40, 50))
    step = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 50))
    for top in range(0, 40, step[0]):
        for left in range(0, 50, step[1]):
            window = Window(top, left, min(step[0], 40 - top), min(step[1], 50 - left))
            inside = area.inside(window)
            assert np.array_equal(inside, found[top : window.row_end, left : window.col_end])
            assert area.touches(window) or not inside.any()
    ground = shapely.union_all(shapes)
    clear = clear_of_borders(ground, grid_of(40, 50))
    assert np.array_equal(found[clear], shapely.contains_properly(ground, centres(40, 50))[clear])


@given(st.lists(st.floats(0.05, 0.95), min_size=1, max_size=6, unique=True), st.floats(-1.5, 1.5))
@settings(max_examples=50, deadline=None)
def test_of_two_polygons_that_share_an_edge_one_has_the_centre(cuts, slope):
    """A box cut into stripes by slanted lines: every centre lies in exactly one stripe."""
    lines = [(0.0, 0.0), *((c * 24, slope) for c in sorted(cuts)), (24.0, 0.0)]
    ends = [((x, 0.0), (min(max(x + s * 4, 0), 24), 20.0)) for x, s in lines]
    stripes = [shapely.Polygon([a[0], b[0], b[1], a[1]]) for a, b in pairwise(ends) if a[1][0] <= b[1][0]]
    stripes = [s for s in stripes if s.is_valid and s.area > 0]
    counts = sum(Area(np.array([s], dtype=object), 20).inside(Window(0, 0, 20, 24)).astype(int) for s in stripes)
    together = Area(np.array(stripes, dtype=object), 20).inside(Window(0, 0, 20, 24))
    assert np.array_equal(counts > 0, together)
    assert counts.max() <= 1


def test_a_centre_on_the_border():
    """Left and upper borders count, right and lower ones do not."""
    area = Area(np.array([shapely.box(1.5, 1.5, 3.5, 3.5)]), 6)
    expected = np.zeros((6, 6), bool)
    expected[1:3, 1:3] = True
    assert np.array_equal(area.inside(Window(0, 0, 6, 6)), expected)


def test_touching_is_no_more_than_it_must_be():
    """A polygon that ends at a border meets nothing beyond, and a diagonal not its whole bounding box."""
    box = Area(np.array([shapely.box(8, 8, 16, 16)]), 64)
    assert [box.touches(Window(8 * i, 8, 8, 8)) for i in range(4)] == [False, True, False, False]
    assert box.touches(Window(10, 10, 1, 1))
    assert box.touches(Window(0, 0, 64, 64))
    diagonal = Area(np.array([shapely.Polygon([(0, 0), (1, 0), (64, 63), (64, 64), (63, 64), (0, 1)])]), 64)
    met = np.array([[diagonal.touches(Window(r, c, 8, 8)) for c in range(0, 64, 8)] for r in range(0, 64, 8)])
    assert np.array_equal(met, np.abs(np.subtract.outer(range(8), range(8))) <= 1)
    hole = Area(np.array([shapely.box(0, 0, 64, 64) - shapely.box(8, 8, 32, 32)]), 64)
    assert not hole.touches(Window(8, 8, 24, 24))
    assert not hole.touches(Window(16, 16, 4, 4))
    assert hole.touches(Window(8, 8, 25, 24))


def test_many_rows_are_found_by_band():
    """Edges across many bands, and bands without edges, in a tall scene."""
    tall = Area(np.array([shapely.Polygon([(0, 100), (9, 150_000), (0, 190_000)]), shapely.box(2, 5, 4, 7)]), 200_000)
    found = tall.inside(Window(0, 0, 200_000, 10))
    assert found[5:7, 2:4].all()
    assert not found[7:100].any()
    assert not found[190_000:].any()
    for top in (0, 63, 99, 140_000, 189_990, 199_999):
        assert np.array_equal(tall.inside(Window(top, 3, 1, 5)), found[top : top + 1, 3:8])


# Its coordinates


def test_any_crs_with_edges_that_bend(tmp_path):
    """A large rectangle in degrees has curved borders in a projected scene: two corners are not enough for one."""
    grid = Grid(pyproj.CRS("EPSG:3035").to_wkt(), Affine(2000, 0, 2_000_000, 0, -2000, 5_000_000), 1500, 2000)
    box = shapely.box(-8, 38, 30, 60)
    selection = select(grid, aoi=write_shapes(tmp_path / "a.gpkg", [box], "EPSG:4326"))
    rows, cols = np.indices(grid.shape)
    x, y = 2_000_000 + (cols + 0.5) * 2000, 5_000_000 - (rows + 0.5) * 2000
    lon, lat = pyproj.Transformer.from_crs(3035, 4326, always_xy=True).transform(x, y)
    expected = (lon > -8) & (lon < 30) & (lat > 38) & (lat < 60)
    found = selection.inside(whole(grid))
    assert 0.3 < expected.mean() < 0.95
    near = (np.abs(lon + 8) < 3e-3) | (np.abs(lon - 30) < 3e-3) | (np.abs(lat - 38) < 2e-3) | (np.abs(lat - 60) < 2e-3)
    assert np.array_equal(found[~near], expected[~near])
    assert (found != expected).sum() < 400


@pytest.mark.parametrize("scene", ["EPSG:32660", "degrees west", "degrees east"])
@pytest.mark.parametrize("area", ["one", "two", "utm"])
def test_areas_at_the_date_line(tmp_path, scene, area):
    """The same ground, however scene and polygons write longitudes there."""
    if scene == "EPSG:32660":
        grid = Grid(pyproj.CRS(scene).to_wkt(), Affine(100, 0, 800_000, 0, -100, 1_000_000), 600, 600)
    else:
        grid = Grid(WGS, Affine(1e-3, 0, 179.7 - 360 * (scene == "degrees west"), 0, -1e-3, 9.0), 500, 600)
    if area == "one":
        aoi = write_shapes(tmp_path / "a.gpkg", [shapely.box(179.9, 8.6, 180.1, 8.8)], "EPSG:4326")
    elif area == "two":
        halves = [shapely.box(179.9, 8.6, 180, 8.8), shapely.box(-180, 8.6, -179.9, 8.8)]
        aoi = write_shapes(tmp_path / "a.gpkg", halves, "EPSG:4326")
    else:
        ring = shapely.segmentize(shapely.box(179.9, 8.6, 180.1, 8.8), 0.01)
        change = pyproj.Transformer.from_crs(4326, 32660, always_xy=True)
        utm = shapely.transform(ring, lambda p: np.column_stack(change.transform(*p.T)))
        aoi = write_shapes(tmp_path / "a.gpkg", [utm], "EPSG:32660")
    found = select(grid, aoi=aoi).inside(whole(grid))
    area_m2 = abs(pyproj.Geod(ellps="WGS84").geometry_area_perimeter(shapely.box(-0.1, 8.6, 0.1, 8.8))[0])
    assert found.sum() * grid.ground_sample_distance() ** 2 == pytest.approx(area_m2, rel=0.01)
    assert found.any(axis=0).sum() == np.ptp(np.flatnonzero(found.any(axis=0))) + 1


def test_an_area_much_larger_than_the_projection(tmp_path):
    """The whole world, poles included, over a UTM scene: cut first, for UTM has no coordinates for most of it."""
    grid = grid_of()
    everywhere = select(grid, aoi=write_shapes(tmp_path / "world.gpkg", [shapely.box(-180, -90, 180, 90)], "EPSG:4326"))
    assert everywhere.inside(whole(grid)).all()
    half = select(grid, aoi=write_shapes(tmp_path / "half.gpkg", [shapely.box(-180, -90, 15.003, 90)], "EPSG:4326"))
    assert half.inside(Window(30, 0, 1, 80)).sum() == 24  # 0.003° are 236 m
    assert [half.touches(Window(0, c, 60, 20)) for c in (0, 20, 40, 60)] == [True, True, False, False]


def test_a_scene_at_a_pole(tmp_path):
    grid = Grid(pyproj.CRS("EPSG:3031").to_wkt(), Affine(1000, 0, -50_000, 0, -1000, 50_000), 100, 100)
    cap = select(grid, aoi=write_shapes(tmp_path / "cap.gpkg", [shapely.box(-180, -90, 180, -89.8)], "EPSG:4326"))
    rows, cols = np.indices(grid.shape)
    lat = pyproj.Transformer.from_crs(3031, 4326, always_xy=True).transform(
        -50_000 + (cols + 0.5) * 1000, 50_000 - (rows + 0.5) * 1000
    )[1]
    found = cap.inside(whole(grid))
    clear = np.abs(lat + 89.8) > 1e-3
    assert np.array_equal(found[clear], (lat < -89.8)[clear])


# The file


def test_a_layer_is_named_or_the_first(tmp_path, caplog):
    grid = grid_of()
    path = tmp_path / "a.gpkg"
    write_shapes(path, [on_ground(grid, shapely.box(0, 0, 2, 2))], layer="first")
    write_shapes(path, [on_ground(grid, shapely.box(0, 0, 3, 3))], layer="second", append=True)
    with caplog.at_level(logging.INFO, "geoseg"):
        assert select(grid, aoi=path).inside(whole(grid)).sum() == 4
    assert "'first' is used" in caplog.text
    assert select(grid, aoi=f"{path}|layername=second").inside(whole(grid)).sum() == 9
    with pytest.raises(VectorError, match="no layer 'third'; it has first, second"):
        select(grid, aoi=f"{path}|layername=third")
    with pytest.raises(VectorError, match="layername=NAME"):
        select(grid, aoi=f"{path}|layerid=1")


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".shp", ".fgb"])
def test_formats(tmp_path, suffix):
    grid = grid_of()
    box = on_ground(grid, shapely.box(10, 10, 20, 30))
    path, crs = tmp_path / f"a{suffix}", "EPSG:32633"
    if suffix == ".geojson":  # always in degrees
        change = pyproj.Transformer.from_crs(32633, 4326, always_xy=True)
        box, crs = shapely.transform(box, lambda p: np.column_stack(change.transform(*p.T))), "EPSG:4326"
    pyogrio.raw.write(path, shapely.to_wkb([box]), [], [], geometry_type="Polygon", crs=crs)
    found = select(grid, aoi=path).inside(whole(grid))
    assert np.array_equal(found, oracle(grid, [shapely.box(10, 10, 20, 30)]))


def test_heights_do_not_matter(tmp_path):
    grid = grid_of()
    box = shapely.force_3d(on_ground(grid, shapely.box(10, 10, 20, 30)), 7.0)
    assert select(grid, aoi=write_shapes(tmp_path / "a.gpkg", [box])).inside(whole(grid)).sum() == 200


def test_invalid_polygons_are_repaired_loudly(tmp_path, caplog):
    grid = grid_of()
    bow = shapely.Polygon([(0, 0), (20, 20), (20, 0), (0, 20)])
    aoi = write_shapes(tmp_path / "a.gpkg", [on_ground(grid, s) for s in (bow, shapely.box(40, 40, 50, 50))])
    found = select(grid, aoi=aoi).inside(whole(grid))
    assert "1 of 2 polygons are invalid" in caplog.text
    fixed = [shapely.Polygon([(0, 0), (10, 10), (0, 20)]), shapely.Polygon([(20, 0), (20, 20), (10, 10)])]
    expected = shapely.contains(shapely.union_all([*fixed, shapely.box(40, 40, 50, 50)]), centres(60, 80))
    clear = clear_of_borders(shapely.union_all(fixed), grid)
    assert np.array_equal(found[clear], expected[clear])


def test_what_is_no_polygon(tmp_path, caplog):
    grid = grid_of()
    box = on_ground(grid, shapely.box(10, 10, 20, 30))
    aoi = write_shapes(tmp_path / "mixed.gpkg", [box, box.centroid, box.exterior, shapely.Polygon()])
    assert select(grid, aoi=aoi).inside(whole(grid)).sum() == 200
    assert "2 shapes that are no polygons" in caplog.text
    with pytest.raises(VectorError, match="holds LineString, Point and no polygon"):
        select(grid, aoi=write_shapes(tmp_path / "none.gpkg", [box.centroid, box.exterior]))


def test_files_that_are_none(tmp_path):
    with pytest.raises(MissingFileError, match="does not exist"):
        select(grid_of(), aoi=tmp_path / "none.gpkg")
    (tmp_path / "text.gpkg").write_text("nothing")
    with pytest.raises(VectorError, match="not a vector file"):
        select(grid_of(), aoi=tmp_path / "text.gpkg")
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    with pytest.raises(VectorError, match="no layer with geometries"):
        select(grid_of(), aoi=tmp_path / "table.csv")
    (tmp_path / "hidden.gpkg").write_text("<OGRVRTDataSource></OGRVRTDataSource>")
    with pytest.raises(VectorError, match="VRT"):
        select(grid_of(), aoi=tmp_path / "hidden.gpkg")


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326"])
def test_an_area_elsewhere_names_both_places(tmp_path, crs):
    box = shapely.box(30, 10, 31, 11) if crs == "EPSG:4326" else shapely.box(0, 0, 9, 9)
    with pytest.raises(VectorError, match=r"no polygon of .*a\.gpkg lies on the scene.*500000, 4999400") as caught:
        select(grid_of(), aoi=write_shapes(tmp_path / "a.gpkg", [box], crs))
    assert "\n" not in str(caught.value)
    assert crs in str(caught.value)


def test_an_area_that_only_touches_the_scene(tmp_path):
    grid = grid_of()
    with pytest.raises(VectorError, match="no polygon"):
        select(grid, aoi=write_shapes(tmp_path / "a.gpkg", [on_ground(grid, shapely.box(-10, 0, 0, 60))]))


def test_an_area_between_the_centres(tmp_path):
    grid = grid_of()
    with pytest.raises(VectorError, match="no pixel of 10 m has its centre"):
        select(grid, aoi=write_shapes(tmp_path / "a.gpkg", [on_ground(grid, shapely.box(3.6, 3.6, 4.4, 4.4))]))


def test_an_area_with_a_rectangle(tmp_path):
    grid = grid_of()
    aoi = write_shapes(tmp_path / "a.gpkg", [on_ground(grid, shapely.box(10, 10, 20, 30))])
    selection = select(grid, aoi=aoi, window=(20, 0, 20, 80))
    assert selection.window == Window(20, 0, 20, 80)
    assert selection.inside(selection.window).sum() == 10 * 10
    with pytest.raises(VectorError, match=r"part of the scene that is chosen \(rows 40"):
        select(grid, aoi=aoi, window=(40, 0, 20, 80))


def test_a_scene_of_one_pixel(tmp_path):
    grid = grid_of(1, 1)
    aoi = write_shapes(tmp_path / "a.gpkg", [on_ground(grid, shapely.box(-5, -5, 5, 5))])
    selection = select(grid, aoi=aoi, bbox=(500_001, 4_999_991, 500_002, 4_999_992))
    assert selection.window == Window(0, 0, 1, 1)
    assert selection.inside(selection.window).tolist() == [[True]]


def test_identities(tmp_path):
    """The order of polygons is no difference; where they lie and what rectangle is chosen are."""
    grid = grid_of()
    shapes = [on_ground(grid, shapely.box(i, i, i + 5, i + 5)) for i in (0, 10)]
    paths = [write_shapes(tmp_path / f"{i}.gpkg", s) for i, s in enumerate([shapes, shapes[::-1], shapes[:1]])]
    found = [select(grid, aoi=p).identity for p in paths]
    assert found[0] == found[1]
    assert json.loads(json.dumps(found[0])) == found[0]
    others = [found[0], found[2], select(grid).identity, select(grid, window=(0, 0, 9, 9)).identity]
    assert len({json.dumps(o) for o in others}) == 4
    assert isinstance(select(grid), Selection)


# Parts of grids


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_a_part_has_its_pixels_where_they_were(transform):
    grid = grid_of(transform=transform)
    part = grid.part(Window(7, 11, 20, 30))
    points = np.array([(0, 0), (30, 20), (3.5, 4.5)])
    assert np.allclose(part.to_world(points), grid.to_world(np.add(points, (11, 7))), rtol=0, atol=1e-6)
    assert np.allclose(to_pixels(grid, part.to_world(points)), np.add(points, (11, 7)), atol=1e-9)
    assert tuple(grid.part(whole(grid)).transform) == tuple(grid.transform)
    with pytest.raises(ParameterError, match="outside a grid of 60×80"):
        grid.part(Window(0, 60, 1, 21))


# Real data


@pytest.mark.parametrize(
    ("scene", "aoi"),
    [
        ("atlanta_buildings/PS-RGBNIR_732701_3729639.tif", "atlanta_buildings/buildings_732701_3729639.geojson"),
        ("new_brunswick/23322E759967N_clipped_1m_1of2.tif", "new_brunswick/BakerLake_2017_clipped.gpkg"),
    ],
)
def test_real_polygons(shared_data, scene, aoi):
    """Against GDAL's own rasterizing of the polygons that pyproj moves, vertex by vertex."""
    with open_scene(shared_data / scene) as opened:
        grid = opened.grid
    selection = select(grid, aoi=shared_data / aoi)
    meta, _, wkb, _ = pyogrio.raw.read(shared_data / aoi, columns=[], force_2d=True)
    change = pyproj.Transformer.from_crs(meta["crs"], grid.crs_wkt, always_xy=True)
    shapes = shapely.make_valid(shapely.from_wkb(wkb))
    moved = shapely.transform(shapes, lambda p: to_pixels(grid, np.column_stack(change.transform(*p.T))))
    expected, found = oracle(grid, list(moved)), selection.inside(whole(grid))
    assert 0 < expected.mean() <= 1
    assert (found != expected).mean() < 1e-4
