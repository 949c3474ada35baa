"""Which chips are drawn: everywhere allowed, nowhere else, and always the same ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled import MemorySource
from scipy.stats import chisquare

from geoseg.errors import ParameterError
from geoseg.legend import ClassDef, Legend
from geoseg.sources.chips import Chip, ChipSampler, Store
from geoseg.sources.ground import Positions, free_rectangles
from geoseg.sources.splits import SheetSplit, Split
from geoseg.sources.surveys import survey
from geoseg.tiling import Window

LEGEND = Legend((ClassDef(1, "field", "#aabb00"), ClassDef(2, "wood", "#00aa00"), ClassDef(5, "pond", "#0000aa")))

sides = st.integers(1, 30)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    return Window(
        draw(st.integers(-5, 30)), draw(st.integers(-5, 30)), draw(st.integers(1, 15)), draw(st.integers(1, 15))
    )


def painted(height: int, width: int, taken: Sequence[Window]) -> np.ndarray:
    """True outside the windows."""
    free = np.ones((height, width), bool)
    for window in taken:
        free[max(0, window.row_off) : max(0, window.row_end), max(0, window.col_off) : max(0, window.col_end)] = False
    return free


def touches(first: Window, second: Window) -> bool:
    return (
        first.row_off < second.row_end
        and second.row_off < first.row_end
        and first.col_off < second.col_end
        and second.col_off < first.col_end
    )


@given(sides, sides, st.lists(windows(), max_size=6))
def test_rectangles_and_windows_partition_the_area(height: int, width: int, taken: list[Window]) -> None:
    count = (~painted(height, width, taken)).astype(int)
    for top, left, bottom, right in free_rectangles(height, width, taken):
        assert 0 <= top < bottom <= height
        assert 0 <= left < right <= width
        count[top:bottom, left:right] += 1
    assert (count == 1).all()


@given(sides, sides, st.lists(windows(), max_size=5), st.integers(1, 35))
def test_positions_are_all_that_touch_nothing_closed(height: int, width: int, closed: list[Window], size: int) -> None:
    positions = Positions(height, width, closed, size)
    rows, cols = min(size, height), min(size, width)
    allowed = {
        (r, c)
        for r in range(height - rows + 1)
        for c in range(width - cols + 1)
        if painted(height, width, closed)[r : r + rows, c : c + cols].all()
    }
    assert positions.count == len(allowed)
    if allowed:
        rng = np.random.default_rng(0)
        drawn = [positions.window(rng) for _ in range(20)]
        assert {(w.row_off, w.col_off) for w in drawn} <= allowed
        assert {(w.height, w.width) for w in drawn} == {(rows, cols)}


@given(sides, sides, st.lists(windows(), max_size=4), st.integers(1, 35), st.integers(1, 9))
@settings(max_examples=50)
def test_cells_within_reach_are_those_that_get_a_chip(
    height: int, width: int, closed: list[Window], size: int, side: int
) -> None:
    positions = Positions(height, width, closed, size)
    tops, lefts = np.arange(0, height, side), np.arange(0, width, side)
    bottoms, rights = np.minimum(tops + side, height), np.minimum(lefts + side, width)
    reached = positions.reach(tops, bottoms, lefts, rights)
    rng = np.random.default_rng(0)
    for r, (top, bottom) in enumerate(zip(tops.tolist(), bottoms.tolist(), strict=True)):
        for c, (left, right) in enumerate(zip(lefts.tolist(), rights.tolist(), strict=True)):
            cell = Window(top, left, bottom - top, right - left)
            chip = positions.window_with(cell, rng)
            assert (chip is not None) == reached[r, c]
            if chip is not None:
                assert not any(touches(chip, window) for window in closed)
                for begin, end, first, last in (
                    (chip.row_off, chip.row_end, top, bottom),
                    (chip.col_off, chip.col_end, left, right),
                ):
                    assert (begin <= first and last <= end) or (first <= begin and end <= last)


# --- the sampler -----------------------------------------------------------------------------------------------------


def sheet_of(indices: np.ndarray) -> tuple[np.ndarray, None, np.ndarray]:
    return np.zeros((1, *indices.shape), np.uint8), None, indices.astype(np.uint8)


def make_sampler(
    labels: Sequence[np.ndarray], closed: Sequence[Sequence[Window]] = (), *, trains: Sequence[bool] = (), **options
) -> ChipSampler:
    source = MemorySource(LEGEND, [sheet_of(indices) for indices in labels])
    store = Store(source, "ram")
    found = survey(source, store.write)
    closed = closed or [()] * len(labels)
    trains = trains or [True] * len(labels)
    split = Split(
        "blocks",
        tuple(
            SheetSplit("train", (sheet.window,), tuple(shut)) if trained else SheetSplit(None, (), (sheet.window,))
            for shut, trained, sheet in zip(closed, trains, source.sheets, strict=True)
        ),
    )
    return ChipSampler(store, split, found, **options)


def drawn(sampler: ChipSampler, count: int, **where: int) -> tuple[Chip, ...]:
    return sampler.draw(where.get("epoch", 0), where.get("step", 0), where.get("rank", 0), count)


def test_every_allowed_place_is_as_likely() -> None:
    closed = Window(4, 5, 3, 4)
    sampler = make_sampler([np.zeros((14, 17))], [[closed]], size=4)
    chips = drawn(sampler, 20_000)
    counts = Counter((chip.window.row_off, chip.window.col_off) for chip in chips)
    allowed = [(r, c) for r in range(11) for c in range(14) if not touches(Window(r, c, 4, 4), closed)]
    assert set(counts) == set(allowed)
    assert chisquare([counts[place] for place in allowed]).pvalue > 0.01


def test_sheets_are_as_likely_as_their_training_ground() -> None:
    shut = Window(0, 0, 16, 20)
    labels = [np.zeros((20, 20)), np.zeros((40, 40)), np.zeros((32, 20)), np.zeros((20, 20))]
    sampler = make_sampler(labels, [(), (), [shut], ()], trains=[True, True, True, False], size=8)
    assert sampler.ground == 400 + 1600 + 320
    assert sampler.per_epoch == -(-sampler.ground // 64)
    counts = Counter(chip.sheet for chip in drawn(sampler, 5000))
    assert set(counts) == {0, 1, 2}
    assert chisquare([counts[0], counts[1], counts[2]], np.array([400, 1600, 320]) * 5000 / 2320).pvalue > 0.01


@given(st.lists(windows(), min_size=1, max_size=4), st.integers(1, 12), st.sampled_from([0.0, 0.5, 1.0]))
@settings(max_examples=40, deadline=None)
def test_no_chip_touches_a_closed_window(closed: list[Window], size: int, class_aware: float) -> None:
    labels = np.random.default_rng(1).integers(0, 3, (40, 40))
    sampler = make_sampler([labels], [closed], size=size, class_aware=class_aware)
    for chip in drawn(sampler, 50):
        assert not any(touches(chip.window, window) for window in closed)
        assert chip.window.row_off >= 0 <= chip.window.col_off
        assert chip.window.row_end <= 40 >= chip.window.col_end


def test_a_rare_class_is_seen_where_asked() -> None:
    labels = np.zeros((256, 256))
    labels[200:203, 31:35] = 2
    for share, low, high in ((0.0, 0, 0.02), (0.5, 0.12, 0.22), (1.0, 0.27, 0.40)):
        sampler = make_sampler([labels, np.ones((256, 256))], size=16, class_aware=share)
        chips = drawn(sampler, 600)
        shows = [c.sheet == 0 and bool((labels[_slices(c.window)] == 2).any()) for c in chips]
        assert low <= np.mean(shows) <= high  # a third of the share: classes are drawn evenly
    assert 0.27 <= np.mean([c.sheet == 1 for c in chips]) <= 0.40


def _slices(window: Window) -> tuple[slice, slice]:
    return slice(window.row_off, window.row_end), slice(window.col_off, window.col_end)


def test_a_class_on_closed_ground_alone_is_not_sought() -> None:
    labels = np.zeros((64, 64))
    labels[:20, :20] = 2
    sampler = make_sampler([labels], [[Window(0, 0, 32, 32)]], size=8, class_aware=1.0)
    assert all(not (labels[_slices(chip.window)] == 2).any() for chip in drawn(sampler, 100))


def test_chips_without_labels_are_drawn_again() -> None:
    labels = np.full((400, 400), 255)
    labels[100:103, 300:303] = 1
    sampler = make_sampler([labels, np.full((500, 500), 255)], size=16)
    chips = drawn(sampler, 50)
    assert all(chip.sheet == 0 and (labels[_slices(chip.window)] == 1).any() for chip in chips)
    assert len({(chip.window.row_off, chip.window.col_off) for chip in chips}) > 20


def test_the_same_numbers_give_the_same_chips_and_others_do_not() -> None:
    labels = [np.zeros((50, 60)), np.ones((70, 50))]
    sampler, again = (make_sampler(labels, size=8, seed=3, class_aware=0.5) for _ in range(2))
    base = drawn(sampler, 16, epoch=1, step=2)
    drawn(again, 5, epoch=7)  # what was drawn before does not matter
    assert drawn(again, 16, epoch=1, step=2) == base
    assert drawn(sampler, 16, epoch=1, step=2, rank=1) != base
    assert drawn(sampler, 16, epoch=2, step=2) != base
    assert drawn(sampler, 16, epoch=1, step=3) != base
    assert drawn(make_sampler(labels, size=8, seed=4, class_aware=0.5), 16, epoch=1, step=2) != base


def test_a_sheet_smaller_than_a_chip_is_taken_whole() -> None:
    sampler = make_sampler([np.zeros((5, 40))], size=16)
    for chip in drawn(sampler, 20):
        assert (chip.window.row_off, chip.window.height, chip.window.width) == (0, 5, 16)


def test_no_room_for_a_chip_is_an_error_with_figures() -> None:
    with pytest.raises(ParameterError, match=r"no chip of 16 px .*: 1 labelled sheets with 176 px .*smaller"):
        make_sampler([np.zeros((20, 20))], [[Window(4, 6, 16, 14)]], size=16)
    with pytest.raises(ParameterError, match="0 labelled sheets"):
        make_sampler([np.full((20, 20), 255)], size=16)
    labels = np.full((64, 64), 255)
    labels[:4, :4] = 0
    with pytest.raises(ParameterError, match="none of the 1 training sheets has a labelled pixel"):
        make_sampler([labels], [[Window(0, 0, 30, 30)]], size=16)


@pytest.mark.parametrize("options", [{"size": 0}, {"size": 8, "seed": -1}, {"size": 8, "class_aware": 1.5}])
def test_numbers_out_of_range(options: dict) -> None:
    with pytest.raises(ParameterError, match="give at least 1 px"):
        make_sampler([np.zeros((20, 20))], **options)
