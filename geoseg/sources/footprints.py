"""Which sheets show the same ground, and where one shows a window of the other."""

from __future__ import annotations

import math
from functools import cache, cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyproj
import shapely

from geoseg.grids import Grid
from geoseg.polynomials import Polynomial
from geoseg.sources.ground import touches
from geoseg.sources.values import Source
from geoseg.tiling import Window

Floats = npt.NDArray[np.float64]

# Points on each side of a rectangle that goes from one CRS to another, where straight lines become curves.
_STEPS = 8

# Sheets that only touch share rounding errors of a pixel, not ground.
_LEAST_SHARED = 0.01


class Footprints:
    """The ground under the sheets of a source.

    Args:
        source: Labelled imagery; sheets without a CRS show no known ground.
    """

    def __init__(self, source: Source) -> None:
        grids = [sheet.grid for sheet in source.sheets]
        self._grids = {i: grid for i, grid in enumerate(grids) if grid is not None and grid.is_georeferenced}

    @cached_property
    def pairs(self) -> tuple[tuple[int, int, int], ...]:
        """(sheet, sheet with a higher number, pixels of the first that the second shows too), where there are any."""
        if len(self._grids) < 2:
            return ()
        numbers = list(self._grids)
        known = {str(grid.crs_wkt) for grid in self._grids.values()}
        common = known.pop() if len(known) == 1 else "EPSG:4326"
        shapes = np.array([shapely.polygons(_to(common, g, _outline(_whole(g)))) for g in self._grids.values()], object)
        shapes = shapely.make_valid(shapes)
        left, right = shapely.STRtree(shapes).query(shapes, predicate="intersects")
        left, right = left[left < right], right[left < right]
        shared = shapely.area(shapely.intersection(shapes[left], shapes[right]))
        found = []
        for a, b, area in zip(left.tolist(), right.tolist(), shared.tolist(), strict=True):
            grid = self._grids[numbers[a]]
            pixels = area / shapely.area(shapes[a]) * grid.height * grid.width
            if pixels >= _LEAST_SHARED:
                found.append((numbers[a], numbers[b], max(1, round(pixels))))
        return tuple(sorted(found))

    def overlapping(self, sheet: int) -> tuple[int, ...]:
        """The sheets that show some of the same ground."""
        return self._neighbours.get(sheet, ())

    @cached_property
    def _neighbours(self) -> dict[int, tuple[int, ...]]:
        found: dict[int, tuple[int, ...]] = {}
        for a, b, _ in self.pairs:
            found[a] = (*found.get(a, ()), b)
            found[b] = (*found.get(b, ()), a)
        return found

    def shown(self, window: Window, sheet: int, other: int) -> Window | None:
        """Pixels of ``other`` that hold the ground of a window of ``sheet``; None where it shows none of it."""
        target = self._grids[other]
        corners = _to_pixels(target, _to(str(target.crs_wkt), self._grids[sheet], _outline(window)))
        # What touches a pixel by less than a thousandth of it touches by rounding.
        (left, top), (right, bottom) = corners.min(axis=0) + 1e-3, corners.max(axis=0) - 1e-3
        top, left = max(0, math.floor(top)), max(0, math.floor(left))
        bottom, right = min(target.height, math.ceil(bottom)), min(target.width, math.ceil(right))
        found = Window(top, left, bottom - top, right - left) if bottom > top and right > left else None
        return found if found and touches(found, _whole(target)) else None


def outline(window: Window, grid: Grid, crs: str) -> Floats:
    """(N, 2) x, y of the border of a window in a CRS."""
    return _to(crs, grid, _outline(window))


def _whole(grid: Grid) -> Window:
    return Window(0, 0, grid.height, grid.width)


def _outline(window: Window) -> Floats:
    """(N, 2) col, row around a window; first and last are the same."""
    at = np.arange(_STEPS) / _STEPS
    corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)], np.float64)
    ring = np.concatenate([a + (b - a) * at[:, None] for a, b in pairwise(corners)] + [corners[:1]])
    return ring * (window.width, window.height) + (window.col_off, window.row_off)


def _to(crs: str, grid: Grid, points: Floats) -> Floats:
    """Pixel positions (col, row) of a grid as coordinates in a CRS."""
    world = grid.to_world(points)
    if grid.crs_wkt == crs:
        return world
    x, y = _transformer(str(grid.crs_wkt), crs).transform(world[:, 0], world[:, 1], errcheck=True)
    return np.column_stack([x, y])


def _to_pixels(grid: Grid, points: Floats) -> Floats:
    """Pixel positions (col, row) of world coordinates."""
    if not grid.gcps:
        back = ~grid.transform
        x, y = points.T
        return np.column_stack([back.a * x + back.b * y + back.c, back.d * x + back.e * y + back.f])
    at = np.linspace(0, 1, 9)
    cols, rows = (v.ravel() for v in np.meshgrid(at * grid.width, at * grid.height))
    pixels = np.column_stack([cols, rows])
    return Polynomial.fit(grid.to_world(pixels), pixels).at(points)


@cache
def _transformer(source: str, target: str) -> pyproj.Transformer:
    return pyproj.Transformer.from_crs(source, target, always_xy=True)
