"""Polygons cut along a grid: the same ground, no gap, few vertices."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.polygons.cutting import cell_side, cut_shapes
from geoseg.polygons.finishing import normalized
from geoseg.polygons.joining import SeamJoiner
from geoseg.polygons.shapes import Shapes
from geoseg.polygons.tracing import trace_strip

EVERY = np.ones(256, bool)


def trace(labels: NDArray[np.uint8], cell: int) -> Shapes:
    """All polygons of a raster, with vertices wherever a border crosses the grid of ``cell`` pixels."""
    framed = np.concatenate([np.zeros_like(labels[:1]), labels])
    inside, rest = trace_strip(framed, 0, last=True, confidence=None, wanted=EVERY, pin_rows=cell, pin_cols=cell)
    return normalized(Shapes.concatenate([inside, SeamJoiner(labels.shape[1]).add(rest)]))


def polygons(shapes: Shapes) -> list[shapely.Polygon]:
    """As shapely has them."""
    found = []
    for first, last in zip(shapes.polygons[:-1], shapes.polygons[1:], strict=True):
        rings = [
            shapes.points[a:b]
            for a, b in zip(shapes.rings[first:last], shapes.rings[first + 1 : last + 1], strict=True)
        ]
        found.append(shapely.Polygon(rings[0], rings[1:]))
    return found


@given(st.integers(0, 2**32 - 1), st.integers(20, 80), st.integers(20, 80), st.sampled_from([0.5, 0.9, 0.99]))
@settings(max_examples=15, deadline=None)
def test_parts_are_the_same_ground_without_gaps(seed: int, height: int, width: int, share: float) -> None:
    labels = 1 + (np.random.default_rng(seed).random((height, width)) > share).astype(np.uint8)
    shapes = trace(labels, cell_side(1000) // 2)
    parts = normalized(cut_shapes(shapes, 250))
    whole, cut = polygons(shapes), polygons(parts)
    assert max(shapely.get_num_coordinates(cut) - 1 - shapely.get_num_interior_rings(cut)) <= 250
    assert shapely.is_valid(cut).all()
    assert shapely.coverage_is_valid(cut)
    assert shapely.area(cut).sum() == shapely.area(whole).sum() == height * width
    np.testing.assert_array_equal(shapely.area(cut), parts.table.pixels)
    assert shapely.union_all(cut).equals(shapely.box(0, 0, width, height))


def test_holes_away_from_a_cut_are_not_cut_again(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.ones((128, 128), np.uint8)
    labels[1::2, 1::2] = 2
    shapes, seen = trace(labels, cell_side(100)), []
    intersection = shapely.intersection

    def counted(a: shapely.Polygon, b: shapely.Polygon) -> shapely.Geometry:
        seen.append(int(shapely.get_num_coordinates(a)))
        return intersection(a, b)

    monkeypatch.setattr(shapely, "intersection", counted)
    cut = polygons(cut_shapes(shapes, 100))
    assert sum(seen) < 5 * len(shapes.points)  # of the 14 times that a cell's vertices would be overlaid
    assert shapely.is_valid(cut).all()
    assert shapely.coverage_is_valid(cut)


@pytest.mark.parametrize("limit", [1000, 5000, 10_000, 100_000, 10_000_000])
def test_a_cell_never_holds_more_than_the_limit(limit: int) -> None:
    side = cell_side(limit)
    assert 16 <= side <= 256
    assert 2 * (side + 1) ** 2 <= limit
