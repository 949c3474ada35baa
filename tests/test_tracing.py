"""Labelling and tracing of strips against scipy, rasterio and a slow joiner of strips."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.arcs.labelling import label_strip

Labels = NDArray[np.uint8]

sides = st.integers(1, 24)


@st.composite
def rasters(draw: st.DrawFn) -> Labels:
    """Noise of any coarseness: single pixels that touch at corners, patches with holes, rings in rings, no data."""
    height, width, classes = draw(sides), draw(sides), draw(st.integers(1, 4))
    if draw(st.integers(0, 4)) == 0:
        rows, cols = np.indices((height, width))
        return (np.maximum(abs(rows - height // 2), abs(cols - width // 2)) % classes + 1).astype(np.uint8)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = height, width
    coarse = rng.integers(draw(st.integers(0, 1)), classes + 1, shape).astype(np.uint8)
    zoom = draw(st.integers(1, 3))
    return np.kron(coarse, np.ones((zoom, zoom), np.uint8))[:height, :width]


def numbered(labels: Labels) -> tuple[NDArray[np.int64], int]:
    """Patches by scipy, numbered from 1 in the order of their first pixels."""
    ids = np.zeros(labels.shape, np.int64)
    for value in np.unique(labels[labels > 0]):
        found, _ = ndimage.label(labels == value)
        ids[found > 0] = found[found > 0] + ids.max()
    values, first, where = np.unique(ids, return_index=True, return_inverse=True)
    order = np.argsort(first[values > 0])
    numbers = np.zeros(len(values), np.int64)
    numbers[np.flatnonzero(values > 0)[order]] = np.arange(1, len(order) + 1)
    return numbers[where].reshape(labels.shape), len(order)


@given(rasters())
@settings(max_examples=100, deadline=None)
def test_patches_are_those_of_scipy_in_the_order_of_their_first_pixels(labels: Labels) -> None:
    ids, count = label_strip(labels)
    expected, number = numbered(labels)
    assert count == number
    assert ids.dtype == np.int32
    np.testing.assert_array_equal(ids, expected)
