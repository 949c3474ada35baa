"""Merging of small patches, streamed, against the definition carried out literally on the whole raster."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.errors import OutputError, ParameterError
from geoseg.polygons import merging_flight, survey_records
from geoseg.polygons.merging import merge_small
from geoseg.polygons.survey_bands import Strips, restrip
from geoseg.polygons.surveying import Survey

Labels = NDArray[np.uint8]

sides = st.integers(1, 30)


@st.composite
def noise(draw: st.DrawFn) -> Labels:
    """Noise of any coarseness: single pixels that touch at corners, or patches with holes; often a class prevails."""
    height, width, classes = draw(sides), draw(sides), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    coarse = rng.integers(0 if draw(st.booleans()) else 1, classes + 1, (height, width)).astype(np.uint8)
    coarse[rng.random(coarse.shape) < draw(st.sampled_from([0, 0.5, 0.8]))] = 1
    zoom = draw(st.integers(1, 4))
    return np.kron(coarse, np.ones((zoom, zoom), np.uint8))[:height, :width]


small_arrays = arrays(np.uint8, st.tuples(st.integers(1, 8), st.integers(1, 8)), elements=st.integers(0, 3))
label_rasters = st.one_of(noise(), small_arrays)
band_heights = st.integers(1, 32)
# Powers of two and sums of few: every sum of areas is exact, also for the oracle.
slopes = st.sampled_from([0.0, 2.0**-8, -(2.0**-8)])


def row_areas(labels: Labels, slope: float) -> NDArray[np.float64]:
    return np.asarray(1.0 + slope * np.arange(len(labels)))


def strips_of(labels: Labels, height: int | None = None) -> Strips:
    step = height or len(labels)
    return lambda: (labels[row : row + step] for row in range(0, len(labels), step))


def minima_of(value: float | dict[int, float]) -> NDArray[np.float64]:
    result = np.full(256, 0.0 if isinstance(value, dict) else value)
    for class_id, minimum in value.items() if isinstance(value, dict) else ():
        result[class_id] = minimum
    return result


def merged(labels: Labels, minima: float | dict[int, float], *, areas: Any = None, rows: int | None = None) -> Labels:
    areas = np.ones(len(labels)) if areas is None else areas
    return np.concatenate(list(merge_small(strips_of(labels), areas, minima_of(minima), band_rows=rows)()))


@dataclass
class Group:
    class_id: int
    first: int
    pixels: int
    area: float
    large: bool


class Sequential:
    """The definition in the head of ``merging``, step by step, with everything counted anew for every step."""

    def __init__(self, labels: Labels, areas: NDArray[np.float64], minima: NDArray[np.float64]) -> None:
        self.minima = minima
        self.owner = np.zeros(labels.shape, np.int64)
        self.groups: dict[int, Group] = {}
        for value in range(1, int(labels.max(initial=0)) + 1):
            ids, count = ndimage.label(labels == value)
            for i in range(1, count + 1):
                inside = ids == i
                number = len(self.groups) + 1
                self.owner[inside] = number
                area = float((inside * areas[:, None]).sum())
                first = int(np.flatnonzero(inside)[0])
                self.groups[number] = Group(value, first, int(inside.sum()), area, area >= minima[value])

    def labels(self) -> Labels:
        lookup = np.zeros(max(self.groups, default=0) + 1, np.uint8)
        for number, group in self.groups.items():
            lookup[number] = group.class_id
        return lookup[self.owner]

    def run(self) -> Labels:
        while True:
            waiting = sorted((g.pixels, g.first, n) for n, g in self.groups.items() if not g.large)
            smallest = next((n for *_, n in waiting if self.borders(n)), None)
            if smallest is None:
                return self.labels()
            self.step(smallest)

    def borders(self, number: int) -> dict[int, int]:
        padded = np.pad(self.owner, 1)
        inside = padded == number
        found: dict[int, int] = {}
        for axis, shift in ((0, 1), (0, -1), (1, 1), (1, -1)):
            for other in np.roll(padded, shift, axis)[inside].tolist():
                if other not in (0, number):
                    found[other] = found.get(other, 0) + 1
        return found

    def step(self, number: int) -> None:
        borders, groups = self.borders(number), self.groups

        def rank(n: int) -> tuple[float, ...]:
            return borders[n], groups[n].area, -groups[n].first

        target = max(borders, key=rank)
        alike = [n for n in borders if groups[n].class_id == groups[target].class_id]
        large = [target] if groups[target].large else [n for n in alike if groups[n].large]
        root = max(large, key=rank) if large else target
        joining = [n for n in (number, *alike) if n != root and not groups[n].large]
        group = groups[root]
        for n in joining:
            self.owner[self.owner == n] = root
            other = groups.pop(n)
            if not group.large:
                group.first, group.pixels = min(group.first, other.first), group.pixels + other.pixels
                group.area += other.area
        group.large |= group.area >= self.minima[group.class_id]


minimum_areas = st.one_of(
    st.sampled_from([0.5, 1.0, 2.0, 3.0, 5.0, 12.0, 60.0, 1e6]),
    st.dictionaries(st.integers(1, 6), st.sampled_from([0.0, 1.5, 2.0, 4.0, 9.0, 40.0, 1e6]), max_size=6),
)


@given(label_rasters, minimum_areas, slopes, band_heights)
@settings(max_examples=150, deadline=None)
def test_streamed_is_sequential(labels: Labels, minima: Any, slope: float, rows: int) -> None:
    areas = row_areas(labels, slope)
    expected = Sequential(labels, areas, minima_of(minima)).run()
    np.testing.assert_array_equal(merged(labels, minima, areas=areas, rows=rows), expected)


@pytest.mark.parametrize("minimum", [3.0, 5.0, 9.0])
@pytest.mark.parametrize("classes", [3, 4, 6])
@pytest.mark.parametrize("lowest", [0, 1])
def test_streamed_is_sequential_in_pure_noise(lowest: int, classes: int, minimum: float) -> None:
    """Where most groups wait for others, and large groups of a class meet."""
    labels = np.random.default_rng(classes).integers(lowest, classes + 1, (24, 24)).astype(np.uint8)
    expected = Sequential(labels, np.ones(24), minima_of(minimum)).run()
    for rows in (1, 2, 3, 7, 24):
        np.testing.assert_array_equal(merged(labels, minimum, rows=rows), expected)


@given(label_rasters, minimum_areas, st.lists(st.integers(1, 9), min_size=1, max_size=8), band_heights)
@settings(max_examples=60, deadline=None)
def test_strips_do_not_matter(labels: Labels, minima: Any, heights: list[int], rows: int) -> None:
    def uneven() -> Iterator[Labels]:
        top, turn = 0, 0
        buffer = np.empty((max(heights), labels.shape[1]), np.uint8)
        while top < len(labels):
            strip = labels[top : top + heights[turn % len(heights)]]
            buffer[: len(strip)] = strip  # a source that uses its memory again
            yield buffer[: len(strip)]
            top, turn = top + len(strip), turn + 1

    result = merge_small(uneven, np.ones(len(labels)), minima_of(minima), band_rows=rows)
    for _ in range(2):  # restartable
        strips = list(result())
        assert [len(s) for s in strips[:-1]] == [rows] * (len(strips) - 1)
        np.testing.assert_array_equal(np.concatenate(strips), merged(labels, minima))


@given(label_rasters, minimum_areas, band_heights)
@settings(max_examples=60, deadline=None)
def test_no_small_patch_with_a_neighbour_is_left(labels: Labels, minima: Any, rows: int) -> None:
    result = merged(labels, minima, rows=rows)
    np.testing.assert_array_equal(result == 0, labels == 0)
    assert set(np.unique(result)) <= set(np.unique(labels))
    for value in range(1, 7):
        ids, count = ndimage.label(result == value)
        for patch in range(1, count + 1):
            around = ndimage.binary_dilation(ids == patch) & (ids != patch)
            assert (ids == patch).sum() >= minima_of(minima)[value] or (result[around] == 0).all()


@given(label_rasters, band_heights)
@settings(max_examples=30, deadline=None)
def test_no_minimum_changes_nothing(labels: Labels, rows: int) -> None:
    np.testing.assert_array_equal(merged(labels, 0.0, rows=rows), labels)


@given(label_rasters, band_heights)
@settings(max_examples=60, deadline=None)
def test_a_survey_knows_whole_patches(labels: Labels, rows: int) -> None:
    top = 0
    for band, record, units in Survey(strips_of(labels), np.ones(len(labels)), band_rows=rows).bands():
        shown = labels[top : top + rows]
        numbers = np.zeros(shown.shape, np.int32)
        for row in range(len(shown)):
            for run in range(band.runs.rows[row], band.runs.rows[row + 1] - 1):
                begin, end = band.runs.starts[run : run + 2]
                numbers[row, max(0, begin) : end] = band.numbers[run]
        np.testing.assert_array_equal(numbers == 0, shown == 0)
        owner = dict(zip(record.rim.tolist(), record.owners.tolist(), strict=True))
        seen: dict[int, int] = {}
        for part in range(1, len(band.goes_on)):
            row, col = np.argwhere(numbers == part)[0]
            ids, _ = ndimage.label(labels == shown[row, col])
            patch = ids == ids[top + row, col]
            assert band.parts.classes[part] == shown[row, col]
            assert band.parts.pixels[part] == patch.sum()
            assert band.parts.areas[part] == patch.sum() * units.rows[0]
            first = int(np.flatnonzero(patch)[0])
            assert band.parts.first[part] == first
            assert band.goes_on[part] == (top + rows < len(labels) and (numbers[-1] == part).any())
            if part in owner:  # parts of one patch have one owner, others another
                assert seen.setdefault(owner[part], first) == first
        assert len(set(seen.values())) == len(seen)
        top += len(shown)
    assert top == len(labels)


def test_merging_prefers_the_longest_border() -> None:
    labels = np.array([[1, 1, 1, 1], [1, 2, 3, 3], [1, 3, 3, 3]], np.uint8)
    np.testing.assert_array_equal(merged(labels, 2)[1], [1, 1, 3, 3])  # two edges each; class 1 is larger


def test_merging_starts_with_the_smallest_and_goes_on() -> None:
    labels = np.array([[1, 1, 1, 1, 1, 2, 2, 3]], np.uint8)
    # 3 joins 2; the two of them then reach the minimum.
    np.testing.assert_array_equal(merged(labels, 3), [[1, 1, 1, 1, 1, 2, 2, 2]])


def test_merging_unites_neighbours_of_the_same_class() -> None:
    labels = np.array([[1, 1, 2, 1, 1]], np.uint8)
    assert (merged(labels, 2) == 1).all()
    assert (merged(labels, 5) == 1).all()  # 2 joins 1 and with it the other 1, which reaches the minimum


def test_each_class_has_its_minimum() -> None:
    labels = np.array([[1, 1, 1, 1, 2, 3, 3, 3, 3]], np.uint8)
    np.testing.assert_array_equal(merged(labels, {1: 9, 3: 2}), [[2, 2, 2, 2, 2, 3, 3, 3, 3]])
    np.testing.assert_array_equal(merged(labels, {2: 2}), [[1, 1, 1, 1, 1, 3, 3, 3, 3]])


def test_a_group_is_judged_by_the_class_it_has() -> None:
    labels = np.array([[1, 2, 2, 3, 3, 3]], np.uint8)
    # 1 joins 2; three pixels are enough for class 1, but now the group is of class 2.
    np.testing.assert_array_equal(merged(labels, {1: 2, 2: 4}), [[3, 3, 3, 3, 3, 3]])


def test_no_data_neither_absorbs_nor_is_absorbed() -> None:
    labels = np.array([[1, 0, 2, 2], [0, 0, 2, 2]], np.uint8)
    np.testing.assert_array_equal(merged(labels, 5, rows=1), labels)


@pytest.mark.parametrize("area", [0.1, 1e-9, 3e9])
def test_an_area_equal_to_the_minimum_is_large_enough(area: float) -> None:
    labels = np.array([[1, 1, 1, 2, 2, 2, 2]], np.uint8)
    minimum = 0.3 * (area / 0.1)  # 0.1 + 0.1 + 0.1 > 0.3 in floats
    np.testing.assert_array_equal(merged(labels, minimum, areas=np.full(1, area)), labels)
    assert (merged(labels, minimum * 1.001, areas=np.full(1, area)) == 2).all()


def test_area_counts_not_pixels() -> None:
    labels = np.array([[1, 1, 2, 2, 2], [0, 0, 0, 0, 0], [1, 1, 2, 2, 2]], np.uint8)
    result = merged(labels, 3, areas=np.array([2.0, 1.0, 1.0]), rows=1)
    np.testing.assert_array_equal(result[0], labels[0])
    assert (result[2] == 2).all()


@pytest.mark.parametrize("slope", [0.0, -1e-4])
def test_rows_in_flight_do_not_grow_with_the_raster(slope: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise of patches that all wait for smaller ones, also where every row has smaller pixels than the one above."""
    most = {}
    original = merging_flight._Flight.compact
    for height in (300, 1200):
        held = []

        def compact(flight: Any, held: list[int] = held) -> None:
            original(flight)
            held.append(sum(len(rows.runs.rows) - 1 for rows in flight.rows))

        monkeypatch.setattr(merging_flight._Flight, "compact", compact)
        labels = np.random.default_rng(5).integers(1, 5, (height, 40)).astype(np.uint8)
        list(merge_small(strips_of(labels), row_areas(labels, slope), minima_of(6), band_rows=4)())
        most[height] = max(held)
    assert most[300] <= 60
    assert most[1200] <= 60


def test_a_survey_too_large_for_memory_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey_records, "_IN_MEMORY", 64)
    labels = np.random.default_rng(1).integers(1, 4, (40, 30)).astype(np.uint8)
    result = merge_small(strips_of(labels), np.ones(40), minima_of(5), band_rows=3, scratch=tmp_path)
    strips = result()
    first = next(strips)
    assert not list(tmp_path.iterdir())
    np.testing.assert_array_equal(np.concatenate([first, *strips]), merged(labels, 5))


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(tempfile.SpooledTemporaryFile):  # type: ignore[type-arg]
        def write(self, data: Any) -> int:  # noqa: ARG002
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", Full)
    result = merge_small(strips_of(np.ones((2, 2), np.uint8)), np.ones(2), minima_of(1), scratch=tmp_path)
    with pytest.raises(OutputError, match="No space left"):
        list(result())


def test_a_survey_that_was_interrupted_begins_anew() -> None:
    labels = np.random.default_rng(2).integers(1, 4, (20, 20)).astype(np.uint8)
    calls = []

    def strips() -> Iterator[Labels]:
        calls.append(1)
        for row in range(20):
            if len(calls) == 2 and row == 10:
                raise KeyboardInterrupt
            yield labels[row : row + 1]

    result = merge_small(strips, np.ones(20), minima_of(5), band_rows=2)
    with pytest.raises(KeyboardInterrupt):
        list(result())
    np.testing.assert_array_equal(np.concatenate(list(result())), merged(labels, 5))


@given(label_rasters, band_heights, band_heights)
@settings(max_examples=30, deadline=None)
def test_restripping(labels: Labels, before: int, after: int) -> None:
    strips = list(restrip(strips_of(labels, before), after)())
    assert [len(s) for s in strips[:-1]] == [after] * (len(strips) - 1)
    assert 0 < len(strips[-1]) <= after
    np.testing.assert_array_equal(np.concatenate(strips), labels)


def test_nothing_gives_nothing() -> None:
    assert list(merge_small(lambda: iter(()), np.ones(0), minima_of(1))()) == []
    assert (merged(np.zeros((3, 4), np.uint8), 5, rows=2) == 0).all()


@pytest.mark.parametrize("rows", [2, 4])
def test_row_areas_must_fit(rows: int) -> None:
    with pytest.raises(ParameterError, match="area for each row"):
        list(merge_small(strips_of(np.ones((3, 4), np.uint8)), np.ones(rows), minima_of(1))())


@pytest.mark.parametrize("area", [0.0, -1.0, np.nan, np.inf])
def test_row_areas_must_be_positive(area: float) -> None:
    with pytest.raises(ParameterError, match="positive"):
        merge_small(strips_of(np.ones((1, 4), np.uint8)), np.array([area]), minima_of(1))


@pytest.mark.parametrize("minimum", [-1.0, np.nan])
def test_minima_must_be_areas(minimum: float) -> None:
    with pytest.raises(ParameterError, match="minima"):
        merge_small(strips_of(np.ones((1, 4), np.uint8)), np.ones(1), minima_of(minimum))


@pytest.mark.parametrize("rows", [1, 2])
def test_strips_must_have_one_width(rows: int) -> None:
    strips = [np.ones((1, 4), np.uint8), np.ones((1, 5), np.uint8)]
    with pytest.raises(ParameterError, match="one width"):
        list(merge_small(lambda: iter(strips), np.ones(2), minima_of(1), band_rows=rows)())
