"""Arcs of label rasters, traced slowly and plainly: what the tests of simplification and smoothing work on."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import shapely
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.polygons.shapes import Arcs

Labels = NDArray[np.uint8]
Point = tuple[int, int]
STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # E, S, W, N


@dataclass
class Strip:
    """Arcs of rows ``top`` to ``bottom`` of a raster, and the marks of its vertices."""

    arcs: Arcs
    marks: NDArray[np.uint8]
    top: int


@dataclass
class Raster:
    """Pixel edges between different labels; what lies outside counts as 0.

    Attributes:
        labels: (H, W) uint8.
        pin_rows: Rows between lines of pins; 0 = none.
        pin_cols: Columns between them.
        one_sided: Pins only where a border comes from above (from the left), not where one leaves below (to the right).
    """

    labels: Labels
    pin_rows: int = 0
    pin_cols: int = 0
    one_sided: bool = True
    padded: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.padded = np.pad(self.labels, 1).astype(np.int64)

    def sides(self, point: Point, step: Point) -> tuple[int, int]:
        """Labels on the two sides of the pixel edge from ``point`` along ``step``."""
        x, y = min(point[0], point[0] + step[0]), min(point[1], point[1] + step[1])
        if step[0]:
            return int(self.padded[y, x + 1]), int(self.padded[y + 1, x + 1])
        return int(self.padded[y + 1, x]), int(self.padded[y + 1, x + 1])

    def steps(self, point: Point) -> list[Point]:
        """Directions in which a border leaves ``point``."""
        height, width = self.labels.shape
        inside = [s for s in STEPS if 0 <= point[0] + s[0] <= width and 0 <= point[1] + s[1] <= height]
        return [s for s in inside if len(set(self.sides(point, s))) == 2]

    def is_end(self, point: Point) -> bool:
        """A node or a pin."""
        steps = self.steps(point)
        on_row = self.pin_rows and 0 < point[1] < len(self.labels) and point[1] % self.pin_rows == 0
        on_col = self.pin_cols and 0 < point[0] < self.labels.shape[1] and point[0] % self.pin_cols == 0
        cutting = [(0, -1)] * bool(on_row) + [(-1, 0)] * bool(on_col)
        if not self.one_sided:
            cutting += [(0, 1)] * bool(on_row) + [(1, 0)] * bool(on_col)
        return len(steps) > 2 or any(step in cutting for step in steps)

    def is_vertex(self, point: Point) -> bool:
        steps = self.steps(point)
        corner = len(steps) == 2 and steps[0][0] + steps[1][0] != 0
        return corner or self.is_end(point)

    def strip(self, top: int, bottom: int) -> Strip:
        """Arcs of rows [top, bottom); ``top`` and ``bottom`` lie on lines of pins or at the ends of the raster."""
        height, width = self.labels.shape
        lines = range(top, bottom + (bottom == height))
        points = [(x, y) for y in range(top, bottom + 1) for x in range(width + 1)]
        own = {
            p: [s for s in self.steps(p) if (p[1] in lines if s[0] else min(p[1], p[1] + s[1]) in range(top, bottom))]
            for p in points
        }
        marks = np.zeros((bottom - top + 1, width + 1), np.uint8)
        for x, y in points:
            marks[y - top, x] = self.is_vertex((x, y)) and bool(own[x, y])
        arcs = self._walk(own, [p for p in points if self.is_end(p)], until_end=True)
        arcs += self._walk(own, [p for p in points if self.is_vertex(p)], until_end=False)
        starts = np.concatenate([[0], np.cumsum([len(chain) for chain, _ in arcs])]).astype(np.int64)
        flat = np.array([p for chain, _ in arcs for p in chain], np.int32).reshape(-1, 2)
        return Strip(Arcs(flat, starts, np.array([rigid for _, rigid in arcs], bool)), marks, top)

    def _walk(
        self, own: dict[Point, list[Point]], begins: list[Point], *, until_end: bool
    ) -> list[tuple[list[Point], bool]]:
        """Follow what is left of ``own`` from each of ``begins``, and use it up."""
        found = []
        for begin in begins:
            for first in list(own[begin]):
                if first not in own[begin]:
                    continue
                point, step, chain = begin, first, [begin]
                while True:
                    own[point].remove(step)
                    point = (point[0] + step[0], point[1] + step[1])
                    own[point].remove((-step[0], -step[1]))
                    if (until_end and self.is_end(point)) or point == begin:
                        break
                    if self.is_vertex(point):
                        chain.append(point)
                    (step,) = own[point]
                found.append(([*chain, point], 0 in self.sides(begin, first)))
        return found


def whole(labels: Labels, pin_rows: int = 0, pin_cols: int = 0, *, one_sided: bool = True) -> Strip:
    return Raster(labels, pin_rows, pin_cols, one_sided).strip(0, len(labels))


def lines(points: NDArray[np.floating], starts: NDArray[np.int64]) -> NDArray[np.object_]:
    arcs = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    return np.asarray(shapely.linestrings(points.astype(np.float64), indices=arcs))


def check_planar(arcs: NDArray[np.object_]) -> None:
    """Segments meet at points that end both, and nowhere else; no two are the same."""
    ends = np.concatenate([np.stack([c[:-1], c[1:]], axis=1) for c in map(shapely.get_coordinates, arcs)])
    assert (ends[:, 0] != ends[:, 1]).any(axis=1).all()
    segments = shapely.linestrings(ends)
    a, b = shapely.STRtree(segments).query(segments, predicate="intersects")
    a, b = a[a < b], b[a < b]
    meet = shapely.intersection(segments[a], segments[b])
    assert (shapely.get_type_id(meet) == shapely.GeometryType.POINT).all()
    at = shapely.get_coordinates(meet)
    assert (ends[a] == at[:, None]).all(axis=2).any(axis=1).all()
    assert (ends[b] == at[:, None]).all(axis=2).any(axis=1).all()


def faces(arcs: NDArray[np.object_]) -> list[frozenset[tuple[int, bool]]]:
    """Each face as the arcs around it with the direction in which they have it on their left, sorted.

    Also checks that the faces are valid and together a valid coverage.
    """
    found = shapely.get_parts(shapely.polygonize(arcs))
    assert shapely.is_valid(found).all()
    assert shapely.coverage_is_valid(found)
    arc_of = {}
    for arc, points in enumerate(map(shapely.get_coordinates, arcs)):
        for p, q in pairwise(points.tolist()):
            arc_of[*p, *q], arc_of[*q, *p] = (arc, True), (arc, False)
    around = []
    for face in shapely.orient_polygons(found):
        rings = [shapely.get_coordinates(r).tolist() for r in (face.exterior, *face.interiors)]
        around.append(frozenset(arc_of[*p, *q] for r in rings for p, q in pairwise(r)))
    return sorted(around, key=sorted)


@st.composite
def noise(draw: st.DrawFn, most: int = 24) -> Labels:
    """Noise of any coarseness, with or without no data."""
    sides = st.integers(1, most)
    height, width, classes = draw(sides), draw(sides), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    coarse = rng.integers(0 if draw(st.booleans()) else 1, classes + 1, (height, width)).astype(np.uint8)
    zoom = draw(st.integers(1, 5))
    return np.kron(coarse, np.ones((zoom, zoom), np.uint8))[:height, :width]


@st.composite
def drawings(draw: st.DrawFn, most: int = 40) -> Labels:
    """Discs and stripes of any slope over each other: staircases, thin lines, rings in rings, slivers."""
    height, width = draw(st.integers(8, most)), draw(st.integers(8, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    y, x = np.indices((height, width)) + 0.5
    labels = np.full((height, width), draw(st.integers(0, 1)), np.uint8)
    for _ in range(draw(st.integers(1, 8))):
        cx, cy, r, value = *rng.uniform(0, (width, height)), rng.uniform(0.5, 15), rng.integers(0, 5)
        if rng.random() < 0.5:
            labels[(x - cx) ** 2 + (y - cy) ** 2 < r * r] = value
        else:
            angle, thick = rng.uniform(0, np.pi), rng.choice([0.5, 0.7, 1.0, 3.0])
            labels[abs((x - cx) * np.sin(angle) - (y - cy) * np.cos(angle)) < thick] = value
    return labels


def spiral(size: int) -> Labels:
    """A line of one pixel, wound up with one pixel between its turns."""
    labels = np.full((size, size), 2, np.uint8)
    x, y, (dx, dy) = 0, 0, (1, 0)
    labels[0, 0] = 1
    while True:
        for _ in range(2):
            ahead = (x + 2 * dx, y + 2 * dy)
            inside = 0 <= x + dx < size and 0 <= y + dy < size
            free = not (0 <= ahead[0] < size and 0 <= ahead[1] < size) or labels[ahead[1], ahead[0]] == 2
            if inside and free and labels[y + dy, x + dx] == 2:
                break
            dx, dy = -dy, dx
        else:
            return labels
        x, y = x + dx, y + dy
        labels[y, x] = 1


def patterns() -> dict[str, Labels]:
    """What is hard to simplify."""
    rows, cols = np.indices((33, 33))
    centre = np.maximum(abs(rows - 16), abs(cols - 16))
    circle = np.hypot(rows - 16, cols - 16)
    found = {
        "staircase": (rows > cols) + 1,
        "thin diagonals": (rows + cols) % 3 == 0,
        "parallel lines": (rows * 3 + cols) // 3 % 2,
        "shallow lines": (rows * 7 + cols) // 7 % 3,
        "checkerboard": (rows + cols) % 2,
        "coarse checkerboard": (rows // 3 + cols // 3) % 2,
        "rings in rings": centre % 3,
        "round rings": circle.astype(int) % 3,
        "thin round rings": (circle / 1.2).astype(int) % 2,
        "comb": (rows % 2 == 1) & (cols > 1) & (cols < 30),
        "one": np.zeros_like(rows),
        "spiral": spiral(33).astype(int) - 1,
        "moire": (rows * rows + cols * cols) // 37 % 4,
        "dots": (rows % 4 == 1) & (cols % 4 == 1),
    }
    return {name: (np.asarray(values, int) + 1).astype(np.uint8) for name, values in found.items()}


rasters = st.one_of(noise(), drawings(), st.sampled_from(sorted(patterns())).map(lambda name: patterns()[name]))
