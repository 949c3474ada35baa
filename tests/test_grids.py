from __future__ import annotations

import math
import pickle

import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.errors import ParameterError
from geoseg.grids import Grid, GroundControlPoint

GEOD = pyproj.Geod(ellps="WGS84")


def wkt(crs: str | int) -> str:
    return pyproj.CRS.from_user_input(crs).to_wkt()


NORTH_UP = Affine(10, 0, 5e5, 0, -10, 5e6)


def utm(transform: Affine = NORTH_UP) -> Grid:
    return Grid(wkt(32633), transform, 40, 30)


def geographic(transform: Affine, height: int = 40, width: int = 30) -> Grid:
    return Grid(wkt(4326), transform, height, width)


def world_polygon(grid: Grid, row: float, col: float, height: float, width: float) -> np.ndarray:
    corners = np.array([(col, row), (col + width, row), (col + width, row + height), (col, row + height)])
    return np.array([shapely.Polygon(grid.to_world(corners))], dtype=object)


def geodesic(polygon: shapely.Polygon, crs: str | int = 4326) -> tuple[float, float]:
    """Area and perimeter by Karney's geodesics, edges cut into short pieces along their straight lines."""
    dense = shapely.segmentize(polygon, polygon.length / 4000)
    to_lonlat = pyproj.Transformer.from_crs(crs, 4326, always_xy=True)
    x, y = to_lonlat.transform(*shapely.get_coordinates(dense).T)
    area, perimeter = GEOD.polygon_area_perimeter(x, y)
    return abs(area), perimeter


@pytest.mark.parametrize(("height", "width"), [(0, 1), (1, 0), (-1, 5)])
def test_a_grid_needs_pixels(height, width):
    with pytest.raises(ParameterError, match="at least one pixel"):
        Grid(None, Affine.identity(), height, width)


@pytest.mark.parametrize(
    "transform",
    [Affine(0, 0, 5, 0, 0, 5), Affine(1, 2, 0, 2, 4, 0), Affine(1, 0, math.inf, 0, 1, 0)],
)
def test_a_transform_without_inverse_is_refused(transform):
    with pytest.raises(ParameterError, match="no inverse"):
        Grid(None, transform, 2, 2)


def test_tiny_pixels_far_away_are_fine():
    assert Grid(wkt(4326), Affine(1e-9, 0, 179.9, 0, -1e-9, 60), 2, 2).is_geographic


def test_control_points_must_span_an_area_and_have_a_crs():
    line = tuple(GroundControlPoint(i, 2 * i, i, i) for i in range(5))
    corner = (GroundControlPoint(0, 5, 9, 9),)
    with pytest.raises(ParameterError, match="span no area"):
        Grid(wkt(4326), Affine.identity(), 5, 5, line)
    with pytest.raises(ParameterError, match="without a CRS"):
        Grid(None, Affine.identity(), 5, 5, line + corner)
    with pytest.raises(ParameterError, match="not both"):
        Grid(wkt(4326), Affine.scale(2), 5, 5, line + corner)
    with pytest.raises(ParameterError, match="finite"):
        GroundControlPoint(0, 0, math.nan, 0)
    assert Grid(wkt(4326), Affine.identity(), 5, 5, line + corner).gcps[0].z == 0


def test_grids_are_equal_whatever_the_words_of_their_crs():
    words = wkt(26986).replace("298.257222101", "298.257222101004")
    a, b = (Grid(w, Affine.scale(2), 3, 4) for w in (wkt(26986), words))
    assert a.crs_wkt != b.crs_wkt
    assert a == b
    assert hash(a) == hash(b)
    assert a != Grid(wkt(26986), Affine.scale(2), 4, 4)
    assert a != Grid(wkt(26986), Affine(2, 0, 1e-9, 0, 2, 0), 3, 4)
    assert a != Grid(wkt(26987), Affine.scale(2), 3, 4)
    assert a != Grid(None, Affine.scale(2), 3, 4)
    assert Grid(None, Affine.scale(2), 3, 4) == Grid(None, Affine.scale(2), 3, 4)
    assert a != "grid"


def test_a_grid_travels_by_pickle_after_use():
    grid = utm()
    grid.ground_sample_distance()
    assert pickle.loads(pickle.dumps(grid)) == grid


def test_an_unreadable_crs_is_said_when_it_is_needed():
    grid = Grid("PROJCS[nonsense", Affine.identity(), 2, 2)
    with pytest.raises(ParameterError, match="CRS cannot be read"):
        _ = grid.is_geographic


@pytest.mark.parametrize(
    ("crs", "unit"),
    [(32633, 1.0), (2229, 1200 / 3937), (2953, 1.0), (4326, 1.0), ("EPSG:32633+5773", 1.0), (3857, 1.0), (4978, 1.0)],
)
def test_metres_per_unit(crs, unit):
    assert Grid(wkt(crs), Affine.identity(), 2, 2).metres_per_unit == pytest.approx(unit, rel=1e-12)


def test_no_crs():
    grid = Grid(None, Affine(2, 0, 0, 0, -3, 0), 4, 5)
    assert not grid.is_georeferenced
    assert not grid.is_geographic
    assert grid.metres_per_unit == 1.0
    assert grid.ground_sample_distance() is None
    assert np.array_equal(grid.row_areas(), np.full(4, 6.0))
    area, perimeter = grid.measure(world_polygon(grid, 0, 0, 2, 2))
    assert (area[0], perimeter[0]) == (24, 20)


def test_feet_are_metres_on_the_ground():
    feet = Grid(wkt(2229), Affine(1, 0, 6.5e6, 0, -1, 1.8e6), 10, 10)
    unit = 1200 / 3937
    assert feet.ground_sample_distance() == pytest.approx(unit, rel=1e-6)
    area, perimeter = feet.measure(world_polygon(feet, 0, 0, 10, 10))
    assert (area[0], perimeter[0]) == pytest.approx((100 * unit**2, 40 * unit), rel=1e-9)


@given(st.floats(0, 359), st.floats(0.1, 50), st.floats(0.1, 50))
@settings(max_examples=30, deadline=None)
def test_projected_measures_are_planar_for_any_rotation(angle, x, y):
    transform = Affine.translation(5e5, 5e6) @ Affine.rotation(angle) @ Affine.scale(x, -y)
    grid = utm(transform)
    area, perimeter = grid.measure(world_polygon(grid, 3, 4, 5, 6))
    assert area[0] == pytest.approx(30 * x * y, rel=1e-6)
    assert perimeter[0] == pytest.approx(2 * (5 * y + 6 * x), rel=1e-6)
    assert np.allclose(grid.row_areas(), x * y, rtol=1e-9)
    assert grid.ground_sample_distance() == pytest.approx(math.sqrt(x * y), rel=1e-6)


@given(st.floats(-88, 88), st.floats(-180, 180), st.booleans())
@settings(max_examples=40, deadline=None)
def test_geographic_areas_agree_with_geodesics(lat, lon, south_up):
    step = 0.01
    grid = geographic(Affine(step, 0, lon, 0, step if south_up else -step, lat), 50, 60)
    polygon = world_polygon(grid, 10, 20, 30, 25)
    area, perimeter = grid.measure(polygon)
    true_area, true_perimeter = geodesic(polygon[0])
    assert area[0] == pytest.approx(true_area, rel=1e-5)
    assert perimeter[0] == pytest.approx(true_perimeter, rel=1e-4)


def test_the_ellipsoid_has_its_area():
    world = geographic(Affine(1, 0, -180, 0, -1, 90), 180, 360)
    total = world.row_areas().sum() * 360
    assert total == pytest.approx(510065621724088.4, rel=1e-9)
    area, _ = world.measure(world_polygon(world, 0, 0, 180, 360))
    assert area[0] == pytest.approx(total, rel=1e-9)


def test_pixel_areas_are_those_of_pixel_polygons():
    grid = geographic(Affine(0.25, 0, 10, 0, -0.25, 60), 100, 3)
    cells = np.concatenate([world_polygon(grid, r, 1, 1, 1) for r in range(100)])
    assert np.allclose(grid.row_areas(), grid.measure(cells)[0], rtol=1e-12)
    column, _ = grid.measure(world_polygon(grid, 0, 1, 100, 1))
    assert grid.row_areas().sum() == pytest.approx(column[0], rel=1e-12)


def test_a_scene_across_the_dateline_keeps_its_area():
    here = geographic(Affine(0.02, 0, 10, 0, -0.02, -40), 20, 100)
    across = geographic(Affine(0.02, 0, 179, 0, -0.02, -40), 20, 100)
    for a, b in zip(*(g.measure(world_polygon(g, 2, 10, 10, 80)) for g in (here, across)), strict=True):
        assert a == pytest.approx(b, rel=1e-9)
    mercator = Grid(wkt(3832), Affine(1000, 0, 3.2e6, 0, -1000, 2e6), 50, 400)  # PDC Mercator, 150° E in the middle
    polygon = world_polygon(mercator, 0, 0, 50, 400)
    assert mercator.measure(polygon)[0][0] == pytest.approx(geodesic(polygon[0], 3832)[0], rel=1e-4)


def test_web_mercator_is_measured_on_the_ground():
    grid = Grid(wkt(3857), Affine(10, 0, -8.8e6, 0, -10, 4.8e6), 1000, 1000)
    polygon = world_polygon(grid, 100, 200, 300, 400)
    area, perimeter = grid.measure(polygon)
    true_area, true_perimeter = geodesic(polygon[0], 3857)
    assert area[0] == pytest.approx(true_area, rel=1e-6)
    assert perimeter[0] == pytest.approx(true_perimeter, rel=1e-5)
    assert area[0] < 0.7 * polygon[0].area
    assert grid.ground_sample_distance() == pytest.approx(10 * math.sqrt(area[0] / polygon[0].area), rel=2e-3)


def test_the_whole_world_in_web_mercator():
    half = 20037508.342789244
    grid = Grid(wkt(3857), Affine(2 * half / 8, 0, -half, 0, -2 * half / 8, half), 8, 8)
    area, _ = grid.measure(world_polygon(grid, 0, 0, 8, 8))
    south, north = -85.0511287798066, 85.0511287798066
    ring = shapely.box(-180, south, 180, north)
    belt, _ = geographic(Affine(1, 0, -180, 0, -1, 90), 180, 360).measure(np.array([ring], dtype=object))
    assert area[0] == pytest.approx(belt[0], rel=1e-6)


@pytest.mark.parametrize("crs", [3413, 3031])
def test_a_scene_over_a_pole(crs):
    grid = Grid(wkt(crs), Affine(1000, 0, -50_000, 0, -1000, 50_000), 100, 100)
    whole = world_polygon(grid, 0, 0, 100, 100)
    area, perimeter = grid.measure(whole)
    # The scale at the pole of these projections, true at 70°, 71°: from PROJ itself.
    factors = pyproj.Proj(crs).get_factors(0, 90 if crs == 3413 else -90)
    assert area[0] == pytest.approx(1e10 / factors.areal_scale, rel=1e-4)
    assert perimeter[0] == pytest.approx(4e5 / math.sqrt(factors.areal_scale), rel=1e-3)
    quarters = np.concatenate([world_polygon(grid, r, c, 50, 50) for r in (0, 50) for c in (0, 50)])
    assert grid.measure(quarters)[0].sum() == pytest.approx(area[0], rel=1e-4)


def test_grads_and_other_meridians():
    paris = Grid(wkt(4807), Affine(0.01, 0, 0, 0, -0.01, 54), 10, 10)
    degrees = Grid(wkt(4275), Affine(0.009, 0, 2.33722917, 0, -0.009, 48.6), 10, 10)
    assert np.allclose(paris.row_areas(), degrees.row_areas(), rtol=1e-9)


def test_holes_and_parts_count():
    grid = utm()
    ring = shapely.Polygon([(0, 0), (10, 0), (10, 10), (0, 10)], [[(2, 2), (4, 2), (4, 4), (2, 4)]])
    both = shapely.MultiPolygon([ring, shapely.box(20, 20, 21, 21)])
    for place in (grid, geographic(Affine(1e-3, 0, 0, 0, -1e-3, 0.0))):
        area, perimeter = place.measure(np.array([ring, both, shapely.box(20, 20, 21, 21)], dtype=object))
        assert area[0] + area[2] == pytest.approx(area[1])
        assert perimeter[0] + perimeter[2] == pytest.approx(perimeter[1])
    area, perimeter = grid.measure(np.array([ring], dtype=object))
    assert (area[0], perimeter[0]) == (96, 48)


def test_nothing_to_measure():
    for grid in (utm(), geographic(Affine(1e-3, 0, 0, 0, -1e-3, 0.0))):
        area, perimeter = grid.measure(np.array([], dtype=object))
        assert area.shape == perimeter.shape == (0,)


def gcp_grid(function, count: int, crs: str | int = 4326) -> Grid:
    rng = np.random.default_rng(1)
    points = rng.uniform(0, 100, (count, 2))
    gcps = tuple(GroundControlPoint(r, c, *function(c, r)) for c, r in points)
    return Grid(wkt(crs), Affine.identity(), 100, 100, gcps)


@pytest.mark.parametrize("count", [3, 4, 9, 10, 40])
def test_control_points_on_a_plane_give_that_plane(count):
    grid = gcp_grid(lambda c, r: (10 + 0.001 * c + 0.0002 * r, 50 - 0.0011 * r), count)
    points = np.array([(0.0, 0.0), (100, 100), (33.5, 71.25)])
    expected = [(10 + 0.001 * c + 0.0002 * r, 50 - 0.0011 * r) for c, r in points]
    assert np.allclose(grid.to_world(points), expected, atol=1e-10)
    assert grid.ground_sample_distance() == pytest.approx(math.sqrt(0.001 * 71.6 * 0.0011 * 111.2) * 1000, rel=0.01)
    assert np.isfinite(grid.row_areas()).all()


def test_many_control_points_allow_a_curve():
    def curve(c: float, r: float) -> tuple[float, float]:
        return 4e5 + 10 * c + 0.01 * r * c, 5e6 - 10 * r + 0.02 * c * c

    grid = gcp_grid(curve, 12, 32633)
    points = np.array([(0.0, 0.0), (100, 100), (33.5, 71.25)])
    assert np.allclose(grid.to_world(points), [curve(*p) for p in points], atol=1e-6)


def test_control_points_across_the_dateline():
    def across(c: float, r: float) -> tuple[float, float]:
        lon = 179.95 + 0.001 * c
        return lon - 360 if lon > 180 else lon, -20 - 0.001 * r

    grid = gcp_grid(across, 20)
    x = grid.to_world(np.array([(0.0, 50.0), (100.0, 50.0)]))[:, 0]
    assert np.allclose(x, [179.95, 180.05])
    assert grid.ground_sample_distance() == pytest.approx(108, rel=0.01)


@given(st.lists(st.tuples(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4)), min_size=1, max_size=8))
@settings(max_examples=30, deadline=None)
def test_to_world_is_the_transform(points):
    transform = Affine(1.5, 0.25, 4e5, -0.5, -2.0, 5e6)
    expected = [transform @ p for p in points]
    assert np.allclose(utm(transform).to_world(np.array(points)), expected, rtol=0, atol=1e-9)


PLACES = [
    Grid(None, Affine(2, 0, 0, 0, -3, 0), 40, 40),
    Grid(wkt(32633), NORTH_UP, 40, 40),
    Grid(wkt(2229), Affine(1, 0.5, 6.5e6, 0.5, -1, 1.8e6), 40, 40),
    Grid(wkt(4326), Affine(0.1, 0, 10, 0, -0.1, 60), 40, 40),
    Grid(wkt(4326), Affine(0.1, 0.03, 179, 0.02, -0.1, -20), 40, 40),
    Grid(wkt(3857), Affine(1e4, 0, 0, 0, -1e4, 8e6), 40, 40),
    Grid(wkt(3413), Affine(1e5, 0, -2e6, 0, -1e5, 2e6), 40, 40),
]


@pytest.mark.parametrize("grid", PLACES)
@pytest.mark.parametrize("closed", [False, True])
def test_rings_are_measured_as_polygons_are(grid, closed):
    exterior = np.array([(3, 2), (3, 30), (20, 38), (33, 30), (33, 2)], np.float64)
    hole = np.array([(5, 5), (9, 5), (9, 12), (5, 12)], np.float64)
    rings = [grid.to_world(np.concatenate([r, r[:1]]) if closed else r) for r in (exterior, hole, hole + 12)]
    area, perimeter = grid.measure_rings(
        np.concatenate(rings), np.cumsum([0, *map(len, rings)]).astype(np.int64), np.array([0, 2, 2, 3])
    )
    with_hole, alone = shapely.Polygon(rings[0], [rings[1]]), shapely.Polygon(rings[2])
    expected = grid.measure(np.array([with_hole, shapely.Polygon(), alone], dtype=object))
    assert np.allclose(area, expected[0], rtol=1e-12)
    assert np.allclose(perimeter, expected[1], rtol=1e-12)
    pieces = [grid.measure(np.array([shapely.Polygon(r)], dtype=object)) for r in rings]
    assert area[0] == pytest.approx(pieces[0][0][0] - pieces[1][0][0], rel=1e-12)
    assert perimeter[0] == pytest.approx(pieces[0][1][0] + pieces[1][1][0], rel=1e-12)
    assert area[1] == perimeter[1] == 0


@pytest.mark.parametrize("grid", PLACES[:3])
def test_planar_measures_are_those_of_shapely(grid):
    rng = np.random.default_rng(5)
    angles = np.sort(rng.uniform(0, 2 * math.pi, (50, 9)), axis=1)
    corners = np.stack([np.cos(angles), np.sin(angles)], -1) * rng.uniform(1, 9, (50, 9, 1)) + 20
    polygons = shapely.polygons(grid.to_world(corners.reshape(-1, 2)).reshape(50, 9, 2))
    area, perimeter = grid.measure(polygons)
    assert np.allclose(area, shapely.area(polygons) * grid.metres_per_unit**2, rtol=1e-9)
    assert np.allclose(perimeter, shapely.length(polygons) * grid.metres_per_unit, rtol=1e-12)


@pytest.mark.parametrize("grid", PLACES)
def test_a_measure_does_not_depend_on_its_company(grid):
    points = grid.to_world(np.array([(1, 1), (1, 9), (7, 9), (7, 1), (20, 3), (20, 22), (31, 30)], np.float64))
    both = grid.measure_rings(points, np.array([0, 4, 7]), np.arange(3))
    for i, part in enumerate((points[:4], points[4:])):
        alone = grid.measure_rings(part, np.array([0, len(part)]), np.arange(2))
        assert (alone[0][0], alone[1][0]) == (both[0][i], both[1][i])
