"""Smooth noise and cell patterns on a pixel grid, vectorised; what the landscape is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float32]
"""(H, W) float32: one value a pixel."""

Cells = npt.NDArray[np.int32]
"""(H, W) int32: the number of the cell that a pixel lies in."""

_SPLINE_VARIANCE = 151 / 315  # mean over a period of the sum of squared cubic B-spline weights


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Field:
    """Noise of about zero mean and unit variance whose features are ``scale`` pixels wide.

    A cubic B-spline through random control points ``scale`` pixels apart, as two small matrix products.
    """
    rows, cols = (_spline_weights(size, scale) for size in shape)
    points = rng.standard_normal((rows.shape[1], cols.shape[1]), dtype=np.float32)
    return np.asarray(rows @ points @ cols.T / np.float32(_SPLINE_VARIANCE), np.float32)


def fractal_noise(rng: np.random.Generator, shape: tuple[int, int], scale: float, octaves: int = 4) -> Field:
    """Unit-variance sum of noise at ``scale``, ``scale`` / 2, … each half as strong as the one before."""
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        total += smooth_noise(rng, shape, max(1.5, scale / 2**octave)) / np.float32(2**octave)
    power = sum(0.25**octave for octave in range(octaves))
    return np.asarray(total / np.float32(np.sqrt(power)), np.float32)


def _spline_weights(size: int, scale: float) -> Field:
    """(size, n) float32: weight of each control point at each position; rows sum to 1."""
    position = np.arange(size, dtype=np.float64) / scale
    first = np.floor(position).astype(int)
    f = position - first
    weights = np.zeros((size, int(first[-1]) + 4), np.float32)
    cubic = ((1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3)
    for offset, weight in enumerate(cubic):
        weights[np.arange(size), first + offset] = weight / 6
    return weights


@dataclass(frozen=True, slots=True)
class JitteredGrid:
    """Points scattered one to a cell of a square lattice, for Voronoi cells and tree crowns.

    Attributes:
        spacing: Side of a lattice cell in pixels.
        shape: Lattice cells (down, across); one ring of them lies outside the image.
        y: Row of each point in pixels, one value a cell.
        x: Column of each point in pixels, one value a cell.
    """

    spacing: float
    shape: tuple[int, int]
    y: Field
    x: Field

    @classmethod
    def scatter(cls, rng: np.random.Generator, shape: tuple[int, int], spacing: float, jitter: float) -> JitteredGrid:
        """Cover an image of ``shape``; ``jitter`` 0..1 is the share of its cell that a point may lie in."""
        # warped coordinates may leave the image: two rings of cells beyond it
        cells = (int(shape[0] / spacing) + 5, int(shape[1] / spacing) + 5)
        centre = np.indices(cells, dtype=np.float32) - np.float32(1.5)
        offset = (rng.random((2, *cells), dtype=np.float32) - np.float32(0.5)) * np.float32(jitter)
        y, x = (centre + offset) * np.float32(spacing)
        return cls(spacing, cells, y.ravel(), x.ravel())

    def neighbours(self, y: Field, x: Field) -> list[Cells]:
        """The nine cells at and around each position; the nearest point lies in one of them."""
        row = np.clip(np.floor(y / self.spacing).astype(np.int32) + 2, 1, self.shape[0] - 2)
        col = np.clip(np.floor(x / self.spacing).astype(np.int32) + 2, 1, self.shape[1] - 2)
        return [(row + i) * self.shape[1] + col + j for i in (-1, 0, 1) for j in (-1, 0, 1)]

    def nearest(self, y: Field, x: Field) -> Cells:
        """Number of the nearest point."""
        best = np.full(y.shape, np.inf, np.float32)
        found = np.zeros(y.shape, np.int32)
        for cell in self.neighbours(y, x):
            distance = (self.y[cell] - y) ** 2 + (self.x[cell] - x) ** 2
            closer = distance < best
            best[closer], found[closer] = distance[closer], cell[closer]
        return found

    def border_distance(self, y: Field, x: Field, nearest: Cells) -> Field:
        """Distance in pixels to the border of the Voronoi cell."""
        y0, x0 = self.y[nearest], self.x[nearest]
        own = (y0 - y) ** 2 + (x0 - x) ** 2
        best = np.full(y.shape, np.inf, np.float32)
        for cell in self.neighbours(y, x):
            y1, x1 = self.y[cell], self.x[cell]
            apart = np.hypot(y1 - y0, x1 - x0)
            apart[cell == nearest] = np.nan
            with np.errstate(invalid="ignore"):
                np.fmin(best, ((y1 - y) ** 2 + (x1 - x) ** 2 - own) / (2 * apart), out=best)
        return best
