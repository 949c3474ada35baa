"""Polynomials of pixel positions, as GDAL and QGIS fit them to ground control points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Polynomial:
    """A least-squares polynomial from one plane to another.

    Attributes:
        reference: (N, 2) positions it was fitted at.
        order: 1 or 2.
        coefficients: (terms, 2).
    """

    reference: Floats
    order: int
    coefficients: Floats

    @staticmethod
    def fit(positions: Floats, values: Floats) -> Polynomial:
        """Through (N, 2) ``values`` at (N, 2) ``positions``: of second order where ten or more allow it, else first."""
        scaled = _scaled(positions, positions)
        terms = _powers(scaled, 2)
        order = 2 if len(positions) >= 10 and np.linalg.matrix_rank(terms) == 6 else 1
        offset = values.mean(axis=0)
        solution = np.linalg.lstsq(_powers(scaled, order), values - offset, rcond=None)[0]
        solution[0] += offset
        return Polynomial(positions, order, solution)

    def at(self, positions: Floats) -> Floats:
        """(M, 2) values at (M, 2) positions."""
        return np.asarray(_powers(_scaled(positions, self.reference), self.order) @ self.coefficients)


def span_area(positions: Floats) -> bool:
    """Whether (N, 2) positions do not all lie on one line."""
    return bool(np.linalg.matrix_rank(_powers(_scaled(positions, positions), 1)) == 3)


def _scaled(points: Floats, reference: Floats) -> Floats:
    """Shift and scale into about -1..1 over ``reference``, so that squares stay well scaled."""
    low, high = reference.min(axis=0), reference.max(axis=0)
    return np.asarray((points - (low + high) / 2) / np.maximum((high - low) / 2, 1e-9))


def _powers(points: Floats, order: int) -> Floats:
    """(N, terms) powers of (N, 2) positions up to ``order`` 1 or 2."""
    u, v = points.T
    terms = [np.ones_like(u), u, v]
    return np.column_stack(terms if order == 1 else [*terms, u * u, u * v, v * v])
