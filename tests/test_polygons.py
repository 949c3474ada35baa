"""Patches and polygons against scipy, GDAL's rasterization and the rules they promise to keep."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from rasterio.features import rasterize
from scipy import ndimage

from geoseg.errors import VectorError
from geoseg.polygons import Patches, count_pixels, label_patches, merge_small, simplify_coverage
from geoseg.tracing import trace_patches

Labels = NDArray[np.uint8]

sides = st.integers(1, 40)


@st.composite
def noise(draw: st.DrawFn) -> Labels:
    """Noise of any coarseness: single pixels that touch at corners, or patches with holes."""
    height, width, classes = draw(sides), draw(sides), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    coarse = rng.integers(0 if draw(st.booleans()) else 1, classes + 1, (height, width)).astype(np.uint8)
    zoom = draw(st.integers(1, 5))
    return np.kron(coarse, np.ones((zoom, zoom), np.uint8))[:height, :width]


small_arrays = arrays(np.uint8, st.tuples(st.integers(1, 8), st.integers(1, 8)), elements=st.integers(0, 3))
label_rasters = st.one_of(noise(), small_arrays)


def rings_in_rings(size: int = 15) -> Labels:
    rows, cols = np.indices((size, size))
    return (np.maximum(abs(rows - size // 2), abs(cols - size // 2)) % 3 + 1).astype(np.uint8)


def trace(patches: Patches, strip_height: int) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    batches = [(ids, polygons) for _, ids, polygons in trace_patches(patches, strip_height)]
    ids, polygons = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    order = np.argsort(ids)
    return ids[order], polygons[order]


def burn(polygons: Any, values: Any, shape: tuple[int, int]) -> NDArray[Any]:
    if not len(polygons):
        return np.zeros(shape, np.uint8)
    return rasterize(zip(polygons, values, strict=True), out_shape=shape, fill=0, dtype="uint8")


@given(label_rasters)
@settings(max_examples=60, deadline=None)
def test_patches_are_those_of_scipy(labels: Labels) -> None:
    patches = label_patches(labels)
    assert len(patches) == sum(ndimage.label(labels == v)[1] for v in range(1, 7))
    np.testing.assert_array_equal(patches.classes[patches.ids], labels)
    np.testing.assert_array_equal(count_pixels(patches.ids, len(patches)), patches.pixels)
    for patch in range(1, len(patches) + 1):
        assert ndimage.label(patches.ids == patch)[1] == 1


@given(label_rasters, st.integers(1, 45))
@settings(max_examples=80, deadline=None)
def test_polygons_partition_the_valid_area(labels: Labels, strip_height: int) -> None:
    patches = label_patches(labels)
    ids, polygons = trace(patches, strip_height)
    np.testing.assert_array_equal(ids, np.arange(1, len(patches) + 1))
    assert (shapely.get_type_id(polygons) == shapely.GeometryType.POLYGON).all()
    assert shapely.is_valid(polygons).all()
    assert shapely.coverage_is_valid(polygons)
    np.testing.assert_array_equal(shapely.area(polygons), patches.pixels[1:])
    assert shapely.union_all(polygons).area == np.count_nonzero(labels)
    np.testing.assert_array_equal(burn(polygons, patches.classes[ids], labels.shape), labels)


@given(label_rasters, st.integers(1, 45))
@settings(max_examples=60, deadline=None)
def test_polygons_do_not_depend_on_strips(labels: Labels, strip_height: int) -> None:
    patches = label_patches(labels)
    _, expected = trace(patches, len(labels))
    _, found = trace(patches, strip_height)
    assert [p.wkb for p in found] == [p.wkb for p in expected]


@pytest.mark.parametrize("strip_height", [1, 4, 15])
def test_rings_in_rings(strip_height: int) -> None:
    labels = rings_in_rings()
    patches = label_patches(labels)
    _, polygons = trace(patches, strip_height)
    assert sorted(shapely.get_num_interior_rings(polygons)) == [0] + [1] * 7
    np.testing.assert_array_equal(burn(polygons, patches.classes[1:], labels.shape), labels)


def test_corners_do_not_connect() -> None:
    labels = (np.indices((6, 7)).sum(axis=0) % 2 + 1).astype(np.uint8)
    patches = label_patches(labels)
    _, polygons = trace(patches, 2)
    assert len(polygons) == 42
    assert (shapely.get_num_coordinates(polygons) == 5).all()


def test_holes_that_touch_at_a_corner_are_two() -> None:
    labels = np.ones((4, 4), np.uint8)
    labels[1, 1] = labels[2, 2] = 0
    (polygon,) = trace(label_patches(labels), 2)[1]
    assert polygon.is_valid
    assert len(polygon.interiors) == 2


def test_a_vertex_lies_where_the_neighbour_changes_and_nowhere_else() -> None:
    labels = np.array([[1, 1, 1, 1], [2, 2, 3, 3]], np.uint8)
    _, (top, _, _) = trace(label_patches(labels), 1)
    assert set(top.exterior.coords) == {(0, 0), (4, 0), (4, 1), (2, 1), (0, 1)}


def test_nothing_valid_gives_no_polygon() -> None:
    patches = label_patches(np.zeros((3, 5), np.uint8))
    assert len(patches) == 0
    assert [(rows, len(p)) for rows, _, p in trace_patches(patches, 2)] == [(2, 0), (3, 0)]


@given(label_rasters, st.sampled_from([0.5, 1.0, 2.0, 3.5, 10.0, 1e6]), st.booleans())
@settings(max_examples=80, deadline=None)
def test_no_small_patch_with_a_neighbour_is_left(labels: Labels, min_area: float, shrinking: bool) -> None:
    row_areas = np.linspace(1.0, 0.3 if shrinking else 1.0, len(labels))
    merged = merge_small(label_patches(labels), row_areas, min_area)
    result = merged.classes[merged.ids]
    np.testing.assert_array_equal(result == 0, labels == 0)
    assert set(np.unique(result)) <= set(np.unique(labels))
    np.testing.assert_array_equal(count_pixels(merged.ids, len(merged)), merged.pixels)
    # What came to touch its like was united: the groups are the patches of the new labels.
    again = label_patches(result)
    assert len(again) == len(merged)
    assert len(np.unique(merged.ids * (len(again) + 1) + again.ids)) == len(np.unique(merged.ids))
    areas = np.bincount(merged.ids.ravel(), weights=np.repeat(row_areas, labels.shape[1]), minlength=len(merged) + 1)
    for patch in np.flatnonzero(areas < min_area * (1 - 1e-6)):
        if patch > 0:
            around = ndimage.binary_dilation(merged.ids == patch) & (merged.ids != patch)
            assert (merged.ids[around] == 0).all()


def test_merging_prefers_the_longest_border() -> None:
    labels = np.array([[1, 1, 1, 1], [1, 2, 3, 3], [1, 3, 3, 3]], np.uint8)
    merged = merge_small(label_patches(labels), np.ones(3), 2)
    np.testing.assert_array_equal(merged.classes[merged.ids][1], [1, 1, 3, 3])  # two edges each; class 1 is larger


def test_merging_starts_with_the_smallest_and_goes_on() -> None:
    labels = np.array([[1, 1, 1, 1, 1, 2, 2, 3]], np.uint8)
    merged = merge_small(label_patches(labels), np.ones(1), 3)
    # 3 joins 2; the two of them then reach the minimum.
    np.testing.assert_array_equal(merged.classes[merged.ids], [[1, 1, 1, 1, 1, 2, 2, 2]])


def test_merging_unites_neighbours_of_the_same_class() -> None:
    labels = np.array([[1, 1, 2, 1, 1]], np.uint8)
    merged = merge_small(label_patches(labels), np.ones(1), 2)
    assert len(merged) == 1
    assert merged.pixels.tolist() == [0, 5]


def test_no_data_neither_absorbs_nor_is_absorbed() -> None:
    labels = np.array([[1, 0, 2, 2], [0, 0, 2, 2]], np.uint8)
    merged = merge_small(label_patches(labels), np.ones(2), 3)
    np.testing.assert_array_equal(merged.classes[merged.ids], labels)


def test_an_area_equal_to_the_minimum_is_large_enough() -> None:
    labels = np.array([[1, 1, 1, 2, 2, 2, 2]], np.uint8)
    assert len(merge_small(label_patches(labels), np.full(1, 0.1), 0.3)) == 2  # 0.1 + 0.1 + 0.1 > 0.3 in floats


@given(label_rasters, st.sampled_from([0.7, 1.0, 2.0, 5.0, 50.0]), st.integers(1, 45))
@settings(max_examples=80, deadline=None)
def test_simplifying_keeps_the_coverage(labels: Labels, tolerance: float, strip_height: int) -> None:
    patches = label_patches(labels)
    _, polygons = trace(patches, strip_height)
    simple = simplify_coverage(polygons, tolerance)
    assert shapely.coverage_is_valid(simple)
    assert shapely.is_valid(simple).all()
    assert not shapely.is_empty(simple).any()
    assert (shapely.get_num_coordinates(simple) <= shapely.get_num_coordinates(polygons)).all()
    assert shapely.area(simple).sum() == pytest.approx(np.count_nonzero(labels), rel=1e-12)
    before, after = shapely.union_all(polygons), shapely.union_all(simple)
    assert before.symmetric_difference(after).area == pytest.approx(0, abs=1e-9)


def test_simplifying_removes_stairs() -> None:
    rows, cols = np.indices((30, 30))
    _, polygons = trace(label_patches(np.where(rows > cols, 1, 2).astype(np.uint8)), 7)
    simple = simplify_coverage(polygons, 2.0)
    assert (shapely.get_num_coordinates(simple) < 8).all()


def test_simplifying_refuses_what_is_no_coverage() -> None:
    overlapping = np.array([shapely.box(0, 0, 2, 2), shapely.box(1, 1, 3, 3)], object)
    with pytest.raises(VectorError, match="tear"):
        simplify_coverage(overlapping, 0.1)
