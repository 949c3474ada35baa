"""Smoothed arcs: planar and between the same faces, whatever was simplified; against Chaikin's scheme as published."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import shapely
from arrangements import Labels, Raster, Strip, check_planar, faces, lines, patterns, rasters, whole
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.errors import ParameterError
from geoseg.polygons.shapes import Arcs, Offsets, Points
from geoseg.polygons.simplification import simplify_arcs
from geoseg.polygons.smoothing import MOST_ITERATIONS, smooth_arcs

Chain = list[list[float]]


def chains(points: Points, starts: Offsets) -> list[Chain]:
    return [points[a:b].tolist() for a, b in pairwise(starts)]


def simplified(strip: Strip, tolerance: float, pins: tuple[int, int] = (0, 0)) -> Arcs:
    """As traced for a tolerance of 0."""
    if not tolerance:
        return strip.arcs
    return simplify_arcs(
        strip.arcs,
        strip.marks,
        strip.top,
        tolerance=tolerance,
        method="visvalingam",
        pin_rows=pins[0],
        pin_cols=pins[1],
    )


def check(strip: Strip, arcs: Arcs, iterations: int, pin_rows: int = 0) -> None:
    points, starts = smooth_arcs(arcs, strip.marks, strip.top, iterations=iterations, pin_rows=pin_rows)
    for old, new, rigid in zip(chains(arcs.points, arcs.starts), chains(points, starts), arcs.rigid, strict=True):
        assert not rigid or new == old
        assert (old[0] == old[-1]) == (new[0] == new[-1])
        assert old[0] == old[-1] or (new[0], new[-1]) == (old[0], old[-1])
    if len(arcs):
        after = lines(points, starts)
        check_planar(after)
        assert faces(after) == faces(lines(arcs.points, arcs.starts))


@given(
    rasters,
    st.sampled_from([0, 1.0, 2.0, 5.0, 50.0]),
    st.integers(0, 3),
    st.sampled_from([(0, 0), (4, 0), (0, 5)]),
    st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_smoothed_arcs_bound_the_same_faces(
    labels: Labels, tolerance: float, iterations: int, pins: tuple[int, int], one_sided: bool
) -> None:
    strip = whole(labels, *pins, one_sided=one_sided)
    check(strip, simplified(strip, tolerance, pins), iterations, pins[0])


@pytest.mark.parametrize("name", sorted(patterns()))
@pytest.mark.parametrize("tolerance", [0, 1.0, 3.0, 30.0])
def test_hard_patterns_stay_whole(name: str, tolerance: float) -> None:
    strip = whole(patterns()[name])
    check(strip, simplified(strip, tolerance), 2)


@given(rasters, st.sampled_from([0, 2.0]), st.integers(1, 3), st.integers(1, 9), st.integers(1, 3), st.booleans())
@settings(max_examples=50, deadline=None)
def test_the_result_does_not_depend_on_strips(
    labels: Labels, tolerance: float, iterations: int, pin_rows: int, bands: int, one_sided: bool
) -> None:
    raster = Raster(labels, pin_rows, 0, one_sided)
    height, step = len(labels), pin_rows * bands

    def smoothed(strip: Strip) -> list[Chain]:
        arcs = simplified(strip, tolerance, (pin_rows, 0))
        return chains(*smooth_arcs(arcs, strip.marks, strip.top, iterations=iterations, pin_rows=pin_rows))

    strips = [raster.strip(top, min(top + step, height)) for top in range(0, height, step)]
    assert sorted(c for s in strips for c in smoothed(s)) == sorted(smoothed(raster.strip(0, height)))


def drawn(line: list[list[int]], size: int = 40) -> Strip:
    """One arc by itself."""
    marks = np.zeros((size, size), np.uint8)
    for x, y in line:
        marks[y, x] = 1
    return Strip(Arcs(np.array(line, np.int32), np.array([0, len(line)]), np.zeros(1, bool)), marks, 0)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 39)), min_size=2, max_size=4),
    st.integers(1, MOST_ITERATIONS),
)
@settings(max_examples=50, deadline=None)
def test_corners_are_cut_as_chaikin_does(steps: list[tuple[int, int]], iterations: int) -> None:
    """Of a line that goes to the right only, no triangle holds another vertex; its first and last edge differ."""
    line = [[int(x), y] for x, (_, y) in zip(np.cumsum([s for s, _ in steps]), steps, strict=True)]
    strip = drawn(line)
    points, starts = smooth_arcs(strip.arcs, strip.marks, 0, iterations=iterations)
    # The edges at the ends are cut at their middle here, so that these lines are the same but for their extent there.
    middles = [[(a + b) / 2 for a, b in zip(line[k], line[k + 1], strict=True)] for k in (0, -2)]
    inner = [middles[0], *line[1:-1], middles[1]]
    expected = shapely.LineString([line[0], *_spline(inner, iterations), line[-1]])
    assert shapely.hausdorff_distance(shapely.LineString(points), expected) < 1e-9
    assert len(points) == (len(line) - 2) * 2**iterations + 2 == starts[-1]


def _spline(line: Chain, iterations: int) -> Chain:
    """What Chaikin's scheme, without a rule for ends, makes of ``line`` between its first and last point.

    The line goes on beyond them by as much as before, so that they are the middles of its first and last edge.
    """
    first, last = line[0], line[-1]
    before = [2 * first[k] - line[1][k] for k in (0, 1)]
    after = [2 * last[k] - line[-2][k] for k in (0, 1)]
    result = [before, *line[1:-1], after]
    for _ in range(iterations):
        points = np.array(result)
        near, far = 0.75 * points[:-1] + 0.25 * points[1:], 0.25 * points[:-1] + 0.75 * points[1:]
        result = np.stack([near, far], axis=1).reshape(-1, 2).tolist()
    inside = (np.array(result)[:, 0] >= first[0]) & (np.array(result)[:, 0] <= last[0])
    return [p for p, take in zip(result, inside.tolist(), strict=True) if take]


def test_a_free_loop_is_cut_at_its_first_point_too() -> None:
    strip = drawn([[4, 4], [8, 4], [8, 8], [4, 8], [4, 4]])
    points, _ = smooth_arcs(strip.arcs, strip.marks, 0, iterations=1)
    octagon = [[4, 5], [5, 4], [7, 4], [8, 5], [8, 7], [7, 8], [5, 8], [4, 7]]
    assert points.tolist() == [*octagon, octagon[0]]


def test_a_loop_at_a_node_keeps_its_end() -> None:
    strip = whole(np.array([[1, 1, 1, 1], [1, 2, 1, 1], [1, 1, 2, 1], [1, 1, 1, 1]], np.uint8))
    points, starts = smooth_arcs(strip.arcs, strip.marks, 0, iterations=1)
    loops = [c for c, rigid in zip(chains(points, starts), strip.arcs.rigid, strict=True) if not rigid]
    assert [c[0] for c in loops] == [c[-1] for c in loops] == [[2, 2], [2, 2]]


def test_a_corner_is_cut_less_where_another_vertex_is_near() -> None:
    points, starts = np.array([[0, 9], [0, 0], [9, 0], [1, 9], [1, 1], [9, 1]], np.int32), np.array([0, 3, 6])
    marks = np.zeros((10, 10), np.uint8)
    marks[points[:, 1], points[:, 0]] = 1
    arcs = Arcs(points, starts, np.zeros(2, bool))
    outer, inner = chains(*smooth_arcs(arcs, marks, 0, iterations=1))
    assert outer[1:3] == [[0, 9 / 16], [9 / 16, 0]]  # the legs of 9/2 px held (1, 1), those of 9/4 too, of 9/8 not
    assert inner[1:3] == [[1, 3], [3, 1]]


def test_iterations_have_limits() -> None:
    strip = whole(np.ones((3, 3), np.uint8))
    for iterations in (-1, MOST_ITERATIONS + 1):
        with pytest.raises(ParameterError, match="iterations"):
            smooth_arcs(strip.arcs, strip.marks, 0, iterations=iterations)


def test_no_arcs() -> None:
    strip = whole(np.zeros((3, 3), np.uint8))
    points, starts = smooth_arcs(strip.arcs, strip.marks, 0, iterations=2)
    assert points.shape == (0, 2)
    assert starts.tolist() == [0]
