"""Labels to polygons: patches, the merging of small ones, and the vertices that make polygons a coverage.

A *patch* is a 4-connected set of pixels of one class; 8-connected ones would touch themselves at corners, which is no
valid polygon. All geometry here is in pixel coordinates (x = column, y = row, the origin at the upper left corner of
the raster), where every vertex is an integer and arithmetic is exact; only the finished polygons go through the grid.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.errors import VectorError
from geoseg.legend import NODATA_ID

Geometries = NDArray[np.object_]
"""(N,) array of shapely geometries."""

# Pixels handled at once where an operation needs several times the memory of its input.
_BAND_PIXELS = 1 << 22

# An area that misses the minimum by less than this share misses it by rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Patches:
    """The patches of a label raster, numbered from 1.

    Attributes:
        ids: (H, W) int32, the patch of each pixel; 0 = no data.
        classes: (N + 1,) uint8, the class id of each patch; that of patch 0 is 0.
        pixels: (N + 1,) int64, the pixel count of each patch; that of patch 0 counts the pixels without data.
    """

    ids: NDArray[np.int32]
    classes: NDArray[np.uint8]
    pixels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.classes) - 1


@dataclass(frozen=True)
class Features:
    """Polygons in world coordinates with their attributes; every array is (N,)."""

    polygons: Geometries
    class_id: NDArray[np.int32]
    class_name: NDArray[np.object_]
    area_m2: NDArray[np.float64]
    perimeter_m: NDArray[np.float64]
    pixel_count: NDArray[np.int64]
    mean_confidence: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.polygons)


def label_patches(labels: NDArray[np.uint8]) -> Patches:
    """Number the patches of (H, W) ``labels`` by class, then in the order of their first pixels."""
    ids = np.zeros(labels.shape, np.int32)
    classes = [np.zeros(1, np.uint8)]
    total = 0
    for value, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None:
            found, count = ndimage.label(labels[box] == value)
            np.add(found, total, out=found, where=found > 0)
            ids[box] += found
            classes.append(np.full(count, value, np.uint8))
            total += count
    return Patches(ids, np.concatenate(classes), count_pixels(ids, total))


def count_pixels(ids: NDArray[np.int32], total: int) -> NDArray[np.int64]:
    """Pixels of each patch 0 .. ``total``: (total + 1,) int64."""
    counts = np.zeros(total + 1, np.int64)
    for rows in _bands(ids.shape):
        counts += np.bincount(ids[rows].ravel(), minlength=total + 1)
    return counts


def sum_by_patch(ids: NDArray[np.int32], total: int, weights: NDArray[np.floating]) -> NDArray[np.float64]:
    """Sum of (H, W) or (H, 1) ``weights`` over each patch 0 .. ``total``: (total + 1,) float64."""
    sums = np.zeros(total + 1)
    for rows in _bands(ids.shape):
        spread = np.broadcast_to(weights[rows], ids[rows].shape)
        sums += np.bincount(ids[rows].ravel(), weights=spread.ravel(), minlength=total + 1)
    return sums


def merge_small(patches: Patches, row_areas: NDArray[np.float64], min_area: float) -> Patches:
    """Merge patches below ``min_area`` into the neighbour with the longest shared border, the smallest first.

    This goes on until every patch reaches the minimum or has no neighbour: pixels without data neither absorb nor are
    absorbed. Of equally long borders, counted in pixel edges, the larger neighbour wins, then the lower patch number.
    Neighbours that come to have the same class become one patch. The valid area does not change.

    Args:
        patches: What :func:`label_patches` gave.
        row_areas: (H,) area of one pixel of each row.
        min_area: In the unit of ``row_areas``.
    """
    areas = sum_by_patch(patches.ids, len(patches), row_areas[:, None])
    threshold = min_area * (1 - _ROUNDING)
    small = areas < threshold
    small[0] = False
    if not small.any():
        return patches
    merging = _Merging(patches, areas, threshold, np.flatnonzero(small))
    merging.run()
    roots = merging.roots()
    kept, renumbered = np.unique(roots, return_inverse=True)
    classes = np.frombuffer(merging.classes, np.uint8)[kept]
    pixels = np.bincount(renumbered, weights=patches.pixels).astype(np.int64)
    return Patches(renumbered.astype(np.int32)[patches.ids], classes, pixels)


class _Merging:
    """Union-find over patches; a group goes by the lowest number in it.

    Only groups below the threshold ever need their neighbours, so borders are kept for small patches only.
    """

    def __init__(self, patches: Patches, areas: NDArray[np.float64], threshold: float, small: NDArray[np.intp]) -> None:
        self.threshold = threshold
        self.parents = array("i", range(len(areas)))
        self.areas = array("d", areas.tobytes())
        self.classes = bytearray(patches.classes.tobytes())
        self.members = {int(p): [int(p)] for p in small}
        self.queue = [(self.areas[p], p) for p in self.members]
        owners, self._neighbours, self._lengths = _borders(patches.ids, small, len(patches))
        self._starts = np.searchsorted(owners, np.arange(len(areas) + 1))

    def run(self) -> None:
        """Merge until no small group has a neighbour."""
        heapq.heapify(self.queue)
        while self.queue:
            area, group = heapq.heappop(self.queue)
            outdated = self.parents[group] != group or self.areas[group] != area
            borders = {} if outdated else self._borders_of(group)
            if borders:
                self._absorb(group, borders)

    def roots(self) -> NDArray[np.int32]:
        """(N + 1,) the group of every patch."""
        parents = np.array(self.parents, np.int32)
        while not np.array_equal(parents, higher := parents[parents]):
            parents = higher
        return parents

    def _absorb(self, group: int, borders: dict[int, int]) -> None:
        target = max(borders, key=lambda n: (borders[n], self.areas[n], -n))
        alike = [n for n in borders if n != target and self.classes[n] == self.classes[target]]
        united = sorted([group, target, *alike])
        root = united[0]
        area, members = sum(self.areas[n] for n in united), [self.members.pop(n, []) for n in united]
        self.classes[root] = self.classes[target]
        self.areas[root] = area
        for n in united:
            self.parents[n] = root
        if area < self.threshold:
            self.members[root] = [p for some in members for p in some]
            heapq.heappush(self.queue, (area, root))

    def _borders_of(self, group: int) -> dict[int, int]:
        """Shared border of ``group`` with each neighbouring group, in pixel edges."""
        lengths: dict[int, int] = {}
        for patch in self.members[group]:
            lo, hi = self._starts[patch], self._starts[patch + 1]
            found = zip(self._neighbours[lo:hi].tolist(), self._lengths[lo:hi].tolist(), strict=True)
            for neighbour, length in found:
                root = self._find(neighbour)
                lengths[root] = lengths.get(root, 0) + length
        lengths.pop(group, None)
        return lengths

    def _find(self, patch: int) -> int:
        parents = self.parents
        while parents[patch] != patch:
            parents[patch] = patch = parents[parents[patch]]
        return patch


def _borders(
    ids: NDArray[np.int32], chosen: NDArray[np.intp], total: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Pixel edges between each ``chosen`` patch and each of its neighbours: owners (ascending), neighbours, lengths."""
    wanted = np.zeros(total + 1, bool)
    wanted[chosen] = True
    keys, lengths = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for rows in _bands(ids.shape):
        here, below = ids[rows], ids[rows.start + 1 : rows.stop + 1]
        for a, b in ((here[:, :-1], here[:, 1:]), (here[: len(below)], below)):
            differ = (a != b) & (a > 0) & (b > 0)
            a, b = a[differ].astype(np.int64), b[differ].astype(np.int64)
            pairs = np.concatenate([(a * (total + 1) + b)[wanted[a]], (b * (total + 1) + a)[wanted[b]]])
            found, times = np.unique(pairs, return_counts=True)
            keys.append(found)
            lengths.append(times.astype(np.int64))
    key, where = np.unique(np.concatenate(keys), return_inverse=True)
    length = np.bincount(where, weights=np.concatenate(lengths), minlength=len(key)).astype(np.int64)
    return key // (total + 1), key % (total + 1), length


def _bands(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices of rows that partition an array of ``shape``."""
    height, width = shape
    step = max(1, _BAND_PIXELS // max(1, width))
    return (slice(top, min(top + step, height)) for top in range(0, height, step))


def set_vertices(polygons: Geometries, ids: NDArray[np.int32]) -> Geometries:
    """The same polygons with a vertex at every corner and wherever the neighbour changes, and nowhere else.

    With the nodes, where three or more patches meet, the polygons are a valid coverage: shared borders have the same
    vertices on both sides, under any grid. Rings are normalised, so that the result depends on ``ids`` alone.

    Args:
        polygons: (N,) polygons along pixel edges, in pixel coordinates.
        ids: (H, W) the patches they were traced from.
    """
    if not len(polygons):
        return polygons
    # Interpolated points are off by rounding at most; every point on a pixel edge that counts is an integer.
    _, coordinates, (ring_ends, polygon_ends) = shapely.to_ragged_array(shapely.segmentize(polygons, 1.0))
    points = np.rint(coordinates).astype(np.int64)
    ring_of = np.repeat(np.arange(len(ring_ends) - 1), np.diff(ring_ends))
    # A ring repeats its first point at the end: before the first comes the last but one, after the last the second.
    index = np.arange(len(points))
    first, last = ring_ends[:-1], ring_ends[1:] - 1
    before, after = index - 1, index + 1
    before[first], after[last] = last - 1, first + 1
    straight = (points[before] == points).all(axis=1) | (points[before] + points[after] == 2 * points).all(axis=1)
    kept = ~straight
    kept[straight] = _is_node(points[straight], ids)
    kept[last] = False
    rings = shapely.linearrings(points[kept].astype(np.float64), indices=ring_of[kept])
    polygon_of = np.repeat(np.arange(len(polygon_ends) - 1), np.diff(polygon_ends))
    return np.asarray(shapely.normalize(shapely.polygons(rings, indices=polygon_of)))


def _is_node(points: NDArray[np.int64], ids: NDArray[np.int32]) -> NDArray[np.bool_]:
    """(N,) whether three or more patches, no data and the outside counting as one, meet at (N, 2) col, row."""
    height, width = ids.shape
    around = []
    for row in (points[:, 1] - 1, points[:, 1]):
        for col in (points[:, 0] - 1, points[:, 0]):
            inside = (row >= 0) & (row < height) & (col >= 0) & (col < width)
            around.append(np.where(inside, ids[np.clip(row, 0, height - 1), np.clip(col, 0, width - 1)], NODATA_ID))
    upper_left, upper_right, lower_left, lower_right = around
    # On a straight border the two pixels of one side belong to one patch; a node is where those of the other differ.
    return np.asarray(
        ((upper_left != upper_right) & (lower_left == lower_right))
        | ((upper_left == upper_right) & (lower_left != lower_right))
        | ((upper_left != lower_left) & (upper_right == lower_right))
        | ((upper_left == lower_left) & (upper_right != lower_right))
    )


def simplify_coverage(polygons: Geometries, tolerance: float) -> Geometries:
    """Simplify the borders between polygons, each once for both sides; the outer border of the whole stays.

    Visvalingam-Whyatt simplification of a coverage (GEOS ``CoverageSimplifier``): triangles of less than
    ``tolerance``² are cut off. Nothing overlaps, no gap opens, no ring is lost, the total area does not change.

    Args:
        polygons: (N,) polygons of a valid coverage: all of them, since a border needs both its sides.
        tolerance: In the unit of the coordinates.

    Raises:
        VectorError: The result is no valid coverage.
    """
    simple = np.asarray(shapely.coverage_simplify(polygons, tolerance, simplify_boundary=False))
    lost = shapely.get_num_interior_rings(simple) != shapely.get_num_interior_rings(polygons)
    torn = int(np.count_nonzero(lost | ~shapely.is_valid(simple)))
    if torn or not shapely.coverage_is_valid(simple):
        raise VectorError(
            f"simplifying by {tolerance:g} px would tear the borders of {torn or 'some'} of {len(simple)} polygons; "
            "choose a smaller tolerance"
        )
    return simple
