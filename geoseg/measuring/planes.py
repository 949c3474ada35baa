"""Planes that are true to the area of an ellipsoid."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class EqualArea:
    """An equal-area plane of an ellipsoid: Lambert's cylinder, or his azimuthal projection where a pole is near.

    By authalic latitude: Snyder 1987, "Map Projections: A Working Manual", eq. 3-12.

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

    def _q(self, lat: Floats) -> Floats:
        """Snyder's q: the area between equator and latitude is π·a²·q."""
        s = np.sin(np.clip(lat, -math.pi / 2, math.pi / 2))
        if self.e2 <= 0:
            return 2 * s
        e = math.sqrt(self.e2)
        return np.asarray((1 - self.e2) * (s / (1 - self.e2 * s**2) + np.arctanh(e * s) / e))


def quadrilateral_areas(corners: Floats) -> Floats:
    """Areas of (N, 4, 2) quadrilaterals: half the cross product of the diagonals."""
    a, b = corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]
    return np.asarray(np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2)
