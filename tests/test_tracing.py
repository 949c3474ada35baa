"""Labelling and tracing of strips against scipy, rasterio, slow definitions and a slow joiner of strips."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio import features
from strips import (
    EVERY,
    Labels,
    Point,
    Ring,
    border_edges,
    cuts,
    expected_ends,
    expected_polygons,
    expected_vertices,
    geometries,
    numbered,
    polygons_of,
    rasters,
    ring_of,
    unit_steps,
)

from geoseg.errors import ParameterError
from geoseg.polygons.labelling import label_strip
from geoseg.polygons.shapes import Arcs
from geoseg.polygons.tracing import trace_strip


@given(rasters())
@settings(max_examples=100, deadline=None)
def test_patches_are_those_of_scipy_in_the_order_of_their_first_pixels(labels: Labels) -> None:
    ids, count = label_strip(labels)
    expected, number = numbered(labels)
    assert count == number
    assert ids.dtype == np.int32
    np.testing.assert_array_equal(ids, expected)


@given(rasters(), st.integers(0, 5), st.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_one_strip_gives_the_polygons_of_gdal_with_the_vertices_of_a_coverage(
    labels: Labels, pin_rows: int, pin_cols: int
) -> None:
    found = polygons_of(labels, [0], pin_rows=pin_rows, pin_cols=pin_cols)
    assert found == expected_polygons(labels, pin_rows, pin_cols)


@given(rasters())
@settings(max_examples=100, deadline=None)
def test_polygons_are_valid_partition_the_data_and_rasterize_back(labels: Labels) -> None:
    found = polygons_of(labels, [0])
    shapes = geometries(found)
    assert shapely.is_valid(shapes).all()
    assert shapely.coverage_is_valid(shapes)
    assert shapely.area(shapes).tolist() == [row[1] for row, _, _ in found.values()]
    assert shapely.area(shapes).sum() == np.count_nonzero(labels)
    values = [row[0] for row, _, _ in found.values()]
    burnt = np.zeros_like(labels)
    if values:
        burnt = features.rasterize(zip(shapes, values, strict=True), out_shape=labels.shape, dtype="uint8")
    np.testing.assert_array_equal(burnt, labels)


@given(rasters(), cuts(), st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_strips_give_the_polygons_of_the_whole(labels: Labels, tops: Callable[[int], list[int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    wanted = rng.random(256) < 0.8
    confidence = rng.random(labels.shape, np.float32)
    confidence[rng.random(labels.shape) < 0.2] = np.nan
    whole = polygons_of(labels, [0], confidence, wanted)
    assert polygons_of(labels, tops(len(labels)), confidence, wanted) == whole
    expected = expected_polygons(labels)
    assert {key: value[1:] for key, value in whole.items()} == {
        key: value[1:] for key, value in expected.items() if wanted[value[0][0]]
    }
    ids, _ = numbered(labels)
    for first, (row, _, _) in whole.items():
        values = confidence[ids == ids.ravel()[first]]
        values = values[~np.isnan(values)].astype(np.float64)
        assert row[3:] == (np.rint(values * 2**20).sum(), len(values))


@given(rasters(), st.data(), st.integers(1, 4), st.integers(0, 5))
@settings(max_examples=100, deadline=None)
def test_strips_with_pins_give_the_polygons_of_the_whole(
    labels: Labels, data: st.DataObject, pin_rows: int, pin_cols: int
) -> None:
    tops = data.draw(cuts(pin_rows))(len(labels))
    found = polygons_of(labels, tops, pin_rows=pin_rows, pin_cols=pin_cols)
    assert found == expected_polygons(labels, pin_rows, pin_cols)


class Recorder:
    """Keeps the arcs that it is given; ``change`` makes what it returns of each."""

    def __init__(self, change: Callable[[NDArray[np.float64], bool], NDArray[np.float64]]) -> None:
        self.change = change
        self.arcs: dict[Ring, bool] = {}
        self.marks: list[NDArray[np.uint8]] = []

    def __call__(self, arcs: Arcs, marks: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        self.marks.append(marks)
        changed = []
        for i in range(len(arcs)):
            points = arcs.points[arcs.starts[i] : arcs.starts[i + 1]]
            key = ring_of(arcs.points, arcs.starts, i)
            assert key not in self.arcs
            self.arcs[key] = bool(arcs.rigid[i])
            changed.append(self.change(points.astype(np.float64), bool(arcs.rigid[i])))
        starts = np.cumsum([0, *map(len, changed)])
        return np.concatenate([np.zeros((0, 2)), *changed]), starts.astype(np.int64)


def same(points: NDArray[np.float64], rigid: bool) -> NDArray[np.float64]:
    return points


def with_midpoints(points: NDArray[np.float64], rigid: bool) -> NDArray[np.float64]:
    finer = np.repeat(points, 2, axis=0)[:-1]
    finer[1::2] = (points[1:] + points[:-1]) / 2
    return finer


def with_cut_corners(points: NDArray[np.float64], rigid: bool) -> NDArray[np.float64]:
    """Inner vertices go half way to the midpoint of their neighbours, by a quarter pixel at most."""
    moved = points.copy()
    chord = (points[2:] + points[:-2]) / 2 - points[1:-1]
    moved[1:-1] += chord / np.maximum(np.abs(chord).max(axis=1, keepdims=True, initial=1e-9), 1e-9) / 4
    return points if rigid else moved


@given(rasters(), st.data(), st.integers(1, 5), st.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_arcs_are_the_borders_between_nodes_and_pins(
    labels: Labels, data: st.DataObject, pin_rows: int, pin_cols: int
) -> None:
    recorder = Recorder(same)
    tops = data.draw(cuts(pin_rows))(len(labels))
    pins = {"pin_rows": pin_rows, "pin_cols": pin_cols}
    found = polygons_of(labels, tops, shape_arcs=recorder, **pins)
    assert found == expected_polygons(labels, **pins)
    ends, vertices = expected_ends(labels, **pins), expected_vertices(labels, **pins)
    around, covered = np.pad(labels, 1), []
    for arc, rigid in recorder.arcs.items():
        check_arc(arc, ends, vertices)
        steps = itertools.pairwise(unit_steps(shapely.LineString(arc)))
        edges = [tuple(sorted(pair, key=lambda p: p[::-1])) for pair in steps]
        covered.extend(edges)
        for (x, y), (right, _) in edges:
            level = right > x
            lower = around[int(y) + 1, int(x) + 1]
            assert rigid == (0 in (lower, around[int(y) + (not level), int(x) + level]))
    assert len(covered) == len(set(covered))
    assert set(covered) == border_edges(labels)
    for top, marks in zip(tops[::-1], recorder.marks, strict=True):
        ys, xs = np.nonzero(marks)
        marked = set(zip(xs.tolist(), (ys + top).tolist(), strict=True))
        bottom = top + len(marks) - 1
        inside = {(x, y) for x, y in vertices if top <= y < bottom or (y == bottom == len(labels))}
        upper_ends = {b for a, b in border_edges(labels) if a[0] == b[0] and b[1] == bottom < len(labels)}
        assert marked == inside | upper_ends


def check_arc(arc: Ring, ends: set[Point], vertices: set[Point]) -> None:
    """An arc has its ends at nodes or pins, its corners between them, and begins where it should."""
    assert all(p in vertices and p not in ends for p in arc[1:-1])
    first, last = arc[0], arc[-1]
    assert (first in ends) == (last in ends)
    if first in ends:
        assert last in ends
        assert first[::-1] <= last[::-1]
    else:
        assert first == last == min(arc, key=lambda p: p[::-1])
    if first == last:
        order = [heading(arc[0], arc[1]), heading(arc[-1], arc[-2])]
        assert order[0] < order[1]


def heading(a: Point, b: Point) -> int:
    """East, south, west, north."""
    return 0 if b[0] > a[0] else 2 if b[0] < a[0] else 1 if b[1] > a[1] else 3


@given(rasters(), st.data(), st.integers(1, 5), st.integers(0, 5), st.sampled_from([with_midpoints, with_cut_corners]))
@settings(max_examples=150, deadline=None)
def test_reshaped_arcs_make_the_same_coverage_in_strips(
    labels: Labels, data: st.DataObject, pin_rows: int, pin_cols: int, change: Any
) -> None:
    pins = {"pin_rows": pin_rows, "pin_cols": pin_cols}
    tops = data.draw(cuts(pin_rows))(len(labels))
    found = polygons_of(labels, tops, shape_arcs=Recorder(change), **pins)
    assert found == polygons_of(labels, [0], shape_arcs=Recorder(change), **pins)
    shapes = geometries(found)
    assert shapely.is_valid(shapes).all()
    assert shapely.coverage_is_valid(shapes)
    assert shapely.area(shapes).sum() == pytest.approx(np.count_nonzero(labels))
    if change is with_midpoints:
        plain = expected_polygons(labels, **pins)
        assert shapely.area(shapes).tolist() == [found[key][0][1] for key in found]
        for key, (_, exterior, _) in found.items():
            assert len(exterior) == 2 * len(plain[key][1])


def test_a_ring_that_meets_itself_is_cut_at_every_touch() -> None:
    labels = np.ones((9, 9), np.uint8)
    labels[range(1, 8), range(1, 8)] = 2  # seven holes, each touching the next
    labels[8, 8] = 2
    _, exterior, holes = polygons_of(labels, [0])[0]
    assert len(holes) == 7
    assert all(len(hole) == 4 for hole in holes)
    assert len(exterior) == 6


def test_patches_of_unwanted_classes_give_no_polygons_but_keep_their_borders() -> None:
    labels = np.array([[1, 1, 2, 3], [1, 1, 3, 3]], np.uint8)
    wanted = np.zeros(256, bool)
    wanted[[0, 1]] = True
    recorder = Recorder(same)
    found = polygons_of(labels, [0], wanted=wanted, shape_arcs=recorder)
    assert list(found) == [0]
    assert found[0][1] == ((0, 0), (0, 2), (2, 2), (2, 1), (2, 0))
    assert {point for arc in recorder.arcs for point in arc} >= {(3, 0), (3, 1), (2, 1)}


def test_inputs_are_not_changed() -> None:
    labels = np.random.default_rng(0).integers(0, 3, (9, 9)).astype(np.uint8)
    labels.flags.writeable = False
    wanted = EVERY.copy()
    trace_strip(labels, 8, last=False, confidence=None, wanted=wanted)
    assert wanted.all()


@pytest.mark.parametrize(
    ("shape", "top", "options", "problem"),
    [
        ((1, 4), 0, {}, "0 × 4 px"),
        ((3, 0), 0, {}, "2 × 0 px"),
        ((4, 4), 2, {"pin_rows": 2}, r"seams at y = \[2, 5\]"),
        ((4, 4), 0, {"shape_arcs": Recorder(same)}, r"seams at y = \[3\]"),
    ],
)
def test_what_cannot_be_a_strip_is_refused(shape: Any, top: int, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ParameterError, match=problem):
        trace_strip(np.ones(shape, np.uint8), top, last=False, confidence=None, wanted=EVERY, **options)
