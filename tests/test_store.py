"""Sheets kept for a training: the same as the source, wherever they are kept, and their statistics."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled import MemorySource

from geoseg.errors import CorruptRasterError, OutputError, ParameterError, ResourceError
from geoseg.legend import ClassDef, Legend
from geoseg.sources.chips import Store, band_statistics_of, planes, storing
from geoseg.sources.splits import SheetSplit, Split
from geoseg.sources.surveys import survey
from geoseg.tiling import Window
from geoseg.training import Sample, band_statistics

LEGEND = Legend((ClassDef(1, "field", "#aabb00"), ClassDef(2, "wood", "#00aa00")))
KINDS = ("ram", "disk", "none")


def random_sheets(seed: int = 0, dtype: str = "uint16") -> list[tuple]:
    """All there; some pixels absent; bands absent on their own."""
    rng = np.random.default_rng(seed)
    sheets = []
    for height, width, axes in ((20, 30, 0), (33, 17, 2), (16, 16, 3)):
        shape = {0: None, 2: (height, width), 3: (2, height, width)}[axes]
        present = None if shape is None else rng.random(shape) < 0.7
        pixels = rng.integers(0, 60_000, (2, height, width)).astype(dtype)
        sheets.append((pixels, present, rng.integers(0, 2, (height, width)).astype(np.uint8)))
    return sheets


def filled(source: MemorySource, kind: str, folder: Path | None = None) -> Store:
    store = Store(source, kind, folder=folder)
    survey(source, store.write)
    return store


def same(found, expected) -> None:
    shape = found.pixels.shape
    present = np.broadcast_to(found.present, shape)
    np.testing.assert_array_equal(present, np.broadcast_to(expected.present, shape))
    np.testing.assert_array_equal(found.pixels[present], expected.pixels[present])
    np.testing.assert_array_equal(found.indices, expected.indices)
    assert found.pixels.dtype == expected.pixels.dtype


@pytest.mark.parametrize("kind", KINDS)
def test_windows_are_those_of_the_source(kind: str, tmp_path: Path) -> None:
    source = MemorySource(LEGEND, random_sheets())
    rng = np.random.default_rng(5)
    with filled(source, kind, tmp_path) as store:
        before = len(source.reads)
        for _ in range(60):
            number = int(rng.integers(3))
            sheet = source.sheets[number]
            top, left = int(rng.integers(sheet.height)), int(rng.integers(sheet.width))
            window = Window(
                top, left, int(rng.integers(1, sheet.height - top + 1)), int(rng.integers(1, sheet.width - left + 1))
            )
            found = store.read(number, window)
            np.testing.assert_array_equal(store.indices(number, window), found.indices)
            store.source.reads.clear() if kind == "none" else None
            same(found, source.read(number, window))
            source.reads.pop()
        assert len(source.reads) == before or kind == "none"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_everything_is_read_once(kind: str, tmp_path: Path) -> None:
    source = MemorySource(LEGEND, random_sheets())
    with filled(source, kind, tmp_path) as store:
        for number, sheet in enumerate(source.sheets):
            store.read(number, sheet.window)
    seen = [np.zeros((s.height, s.width), int) for s in source.sheets]
    for number, window in source.reads:
        seen[number][window.row_off : window.row_end, window.col_off : window.col_end] += 1
    assert all((count == 1).all() for count in seen)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_number_is_absent(kind: str, tmp_path: Path) -> None:
    pixels = np.ones((2, 8, 8), np.float32)
    pixels[0, 1, 1], pixels[:, 2, 2], pixels[1, 3, 3] = np.nan, np.nan, np.inf
    with filled(MemorySource(LEGEND, [(pixels, None, None)]), kind, tmp_path) as store:
        found = store.read(0, Window(0, 0, 8, 8))
    np.testing.assert_array_equal(np.broadcast_to(found.present, pixels.shape), np.isfinite(pixels))
    assert found.indices[2, 2] == 255
    assert (found.indices == 255).sum() == 1


@given(
    st.integers(1, 12), st.integers(1, 12), st.integers(-30, 30), st.integers(-30, 30), st.integers(1, 25),
    st.integers(1, 25),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_outside_the_sheet_it_is_mirrored(height: int, width: int, top: int, left: int, rows: int, cols: int) -> None:
    pixels = np.arange(height * width, dtype=np.uint16).reshape(1, height, width)
    present = pixels[0] % 5 != 0
    source = MemorySource(LEGEND, [(pixels, present, (pixels[0] % 2).astype(np.uint8))])
    with filled(source, "ram") as store:
        found = store.read_mirrored(0, Window(top, left, rows, cols))
        whole = store.read(0, source.sheets[0].window)
    pad = 64

    def around(values: np.ndarray) -> np.ndarray:
        for axis, size in ((0, height), (1, width)):
            widths = [(pad, pad) if a == axis else (0, 0) for a in (0, 1)]
            values = np.pad(values, widths, mode="reflect" if size > 1 else "edge")
        return values[pad + top : pad + top + rows, pad + left : pad + left + cols]

    np.testing.assert_array_equal(found.pixels[0], around(pixels[0]))
    np.testing.assert_array_equal(found.present, around(present))
    np.testing.assert_array_equal(found.indices, around(whole.indices))


def test_absence_is_kept_only_where_anything_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    zeros = planes.MemoryRoom.zeros
    monkeypatch.setattr(
        planes.MemoryRoom, "zeros", lambda self, shape, dtype: made.append(np.dtype(dtype)) or zeros(self, shape, dtype)
    )
    with filled(MemorySource(LEGEND, random_sheets()), "ram"):
        assert [str(kind) for kind in made if kind.kind == "b"] == ["bool", "bool"]


def test_bands_that_differ_later_in_a_sheet() -> None:
    source = MemorySource(LEGEND, [(np.ones((2, 4, 6), np.uint8), None, None)])
    absent = np.zeros((2, 2, 6), bool)
    absent[1, 0, 3] = True
    with Store(source, "ram") as store:
        upper, lower = (source.read(0, Window(top, 0, 2, 6)) for top in (0, 2))
        store.write(0, Window(0, 0, 2, 6), storing.LabelledPixels(upper.pixels, ~absent[0] & False, upper.indices))
        store.write(0, Window(2, 0, 2, 6), storing.LabelledPixels(lower.pixels, ~absent, lower.indices))
        present = store.read(0, Window(0, 0, 4, 6)).present
    np.testing.assert_array_equal(present[:, :2], False)
    np.testing.assert_array_equal(present[:, 2:], ~absent)


def test_no_file_is_left_and_none_has_a_name(tmp_path: Path) -> None:
    store = filled(MemorySource(LEGEND, random_sheets()), "disk", tmp_path)
    assert list(tmp_path.iterdir()) == []
    window = store.read(1, Window(0, 0, 5, 5))
    expected = window.pixels.copy()
    store.close()
    np.testing.assert_array_equal(window.pixels, expected)  # what is held stays good
    with pytest.raises(ParameterError, match="never written"):
        store.read(1, Window(0, 0, 5, 5))


def open_files() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def test_thousands_of_sheets_need_one_open_file(tmp_path: Path) -> None:
    arrays = [(np.full((1, 4, 4), i % 200, np.uint8), None, None) for i in range(300)]
    before = open_files()
    with filled(MemorySource(LEGEND, arrays), "disk", tmp_path) as store:
        assert open_files() - before < 10
        assert [int(store.read(i, Window(0, 0, 1, 1)).pixels[0, 0, 0]) for i in (0, 150, 299)] == [0, 150, 99]


def test_a_full_disk_is_an_error_with_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int, begin: int, end: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(planes, "_take_blocks", full)
    source = MemorySource(LEGEND, random_sheets())
    with (
        Store(source, "disk", folder=tmp_path) as store,
        pytest.raises(ResourceError, match=r"no room for the decoded images: 0\.06 GiB .*chips\.cache=none"),
    ):
        survey(source, store.write)


@pytest.mark.parametrize("allocate", [True, False])
def test_the_file_grows_by_zeros_that_have_their_place(
    allocate: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not allocate:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    path = tmp_path / "file"
    with path.open("wb+") as file:
        planes._take_blocks(file.fileno(), 0, 3_000_001)
        planes._take_blocks(file.fileno(), 3_000_001, 3_000_100)
    assert path.stat().st_size == 3_000_100
    assert path.stat().st_blocks * 512 >= 3_000_100
    assert not any(path.read_bytes())


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no file can be made in"):
        Store(MemorySource(LEGEND, random_sheets()), "disk", folder=tmp_path / "none")


@pytest.mark.parametrize(
    ("memory", "disk", "kind"), [(10**9, 0, "ram"), (1000, 10**9, "disk"), (1000, 1000, "none"), (None, 10**9, "disk")]
)
def test_the_first_place_with_room(
    memory: int | None, disk: int, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    monkeypatch.setattr(storing, "free_memory", lambda: memory)
    monkeypatch.setattr(storing.shutil, "disk_usage", lambda _: SimpleNamespace(free=disk))
    caplog.set_level(logging.INFO, logger="geoseg")
    with Store(MemorySource(LEGEND, random_sheets()), "auto", folder=tmp_path) as store:
        assert store.kind == kind
    assert "of decoded images" in caplog.text
    assert "memory available" in caplog.text


def test_each_process_needs_its_own_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = MemorySource(LEGEND, [(np.zeros((1, 100, 100), np.uint8), None, None)])
    monkeypatch.setattr(storing, "free_memory", lambda: 100_000)
    with Store(source, folder=tmp_path) as store:
        assert store.kind == "ram"  # 3 bytes a pixel
    with Store(source, folder=tmp_path, processes=2) as store:
        assert store.kind == "disk"


def test_unknown_places_and_windows() -> None:
    source = MemorySource(LEGEND, random_sheets(), failing={1: "sheet1 is broken"})
    with pytest.raises(ParameterError, match="no cache 'tape'"):
        Store(source, "tape")
    with filled(source, "ram") as store:
        with pytest.raises(ParameterError, match=r"sheet1, rows 0\.\.1, .* was never written"):
            store.read(1, Window(0, 0, 2, 2))
        for window in (Window(-1, 0, 2, 2), Window(0, 29, 2, 2), Window(19, 0, 2, 2)):
            with pytest.raises(ParameterError, match="reaches outside sheet0, which has 20×30"):
                store.read(0, window)
    with Store(source, "none") as store, pytest.raises(CorruptRasterError, match="sheet1 is broken"):
        store.read(1, Window(0, 0, 2, 2))


# --- statistics ------------------------------------------------------------------------------------------------------


def split_of(source: MemorySource, closed: Sequence[Sequence[Window]] = ()) -> Split:
    closed = closed or [()] * len(source.sheets)
    parts = zip(source.sheets, closed, strict=True)
    return Split("blocks", tuple(SheetSplit("train", (sheet.window,), tuple(shut)) for sheet, shut in parts))


def test_statistics_are_those_of_numpy_and_of_the_small_trainer(tmp_path: Path) -> None:
    sheets = random_sheets()
    source = MemorySource(LEGEND, sheets)
    with filled(source, "ram") as store:
        stats, extent = band_statistics_of(store, split_of(source))
    samples = [
        Sample(p, i, None if q is None else np.broadcast_to(q, p.shape)) for p, q, i in sheets
    ]  # fmt: skip
    expected, expected_extent = band_statistics(samples)
    np.testing.assert_allclose(stats.mean, expected.mean, rtol=1e-12)
    np.testing.assert_allclose(stats.std, expected.std, rtol=1e-9)
    assert extent == expected_extent
    values = np.concatenate([p[0][np.broadcast_to(True if q is None else q, p.shape)[0]] for p, q, _ in sheets])
    np.testing.assert_allclose((stats.mean[0], stats.std[0]), (values.mean(), values.std()), rtol=1e-12)


def test_statistics_are_of_training_ground_alone() -> None:
    pixels = np.random.default_rng(2).normal(50, 9, (1, 600, 700)).astype(np.float32)
    shut = Window(100, 0, 200, 650)
    pixels[:, 100:300, :650] = 1e6
    other = np.full((1, 50, 50), 1e9, np.float32)
    source = MemorySource(LEGEND, [(pixels, None, None), (other, None, None)])
    split = Split("blocks", (SheetSplit("train", (shut,), (shut,)), SheetSplit(None, (), (Window(0, 0, 50, 50),))))
    with filled(source, "ram") as store:
        stats, (low, high) = band_statistics_of(store, split)
    open_ground = np.concatenate([pixels[0, :100].ravel(), pixels[0, 300:].ravel(), pixels[0, 100:300, 650:].ravel()])
    np.testing.assert_allclose(stats.mean[0], open_ground.astype(float).mean(), rtol=1e-12)
    np.testing.assert_allclose(stats.std[0], open_ground.astype(float).std(), rtol=1e-9)
    np.testing.assert_allclose((low, high), np.percentile(open_ground.astype(float), [1, 99]), rtol=1e-6)


def test_large_offsets_cost_no_digits() -> None:
    offset = 1e9
    pixels = np.random.default_rng(3).normal(0, 1, (1, 700, 600)) + offset
    source = MemorySource(LEGEND, [(pixels, None, None)])
    with filled(source, "ram") as store:
        stats, _ = band_statistics_of(store, split_of(source))
    np.testing.assert_allclose(stats.std[0], (pixels - offset).std(), rtol=1e-6)


def test_of_large_ground_pieces_are_taken_all_over() -> None:
    pixels = np.repeat(np.arange(16_000, dtype=np.float32)[None, :, None], 64, axis=2)
    source = MemorySource(LEGEND, [(pixels, None, None)])
    with filled(source, "ram") as store:
        reads = []
        read, store.read = store.read, lambda sheet, window: reads.append(window) or read(sheet, window)
        stats, (low, high) = band_statistics_of(store, split_of(source), most=pixels.size // 4)
    assert 0.2 < sum(w.height * w.width for w in reads) / pixels.size < 0.3
    assert abs(stats.mean[0] - 8000) < 800
    assert low < 1600
    assert high > 14_400


def test_bands_without_data_or_with_one_value_are_errors() -> None:
    pixels = np.random.default_rng(0).random((3, 9, 9)).astype(np.float32)
    pixels[1], pixels[2] = 0.1, np.nan
    for bands, message in (([0, 1], r"band 2 \(band 2\) hold one value"), ([0, 1, 2], r"band 3 .* hold no data")):
        source = MemorySource(LEGEND, [(pixels[bands], None, None)])
        with filled(source, "ram") as store, pytest.raises(ParameterError, match=message):
            band_statistics_of(store, split_of(source))
    source = MemorySource(LEGEND, [(pixels, None, None)])
    with filled(source, "ram") as store, pytest.raises(ParameterError, match="none of the 1 images has ground"):
        band_statistics_of(store, split_of(source, [[source.sheets[0].window]]))
