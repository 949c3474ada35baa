"""Where pixels are: CRS, transform and shape of a raster, and true areas and lengths on its ground."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyproj
import shapely
from affine import Affine
from pyproj.crs import CRS

from geoseg.errors import ParameterError
from geoseg.measuring.ground import choose_plane, to_angles
from geoseg.measuring.planes import EqualArea, quadrilateral_areas
from geoseg.polynomials import Polynomial, span_area
from geoseg.tiling import Window

Floats = npt.NDArray[np.float64]
Offsets = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class GroundControlPoint:
    """A pixel position (pixel edges are whole numbers) that is known to lie at ``x``, ``y``, ``z`` in the CRS."""

    row: float
    col: float
    x: float
    y: float
    z: float = 0.0

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (self.row, self.col, self.x, self.y, self.z))):
            raise ParameterError(f"a ground control point needs finite numbers, not {self}")


@dataclass(frozen=True, eq=False)
class Grid:
    """The pixels of a scene, placed on the ground.

    Grids are equal where all is equal bit for bit, but for the words of the CRS: file formats reword the same CRS.

    Attributes:
        crs_wkt: CRS as WKT, or None. With ``gcps`` it is the CRS of the control points.
        transform: Pixel (col, row) to world (x, y); pixel edges are whole numbers. The identity where there is none.
        height: Rows, at least 1.
        width: Columns, at least 1.
        gcps: Ground control points, in a CRS, of a raster without transform; three and more, not on one line.

    Raises:
        ParameterError: An attribute is out of range, or both a transform and control points are given.
    """

    crs_wkt: str | None
    transform: Affine
    height: int
    width: int
    gcps: tuple[GroundControlPoint, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "gcps", tuple(self.gcps))
        if self.height < 1 or self.width < 1:
            raise ParameterError(f"a grid needs at least one pixel, not {self.height}×{self.width}")
        scale = max(abs(v) for v in (self.transform.a, self.transform.b, self.transform.d, self.transform.e))
        if not all(map(math.isfinite, self.transform)) or abs(self.transform.determinant) <= 1e-12 * scale**2:
            raise ParameterError(f"the transform {tuple(self.transform)[:6]} has no inverse: pixels without an area")
        if self.gcps and self.transform != Affine.identity():
            raise ParameterError("a grid has a transform or ground control points, not both")
        if self.gcps and self.crs_wkt is None:
            raise ParameterError(f"{len(self.gcps)} ground control points without a CRS place nothing")
        if self.gcps and not span_area(self._gcp_array[:, :2]):
            raise ParameterError(f"{len(self.gcps)} ground control points span no area; 3 not on one line are needed")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Grid):
            return NotImplemented
        if self._exact != other._exact or (self._crs is None) != (other._crs is None):
            return False
        return self.crs_wkt == other.crs_wkt or bool(self._crs and self._crs.equals(other._crs, ignore_axis_order=True))

    def __hash__(self) -> int:
        return hash(self._exact)

    @property
    def _exact(self) -> tuple[object, ...]:
        return tuple(self.transform), self.shape, self.gcps

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    def summary(self) -> str:
        """Shape, name of the CRS and transform in one line, for messages."""
        crs = (self.crs_wkt or '"no CRS"').split('"')[1]
        return f"{self.height}×{self.width} px, {crs}, transform {', '.join(f'{v:.10g}' for v in self.transform[:6])}"

    @property
    def is_georeferenced(self) -> bool:
        """Whether the place on Earth is known: there is a CRS."""
        return self.crs_wkt is not None

    @property
    def is_geographic(self) -> bool:
        """Whether coordinates are longitude and latitude."""
        return self._crs is not None and self._crs.is_geographic

    @property
    def metres_per_unit(self) -> float:
        """Metres in one unit of a projected CRS (0.3048 for feet); 1.0 without CRS and for angles."""
        if self._crs is None or self.is_geographic or not self._crs.axis_info:
            return 1.0
        return float(self._crs.axis_info[0].unit_conversion_factor) or 1.0

    def part(self, window: Window) -> Grid:
        """The grid of a window: the same pixels in the same places. The whole window gives the whole grid, bit for bit.

        Raises:
            ParameterError: The window reaches outside the grid.
        """
        top, left = window.row_off, window.col_off
        if top < 0 or left < 0 or window.row_end > self.height or window.col_end > self.width:
            raise ParameterError(f"the window ({window}) reaches outside a grid of {self.height}×{self.width} pixels")
        if self.gcps:
            points = tuple(replace(p, row=p.row - top, col=p.col - left) for p in self.gcps)
            return Grid(self.crs_wkt, self.transform, window.height, window.width, points)
        transform = self.transform @ Affine.translation(left, top) if top or left else self.transform
        return Grid(self.crs_wkt, transform, window.height, window.width)

    def scaled(self, height: int, width: int) -> Grid:
        """The same ground in ``height`` × ``width`` pixels; the own shape gives the own grid, bit for bit."""
        if (height, width) == self.shape:
            return self
        down, across = self.height / height, self.width / width
        if self.gcps:
            points = tuple(replace(p, row=p.row / down, col=p.col / across) for p in self.gcps)
            return Grid(self.crs_wkt, self.transform, height, width, points)
        return Grid(self.crs_wkt, self.transform @ Affine.scale(across, down), height, width)

    def pixel_sides(self) -> tuple[float, float] | None:
        """(down, across) in metres of the pixel at the centre, scaled to its true area; None without CRS."""
        gsd = self.ground_sample_distance()
        if gsd is None:
            return None
        row, col = self.height // 2, self.width // 2
        # A ring there and back: its perimeter is twice the length.
        paths = np.array([(col, row), (col, row + 1), (col, row), (col + 1, row)], np.float64)
        down, across = self.measure_rings(self.to_world(paths), np.array([0, 2, 4]), np.arange(3))[1]
        return gsd * math.sqrt(down / across), gsd * math.sqrt(across / down)

    def ground_sample_distance(self) -> float | None:
        """Side in metres of a square as large as the pixel at the centre; None without CRS."""
        if not self.is_georeferenced:
            return None
        return math.sqrt(self._cell_areas(np.array([self.height // 2]), np.array([self.width // 2]))[0])

    def row_areas(self) -> Floats:
        """Area in m² of the pixel of each row at the middle column, (H,); in squared CRS units without CRS."""
        rows = np.arange(self.height)
        if self._equal_area is None and not self.gcps:
            return np.full(self.height, abs(self.transform.determinant) * self.metres_per_unit**2)
        return self._cell_areas(rows, np.full(self.height, self.width // 2))

    def to_world(self, points: Floats) -> Floats:
        """World coordinates of pixel positions.

        Through the transform; or through the control points by a least-squares polynomial, of second order where ten
        or more of them allow it and of first order else: what GDAL and QGIS choose for the same points.

        Args:
            points: (N, 2) col, row; pixel edges are whole numbers.

        Returns:
            (N, 2) x, y.
        """
        points = np.asarray(points, np.float64).reshape(-1, 2)
        if not self.gcps:
            t, (x, y), world = self.transform, points.T, np.empty(points.shape)
            world[:, 0] = t.a * x + t.b * y + t.c
            world[:, 1] = t.d * x + t.e * y + t.f
            return world
        return self._gcp_fit.at(points)

    def measure_rings(self, points: Floats, rings: Offsets, polygons: Offsets) -> tuple[Floats, Floats]:
        """Area and perimeter on the ground.

        Planar where the CRS is projected and true to area at the scene; else on the ellipsoid, in an equal-area plane
        by authalic latitude (Snyder 1987, "Map Projections: A Working Manual", eq. 3-12), with edges taken straight in
        that plane: exact for pixel edges along meridians and parallels. Longitudes are never wrapped at 180°.

        Args:
            points: (V, 2) x, y in world coordinates.
            rings: (R + 1,) int64, ring ``i`` is ``points[rings[i]:rings[i + 1]]``; closed or not.
            polygons: (N + 1,) int64, polygon ``i`` is the rings ``polygons[i]`` to ``polygons[i + 1]``, exterior first.

        Returns:
            Area in m² and perimeter in m with holes, each (N,) float64; in CRS units without CRS.
        """
        # Late, because compiled code takes a third of a second to come, and most who ask for a grid measure nothing.
        from geoseg.measuring.rings import measure_on_ellipsoid, measure_rings

        if self._equal_area is not None:
            return measure_on_ellipsoid(self._equal_area, self._to_angles(points), rings, polygons)
        area, perimeter = measure_rings(points, rings, polygons)
        return area * self.metres_per_unit**2, perimeter * self.metres_per_unit

    def measure(self, polygons: npt.NDArray[np.object_]) -> tuple[Floats, Floats]:
        """Area and perimeter on the ground of shapely polygons; see :meth:`measure_rings`.

        Args:
            polygons: (N,) shapely polygons or multipolygons in world coordinates.

        Returns:
            Area in m² and perimeter in m with holes, each (N,) float64; in CRS units without CRS.
        """
        parts, owner = shapely.get_parts(np.asarray(polygons, object), return_index=True)
        rings, part = shapely.get_rings(parts, return_index=True)
        points, ring = shapely.get_coordinates(rings, return_index=True)
        starts = np.searchsorted(ring, np.arange(len(rings) + 1)), np.searchsorted(part, np.arange(len(parts) + 1))
        area, perimeter = (
            np.bincount(owner, values, minlength=len(polygons)).astype(np.float64)
            for values in self.measure_rings(points, *starts)
        )
        return area, perimeter

    @cached_property
    def _crs(self) -> CRS | None:
        """The horizontal part of the CRS, its height and datum shift left away."""
        if self.crs_wkt is None:
            return None
        try:
            crs = CRS.from_wkt(self.crs_wkt)
        except pyproj.exceptions.CRSError as error:
            raise ParameterError(f"the CRS cannot be read: {' '.join(str(error).split())[:200]}") from error
        while crs.is_bound or crs.is_compound:
            inner = crs.source_crs if crs.is_bound else crs.sub_crs_list[0]
            assert inner is not None
            crs = inner
        return crs

    @cached_property
    def _gcp_array(self) -> Floats:
        """(N, 4) col, row, x, y; x continuous where longitudes cross 180°."""
        points = np.array([(p.col, p.row, p.x, p.y) for p in self.gcps], np.float64)
        if self.is_geographic and np.ptp(points[:, 2]) > 180:
            points[points[:, 2] < 0, 2] += 360
        return points

    @cached_property
    def _gcp_fit(self) -> Polynomial:
        """From pixel positions to the world."""
        return Polynomial.fit(self._gcp_array[:, :2], self._gcp_array[:, 2:])

    @cached_property
    def _equal_area(self) -> EqualArea | None:
        """The plane to measure in; None where the CRS itself is good enough, or there is none that says."""
        if self._crs is None:
            return None
        # Nine cells over the scene stand for it, each a hundredth of its sides.
        at = np.array([0.0, 0.495, 0.99])
        cols, rows = (v.ravel() for v in np.meshgrid(at * self.width, at * self.height))
        cells = self.to_world(_cells(rows, cols, self.height * 0.01, self.width * 0.01)).reshape(9, 4, 2)
        return choose_plane(self._crs, cells, self._middle, self.metres_per_unit, self._is_near)

    @property
    def _middle(self) -> Floats:
        """(2,) x, y."""
        return np.asarray(self.to_world(np.array([(self.width / 2, self.height / 2)]))[0])

    def _is_near(self, x: float, y: float) -> bool:
        """Whether a point lies within the size of the scene around it; never with ground control points."""
        back = ~self.transform
        col, row = back.a * x + back.b * y + back.c, back.d * x + back.e * y + back.f
        return not self.gcps and abs(col / self.width - 0.5) < 1.5 and abs(row / self.height - 0.5) < 1.5

    def _cell_areas(self, rows: npt.NDArray[np.int_], cols: npt.NDArray[np.int_]) -> Floats:
        """Areas of pixels in m², (N,); in squared CRS units without CRS."""
        corners, plane = self.to_world(_cells(rows, cols, 1, 1)), self._equal_area
        if plane is None:
            return quadrilateral_areas(corners.reshape(-1, 4, 2)) * self.metres_per_unit**2
        return quadrilateral_areas(plane.project(self._to_angles(corners)).reshape(-1, 4, 2))

    def _to_angles(self, points: Floats) -> Floats:
        """World x, y to longitude, latitude in radians; longitudes continuous over the scene."""
        assert self._crs is not None
        return to_angles(self._crs, points, self._middle)


def _cells(rows: npt.NDArray[np.number], cols: npt.NDArray[np.number], height: float, width: float) -> Floats:
    """(4 N, 2) corners col, row of rectangles around, from their upper left ones at ``rows``, ``cols``."""
    around = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) * (width, height)
    return np.asarray((np.column_stack([cols, rows])[:, None] + around).reshape(-1, 2))
