from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from slow_tracing import slow_strips

from geoseg.polygons.finishing import multi_wkb, normalized, to_wkb
from geoseg.polygons.joining import SeamJoiner
from geoseg.polygons.shapes import PatchTable, Shapes

rasters = st.tuples(st.integers(1, 10), st.integers(1, 10), st.integers(1, 4)).flatmap(
    lambda s: hnp.arrays(np.uint8, s[:2], elements=st.integers(0, s[2]))
)


def traced(labels: np.ndarray) -> Shapes:
    joiner = SeamJoiner(labels.shape[1])
    return joiner.add(slow_strips(labels, [], set(labels.flat) - {0})[0])


def rings_of(shapes: Shapes, polygon: int) -> list[np.ndarray]:
    numbers = range(shapes.polygons[polygon], shapes.polygons[polygon + 1])
    return [shapes.points[shapes.rings[r] : shapes.rings[r + 1]] for r in numbers]


def from_rings(polygons: list[list[np.ndarray]]) -> Shapes:
    rings = [r for p in polygons for r in p]
    offsets = (np.cumsum([0, *map(len, part)]).astype(np.int64) for part in (rings, polygons))
    table = PatchTable.concatenate([PatchTable(np.ones(1, np.uint8), *np.ones((4, 1), np.int64))] * len(polygons))
    return Shapes(np.concatenate([np.zeros((0, 2)), *rings]), *offsets, table)


def is_counterclockwise_on_screen(ring: np.ndarray) -> bool:
    return not shapely.is_ccw(shapely.linearrings(ring))  # shapely has y upwards


def parsed(content: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    parts = [content[a:b].tobytes() for a, b in pairwise(offsets)]
    return np.asarray(shapely.from_wkb(np.array(parts, object)), object)


@given(rasters, st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=80)
def test_normalized_does_not_depend_on_how_rings_are_written(labels, random):
    shapes = traced(labels)
    expected = normalized(shapes)
    shuffled = []
    for i in range(len(shapes)):
        rings = [np.roll(r, random.randrange(len(r)), axis=0)[:: random.choice([1, -1])] for r in rings_of(shapes, i)]
        random.shuffle(rings)
        shuffled.append(rings)
    result = normalized(from_rings(shuffled))
    for name in ("points", "rings", "polygons"):
        assert np.array_equal(getattr(result, name), getattr(expected, name))
    assert np.array_equal(normalized(expected).points, expected.points)


@given(rasters)
@settings(deadline=None, max_examples=80)
def test_normalized_keeps_its_promises(labels):
    shapes = normalized(traced(labels))
    for i in range(len(shapes)):
        exterior, *holes = rings_of(shapes, i)
        assert is_counterclockwise_on_screen(exterior)
        assert not any(map(is_counterclockwise_on_screen, holes))
        starts = [(y, x) for (x, y), *_ in holes]
        assert starts == sorted(starts)
        for ring in (exterior, *holes):
            assert (ring[0, 1], ring[0, 0]) == min((y, x) for x, y in ring)
        assert shapely.Polygon(exterior, holes).area == shapes.table.pixels[i]


def test_many_holes_in_one_polygon_among_polygons_without():
    labels = np.ones((21, 31), np.uint8)
    labels[1:-1:2, 1:-1:2] = 2
    shapes = normalized(traced(labels))
    assert np.diff(shapes.polygons).tolist() == [151] + [1] * 150
    starts = [(y, x) for (x, y), *_ in rings_of(shapes, 0)]
    assert starts == [(0, 0)] + [(y, x) for y in range(1, 20, 2) for x in range(1, 30, 2)]


@given(rasters, st.sampled_from([(1, 0, 0, 1), (1, 0, 0, -1), (0.3, -0.2, 0.1, 5), (0, 2, 2, 0)]))
@settings(deadline=None, max_examples=80)
def test_wkb_is_what_shapely_writes(labels, matrix):
    shapes = normalized(traced(labels))
    points = shapes.points @ np.array(matrix).reshape(2, 2) + (5e5, 5e6)
    content, offsets = to_wkb(points, shapes.rings, shapes.polygons)
    world = Shapes(points, shapes.rings, shapes.polygons, shapes.table)
    for i, polygon in enumerate(parsed(content, offsets)):
        exterior, *holes = rings_of(world, i)
        turned = shapely.orient_polygons(shapely.Polygon(exterior, holes))
        assert polygon.wkb == turned.wkb == content[offsets[i] : offsets[i + 1]].tobytes()
    assert offsets[0] == 0
    assert offsets[-1] == len(content)


@given(rasters, st.data())
@settings(deadline=None, max_examples=40)
def test_groups_become_multipolygons(labels, data):
    shapes = normalized(traced(labels))
    cuts = data.draw(st.lists(st.integers(0, len(shapes)), max_size=4))
    groups = np.array(sorted({0, len(shapes), *cuts}), np.int64)
    single = to_wkb(shapes.points, shapes.rings, shapes.polygons)
    polygons, multi = parsed(*single), parsed(*multi_wkb(*single, groups))
    assert [m.wkb for m in multi] == [shapely.MultiPolygon(list(polygons[a:b])).wkb for a, b in pairwise(groups)]


def test_groups_may_leave_out_and_be_empty():
    labels = np.array([[1, 2, 3, 4]], np.uint8)
    shapes = normalized(traced(labels))
    single = to_wkb(shapes.points, shapes.rings, shapes.polygons)
    multi = parsed(*multi_wkb(*single, np.array([1, 1, 3])))
    assert multi[0].is_empty
    assert multi[1].equals(shapely.MultiPolygon(list(parsed(*single)[1:3])))


@pytest.mark.parametrize("labels", [np.zeros((3, 3), np.uint8)])
def test_nothing_is_written_as_nothing(labels):
    shapes = normalized(traced(labels))
    assert len(shapes) == 0
    content, offsets = to_wkb(shapes.points, shapes.rings, shapes.polygons)
    assert len(content) == 0
    assert offsets.tolist() == [0]
    assert multi_wkb(content, offsets, np.zeros(1, np.int64))[1].tolist() == [0]
