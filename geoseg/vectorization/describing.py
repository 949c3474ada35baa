"""Polygons in pixels to features in the world."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from geoseg.grids import Grid
from geoseg.polygons.cutting import cut_shapes
from geoseg.polygons.finishing import normalized, to_wkb
from geoseg.polygons.shapes import PatchTable, Shapes
from geoseg.vectorization.reprojection import Reprojection
from geoseg.vectors import Features

Points = NDArray[np.float64]

# Vertices of a batch: what is made of them, and the memory for it, then stays in the processor's caches.
_PORTION_POINTS = 1 << 16


@dataclass(frozen=True, slots=True)
class Described:
    """N polygons, ready to be written.

    Attributes:
        features: What is written.
        table: What was counted in their patches.
    """

    features: Features
    table: PatchTable

    def __len__(self) -> int:
        return len(self.table)

    def take(self, indices: NDArray[np.intp]) -> Described:
        """The polygons at ``indices``, (M,), in that order."""
        return Described(self.features.take(indices), self.table.take(indices))


def described(
    wkb: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    area: NDArray[np.float64],
    perimeter: NDArray[np.float64],
    table: PatchTable,
    *,
    confidence: bool,
) -> Described:
    """N polygons with what was counted in their patches; see :class:`~geoseg.vectors.Features` for the arrays."""
    features = Features(
        wkb=wkb,
        offsets=offsets,
        class_id=table.class_id.astype(np.int32),
        area_m2=area,
        perimeter_m=perimeter,
        pixel_count=table.pixels,
        mean_confidence=table.mean_confidence() if confidence else None,
    )
    return Described(features, table)


class Describer:
    """Turns polygons in pixel coordinates into features in the world. Threads may share it.

    Args:
        grid: Of the raster.
        reproject: Gives the polygons in another CRS; None for the raster's own.
        confidence: Whether features have a mean confidence.
        max_vertices: Polygons with more are cut.
    """

    def __init__(self, grid: Grid, reproject: Reprojection | None, confidence: bool, max_vertices: int | None) -> None:
        self._grid = grid
        self._reproject = reproject
        self._confidence = confidence
        self._max_vertices = max_vertices

    def __call__(self, shapes: Shapes) -> tuple[Described, ...]:
        """Features of ``shapes`` in batches, in the order of their first pixels, which no thread changes."""
        order = np.argsort(shapes.table.first, kind="stable")
        if (np.diff(order) < 0).any():
            shapes = shapes.take(order)
        return tuple(self._describe(portion) for portion in _portions(shapes))

    def _describe(self, shapes: Shapes) -> Described:
        shapes = normalized(shapes)
        if self._max_vertices is not None:
            shapes = normalized(cut_shapes(shapes, self._max_vertices))
        world = self._to_world(shapes.points)
        area, perimeter = self._grid.measure_rings(world, shapes.rings, shapes.polygons)
        placed = world if self._reproject is None else self._reproject(world)
        wkb, offsets = to_wkb(placed, shapes.rings, shapes.polygons)
        return described(wkb, offsets, area, perimeter, shapes.table, confidence=self._confidence)

    def _to_world(self, points: Points) -> Points:
        # QGIS shows a raster that has no place at all with its first row at y = 0 and y upwards: so do we.
        nowhere = self._grid.transform == Affine.identity() and not self._grid.gcps
        return points * (1, -1) if nowhere else self._grid.to_world(points)


def _portions(shapes: Shapes) -> Iterator[Shapes]:
    """The same polygons, a few at a time."""
    ends, begin = shapes.rings[shapes.polygons], 0
    while begin < len(shapes):
        end = max(begin + 1, int(np.searchsorted(ends, ends[begin] + _PORTION_POINTS, "right")) - 1)
        yield shapes.part(begin, end)
        begin = end
