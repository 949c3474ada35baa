"""No chip sees validation ground, whatever the sheets, their places and the way they are divided."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyogrio
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled import MemorySource
from pyproj.crs import CRS

from geoseg.config.training import SplitConfig
from geoseg.errors import MissingFileError, ParameterError, VectorError
from geoseg.grids import Grid
from geoseg.legend import Legend
from geoseg.sources.footprints import Footprints
from geoseg.sources.ground import Positions
from geoseg.sources.splits import SheetSplit, Split, make_split, read_split, write_split
from geoseg.sources.splits.blocks import ClassGround, block_edges, block_neighbours, block_windows
from geoseg.sources.surveys import survey
from geoseg.tiling import Window

LEGEND = Legend.from_names(["water", "forest", "town"])
UTM = CRS.from_epsg(32636).to_wkt()
NEXT_UTM = CRS.from_epsg(32635).to_wkt()


def patches(seed: int, height: int, width: int, side: int = 20) -> Any:
    """A sheet of squares of classes; pixels are all 0."""
    rng = np.random.default_rng(seed)
    squares = rng.choice(4, (-(-height // side), -(-width // side)), p=[0.5, 0.3, 0.1, 0.1])
    indices = np.kron(squares, np.ones((side, side), np.int64))[:height, :width]
    indices = np.where(indices == 3, 255, indices).astype(np.uint8)
    indices[0, 0] = 0
    return np.zeros((1, height, width), np.uint8), None, indices


def at(left: float, top: float, height: int, width: int, size: float = 1.0, wkt: str = UTM) -> Grid:
    """A grid with square pixels."""
    return Grid(wkt, Affine(size, 0, left, 0, -size, top), height, width)


def divide(source: MemorySource, chip: int, **config: Any) -> Split:
    """Survey and split."""
    return make_split(source, survey(source), SplitConfig(**config), chip)


def painted(windows: Sequence[Window], height: int, width: int) -> npt.NDArray[np.int64]:
    """How many windows lie on each pixel."""
    found = np.zeros((height, width), np.int64)
    for w in windows:
        assert 0 <= w.row_off < w.row_end <= height
        assert 0 <= w.col_off < w.col_end <= width
        found[w.row_off : w.row_end, w.col_off : w.col_end] += 1
    return found


def assert_sound(source: MemorySource, split: Split, chip: int) -> None:
    """Validation ground is disjoint, and with its buffer out of reach of every chip."""
    assert len(split.sheets) == len(source.sheets)
    rng = np.random.default_rng(0)
    for sheet, part in zip(source.sheets, split.sheets, strict=True):
        judged = painted(part.validation, sheet.height, sheet.width)
        closed = painted(part.closed, sheet.height, sheet.width) > 0
        assert judged.max() <= 1
        assert closed[judged > 0].all()
        for w in part.validation:
            top, left = max(0, w.row_off - split.buffer), max(0, w.col_off - split.buffer)
            assert closed[top : w.row_end + split.buffer, left : w.col_end + split.buffer].all()
        if not part.trains:
            assert closed.all()
            continue
        places = Positions(sheet.height, sheet.width, part.closed, chip)
        assert places.count
        for _ in range(5):
            drawn = places.window(rng)
            assert part.allows(drawn)
            assert not closed[drawn.row_off : drawn.row_end, drawn.col_off : drawn.col_end].any()


@given(
    st.integers(1, 4), st.integers(40, 300), st.integers(40, 300), st.sampled_from([8, 16, 32]),
    st.floats(0.1, 0.5), st.integers(0, 9), st.sampled_from([None, 0, 5]),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_no_chip_sees_validation_ground(
    count: int, height: int, width: int, chip: int, share: float, seed: int, buffer: int | None
) -> None:
    source = MemorySource(LEGEND, [patches(i, height + 9 * i, width) for i in range(count)])
    found = survey(source)
    config = SplitConfig(by="blocks", validation=share, seed=seed, buffer=buffer)
    if min(height, width) < 4 * chip:  # less than that has no room for validation ground, buffer and chips
        with suppress(ParameterError):
            assert_sound(source, make_split(source, found, config, chip), chip)
        return
    split = make_split(source, found, config, chip)
    assert_sound(source, split, chip)
    assert make_split(source, found, config, chip) == split


@pytest.mark.parametrize("share", [0.1, 0.2, 0.35])
def test_blocks_hold_the_wanted_share_and_every_class(share: float) -> None:
    source = MemorySource(LEGEND, [patches(7, 640, 900)])
    split = divide(source, 32, validation=share)
    assert split.by == "blocks"
    indices = source.read(0, source.sheets[0].window).indices
    judged = painted(split.sheets[0].validation, 640, 900) > 0
    assert judged[indices < 3].mean() == pytest.approx(share, abs=0.02)
    whole = np.bincount(indices[indices < 3], minlength=3) / (indices < 3).sum()
    kept = np.bincount(indices[judged & (indices < 3)], minlength=3) / (judged & (indices < 3)).sum()
    assert kept == pytest.approx(whole, abs=0.08)
    assert kept.min() > 0


def test_seeds_differ() -> None:
    source = MemorySource(LEGEND, [patches(7, 640, 900)])
    assert len({divide(source, 32, seed=seed).sheets for seed in range(6)}) > 1


def test_a_class_in_two_places_is_on_both_sides() -> None:
    indices = np.zeros((512, 512), np.uint8)
    indices[:20, :20] = 2
    indices[-20:, -20:] = 2
    split = divide(MemorySource(LEGEND, [(np.zeros((1, 512, 512), np.uint8), None, indices)]), 32)
    judged = painted(split.sheets[0].validation, 512, 512) > 0
    closed = painted(split.sheets[0].closed, 512, 512) > 0
    assert (indices[judged] == 2).any()
    assert (indices[~closed] == 2).any()


def test_blocks_without_labels_are_not_chosen() -> None:
    indices = np.full((512, 512), 255, np.uint8)
    indices[:, :256] = 1
    split = divide(MemorySource(LEGEND, [(np.zeros((1, 512, 512), np.uint8), None, indices)]), 32, validation=0.5)
    judged = painted(split.sheets[0].validation, 512, 512) > 0
    assert judged[:, :256].sum() == pytest.approx(512 * 128, rel=0.1)
    assert not judged[:, 256:].any()


@pytest.mark.parametrize(
    ("height", "width", "chip"), [(508, 496, 128), (508, 496, 256), (1182, 901, 256), (1182, 901, 512), (64, 700, 32)]
)
def test_small_sheets_can_be_divided(height: int, width: int, chip: int) -> None:
    source = MemorySource(LEGEND, [patches(3, height, width)])
    split = divide(source, chip)
    assert split.by == "blocks"
    assert_sound(source, split, chip)


def test_what_is_too_small_says_so() -> None:
    source = MemorySource(LEGEND, [patches(3, 508, 496)])
    text = "no chip of 512 px fits beside validation ground: the largest sheet, sheet0, has 508×496 px"
    with pytest.raises(ParameterError, match=text):
        divide(source, 512)
    with pytest.raises(ParameterError, match=r"blocks have 400 px and a buffer of 64 px; give a smaller chips\.size"):
        divide(source, 128, block=400)


def test_auto_takes_what_fits() -> None:
    small = [patches(i, 64, 64) for i in range(10)]
    assert divide(MemorySource(LEGEND, small), 64).by == "file"
    assert divide(MemorySource(LEGEND, [patches(0, 640, 640)] * 10), 32).by == "blocks"
    roles: list[Any] = ["train"] * 8 + ["validation"] * 2
    assert divide(MemorySource(LEGEND, small, roles=roles), 64).by == "dataset"
    assert divide(MemorySource(LEGEND, small, roles=["train"] * 10), 64).by == "file"


def test_whole_sheets_are_chosen_to_the_share() -> None:
    source = MemorySource(LEGEND, [patches(i, 64, 64) for i in range(20)])
    split = divide(source, 64, by="file", validation=0.25)
    assert_sound(source, split, 64)
    assert len(split.validation) in (4, 5, 6)
    assert set(split.train) | set(split.validation) == set(range(20))
    assert not set(split.train) & set(split.validation)
    assert all(split.sheets[i].validation == (source.sheets[i].window,) for i in split.validation)


def test_roles_are_kept() -> None:
    sheets = [patches(i, 64, 64) for i in range(4)]
    source = MemorySource(LEGEND, sheets, roles=["train", "validation", None, "train"])
    split = divide(source, 64, by="folder")
    assert split.train == (0, 3)
    assert split.validation == (1,)
    assert split.sheets[2].role is None
    with pytest.raises(ParameterError, match="no sheet of memory with labels is meant for validation"):
        divide(MemorySource(LEGEND, sheets, roles=["train"] * 4), 64, by="dataset")


def test_none_trains_and_validates_on_all() -> None:
    sheets = [*(patches(i, 64, 80) for i in range(2)), (np.zeros((1, 9, 9), np.uint8), np.zeros((9, 9), bool), None)]
    split = divide(MemorySource(LEGEND, sheets), 64, by="none")
    assert split.train == split.validation == (0, 1)
    assert split.sheets[0] == SheetSplit("train", (Window(0, 0, 64, 80),), ())
    assert split.sheets[2].role is None


def test_sheets_that_cannot_be_used_are_left_out() -> None:
    sheets = [patches(i, 64, 64) for i in range(5)]
    sheets[3] = (sheets[3][0], None, np.full((64, 64), 255, np.uint8))
    source = MemorySource(LEGEND, sheets, failing={1: "sheet1.tif is damaged"})
    split = divide(source, 64, by="file")
    assert split.sheets[1].role is split.sheets[3].role is None
    assert set(split.train) | set(split.validation) == {0, 2, 4}
    with pytest.raises(ParameterError, match="none of the 1 sheets of memory has a labelled pixel"):
        divide(MemorySource(LEGEND, [sheets[3]]), 64)


def test_one_sheet_cannot_be_divided_by_file() -> None:
    with pytest.raises(ParameterError, match="needs two sheets with labels, but sheet0 is the only one; use blocks"):
        divide(MemorySource(LEGEND, [patches(0, 64, 64)]), 16, by="file")


def ground_of(grid: Grid, windows: Sequence[Window]) -> npt.NDArray[np.bool_]:
    """Which square metres of 1 km around (500000, 5000000) windows of a grid of whole metres show, (1000, 1000)."""
    found = np.zeros((1000, 1000), np.bool_)
    size, left, top = round(grid.transform.a), round(grid.transform.c) - 500000, 5000000 - round(grid.transform.f)
    for w in windows:
        rows = slice(top + w.row_off * size, top + w.row_end * size)
        found[rows, left + w.col_off * size : left + w.col_end * size] = True
    return found


@pytest.mark.parametrize("by", ["blocks", "file", "folder"])
def test_ground_that_one_sheet_is_judged_on_is_closed_in_all_others(by: str) -> None:
    grids = [
        at(500000, 5000000, 300, 300),
        at(500150, 4999900, 300, 300),
        at(500300, 4999800, 150, 150, size=2.0),
        at(500600, 4999500, 300, 300),
    ]
    roles: list[Any] = ["validation", "train", "train", "train"]
    arrays = [patches(i, g.height, g.width) for i, g in enumerate(grids)]
    source = MemorySource(LEGEND, arrays, grids=grids, roles=roles)
    split = divide(source, 24, by=by, validation=0.25)
    assert_sound(source, split, 24)
    judged = np.logical_or.reduce([ground_of(g, s.validation) for g, s in zip(grids, split.sheets, strict=True)])
    assert judged.any()
    for grid, sheet, part in zip(grids, source.sheets, split.sheets, strict=True):
        whole = [Window(r, c, 1, 1) for r in range(sheet.height) for c in range(sheet.width)]
        closed = painted(part.closed, sheet.height, sheet.width).ravel() > 0
        open_ground = ground_of(grid, [w for w, shut in zip(whole, closed, strict=True) if not shut])
        assert not (open_ground & judged).any()
    if by == "folder":
        assert painted(split.sheets[1].closed, 300, 300)[0, 0]
        assert split.sheets[3].closed == ()


def test_overlap_is_found_across_reference_systems() -> None:
    from pyproj import Transformer

    x, y = Transformer.from_crs(32636, 32635, always_xy=True).transform(230000, 5000000)
    grids = [at(230000, 5000000, 200, 200, 10.0), at(x + 900, y - 900, 200, 200, 10.0, NEXT_UTM), None]
    source = MemorySource(LEGEND, [patches(i, 200, 200) for i in range(3)], grids=grids)
    ground = Footprints(source)
    ((a, b, pixels),) = ground.pairs
    assert (a, b) == (0, 1)
    assert 5000 < pixels < 20000
    window = Window(150, 150, 20, 20)
    shown = ground.shown(window, 0, 1)
    assert shown is not None
    back = ground.shown(shown, 1, 0)
    assert back is not None
    assert back.row_off <= 150 < 170 <= back.row_end
    assert back.col_off <= 150 < 170 <= back.col_end
    assert back.height < 30
    assert ground.shown(Window(0, 0, 10, 10), 0, 1) is None


def test_sheets_side_by_side_do_not_overlap() -> None:
    grids = [at(500000, 5000000, 64, 64, 0.1), at(500006.4, 5000000, 64, 64, 0.1)]
    source = MemorySource(LEGEND, [patches(i, 64, 64) for i in range(2)], grids=grids)
    assert Footprints(source).pairs == ()


@given(st.integers(1, 3000), st.integers(1, 700))
@settings(max_examples=60, deadline=None)
def test_blocks_partition_an_axis(size: int, block: int) -> None:
    edges = block_edges(size, block)
    assert (edges[0], edges[-1]) == (0, size)
    assert (np.diff(edges) > 0).all()
    assert np.ptp(np.diff(edges)) <= 1
    if size > block:
        assert block / 2 <= np.diff(edges).max() <= 1.5 * block + 1


def test_neighbours_share_their_borders() -> None:
    windows = block_windows(50, 70, 20)
    pairs, lengths = block_neighbours(50, 70, 20)
    found = {tuple(pair): length for pair, length in zip(pairs.tolist(), lengths.tolist(), strict=True)}
    for i, a in enumerate(windows):
        for j, b in enumerate(windows[i + 1 :], i + 1):
            rows = min(a.row_end, b.row_end) - max(a.row_off, b.row_off)
            cols = min(a.col_end, b.col_end) - max(a.col_off, b.col_off)
            assert found.get((i, j), 0) == (max(rows, cols) if min(rows, cols) == 0 and max(rows, cols) > 0 else 0)


def test_classes_of_ground_that_follows_cells_are_exact() -> None:
    source = MemorySource(LEGEND, [patches(5, 130, 170)])
    (found,) = survey(source).sheets
    indices = source.read(0, source.sheets[0].window).indices
    corners = np.array([(0, 0, 130, 170), (8, 16, 96, 104), (0, 160, 130, 170), (120, 0, 130, 8)])
    for (top, left, bottom, right), pixels in zip(
        corners.tolist(), ClassGround(130, 170, found).pixels(corners), strict=True
    ):
        ground = indices[top:bottom, left:right]
        assert pixels.tolist() == [(ground == k).sum() for k in range(3)]


def test_validation_windows_must_not_overlap() -> None:
    with pytest.raises(ParameterError, match="validation windows overlap"):
        SheetSplit("train", (Window(0, 0, 5, 5), Window(4, 4, 5, 5)))


@pytest.mark.parametrize("by", ["blocks", "file", "none"])
@pytest.mark.parametrize("placed", ["all", "some", "none"])
def test_a_split_comes_back_from_its_file(tmp_path: Path, by: str, placed: str) -> None:
    grids = [at(left, 5000000, 200, 300) for left in (500000, 500250)]
    grids.append(at(740000, 5000000, 200, 300, 1.0, NEXT_UTM))
    chosen: list[Grid | None] = [
        g if placed == "all" or (placed == "some" and i) else None for i, g in enumerate(grids)
    ]
    source = MemorySource(LEGEND, [patches(i, 200, 300) for i in range(3)], grids=chosen)
    split = divide(source, 32, by=by)
    path = tmp_path / "split.gpkg"
    for _ in range(2):
        write_split(path, source, split)
    assert read_split(path, source) == split
    assert list(tmp_path.iterdir()) == [path]
    other = MemorySource(LEGEND, [patches(i, 200, 301) for i in range(3)])
    with pytest.raises(VectorError, match=re.escape("divides sheet0 (200×300 px) where the data has sheet0 (200×301")):
        read_split(path, other)


def test_the_file_shows_the_ground(tmp_path: Path) -> None:
    source = MemorySource(LEGEND, [patches(1, 400, 500)], grids=[at(500000, 5000000, 400, 500, 0.5)])
    split = divide(source, 32)
    path = tmp_path / "split.gpkg"
    write_split(path, source, split)
    assert {name for name, _ in pyogrio.list_layers(path)} == {"sheets", "train", "validation", "buffer"}
    train, validation, buffer = (pyogrio.read_dataframe(path, layer=n) for n in ("train", "validation", "buffer"))
    assert validation.crs.to_epsg() == 32636
    pixels = sum(w.height * w.width for w in split.sheets[0].validation)
    assert validation.area.sum() == pytest.approx(pixels / 4)
    assert train.area.sum() + buffer.union_all().union(validation.union_all()).area == pytest.approx(400 * 500 / 4)
    assert not train.union_all().intersection(validation.union_all()).area
    assert train.total_bounds.tolist() == [500000, 5000000 - 200, 500250, 5000000]


def test_what_is_no_split_is_refused(tmp_path: Path) -> None:
    source = MemorySource(LEGEND, [patches(1, 64, 64)])
    with pytest.raises(MissingFileError, match="there is no split at"):
        read_split(tmp_path / "split.gpkg", source)
    (tmp_path / "split.gpkg").write_text("nothing")
    with pytest.raises(VectorError, match="holds no split"):
        read_split(tmp_path / "split.gpkg", source)
