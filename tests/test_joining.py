from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rasterio import features
from scipy import ndimage
from slow_tracing import slow_strips

from geoseg.errors import VectorError
from geoseg.polygons.finishing import normalized
from geoseg.polygons.joining import SeamJoiner
from geoseg.polygons.shapes import CONFIDENCE_UNIT, PatchTable, Shapes
from geoseg.polygons.tracing import trace_strip

ALL = set(range(1, 256))


def join(labels: np.ndarray, cuts: list[int], wanted: set[int] = ALL, confidence: np.ndarray | None = None) -> Shapes:
    joiner = SeamJoiner(labels.shape[1])
    shapes = Shapes.concatenate(
        [joiner.add(f) for f in slow_strips(labels, cuts, wanted & set(labels.flat), confidence)]
    )
    joiner.finish()
    assert joiner.open_points == 0
    return normalized(shapes.take(np.argsort(shapes.table.first)))


def every(height: int, step: int) -> list[int]:
    return list(range(step, height, step))


def to_shapely(shapes: Shapes) -> np.ndarray:
    offsets = (shapes.rings, shapes.polygons)
    rings = [shapes.points[a:b] for a, b in zip(offsets[0][:-1], offsets[0][1:], strict=True)]
    return np.array(
        [shapely.Polygon(rings[a], rings[a + 1 : b]) for a, b in zip(offsets[1][:-1], offsets[1][1:], strict=True)],
        object,
    )


def assert_same(a: Shapes, b: Shapes) -> None:
    for name in ("points", "rings", "polygons"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name
    for name in PatchTable.__slots__:
        assert np.array_equal(getattr(a.table, name), getattr(b.table, name)), name


def assert_true_to(labels: np.ndarray, shapes: Shapes, wanted: set[int] = ALL) -> None:
    """The polygons are those of rasterio, with a vertex at every corner and node; the table is SciPy's."""
    polygons = to_shapely(shapes)
    chosen = np.where(np.isin(labels, list(wanted)), labels, 0).astype(np.uint8)
    expected = [
        (int(value), shapely.normalize(shapely.simplify(shapely.Polygon(g["coordinates"][0], g["coordinates"][1:]), 0)))
        for g, value in features.shapes(chosen, mask=chosen > 0, connectivity=4)
    ]
    assert len(polygons) == len(expected)
    found = list(zip(shapes.table.class_id.tolist(), shapely.normalize(shapely.simplify(polygons, 0)), strict=True))
    assert sorted((v, p.wkb) for v, p in found) == sorted((v, p.wkb) for v, p in expected)
    assert shapely.is_valid(polygons).all()
    assert shapely.coverage_is_valid(polygons)
    for value in set(chosen.flat) - {0}:
        ids, count = ndimage.label(chosen == value)
        mine = shapes.table.take(np.flatnonzero(shapes.table.class_id == value))
        assert len(mine) == count
        assert np.array_equal(mine.pixels, np.bincount(ids.ravel())[1:])  # both in the order of the first pixels
        assert np.array_equal(mine.first, np.unique(ids, return_index=True)[1][-count:])
    assert np.array_equal(shapely.area(polygons), shapes.table.pixels)


rasters = st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 5)).flatmap(
    lambda s: hnp.arrays(np.uint8, s[:2], elements=st.integers(0, s[2]))
)


@given(rasters, st.data())
@settings(deadline=None, max_examples=150)
def test_every_strip_height_gives_the_polygons_of_rasterio(labels, data):
    whole = join(labels, [])
    assert_true_to(labels, whole)
    for step in range(1, len(labels)):
        assert_same(join(labels, every(len(labels), step)), whole)
    cuts = data.draw(st.sets(st.integers(1, max(1, len(labels) - 1))))
    assert_same(join(labels, sorted(c for c in cuts if c < len(labels))), whole)


@given(rasters, st.sets(st.integers(1, 5)), st.integers(1, 12))
@settings(deadline=None, max_examples=80)
def test_unwanted_classes_are_left_out_and_keep_the_vertices_of_the_others(labels, wanted, step):
    shapes = join(labels, every(len(labels), step), wanted)
    everything = join(labels, [])
    assert_same(shapes, everything.take(np.flatnonzero(np.isin(everything.table.class_id, list(wanted)))))


@given(rasters, st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=50)
def test_confidence_is_summed_exactly(labels, seed):
    rng = np.random.default_rng(seed)
    confidence = rng.random(labels.shape, np.float32)
    confidence[rng.random(labels.shape) < 0.3] = np.nan
    whole = join(labels, [], confidence=confidence)
    for step in range(1, len(labels)):
        assert_same(join(labels, every(len(labels), step), confidence=confidence), whole)
    units = np.rint(confidence.astype(np.float64) * CONFIDENCE_UNIT)
    assert whole.table.confidence.sum() == np.nansum(np.where(labels > 0, units, 0))
    means = whole.table.mean_confidence()
    assert np.array_equal(np.isnan(means), whole.table.confident == 0)
    assert ((means >= 0) & (means <= 1) | np.isnan(means)).all()


@given(rasters, st.integers(1, 12), st.sampled_from([ALL, {1, 2}]))
@settings(deadline=None, max_examples=100)
def test_the_compiled_tracer_leaves_what_the_slow_one_leaves(labels, step, wanted):
    joiner, parts = SeamJoiner(labels.shape[1]), []
    below = np.pad(labels, ((1, 0), (0, 0)))
    flags = np.isin(np.arange(256), list(wanted))
    for top in range(0, len(labels), step):
        end = min(top + step, len(labels))
        rows = below[top : end + 1].copy()
        whole, rest = trace_strip(rows, top, last=end == len(labels), confidence=None, wanted=flags)
        parts += [whole, joiner.add(rest)]
    joiner.finish()
    shapes = Shapes.concatenate(parts)
    assert_same(normalized(shapes.take(np.argsort(shapes.table.first))), join(labels, [], wanted))


SPIRAL = np.array(
    [
        [1, 1, 1, 1, 1, 1, 1],
        [2, 2, 2, 2, 2, 2, 1],
        [1, 1, 1, 1, 1, 2, 1],
        [1, 2, 2, 2, 1, 2, 1],
        [1, 2, 1, 1, 1, 2, 1],
        [1, 2, 2, 2, 2, 2, 1],
        [1, 1, 1, 1, 1, 1, 1],
    ],
    np.uint8,
)
TOUCHES = np.array(  # holes that touch each other and the shell at corners, in a chain
    [
        [1, 1, 1, 1, 1, 1],
        [2, 1, 2, 1, 2, 1],
        [1, 2, 1, 2, 1, 1],
        [1, 1, 2, 1, 2, 1],
        [1, 2, 1, 1, 1, 0],
        [1, 1, 1, 1, 0, 1],
    ],
    np.uint8,
)
COMB = np.ones((9, 13), np.uint8)
COMB[1:, 1::2] = 2


@pytest.mark.parametrize("labels", [SPIRAL, TOUCHES, COMB, SPIRAL.T.copy(), TOUCHES[::-1].copy(), COMB[::-1].copy()])
def test_patches_that_meet_far_below_or_meet_themselves(labels):
    whole = join(labels, [])
    assert_true_to(labels, whole)
    for step in range(1, len(labels)):
        assert_same(join(labels, every(len(labels), step)), whole)


def test_rings_in_rings_and_a_checkerboard():
    row, col = np.indices((15, 15))
    rings = (np.maximum(abs(row - 7), abs(col - 7)) % 3 + 1).astype(np.uint8)
    board = ((row + col) % 2 + 1).astype(np.uint8)
    for labels in (rings, board, np.pad(board, 2, constant_values=3)):
        whole = join(labels, [])
        assert_true_to(labels, whole)
        for step in (1, 2, 4, 7):
            assert_same(join(labels, every(15, step)), whole)


def test_a_patch_comes_back_with_the_strip_that_ends_it():
    labels = np.array([[1, 2], [1, 3], [1, 3], [1, 1]], np.uint8)
    joiner = SeamJoiner(2)
    given_back = [
        joiner.add(strip).table.class_id.tolist() for strip in slow_strips(labels, [1, 2, 3], ALL & {1, 2, 3})
    ]
    assert given_back == [[], [2], [], [1, 3]]


def test_memory_is_that_of_open_patches():
    tall = np.tile(np.array([[1, 1, 2, 0], [1, 1, 0, 3]], np.uint8), (100, 1))
    joiner = SeamJoiner(4)
    open_points = []
    for strip in slow_strips(tall, every(200, 2), {2, 3}):
        joiner.add(strip)
        open_points.append(joiner.open_points)
    assert len(set(open_points[:-1])) == 1


def test_what_does_not_fit_is_refused():
    labels = np.array([[1, 2, 2], [1, 1, 2], [3, 3, 3]], np.uint8)
    first, second, third = slow_strips(labels, [1, 2], {1, 2, 3})
    with pytest.raises(VectorError, match="3 columns does not fit 4"):
        SeamJoiner(4).add(first)
    with pytest.raises(VectorError, match="row 1 is not the next"):
        SeamJoiner(3).add(second)
    other = slow_strips(np.array([[1, 2, 3], [1, 1, 2]], np.uint8), [1], {1, 2, 3})[0]
    joiner = SeamJoiner(3)
    joiner.add(other)
    with pytest.raises(VectorError, match="do not meet at row 1, column 2"):
        joiner.add(second)
    joiner = SeamJoiner(3)
    joiner.add(first)
    with pytest.raises(VectorError, match="still open"):
        joiner.finish()
    joiner.add(second)
    joiner.add(third)
    joiner.finish()
    with pytest.raises(VectorError, match="not the next"):
        joiner.add(third)


def test_shapes_are_taken_and_laid_together():
    shapes = join(TOUCHES, [])
    parts = [shapes.take(np.array([i])) for i in range(len(shapes))]
    assert_same(Shapes.concatenate(parts), shapes)
    assert_same(Shapes.concatenate([Shapes.empty(), shapes]), shapes)
    assert_same(Shapes.concatenate([]), Shapes.empty())
    assert_same(shapes.take(np.array([], np.int64)), Shapes.empty())
    backwards = shapes.take(np.arange(len(shapes))[::-1])
    assert_same(backwards.take(np.arange(len(shapes))[::-1]), shapes)


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(VectorError, match="from 0 to 2"):
        Shapes(np.zeros((2, 2)), np.array([0, 1]), np.array([0, 1]), PatchTable.empty())
    with pytest.raises(VectorError, match="1 expected"):
        Shapes(np.zeros((2, 2)), np.array([0, 2]), np.array([0, 1]), PatchTable.empty())
