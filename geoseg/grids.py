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
from geoseg.tiling import Window

Floats = npt.NDArray[np.float64]

MAX_AREA_DISTORTION = 0.005
"""A projection that changes areas by more than this somewhere in the scene is measured on the ellipsoid instead."""


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
        if self.gcps and np.linalg.matrix_rank(_polynomial(_normalized(self._gcp_array[:, :2]), 1)) < 3:
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
        ends = self.to_world(np.array([(col, row), (col, row + 1), (col + 1, row)])).reshape(3, 2)
        # A path there and back is a polygon whose perimeter is twice its length.
        paths = shapely.polygons(ends[[[0, 1, 0, 0], [0, 2, 0, 0]]])
        down, across = self.measure(paths)[1]
        return gsd * math.sqrt(down / across), gsd * math.sqrt(across / down)

    def ground_sample_distance(self) -> float | None:
        """Side in metres of a square as large as the pixel at the centre; None without CRS."""
        if not self.is_georeferenced:
            return None
        area, _ = self.measure(self._cells(np.array([self.height // 2]), np.array([self.width // 2])))
        return math.sqrt(area[0])

    def row_areas(self) -> Floats:
        """Area in m² of the pixel of each row at the middle column, (H,); in squared CRS units without CRS."""
        rows = np.arange(self.height)
        if self._equal_area is None and not self.gcps:
            return np.full(self.height, abs(self.transform.determinant) * self.metres_per_unit**2)
        return self.measure(self._cells(rows, np.full(self.height, self.width // 2)))[0]

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
            t = self.transform
            return np.column_stack(
                [t.a * points[:, 0] + t.b * points[:, 1] + t.c, t.d * points[:, 0] + t.e * points[:, 1] + t.f]
            )
        order, coefficients = self._gcp_fit
        return _polynomial(_normalized(points, self._gcp_array[:, :2]), order) @ coefficients

    def measure(self, polygons: npt.NDArray[np.object_]) -> tuple[Floats, Floats]:
        """Area and perimeter on the ground.

        Planar where the CRS is projected and true to area at the scene; else on the ellipsoid, in an equal-area plane
        by authalic latitude (Snyder 1987, "Map Projections: A Working Manual", eq. 3-12), with edges taken straight in
        that plane: exact for pixel edges along meridians and parallels. Longitudes are never wrapped at 180°.

        Args:
            polygons: (N,) shapely polygons or multipolygons in world coordinates.

        Returns:
            Area in m² and perimeter in m with holes, each (N,) float64; in CRS units without CRS.
        """
        polygons = np.asarray(polygons, dtype=object)
        if self._equal_area is None:
            unit = self.metres_per_unit
            return shapely.area(polygons) * unit**2, shapely.length(polygons) * unit
        plane = self._equal_area
        angular = shapely.transform(polygons, self._to_angles)
        flat = shapely.transform(angular, plane.project)
        return shapely.area(flat), shapely.length(flat) if plane.pole else plane.lengths(angular)

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
    def _gcp_fit(self) -> tuple[int, Floats]:
        """Order and coefficients (terms, 2) of the polynomial through the control points."""
        points = self._gcp_array
        positions = _normalized(points[:, :2])
        terms = _polynomial(positions, 2)
        order = 2 if len(points) >= 10 and np.linalg.matrix_rank(terms) == 6 else 1
        offset = points[:, 2:].mean(axis=0)
        solution = np.linalg.lstsq(_polynomial(positions, order), points[:, 2:] - offset, rcond=None)[0]
        solution[0] += offset
        return order, solution

    @cached_property
    def _equal_area(self) -> _EqualArea | None:
        """The plane to measure in; None where the CRS itself is good enough, or there is none that says."""
        crs = self._crs
        if crs is None or crs.ellipsoid is None or not (crs.is_geographic or crs.is_projected):
            return None
        a, b = crs.ellipsoid.semi_major_metre, crs.ellipsoid.semi_minor_metre
        cylinder = _EqualArea(a, 1.0 - (b / a) ** 2, 0)
        if crs.is_geographic:
            return cylinder
        assert crs.geodetic_crs is not None
        # Nine cells over the scene stand for it, each a hundredth of its sides.
        at = np.array([0.0, 0.495, 0.99])
        cols, rows = (v.ravel() for v in np.meshgrid(at * self.width, at * self.height))
        corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) * (self.width * 0.01, self.height * 0.01)
        ring = self.to_world((np.column_stack([cols, rows])[:, None] + corners).reshape(-1, 2))
        angles = self._to_angles(ring)
        if not np.isfinite(angles).all():
            return None  # parts of the scene lie outside the projection: the plane is all there is
        plane = _EqualArea(a, cylinder.e2, self._pole_nearby(crs, crs.geodetic_crs))
        planar = shapely.area(shapely.polygons(ring.reshape(9, 4, 2))) * self.metres_per_unit**2
        true = shapely.area(shapely.polygons(plane.project(angles).reshape(9, 4, 2)))
        return plane if np.abs(planar / true - 1).max() > MAX_AREA_DISTORTION else None

    def _pole_nearby(self, crs: CRS, geodetic: CRS) -> int:
        """1 or -1 where the north or south pole is a point within a scene's size: longitudes fail there; else 0."""
        if self.gcps:
            return 0
        to_crs = pyproj.Transformer.from_crs(geodetic, crs, always_xy=True)
        quarter = math.pi / 2 / (geodetic.axis_info[0].unit_conversion_factor or math.radians(1))
        for pole in (1, -1):
            x, y = to_crs.transform(np.array([0, quarter]), np.full(2, pole * quarter))
            if np.isfinite([x, y]).all() and max(np.ptp(x), np.ptp(y)) < 1e-3:
                back = ~self.transform
                col, row = back.a * x[0] + back.b * y[0] + back.c, back.d * x[0] + back.e * y[0] + back.f
                if abs(col / self.width - 0.5) < 1.5 and abs(row / self.height - 0.5) < 1.5:
                    return pole
        return 0

    def _cells(self, rows: npt.NDArray[np.int_], cols: npt.NDArray[np.int_]) -> npt.NDArray[np.object_]:
        """Pixels as polygons in world coordinates."""
        corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float64)
        points = (np.column_stack([cols, rows])[:, None] + corners).reshape(-1, 2)
        return np.asarray(shapely.polygons(self.to_world(points).reshape(-1, 4, 2)), dtype=object)

    def _to_angles(self, points: Floats) -> Floats:
        """World x, y to longitude, latitude in radians; longitudes continuous over the scene."""
        crs = self._crs
        assert crs is not None
        if crs.is_geographic:
            return np.asarray(points * (crs.axis_info[0].unit_conversion_factor or math.radians(1)))
        assert crs.geodetic_crs is not None
        transformer = pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)
        middle = self.to_world(np.array([(self.width / 2, self.height / 2)]))
        radians = crs.geodetic_crs.axis_info[0].unit_conversion_factor or math.radians(1)
        lon, lat = transformer.transform(*np.vstack([middle, points]).T)
        lon, lat = np.asarray(lon) * radians, np.asarray(lat) * radians
        # Just below one half: what lies exactly at 180° from the middle stays on its own side.
        lon -= 2 * math.pi * np.round((lon - lon[0]) / (2 * math.pi) * (1 - 1e-9))
        return np.column_stack([lon, lat])[1:]


@dataclass(frozen=True, slots=True)
class _EqualArea:
    """An equal-area plane of an ellipsoid: Lambert's cylinder, or his azimuthal projection where a pole is near.

    Attributes:
        a: Semi-major axis in metres.
        e2: Squared eccentricity.
        pole: 0 for the cylinder, 1 north, -1 south.
    """

    a: float
    e2: float
    pole: int

    def project(self, angles: Floats) -> Floats:
        """(N, 2) longitude, latitude in radians to (N, 2) metres."""
        lon, q = angles[:, 0], self._q(angles[:, 1])
        if not self.pole:
            return np.column_stack([self.a * lon, self.a * q / 2])
        radius = self.a * np.sqrt(np.maximum(self._q(np.array([math.pi / 2])) - self.pole * q, 0))
        return np.column_stack([radius * np.sin(lon), radius * np.cos(lon)])

    def lengths(self, polygons: npt.NDArray[np.object_]) -> Floats:
        """Perimeters in m of polygons in radians: each edge by the radii of curvature at its middle latitude."""
        parts, part_owner = shapely.get_parts(polygons, return_index=True)
        rings, ring_part = shapely.get_rings(parts, return_index=True)
        points, ring = shapely.get_coordinates(rings, return_index=True)
        step, middle = np.diff(points, axis=0), (points[1:, 1] + points[:-1, 1]) / 2
        w2 = 1 - self.e2 * np.sin(middle) ** 2
        north = self.a * (1 - self.e2) / w2**1.5 * step[:, 1]
        east = self.a / np.sqrt(w2) * np.cos(middle) * step[:, 0]
        inside = ring[1:] == ring[:-1]
        owner = part_owner[ring_part[ring[1:]]]
        return np.bincount(owner[inside], np.hypot(north, east)[inside], minlength=len(polygons)).astype(np.float64)

    def _q(self, lat: Floats) -> Floats:
        """Snyder's q: the area between equator and latitude is π·a²·q."""
        s = np.sin(np.clip(lat, -math.pi / 2, math.pi / 2))
        if self.e2 <= 0:
            return 2 * s
        e = math.sqrt(self.e2)
        return np.asarray((1 - self.e2) * (s / (1 - self.e2 * s**2) + np.arctanh(e * s) / e))


def _normalized(points: Floats, reference: Floats | None = None) -> Floats:
    """Shift and scale into about -1..1 over ``reference`` (by default the points), so that squares stay well scaled."""
    reference = points if reference is None else reference
    low, high = reference.min(axis=0), reference.max(axis=0)
    return np.asarray((points - (low + high) / 2) / np.maximum((high - low) / 2, 1e-9))


def _polynomial(points: Floats, order: int) -> Floats:
    """(N, terms) powers of (N, 2) positions up to ``order`` 1 or 2."""
    u, v = points.T
    terms = [np.ones_like(u), u, v]
    return np.column_stack(terms if order == 1 else [*terms, u * u, u * v, v * v])
