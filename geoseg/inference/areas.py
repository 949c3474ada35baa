"""Polygons over a scene: which pixel centres lie inside, exact to the bit whatever window is asked for."""

from __future__ import annotations

import hashlib
import threading

import numpy as np
import numpy.typing as npt
import shapely

from geoseg.tiling import Window

Floats = npt.NDArray[np.float64]

_MOST_BANDS = 1024
_LEAST_BAND = 64
_SLAB_PIXELS = 2**22

# Much less than from a border of a pixel to its centre: what ends at a rectangle does not meet its inside.
_EDGE = 1e-6


class Area:
    """Polygons in pixel coordinates of a scene: x is the column and y the row, pixel edges are whole numbers.

    A pixel belongs to the area where its centre lies in a polygon. Where rows cross edges is computed from the whole
    edge in the scene's own coordinates, so that windows agree: put together they are the whole, and of two polygons
    that share an edge exactly one has the centre upon it.

    Args:
        polygons: (N,) valid shapely polygons and multipolygons.
        height: Rows of the scene.
    """

    def __init__(self, polygons: npt.NDArray[np.object_], height: int) -> None:
        parts = shapely.get_parts(polygons)
        rings = shapely.get_rings(shapely.orient_polygons(parts))
        points, ring = shapely.get_coordinates(rings, return_index=True)
        starts = np.flatnonzero(ring[1:] == ring[:-1])
        ends = points[starts], points[starts + 1]
        kept = (np.minimum(ends[0][:, 1], ends[1][:, 1]) <= height) & (np.maximum(ends[0][:, 1], ends[1][:, 1]) >= 0)
        ends = ends[0][kept], ends[1][kept]
        rising = ends[1][:, 1] < ends[0][:, 1]
        # Always from the upper end to the lower: what two polygons share is then computed alike.
        self._upper = np.where(rising[:, None], ends[1], ends[0])
        self._lower = np.where(rising[:, None], ends[0], ends[1])
        # Counterclockwise with y read as upwards: y falls along a left border, where rows enter the polygon.
        self._sign = np.where(rising, 1, -1).astype(np.int32)
        self._rows = np.ceil(np.column_stack([self._upper[:, 1], self._lower[:, 1]]) - 0.5).astype(np.int64)
        self._band = max(_LEAST_BAND, -(-height // _MOST_BANDS))
        self._order, self._starts = _by_band(self._upper[:, 1], self._lower[:, 1], self._band, height)
        self._parts = parts
        self._tree = shapely.STRtree(parts)
        self._lock = threading.Lock()
        self._bounds = shapely.total_bounds(polygons)
        wkb = sorted(shapely.to_wkb(shapely.normalize(parts)).tolist())
        self.identity = hashlib.sha256(b"".join(wkb)).hexdigest()

    def bounds(self, within: Window) -> Window | None:
        """The part of a window outside of which nothing is inside; None where that is all of it."""
        left, top, right, bottom = self._bounds
        rows = max(within.row_off, int(np.floor(top))), min(within.row_end, int(np.ceil(bottom)))
        cols = max(within.col_off, int(np.floor(left))), min(within.col_end, int(np.ceil(right)))
        if rows[0] >= rows[1] or cols[0] >= cols[1]:
            return None
        return Window(rows[0], cols[0], rows[1] - rows[0], cols[1] - cols[0])

    def inside(self, window: Window) -> npt.NDArray[np.bool_]:
        """(h, w) whether the centre of a pixel lies in any polygon."""
        found = np.empty((window.height, window.width), np.bool_)
        step = max(1, _SLAB_PIXELS // window.width)
        for top in range(0, window.height, step):
            rows = min(step, window.height - top)
            found[top : top + rows] = self._slab(Window(window.row_off + top, window.col_off, rows, window.width))
        return found

    def touches(self, window: Window) -> bool:
        """Whether a polygon meets the inside of the rectangle."""
        box = shapely.box(
            window.col_off + _EDGE, window.row_off + _EDGE, window.col_end - _EDGE, window.row_end - _EDGE
        )  # fmt: skip
        near = self._parts[self._tree.query(box)]
        with self._lock:  # polygons make their indexes when they are first asked
            shapely.prepare(near)
            return bool(shapely.intersects(near, box).any())

    def _slab(self, window: Window) -> npt.NDArray[np.bool_]:
        """Count, along each row, how many polygons have been entered and not left."""
        edges = self._edges(window)
        first = np.maximum(self._rows[edges, 0], window.row_off)
        count = np.minimum(self._rows[edges, 1], window.row_end) - first
        leftmost = np.minimum(self._upper[edges, 0], self._lower[edges, 0])
        crossing = (count > 0) & (leftmost < window.col_end)
        edges, first, count = edges[crossing], first[crossing], count[crossing]
        if not edges.size:
            return np.zeros((window.height, window.width), np.bool_)
        which = np.repeat(np.arange(len(edges)), count)
        rows = first[which] + np.arange(len(which)) - (np.cumsum(count) - count)[which]
        (x0, y0), (x1, y1) = self._upper[edges[which]].T, self._lower[edges[which]].T
        x = np.clip(x0 + (rows + 0.5 - y0) * ((x1 - x0) / (y1 - y0)), np.minimum(x0, x1), np.maximum(x0, x1))
        cols = np.clip(np.ceil(x - 0.5) - window.col_off, 0, window.width).astype(np.int64)
        depth = np.zeros((window.height, window.width + 1), np.int32)
        np.add.at(depth, (rows - window.row_off, cols), self._sign[edges[which]])
        np.cumsum(depth, axis=1, out=depth)
        return np.asarray(depth[:, :-1] > 0)

    def _edges(self, window: Window) -> npt.NDArray[np.int64]:
        """Edges that may meet the rows of a window, each once."""
        last = len(self._starts) - 2
        first = min(max(window.row_off // self._band, 0), last)
        end = min(max((window.row_end - 1) // self._band, 0), last)
        found = self._order[self._starts[first] : self._starts[end + 1]]
        return found if first == end else np.unique(found)


def _by_band(
    top: Floats, bottom: Floats, band: int, height: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Edges by the bands of ``band`` rows that they cross: their numbers in one array, and where each band begins."""
    bands = -(-height // band)
    first = np.clip(np.floor(top / band), 0, bands - 1).astype(np.int64)
    last = np.clip(np.floor(bottom / band), 0, bands - 1).astype(np.int64)
    count = last - first + 1
    edges = np.repeat(np.arange(len(top)), count)
    of_band = first[edges] + np.arange(len(edges)) - (np.cumsum(count) - count)[edges]
    order = np.argsort(of_band, kind="stable")
    return edges[order], np.searchsorted(of_band[order], np.arange(bands + 1))
