"""Simplified arcs: GEOS as referee of what is planar and valid, the raster cut in bands, shapes with a known answer."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import shapely
from arrangements import Labels, Raster, Strip, check_planar, drawings, faces, lines, patterns, rasters, whole
from hypothesis import example, given, settings
from hypothesis import strategies as st

from geoseg.errors import ParameterError
from geoseg.polygons.shapes import Arcs
from geoseg.polygons.simplification import Method, simplify_arcs

METHODS: tuple[Method, ...] = ("visvalingam", "douglas-peucker")
methods = st.sampled_from(METHODS)
tolerances = st.one_of(st.sampled_from([0.5, 1.0, 1.5, 2.0, 5.0, 20.0, 100.0, 1e9]), st.floats(0.5, 10))


def simplified(strip: Strip, tolerance: float, method: Method = "visvalingam", pins: tuple[int, int] = (0, 0)) -> Arcs:
    before = strip.marks.copy()
    result = simplify_arcs(
        strip.arcs, strip.marks, strip.top, tolerance=tolerance, method=method, pin_rows=pins[0], pin_cols=pins[1]
    )
    np.testing.assert_array_equal(strip.marks, before)
    return result


def chains(arcs: Arcs) -> list[list[list[int]]]:
    return [arcs.points[a:b].tolist() for a, b in zip(arcs.starts[:-1], arcs.starts[1:], strict=True)]


def check(strip: Strip, result: Arcs) -> None:
    """Planar, the same faces between the same arcs, ends and rigid arcs as they were, no vertex that is new."""
    np.testing.assert_array_equal(result.rigid, strip.arcs.rigid)
    for old, new, rigid in zip(chains(strip.arcs), chains(result), result.rigid.tolist(), strict=True):
        assert new[0] == old[0]
        assert new[-1] == old[-1]
        assert not rigid or new == old
        rest = iter(old)
        assert all(p in rest for p in new)  # in the old order
        assert len(new) >= (5 if new[0] == new[-1] else 2)
    if len(result):
        before, after = lines(strip.arcs.points, strip.arcs.starts), lines(result.points, result.starts)
        check_planar(after)
        assert faces(after) == faces(before)


@given(rasters, tolerances, methods, st.sampled_from([(0, 0), (4, 0), (0, 5), (8, 8)]), st.booleans())
@settings(max_examples=100, deadline=None)
def test_simplified_arcs_bound_the_same_faces(
    labels: Labels, tolerance: float, method: Method, pins: tuple[int, int], one_sided: bool
) -> None:
    strip = whole(labels, *pins, one_sided=one_sided)
    check(strip, simplified(strip, tolerance, method, pins))


@pytest.mark.parametrize("name", sorted(patterns()))
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("tolerance", [0.5, 1.0, 2.0, 5.0, 30.0, 100.0])
def test_hard_patterns_stay_whole(name: str, method: Method, tolerance: float) -> None:
    strip = whole(patterns()[name])
    check(strip, simplified(strip, tolerance, method))


@given(rasters, tolerances, methods, st.integers(1, 9), st.sampled_from([0, 6]), st.integers(1, 3), st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_result_does_not_depend_on_strips(
    labels: Labels, tolerance: float, method: Method, pin_rows: int, pin_cols: int, bands: int, one_sided: bool
) -> None:
    raster = Raster(labels, pin_rows, pin_cols, one_sided)
    height, step = len(labels), pin_rows * bands
    strips = [raster.strip(top, min(top + step, height)) for top in range(0, height, step)]
    pins = (pin_rows, pin_cols)
    apart = [chain for strip in strips for chain in chains(simplified(strip, tolerance, method, pins))]
    together = chains(simplified(raster.strip(0, height), tolerance, method, pins))
    assert sorted(apart) == sorted(together)


@given(rasters, tolerances, methods, st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_the_result_does_not_depend_on_the_order_of_arcs(
    labels: Labels, tolerance: float, method: Method, random: Any
) -> None:
    strip = whole(labels)
    order = list(range(len(strip.arcs)))
    random.shuffle(order)
    traced = chains(strip.arcs)
    mixed = [traced[k] for k in order]
    starts = np.concatenate([[0], np.cumsum([len(c) for c in mixed])]).astype(np.int64)
    points = np.array([p for c in mixed for p in c], np.int32).reshape(-1, 2)
    arcs = Arcs(points, starts, strip.arcs.rigid[order])
    expected = chains(simplified(strip, tolerance, method))
    assert chains(simplified(Strip(arcs, strip.marks, 0), tolerance, method)) == [expected[k] for k in order]


@given(drawings(), st.floats(0.5, 8))
@settings(max_examples=50, deadline=None)
@example(patterns()["staircase"], 1.0)
def test_what_could_go_is_gone(labels: Labels, tolerance: float) -> None:
    """Each inner vertex that is left stands for a large triangle, one with a vertex in it, or the last ones allowed."""
    strip = whole(labels)
    result = simplified(strip, tolerance)
    vertices = shapely.points(np.argwhere(strip.marks)[:, ::-1].astype(float))
    tree = shapely.STRtree(vertices)
    for old, chain, rigid in zip(chains(strip.arcs), chains(result), result.rigid.tolist(), strict=True):
        if rigid or len(chain) <= (5 if chain[0] == chain[-1] else 3):
            continue
        for p, v, n in zip(chain, chain[1:], chain[2:], strict=False):
            triangle = shapely.Polygon([p, v, n])
            if triangle.area < tolerance**2:
                gone = old[old.index(p) + 1 : len(old) - 1 - old[::-1].index(n)]
                inside = shapely.get_coordinates(vertices[tree.query(triangle, predicate="intersects")])
                assert any(q not in [p, v, n, *gone] for q in inside.astype(int).tolist())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("tolerance", [1.0, 2.0])
def test_a_staircase_becomes_a_straight_line(method: Method, tolerance: float) -> None:
    rows, cols = np.indices((40, 40))
    strip = whole(((rows > cols) + 1).astype(np.uint8))
    result = simplified(strip, tolerance, method)
    assert max(len(c) for c, rigid in zip(chains(result), result.rigid, strict=True) if not rigid) <= 3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("tolerance", [1.0, 2.0])
def test_one_sided_pins_do_not_show_on_a_staircase(method: Method, tolerance: float) -> None:
    """They lie on one line, through the inner corners; with pins on both sides it has a step at every line of pins."""
    rows, cols = np.indices((40, 40))
    strip = whole(((rows > cols) + 1).astype(np.uint8), 8)
    result = simplified(strip, tolerance, method, (8, 0))
    inner = [c for c, rigid in zip(chains(result), result.rigid, strict=True) if not rigid]
    points = {(x, y) for c in inner for x, y in c}
    assert len(points) <= 7
    assert all(y - x == 1 for x, y in points if 8 <= y <= 32)


@pytest.mark.parametrize("tolerance", [0.1, 0.7])
def test_small_tolerances_change_nothing(tolerance: float) -> None:
    strip = whole(patterns()["moire"])
    assert chains(simplified(strip, tolerance)) == chains(strip.arcs)


def test_visvalingam_removes_below_the_square_of_the_tolerance() -> None:
    labels = np.ones((9, 20), np.uint8)
    labels[4:] = 2
    labels[4:6, 7:11] = 1  # a dent of 4 × 2 px: its corners make triangles of 4 px²
    strip = whole(labels)
    inner = int(np.flatnonzero(~strip.arcs.rigid)[0])
    assert len(chains(simplified(strip, 2.0))[inner]) == 6
    assert len(chains(simplified(strip, 2.01))[inner]) < 6


def test_douglas_peucker_removes_within_the_tolerance() -> None:
    labels = np.ones((12, 40), np.uint8)
    labels[6:] = 2
    labels[3:6, 18:22] = 2  # a bump of 3 px
    strip = whole(labels)
    inner = int(np.flatnonzero(~strip.arcs.rigid)[0])
    assert len(chains(simplified(strip, 2.9, "douglas-peucker"))[inner]) > 2
    assert len(chains(simplified(strip, 3.0, "douglas-peucker"))[inner]) == 2


@given(drawings(), st.floats(1, 6))
@settings(max_examples=40, deadline=None)
def test_douglas_peucker_keeps_what_that_of_geos_keeps(labels: Labels, tolerance: float) -> None:
    strip = whole(labels)
    for old, new, rigid in zip(
        chains(strip.arcs), chains(simplified(strip, tolerance, "douglas-peucker")), strip.arcs.rigid, strict=True
    ):
        bare = shapely.get_coordinates(shapely.simplify(shapely.LineString(old), tolerance, preserve_topology=False))
        if not rigid and old[0] != old[-1] and is_settled(old, tolerance):
            assert [p for p in new if p in bare.tolist()] == bare.tolist()


def is_settled(points: list[list[int]], tolerance: float) -> bool:
    """Whether Douglas and Peucker leave no choice: no two farthest vertices, none just at the tolerance."""
    if len(points) < 3:
        return True
    squares = [squared_distance(point, points[0], points[-1]) for point in points[1:-1]]
    farthest, limit = max(squares), Fraction(tolerance) ** 2
    if farthest == limit or (farthest > limit and squares.count(farthest) > 1):
        return False
    split = 1 + squares.index(farthest)
    return farthest < limit or (is_settled(points[: split + 1], tolerance) and is_settled(points[split:], tolerance))


def squared_distance(point: list[int], start: list[int], end: list[int]) -> Fraction:
    """From a point to a segment, exactly."""
    (px, py), (x, y) = ([a - b for a, b in zip(other, start, strict=True)] for other in (point, end))
    length = x * x + y * y
    along = min(max(Fraction(px * x + py * y, length), Fraction(0)), Fraction(1)) if length else Fraction(0)
    return (px - along * x) ** 2 + (py - along * y) ** 2


def test_two_arcs_between_the_same_nodes_do_not_become_one() -> None:
    labels = np.ones((9, 12), np.uint8)
    labels[4:] = 2
    labels[3:6, 4:8] = 3
    strip = whole(labels)
    result = simplified(strip, 100.0)
    check(strip, result)
    assert sorted(len(c) for c, rigid in zip(chains(result), result.rigid, strict=True) if not rigid) == [2, 2, 3, 3]


@pytest.mark.parametrize("tolerance", [0.0, -1.0, float("nan"), float("inf")])
def test_tolerances_are_positive(tolerance: float) -> None:
    with pytest.raises(ParameterError, match="tolerance"):
        simplified(whole(np.ones((2, 2), np.uint8)), tolerance)


def test_no_arcs() -> None:
    strip = whole(np.zeros((3, 3), np.uint8))
    for method in METHODS:
        assert len(simplified(strip, 1.0, method)) == 0
