"""Batches cut in threads, tiles of validation ground, and the scaling of both."""

from __future__ import annotations

import gc
import math
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled import MemorySource

from geoseg.errors import CorruptRasterError, ParameterError, RasterError
from geoseg.inference.streaming import RowEnd, Walk, stream_tiles
from geoseg.legend import ClassDef, Legend
from geoseg.normalization import BandStats
from geoseg.rasters import Pixels
from geoseg.sources.chips import ChipSampler, Store, TrainingBatches, ValidationTiles
from geoseg.sources.chips.frames import in_order
from geoseg.sources.splits import SheetSplit, Split
from geoseg.sources.surveys import survey
from geoseg.tiling import TileGrid, Window
from geoseg.training.normalizing import _on_device, normalize_batch

LEGEND = Legend((ClassDef(1, "field", "#aabb00"), ClassDef(2, "wood", "#00aa00")))


def make_source(*, dtype: str = "uint8", absent: int = 0, bands: int = 3, sizes=((40, 50), (12, 60))) -> MemorySource:
    """``absent``: axes of where there is data; 0 = everywhere."""
    rng = np.random.default_rng(0)
    arrays = []
    for height, width in sizes:
        present = None
        if absent:
            present = rng.random((bands, height, width) if absent == 3 else (height, width)) < 0.8
        pixels = rng.integers(0, 120, (bands, height, width)).astype(dtype)
        arrays.append((pixels, present, rng.integers(0, 2, (height, width)).astype(np.uint8)))
    return MemorySource(LEGEND, arrays)


def stored(source: MemorySource, kind: str = "ram") -> Store:
    store = Store(source, kind)
    survey(source, store.write)
    return store


def all_of(source: MemorySource) -> Split:
    return Split("none", tuple(SheetSplit("train", (sheet.window,), ()) for sheet in source.sheets))


def make_batches(
    source: MemorySource, *, size: int = 16, kind: str = "ram", seed: int = 0, **options
) -> TrainingBatches:
    store = Store(source, kind)
    found = survey(source, store.write)
    sampler = ChipSampler(store, all_of(source), found, size=size, seed=seed)
    return TrainingBatches(store, sampler, **{"batch": 4, **options})


def equal(first, second) -> bool:
    return first.where == second.where and all(
        torch.equal(a, b) if a is not None else b is None
        for a, b in ((first.pixels, second.pixels), (first.present, second.present), (first.indices, second.indices))
    )


@pytest.mark.parametrize("absent", [0, 2, 3])
def test_a_batch_is_what_the_source_holds(absent: int) -> None:
    source = make_source(absent=absent)
    batch = next(iter(make_batches(source, batch=24)))
    assert batch.pixels.shape == (24, 3, 16, 16)
    assert batch.pixels.dtype == torch.uint8
    assert batch.indices.dtype == torch.uint8
    small = 0
    for k, (sheet, window) in enumerate(batch.where):
        h, w = window.height, window.width
        small += h < 16
        true = source.read(sheet, window)
        np.testing.assert_array_equal(batch.pixels[k, :, :h, :w], true.pixels)
        np.testing.assert_array_equal(batch.indices[k, :h, :w], true.indices)
        present = np.broadcast_to(batch.present[k], (3, 16, 16))
        np.testing.assert_array_equal(present[:, :h, :w], np.broadcast_to(true.present, true.pixels.shape))
        assert not present[:, h:].any()
        assert (batch.indices[k, h:] == 255).all()
    assert 0 < small < 24
    assert batch.present.shape[1] == (3 if absent == 3 else 1)


def test_where_all_is_there_nothing_says_so() -> None:
    batches = make_batches(make_source(sizes=((40, 50),)))
    assert all(batch.present is None for batch in batches)


@pytest.mark.parametrize(("dtype", "kind"), [("uint16", torch.uint16), ("float64", torch.float32)])
def test_types_torch_does_not_compute_with_travel_as_float32(dtype: str, kind: torch.dtype) -> None:
    assert next(iter(make_batches(make_source(dtype=dtype)))).pixels.dtype == kind


def test_batches_do_not_depend_on_threads_or_cache() -> None:
    made = []
    for threads, kind in ((1, "ram"), (5, "disk"), (2, "none")):
        batches = make_batches(make_source(), per_epoch=40, threads=threads, kind=kind)
        made.append(list(batches))
        batches._store.close()
    one, many, again = made
    assert len(one) == 10
    assert all(equal(a, b) and equal(a, c) for a, b, c in zip(one, many, again, strict=True))


def test_epochs_and_ranks_differ_and_a_step_can_be_gone_on_from() -> None:
    batches = make_batches(make_source(), per_epoch=32)
    first = list(batches)
    assert len(first) == len(batches) == 8
    assert all(equal(a, b) for a, b in zip(first, batches, strict=True))
    batches.set_epoch(1)
    second = list(batches)
    assert not any(equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(equal(a, b) for a, b in zip(second[3:], batches.batches(1, first=3), strict=True))
    other = make_batches(make_source(), per_epoch=32, rank=1, world=2)
    assert len(other) == 4
    assert not any(equal(a, b) for a, b in zip(first[:4], other, strict=True))


def test_an_epoch_covers_the_ground_once() -> None:
    chips = math.ceil((40 * 50 + 12 * 60) / 16**2)
    assert len(make_batches(make_source(), size=16, batch=3)) == math.ceil(chips / 3)


def workers() -> int:
    return sum(thread.name.startswith("geoseg-chips") for thread in threading.enumerate())


def test_leaving_early_ends_the_threads() -> None:
    batches = make_batches(make_source(), per_epoch=4000, threads=3)
    for number, _ in enumerate(batches):
        if number == 2:
            break
    gc.collect()
    assert workers() == 0
    dropped = iter(batches)
    next(dropped)
    assert workers() > 0
    del dropped
    gc.collect()
    assert workers() == 0


def test_only_a_few_are_made_ahead() -> None:
    made = []
    numbers = in_order(lambda n: made.append(n) or n, 1000, 2)
    assert next(numbers) == 0
    time.sleep(0.05)
    assert len(made) <= 6
    numbers.close()
    assert len(made) <= 6


@given(st.integers(0, 12), st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_all_come_in_order(count: int, threads: int) -> None:
    assert list(in_order(lambda n: n * n, count, threads)) == [n * n for n in range(count)]


class Failing(MemorySource):
    """Reading fails once the survey is over."""

    error: Exception | None = None

    def read(self, sheet: int, window: Window):
        if self.error is not None:
            raise self.error
        return super().read(sheet, window)


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (CorruptRasterError("block 3 is broken"), CorruptRasterError, "farm: block 3 is broken"),
        (CorruptRasterError("farm.tif is broken"), CorruptRasterError, "^farm.tif is broken"),
        (ValueError("odd"), RasterError, r"farm, rows .* cannot be read \(ValueError: odd\)"),
    ],
)
def test_errors_name_the_sheet(error: Exception, kind: type[Exception], message: str) -> None:
    source = Failing(LEGEND, [(np.zeros((1, 40, 40), np.uint8), None, None)], names=["farm"])
    store = Store(source, "none")
    sampler = ChipSampler(store, all_of(source), survey(source), size=16)
    batches = TrainingBatches(store, sampler, batch=2)
    chips = sampler.draw(0, 0, 0, 2)
    sampler.draw = lambda *_: chips  # which looks at the labels
    source.error = error
    with pytest.raises(kind, match=message):
        list(batches)
    gc.collect()
    assert workers() == 0


@pytest.mark.parametrize("options", [{"batch": 0}, {"threads": 0}, {"rank": 1}, {"per_epoch": 0}, {"rank": -1}])
def test_numbers_out_of_range(options: dict) -> None:
    with pytest.raises(ParameterError, match="give at least 1"):
        make_batches(make_source(), **options)


# --- validation ------------------------------------------------------------------------------------------------------


@given(st.integers(1, 30), st.integers(0, 20), st.integers(1, 5), st.integers(1, 3), st.data())
@settings(max_examples=30, deadline=None)
def test_every_pixel_of_validation_ground_is_judged_once(
    size: int, overlap: int, batch: int, world: int, data: st.DataObject
) -> None:
    overlap = min(overlap, size - 1)
    source = make_source(sizes=((31, 44), (9, 20)))
    validation = ((Window(3, 5, 11, 20), Window(20, 0, 11, 44)), (source.sheets[1].window,))
    split = Split("blocks", tuple(SheetSplit("train", windows, windows) for windows in validation))
    with stored(source) as store:
        judged = [np.zeros((s.height, s.width), int) for s in source.sheets]
        counted = np.zeros(2, int)
        for rank in range(world):
            tiles = ValidationTiles(
                store, split, tile_size=size, overlap=overlap, batch=batch, rank=rank, world=world
            )  # fmt: skip
            found = list(tiles)
            assert len(found) == len(tiles)
            for group in found:
                assert len(group.tiles) == len(group.pixels) <= batch
                for k, tile in enumerate(group.tiles):
                    core = tile.core
                    rows, cols = slice(core.row_off, core.row_end), slice(core.col_off, core.col_end)
                    judged[tile.sheet][rows, cols] += 1
                    window = validation[tile.sheet][tile.window]
                    at = core.row_off - window.row_off - tile.tile.window.row_off
                    left = core.col_off - window.col_off - tile.tile.window.col_off
                    here = (k, ..., slice(at, at + core.height), slice(left, left + core.width))
                    true = source.read(tile.sheet, core)
                    np.testing.assert_array_equal(group.pixels[here], true.pixels)
                    np.testing.assert_array_equal(group.indices[here], true.indices)
                counted += np.bincount(group.indices[group.indices != 255], minlength=2)
    expected = [np.zeros_like(j) for j in judged]
    for j, windows in zip(expected, validation, strict=True):
        for w in windows:
            j[w.row_off : w.row_end, w.col_off : w.col_end] = 1
    assert all((j == e).all() for j, e in zip(judged, expected, strict=True))
    assert counted.sum() == sum(e.sum() for e in expected)


class ArrayScene:
    """What prediction reads of the same pixels."""

    def __init__(self, source: MemorySource, sheet: int) -> None:
        self._source, self._sheet, self.dtype = source, sheet, source.dtype

    def read(self, window: Window) -> Pixels:
        found = self._source.read(self._sheet, window)
        present = np.broadcast_to(found.present, found.pixels.shape)
        return Pixels(found.pixels, present.any(axis=0), present)


@pytest.mark.parametrize("absent", [0, 2, 3])
@pytest.mark.parametrize(("size", "overlap"), [(16, 4), (64, 31), (8, 0)])
def test_tiles_of_whole_sheets_are_those_of_prediction(absent: int, size: int, overlap: int) -> None:
    source = make_source(dtype="uint16", absent=absent)
    stats = BandStats((50.0, 60.5, 70.1), (9.0, 1.7, 333.3))
    with stored(source) as store:
        found = {
            (tile.sheet, tile.tile.row, tile.tile.col): image
            for group in ValidationTiles(store, all_of(source), tile_size=size, overlap=overlap, batch=3)
            for tile, image in zip(group.tiles, normalize_batch(group.pixels, group.present, stats), strict=True)
        }
    count = 0
    for number, sheet in enumerate(source.sheets):
        grid = TileGrid(sheet.height, sheet.width, size, overlap)
        walk = Walk(grid, sheet.window, lambda _: (0, 0), None, None)
        for group in stream_tiles(ArrayScene(source, number), walk, 2):
            if isinstance(group, RowEnd):
                continue
            for col, values, present in zip(group.cols, group.values, group.present, strict=True):
                expected = stats.normalize(values, np.broadcast_to(present, values.shape))
                np.testing.assert_array_equal(found[number, group.row, col], expected)
                count += 1
    assert count == len(found)


def test_around_a_window_the_sheet_is_shown() -> None:
    source = make_source(sizes=((40, 50),))
    split = Split("blocks", (SheetSplit("train", (Window(10, 12, 8, 8),), ()),))
    with stored(source) as store:
        group = next(iter(ValidationTiles(store, split, tile_size=16, overlap=8, batch=1)))
    true = source.read(0, Window(6, 8, 16, 16))
    np.testing.assert_array_equal(group.pixels[0], true.pixels)
    assert (group.indices[0] != 255).sum() == 64
    np.testing.assert_array_equal(group.indices[0, 4:12, 4:12], true.indices[4:12, 4:12])


def test_no_validation_ground() -> None:
    source = make_source()
    split = SimpleNamespace(sheets=[SheetSplit("train") for _ in source.sheets])
    with stored(source) as store, pytest.raises(ParameterError, match="none of the 2 images has validation ground"):
        ValidationTiles(store, split, tile_size=16, overlap=0, batch=1)


# --- scaling ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32"])
@pytest.mark.parametrize("absent", [0, 1, 3])
def test_scaling_is_that_of_prediction_bit_for_bit(dtype: str, absent: int) -> None:
    rng = np.random.default_rng(1)
    pixels = (rng.random((2, 3, 9, 7)) * (200 if dtype == "uint8" else 30_000)).astype(dtype)
    present = np.ones((2, 1, 9, 7), bool) if not absent else rng.random((2, absent, 9, 7)) < 0.6
    if dtype == "float32":
        pixels[~np.broadcast_to(present, pixels.shape)] = np.nan
    stats = BandStats((101.3, 7.7, 1e4), (33.3, 0.1, 777.0))
    given = torch.from_numpy(pixels.copy())
    scaled = normalize_batch(given, torch.from_numpy(present) if absent else None, stats)
    expected = np.stack([stats.normalize(p, np.broadcast_to(q, p.shape)) for p, q in zip(pixels, present, strict=True)])
    np.testing.assert_array_equal(scaled.numpy().view(np.uint32), expected.view(np.uint32))
    np.testing.assert_array_equal(given.numpy(), pixels)
    assert scaled.dtype == torch.float32


def test_scaling_for_other_bands() -> None:
    with pytest.raises(ParameterError, match="2 bands given, statistics are for 3"):
        normalize_batch(torch.zeros(1, 2, 4, 4), None, BandStats((0.0,) * 3, (1.0,) * 3))


def test_statistics_go_to_the_device_once_and_serve_judging_and_learning() -> None:
    stats = BandStats((5.0, 7.0), (2.0, 0.5))
    pixels = torch.rand(1, 2, 4, 4)
    with torch.inference_mode():  # validation comes first
        first = normalize_batch(pixels, None, stats)
    filters = torch.ones(1, 2, 1, 1, requires_grad=True)
    torch.nn.functional.conv2d(normalize_batch(pixels, None, stats), filters).sum().backward()
    assert filters.grad is not None
    torch.testing.assert_close(filters.grad[0, :, 0, 0], first.sum((0, 2, 3)))
    kept = _on_device(stats, pixels.device)
    assert _on_device(BandStats((5.0, 7.0), (2.0, 0.5)), pixels.device) is kept
    assert not kept[0].is_inference()
    np.testing.assert_array_equal(torch.stack(kept)[:, 0, :, 0, 0].numpy(), [[5.0, 7.0], [0.5, 2.0]])
