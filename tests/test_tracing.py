"""Labelling and tracing of strips against scipy, rasterio, slow definitions and a slow joiner of strips."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio import features
from scipy import ndimage

from geoseg.arcs.labelling import label_strip
from geoseg.arcs.shapes import AT_BOTTOM, AT_TOP, CLOSED, Arcs, Fragments, PatchTable, Shapes
from geoseg.arcs.tracing import trace_strip
from geoseg.errors import ParameterError

Labels = NDArray[np.uint8]
Point = tuple[float, float]
Ring = tuple[Point, ...]
Polygons = dict[int, tuple[tuple[int, ...], Ring, frozenset[Ring]]]
"""By number of the first pixel: the rest of the table, the exterior and the holes."""

EVERY = np.ones(256, bool)
SIDES = st.integers(1, 24)


@st.composite
def rasters(draw: st.DrawFn) -> Labels:
    """Noise of any coarseness: single pixels that touch at corners, patches with holes, rings in rings, no data."""
    height, width, classes = draw(SIDES), draw(SIDES), draw(st.integers(1, 4))
    if draw(st.integers(0, 4)) == 0:
        rows, cols = np.indices((height, width))
        return (np.maximum(abs(rows - height // 2), abs(cols - width // 2)) % classes + 1).astype(np.uint8)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    coarse = rng.integers(draw(st.integers(0, 1)), classes + 1, (height, width)).astype(np.uint8)
    zoom = draw(st.integers(1, 3))
    return np.kron(coarse, np.ones((zoom, zoom), np.uint8))[:height, :width]


@st.composite
def cuts(draw: st.DrawFn, unit: int = 1) -> Callable[[int], list[int]]:
    """First rows of strips of any heights, multiples of ``unit``."""
    steps = draw(st.lists(st.integers(1, 6), min_size=1, max_size=6))

    def tops(height: int) -> list[int]:
        found, top = [], 0
        while top < height:
            found.append(top)
            top += unit * steps[len(found) % len(steps)]
        return found

    return tops


def numbered(labels: Labels) -> tuple[NDArray[np.int64], int]:
    """Patches by scipy, numbered from 1 in the order of their first pixels."""
    ids = np.zeros(labels.shape, np.int64)
    for value in np.unique(labels[labels > 0]):
        found, _ = ndimage.label(labels == value)
        ids[found > 0] = found[found > 0] + ids.max()
    values, first, where = np.unique(ids, return_index=True, return_inverse=True)
    order = np.argsort(first[values > 0])
    numbers = np.zeros(len(values), np.int64)
    numbers[np.flatnonzero(values > 0)[order]] = np.arange(1, len(order) + 1)
    return numbers[where].reshape(labels.shape), len(order)


def trace(
    labels: Labels, tops: list[int], confidence: Any = None, wanted: Any = EVERY, **options: Any
) -> Iterator[tuple[Shapes, Fragments]]:
    """Trace the strips that begin at ``tops``, the last one first: their order does not matter."""
    framed = np.concatenate([np.zeros_like(labels[:1]), labels])
    for top, end in reversed(list(zip(tops, [*tops[1:], len(labels)], strict=True))):
        yield trace_strip(
            framed[top : end + 1].copy(),
            top,
            last=end == len(labels),
            confidence=None if confidence is None else confidence[top:end],
            wanted=wanted,
            **options,
        )


def polygons_of(labels: Labels, tops: list[int], *args: Any, **options: Any) -> Polygons:
    """The polygons of all strips, put together slowly."""
    strips = list(trace(labels, tops, *args, **options))[::-1]
    found: Polygons = {}
    for shapes, _ in strips:
        for i, row in enumerate(rows_of(shapes.table)):
            rings = [ring_of(shapes.points, shapes.rings, r) for r in range(*shapes.polygons[i : i + 2])]
            assert area(rings[0]) < 0, "the exterior comes first"
            found[row[2]] = polygon(row, rings)
    joiner = SlowJoiner()
    for _, rest in strips:
        joiner.add(rest)
    return found | joiner.finish()


def rows_of(table: PatchTable) -> list[tuple[int, ...]]:
    columns = table.class_id, table.pixels, table.first, table.confidence, table.confident
    return [tuple(int(value) for value in row) for row in zip(*columns, strict=True)]


def ring_of(points: Any, starts: Any, i: int) -> Ring:
    return tuple((float(x), float(y)) for x, y in points[starts[i] : starts[i + 1]])


def area(ring: Ring) -> float:
    """Negative if the face is on the left and inside, as y points down."""
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(ring, ring[1:] + ring[:1], strict=True)) / 2


def polygon(row: tuple[int, ...], rings: list[Ring]) -> tuple[tuple[int, ...], Ring, frozenset[Ring]]:
    """A polygon in a form that can be compared: rings begin at their first vertex."""
    turned = [ring[i:] + ring[:i] for ring in rings for i in [min(range(len(ring)), key=lambda k: ring[k][::-1])]]
    (exterior,) = [ring for ring in turned if area(ring) < 0]
    holes = frozenset(ring for ring in turned if area(ring) > 0)
    assert len(holes) == len(rings) - 1
    return row, exterior, holes


class SlowJoiner:
    """Pieces linked by the columns of their seam pins, patches by the joins of their strips."""

    def __init__(self) -> None:
        self.table = PatchTable.empty()
        self.bottom: list[int] = []
        self.group: list[int] = []
        self.pieces: list[tuple[Ring, list[Point], int]] = []  # points, those that may touch, owner
        self.follower: dict[int, int] = {}
        self.begun: dict[int, int] = {}  # pieces that begin at the last seam, by column
        self.ended: dict[int, int] = {}

    def add(self, rest: Fragments) -> None:
        above = [self.bottom[x] for x in rest.above]
        assert min(above, default=0) >= 0
        held = len(self.group)
        self.group += range(held, held + len(rest.table))
        for run, patch in rest.joins:
            low, high = sorted((self.group[above[run]], self.group[held + patch]))
            self.group = [low if g == high else g for g in self.group]
        self.table = PatchTable.concatenate([self.table, rest.table])
        self.bottom = [held + int(patch) if patch >= 0 else -1 for patch in rest.bottom]
        begun, ended = self.begun, self.ended
        self.begun, self.ended = {}, {}
        owners = [*range(held, len(self.group)), *above]
        for c, face in enumerate(rest.face):
            points = ring_of(rest.points, rest.starts, c)
            touches = rest.touch[rest.starts[c] : rest.starts[c + 1]]
            self.link(rest, c, len(self.pieces), begun, ended)
            self.pieces.append((points, [points[i] for i in np.flatnonzero(touches)], owners[face]))
        assert (begun, ended) == ({}, {}), "every pin has its piece"

    def link(self, rest: Fragments, c: int, piece: int, begun: dict[int, int], ended: dict[int, int]) -> None:
        begin, end = (int(rest.begin_side[c]), int(rest.begin_x[c])), (int(rest.end_side[c]), int(rest.end_x[c]))
        assert (begin[0] == CLOSED) == (end[0] == CLOSED)
        if begin[0] == AT_TOP:
            self.follower[ended.pop(begin[1])] = piece
        if end[0] == AT_TOP:
            self.follower[piece] = begun.pop(end[1])
        if begin[0] == AT_BOTTOM:
            assert self.begun.setdefault(begin[1], piece) == piece
        if end[0] == AT_BOTTOM:
            assert self.ended.setdefault(end[1], piece) == piece
        if begin[0] == CLOSED:
            self.follower[piece] = piece

    def finish(self) -> Polygons:
        assert (self.begun, self.ended) == ({}, {})
        rings: dict[int, list[Ring]] = {}
        while self.follower:
            first = at = min(self.follower)
            patch = self.group[self.pieces[first][2]]
            ring, touches = [], set()
            while at in self.follower:
                points, some, owner = self.pieces[at]
                assert self.group[owner] == patch
                ring.extend(points)
                touches.update(some)
                at = self.follower.pop(at)
            assert at == first
            rings.setdefault(patch, []).extend(split(ring, touches))
        found = {}
        for patch in set(self.group):
            rows = np.array([row for row, g in zip(rows_of(self.table), self.group, strict=True) if g == patch])
            assert len(set(rows[:, 0])) == 1
            row = rows[0, 0], rows[:, 1].sum(), rows[:, 2].min(), rows[:, 3].sum(), rows[:, 4].sum()
            found[int(row[2])] = polygon(tuple(map(int, row)), rings[patch])
        return found


def split(ring: list[Point], touches: set[Point]) -> Iterator[Ring]:
    """Simple rings of one that meets itself at some of ``touches`` at most."""
    path: list[Point] = []
    for point in ring:
        if point in touches and point in path:
            at = path.index(point)
            yield tuple(path[at:])
            path = path[:at]
        assert point not in path
        path.append(point)
    yield tuple(path)


def expected_polygons(labels: Labels, pin_rows: int = 0, pin_cols: int = 0) -> Polygons:
    """Polygons by rasterio, with vertices by definition."""
    ids, _ = numbered(labels)
    vertices = expected_vertices(labels, pin_rows, pin_cols)
    found = {}
    for geometry, number in features.shapes(ids.astype(np.int32), mask=ids > 0, connectivity=4):
        pixels = np.flatnonzero(ids == number)
        row = int(labels.ravel()[pixels[0]]), len(pixels), int(pixels[0]), 0, 0
        whole = shapely.orient_polygons(shapely.geometry.shape(geometry), exterior_cw=True)
        points = [unit_steps(ring)[:-1] for ring in (whole.exterior, *whole.interiors)]
        found[row[2]] = polygon(row, [tuple(p for p in ring if p in vertices) for ring in points])
    return found


def unit_steps(line: Any) -> list[Point]:
    """All pixel corners along a line of pixel edges; what is interpolated is off by rounding."""
    return [(float(x), float(y)) for x, y in np.rint(shapely.get_coordinates(shapely.segmentize(line, 1.0)))]


def border_edges(labels: Labels) -> set[tuple[Point, Point]]:
    """Pixel edges between patches as pairs of points, the first by (y, x) first."""
    height, width = labels.shape
    around = np.pad(labels, 1)
    upright = {((x, y), (x, y + 1)) for y in range(height) for x in range(width + 1) if differ(around, y, x, 0, 1)}
    level = {((x, y), (x + 1, y)) for y in range(height + 1) for x in range(width) if differ(around, y, x, 1, 0)}
    return upright | level


def differ(around: Labels, y: int, x: int, down: int, right: int) -> bool:
    """Whether two neighbouring pixels, below or to the right of the point (x, y), have different labels."""
    lower = around[y + 1, x + 1]
    return bool(lower != around[y + 1 - down, x + 1 - right])


def borders_at(labels: Labels) -> dict[Point, list[Point]]:
    """For each point on a border the points to which one leads."""
    found: dict[Point, list[Point]] = {}
    for a, b in border_edges(labels):
        found.setdefault(a, []).append(b)
        found.setdefault(b, []).append(a)
    return found


def expected_ends(labels: Labels, pin_rows: int, pin_cols: int) -> set[Point]:
    """Nodes and pins."""
    height, width = labels.shape
    return {
        (x, y)
        for (x, y), others in borders_at(labels).items()
        if len(others) > 2
        or (pin_rows and 0 < y < height and y % pin_rows == 0 and any(b[0] == x for b in others))
        or (pin_cols and 0 < x < width and x % pin_cols == 0 and any(b[1] == y for b in others))
    }


def expected_vertices(labels: Labels, pin_rows: int, pin_cols: int) -> set[Point]:
    """Corners, nodes and pins."""
    bent = {
        p for p, others in borders_at(labels).items() if len({q[0] for q in others}) > 1 < len({q[1] for q in others})
    }
    return bent | expected_ends(labels, pin_rows, pin_cols)


def geometries(polygons: Polygons) -> NDArray[np.object_]:
    return np.array([shapely.Polygon(exterior, holes) for _, exterior, holes in polygons.values()], object)


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
