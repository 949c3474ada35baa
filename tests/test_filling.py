"""Filling of holes, streamed, against the definition carried out literally on the whole raster."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.errors import ParameterError
from geoseg.polygons import merging_flight
from geoseg.polygons.filling import fill_holes

Labels = NDArray[np.uint8]

band_heights = st.integers(1, 32)
slopes = st.sampled_from([0.0, 2.0**-8, -(2.0**-8)])


@st.composite
def islands(draw: st.DrawFn) -> Labels:
    """Noise in which one class prevails, so that others lie in it; framed boxes in one another on top."""
    height, width = draw(st.integers(1, 26)), draw(st.integers(1, 26))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = rng.integers(1, draw(st.integers(2, 4)), (height, width)).astype(np.uint8)
    labels[rng.random(labels.shape) < draw(st.sampled_from([0, 0.3, 0.6, 0.8]))] = 1
    for _ in range(draw(st.integers(0, 8))):
        top, left = rng.integers(0, height), rng.integers(0, width)
        box = labels[top : top + rng.integers(2, 14), left : left + rng.integers(2, 14)]
        frame = np.ones(box.shape, bool)
        frame[1:-1, 1:-1] = False
        box[frame] = rng.integers(1, 4)
    labels[rng.random(labels.shape) < draw(st.sampled_from([0, 0, 0.01, 0.1]))] = 0
    return labels


small_arrays = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 3))
label_rasters = st.one_of(islands(), small_arrays)
maximum_areas = st.sampled_from([0.0, 1.0, 1.5, 2.5, 4.0, 9.0, 25.0, 80.0, 1e6])


def filled(labels: Labels, max_area: float, *, areas: Any = None, rows: int | None = None) -> Labels:
    areas = np.ones(len(labels)) if areas is None else areas
    return np.concatenate(list(fill_holes(lambda: iter([labels]), areas, max_area, band_rows=rows)()))


def literal(labels: Labels, areas: NDArray[np.float64], max_area: float) -> Labels:
    """Every hole of every patch, one after the other, the larger ones last."""
    holes: list[tuple[float, int, NDArray[np.bool_]]] = []
    for value in range(1, int(labels.max(initial=0)) + 1):
        ids, count = ndimage.label(labels == value)
        for patch in range(1, count + 1):
            # With a frame around, what reaches the edge is one component with the frame.
            beside, parts = ndimage.label(np.pad(ids != patch, 1, constant_values=True))
            for part in range(1, parts + 1):
                hole = beside == part
                if not (np.pad(labels, 1) == 0)[hole].any():
                    hole = hole[1:-1, 1:-1]
                    holes.append((float((hole * areas[:, None]).sum()), value, hole))
    result = labels.copy()
    for area, value, hole in sorted(holes, key=lambda h: (h[0], h[2].sum())):
        if area < max_area:
            result[hole] = value
    return result


@given(label_rasters, maximum_areas, slopes, band_heights)
@settings(max_examples=150, deadline=None)
def test_streamed_is_literal(labels: Labels, max_area: float, slope: float, rows: int) -> None:
    areas = 1.0 + slope * np.arange(len(labels))
    result = filled(labels, max_area, areas=areas, rows=rows)
    np.testing.assert_array_equal(result, literal(labels, areas, max_area))


@pytest.mark.parametrize("rows", [1, 2, 5, 15])
def test_of_holes_in_holes_the_outermost_counts(rows: int) -> None:
    row, col = np.indices((15, 15))
    labels = (np.maximum(abs(row - 7), abs(col - 7)) % 3 + 1).astype(np.uint8)
    for inner, side in ((7, 15), (6, 13), (5, 11), (4, 9), (3, 7), (2, 5), (1, 3)):
        expected = labels.copy()
        hole = slice(7 - inner + 1, 7 + inner)
        expected[hole, hole] = labels[7 - inner, 7]
        assert side == 2 * inner + 1
        np.testing.assert_array_equal(filled(labels, (side - 2) ** 2 + 1, rows=rows), expected)
        np.testing.assert_array_equal(filled(labels, (side - 2) ** 2, rows=rows)[7 - inner + 1], labels[7 - inner + 1])


def test_a_hole_is_filled_whatever_it_is_made_of() -> None:
    labels = np.ones((5, 6), np.uint8)
    labels[1:4, 1:5] = [[2, 3, 2, 3], [3, 2, 3, 2], [2, 3, 4, 1]]
    assert (filled(labels, 13, rows=2) == 1).all()
    np.testing.assert_array_equal(filled(labels, 11, rows=2), labels)


def test_no_data_keeps_a_hole() -> None:
    labels = np.ones((5, 5), np.uint8)
    labels[1:4, 1:4] = 2
    assert (filled(labels, 100) == 1).all()
    labels[2, 2] = 0
    np.testing.assert_array_equal(filled(labels, 100), labels)


def test_the_edge_of_the_raster_is_no_data() -> None:
    labels = np.ones((4, 4), np.uint8)
    labels[0, 1] = labels[2, 3] = labels[3, 0] = 2
    np.testing.assert_array_equal(filled(labels, 100, rows=1), labels)


def test_holes_that_touch_at_a_corner_are_two() -> None:
    labels = np.ones((5, 5), np.uint8)
    labels[1, 1] = labels[2, 2] = 2
    assert (filled(labels, 1.5, rows=1) == 1).all()


def test_what_opens_at_a_corner_only_is_a_hole() -> None:
    labels = np.array([[2, 1, 1], [1, 2, 1], [1, 1, 1]], np.uint8)
    np.testing.assert_array_equal(filled(labels, 2), [[2, 1, 1], [1, 1, 1], [1, 1, 1]])


def test_a_hole_of_the_maximum_stays() -> None:
    labels = np.ones((3, 5), np.uint8)
    labels[1, 1:4] = 2
    areas = np.full(3, 0.1)
    np.testing.assert_array_equal(filled(labels, 0.3, areas=areas), labels)
    assert (filled(labels, 0.301, areas=areas) == 1).all()


def test_rows_in_flight_do_not_grow_with_the_raster(monkeypatch: pytest.MonkeyPatch) -> None:
    most = {}
    original = merging_flight._Flight.compact
    for height in (300, 1200):
        held = []

        def compact(flight: Any, held: list[int] = held) -> None:
            original(flight)
            held.append(sum(len(rows.runs.rows) - 1 for rows in flight.rows))

        monkeypatch.setattr(merging_flight._Flight, "compact", compact)
        labels = np.random.default_rng(5).integers(1, 4, (height, 40)).astype(np.uint8)
        list(fill_holes(lambda labels=labels: iter([labels]), np.ones(height), 30, band_rows=4)())
        most[height] = max(held)
    assert most[300] <= 30
    assert most[1200] <= 30


@pytest.mark.parametrize("area", [-1.0, np.nan])
def test_the_maximum_must_be_an_area(area: float) -> None:
    with pytest.raises(ParameterError, match="holes"):
        filled(np.ones((2, 2), np.uint8), area)
