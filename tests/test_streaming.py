"""The stream of tiles: each source row read once, only where something is wanted, absent samples 0."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scenes import write_scene

from geoseg.inference.streaming import RowEnd, TileBatch, Walk, sample_tiles, stream_tiles
from geoseg.rasters import Pixels, open_scene
from geoseg.tiling import TileGrid, Window, mirror

RNG = np.random.default_rng(2)


class Watched:
    """A scene that notes what is read of it."""

    def __init__(self, scene: Any) -> None:
        self._scene = scene
        self.dtype = scene.dtype
        self.windows: list[Window] = []

    def read(self, window: Window) -> Pixels:
        self.windows.append(window)
        pixels: Pixels = self._scene.read(window)
        return pixels


def whole(grid: TileGrid, **changes: Any) -> Walk:
    area = changes.pop("area", Window(0, 0, grid.height, grid.width))
    rows = grid.rows

    def final(row: int) -> tuple[int, int]:
        lo = max(0, rows.start(row), area.row_off)
        last = row == rows.covering(area.row_off, area.row_end)[-1]
        return lo, max(lo, area.row_end if last else min(area.row_end, rows.final_before(row)))

    return Walk(grid, area, final, changes.pop("touches", None), changes.pop("inside", None))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (40, 33), (9, 70), (16, 16)])
@pytest.mark.parametrize(("size", "overlap"), [(16, 4), (8, 6), (64, 32)])
def test_tiles_are_the_mirrored_scene_and_rows_are_read_once(
    tmp_path: Path, height: int, width: int, size: int, overlap: int
) -> None:
    values = RNG.integers(0, 255, (2, height, width)).astype(np.uint8)
    grid = TileGrid(height, width, size, overlap)
    with open_scene(write_scene(tmp_path / "s.tif", values)) as scene:
        watched = Watched(scene)
        items = list(stream_tiles(watched, whole(grid), 3))  # type: ignore[arg-type]
    places = [(item.row, col) for item in items if isinstance(item, TileBatch) for col in item.cols]
    assert places == [(t.row, t.col) for t in grid]
    for item in items:
        if isinstance(item, TileBatch):
            assert len(item.cols) <= 3
            for tile, col in zip(item.values, item.cols, strict=True):
                rows = [mirror(p, height) for p in range(grid.rows.start(item.row), grid.rows.start(item.row) + size)]
                cols = [mirror(p, width) for p in range(grid.cols.start(col), grid.cols.start(col) + size)]
                np.testing.assert_array_equal(tile, values[:, rows][:, :, cols])
    read = [row for w in watched.windows for row in range(w.row_off, w.row_end)]
    assert read == list(range(height))
    ends = [item for item in items if isinstance(item, RowEnd)]
    assert sum(0 if e.valid is None else len(e.valid) for e in ends) == height


def test_absent_samples_are_zero_and_known(tmp_path: Path) -> None:
    values = RNG.random((2, 20, 20)).astype(np.float32) + 5
    values[0, 3:9] = np.nan
    values[:, 12:, 12:] = -9999
    with open_scene(write_scene(tmp_path / "s.tif", values, nodata=-9999)) as scene:
        [batch, end] = stream_tiles(scene, whole(TileGrid(20, 20, 20, 0)), 1)
    assert isinstance(batch, TileBatch)
    absent = np.isnan(values) | (values == -9999)
    np.testing.assert_array_equal(batch.present[0], ~absent)
    np.testing.assert_array_equal(batch.values[0], np.where(absent, 0, values))
    assert isinstance(end, RowEnd)
    np.testing.assert_array_equal(end.valid, ~absent.all(0))


def test_only_what_touches_is_read(tmp_path: Path) -> None:
    values = RNG.integers(1, 255, (1, 200, 200)).astype(np.uint8)
    wanted = Window(90, 100, 20, 10)
    inside = np.zeros((200, 200), bool)
    inside[90:110, 100:110] = True

    def touches(window: Window) -> bool:
        return bool(inside[window.row_off : window.row_end, window.col_off : window.col_end].any())

    def cut(window: Window) -> Any:
        return inside[window.row_off : window.row_end, window.col_off : window.col_end]

    grid = TileGrid(200, 200, 16, 4)
    with open_scene(write_scene(tmp_path / "s.tif", values)) as scene:
        watched = Watched(scene)
        items = list(stream_tiles(watched, whole(grid, touches=touches, inside=cut), 4))  # type: ignore[arg-type]
    places = {(item.row, col) for item in items if isinstance(item, TileBatch) for col in item.cols}
    assert places == {
        (t.row, t.col)
        for t in grid
        if t.window.row_off < wanted.row_end
        and t.window.row_end > wanted.row_off
        and t.window.col_off < wanted.col_end
        and t.window.col_end > wanted.col_off
    }
    assert sum(w.height * w.width for w in watched.windows) < 60 * 50
    valid = np.concatenate(
        [np.zeros((0, 200), bool)]
        + [
            np.zeros((hi - lo, 200), bool) if item.valid is None else item.valid
            for item in items
            if isinstance(item, RowEnd)
            for lo, hi in [whole(grid).final(item.row)]
        ]
    )
    np.testing.assert_array_equal(valid, inside)


class Endless:
    """Ten million rows of ones that nobody stores."""

    dtype = "uint8"

    def __init__(self) -> None:
        self.rows = 0

    def read(self, window: Window) -> Pixels:
        self.rows += window.height
        values = np.ones((1, window.height, window.width), np.uint8)
        return Pixels(values, values[0] > 0, values > 0)


def test_the_first_tile_waits_for_nothing_that_grows_with_the_height() -> None:
    grid, asked, scene = TileGrid(10_000_000, 40, 16, 4), list[Window](), Endless()

    def touches(window: Window) -> bool:
        asked.append(window)
        return True

    stream = stream_tiles(scene, whole(grid, touches=touches), 1)  # type: ignore[arg-type]
    first = next(iter(stream))
    assert isinstance(first, TileBatch)
    assert scene.rows == 16 - 2
    assert len(asked) <= 3 * len(grid.cols)


@pytest.mark.parametrize("height", [30, 31, 40])
def test_rows_that_later_tiles_mirror_are_kept_where_others_are_left_out(tmp_path: Path, height: int) -> None:
    values = RNG.integers(1, 255, (1, height, 9)).astype(np.uint8)
    grid = TileGrid(height, 9, 16, 12)
    with open_scene(write_scene(tmp_path / "s.tif", values)) as scene:
        everything = {i.row: i.values for i in stream_tiles(scene, whole(grid), 9) if isinstance(i, TileBatch)}
        for wanted in ({0, 5}, {2, 3, 6}, {len(grid.rows) - 1}):
            cores = [grid.rows.core(row)[0] for row in wanted]

            def touches(window: Window, at: list[int] = cores) -> bool:
                return any(window.row_off <= row < window.row_end for row in at)

            found = [i for i in stream_tiles(scene, whole(grid, touches=touches), 9) if isinstance(i, TileBatch)]
            assert {i.row for i in found} >= wanted & set(everything)
            for item in found:
                np.testing.assert_array_equal(item.values, everything[item.row][: len(item.cols)])


def test_sample_tiles_are_spread_and_the_same_ones_always(tmp_path: Path) -> None:
    values = RNG.integers(1, 255, (1, 160, 160)).astype(np.uint8)
    values[:, :80] = 0
    grid = TileGrid(160, 160, 16, 0)
    with open_scene(write_scene(tmp_path / "s.tif", values, nodata=0)) as scene:
        found = sample_tiles(scene, whole(grid), 8)
        again = sample_tiles(scene, whole(grid), 8)
        everything = sample_tiles(scene, whole(grid), 1000)
        stream = [i for i in stream_tiles(scene, whole(grid), 1) if isinstance(i, TileBatch)]
    places = [(t.row, t.cols[0]) for t in found]
    assert places == [(t.row, t.cols[0]) for t in again]
    assert len(set(places)) == 8
    assert len({col for _, col in places}) > 3
    assert min(row for row, _ in places) >= 5
    assert len(everything) == len(stream) == 50
    for a, b in zip(everything, stream, strict=True):
        np.testing.assert_array_equal(a.values, b.values)
