"""What strips must give, slowly: patches by scipy, polygons by rasterio, vertices by definition, and a joiner."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import shapely
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio import features
from scipy import ndimage

from geoseg.polygons.shapes import AT_BOTTOM, AT_TOP, CLOSED, Fragments, PatchTable, Shapes
from geoseg.polygons.tracing import trace_strip

Labels = NDArray[np.uint8]
Point = tuple[float, float]
Ring = tuple[Point, ...]
Polygons = dict[int, tuple[tuple[int, ...], Ring, frozenset[Ring]]]
"""By number of the first pixel: the rest of the table, the exterior and the holes."""

EVERY = np.ones(256, bool)
_SIDES = st.integers(1, 24)


@st.composite
def rasters(draw: st.DrawFn) -> Labels:
    """Noise of any coarseness: single pixels that touch at corners, patches with holes, rings in rings, no data."""
    height, width, classes = draw(_SIDES), draw(_SIDES), draw(st.integers(1, 4))
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
        or (pin_rows and 0 < y < height and y % pin_rows == 0 and (x, y - 1) in others)
        or (pin_cols and 0 < x < width and x % pin_cols == 0 and (x - 1, y) in others)
    }


def expected_vertices(labels: Labels, pin_rows: int, pin_cols: int) -> set[Point]:
    """Corners, nodes and pins."""
    bent = {
        p for p, others in borders_at(labels).items() if len({q[0] for q in others}) > 1 < len({q[1] for q in others})
    }
    return bent | expected_ends(labels, pin_rows, pin_cols)


def geometries(polygons: Polygons) -> NDArray[np.object_]:
    return np.array([shapely.Polygon(exterior, holes) for _, exterior, holes in polygons.values()], object)
