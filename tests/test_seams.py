"""The seam score: counted pair by pair in a slow reference, and telling where a map is torn."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from geoseg.inference import seams
from geoseg.inference.seams import SeamCounter, SeamCounts
from geoseg.tiling import Blend, TileGrid, Window

RNG = np.random.default_rng(5)


@pytest.mark.parametrize("blend", get_args(Blend))
@pytest.mark.parametrize("overlap", [0, 3, 6])
def test_counts_are_those_of_a_slow_reference(monkeypatch: pytest.MonkeyPatch, blend: Blend, overlap: int) -> None:
    monkeypatch.setattr(seams, "_EVERY", 1)
    grid, window = TileGrid(30, 40, 8, overlap), Window(3, 5, 20, 30)
    labels = RNG.integers(0, 3, (20, 30)).astype(np.uint8)
    expected = np.zeros(4, int)
    for axis, lines, origin in ((grid.cols, labels, window.col_off), (grid.rows, labels.T, window.row_off)):
        borders = {axis.core(i)[0] for i in range(len(axis))}
        if blend != "crop":
            borders |= {axis.start(i) for i in range(len(axis))} | {axis.start(i) + 8 for i in range(len(axis))}
        for line in lines:
            for k in range(1, len(line)):
                if line[k] and line[k - 1]:
                    at = 0 if origin + k in borders else 2
                    expected[at] += 1
                    expected[at + 1] += line[k] != line[k - 1]
    counts = SeamCounter(grid, blend).count(window, labels)
    assert (counts.seam_pairs, counts.seam_changes, counts.inner_pairs, counts.inner_changes) == tuple(expected)


def test_noise_is_seamless_and_a_torn_map_is_not() -> None:
    grid = TileGrid(512, 512, 64, 16)
    noise = RNG.integers(1, 4, (512, 512)).astype(np.uint8)
    whole = Window(0, 0, 512, 512)
    score = SeamCounter(grid, "crop").count(whole, noise).score
    assert score == pytest.approx(1, abs=0.05)
    torn = noise.copy()
    for tile in grid:
        core = tile.core
        torn[core.row_off : core.row_end, core.col_off : core.col_end] = 1 + (tile.row + tile.col) % 2
    torn[::37, ::41] = 3
    torn_score = SeamCounter(grid, "crop").count(whole, torn).score
    assert torn_score is not None
    assert torn_score > 10


def test_a_map_without_changes_has_no_score() -> None:
    assert SeamCounts(10, 0, 100, 0).score is None
    assert (SeamCounts(1, 2, 3, 4) + SeamCounts(1, 1, 1, 1)) == SeamCounts(2, 3, 4, 5)


@pytest.mark.parametrize("blend", ["hann", "crop"])
@pytest.mark.parametrize("cut", [1, 8, 11, 19])
def test_windows_and_what_is_between_them_are_the_whole(
    monkeypatch: pytest.MonkeyPatch, blend: Blend, cut: int
) -> None:
    monkeypatch.setattr(seams, "_EVERY", 1)
    grid, labels = TileGrid(20, 30, 8, 3), RNG.integers(0, 3, (20, 30)).astype(np.uint8)
    counter = SeamCounter(grid, blend)
    above, below = Window(0, 0, cut, 30), Window(cut, 0, 20 - cut, 30)
    parts = counter.count(above, labels[:cut]) + counter.count(below, labels[cut:])
    between = counter.count_between(cut, labels[cut - 1], labels[cut])
    assert parts + between == counter.count(Window(0, 0, 20, 30), labels)
