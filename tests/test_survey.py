"""A survey counts what is there, reads it once, and goes on after what cannot be read."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from labelled import MemorySource

from geoseg.errors import OutputError, ResourceError
from geoseg.legend import Legend
from geoseg.sources import LabelledPixels
from geoseg.sources.surveys import survey, surveying
from geoseg.sources.surveys.band_values import ValueCounter
from geoseg.sources.surveys.surveying import strip_windows
from geoseg.tiling import Window

LEGEND = Legend.from_names(["water", "forest", "town"])


def random_sheet(seed: int, height: int, width: int, dtype: str = "uint8", bands: int = 2) -> Any:
    """Pixels, presence and indices, with gaps, ignored and unknown labels."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 200, (bands, height, width)).astype(dtype)
    present = rng.random((height, width)) > 0.1
    indices = rng.choice(np.array([0, 1, 2, 254, 255], np.uint8), (height, width), p=[0.5, 0.2, 0.1, 0.1, 0.1])
    return pixels, present, indices


@given(st.data())
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int8"])
def test_integers_are_counted_exactly(dtype: str, data: st.DataObject) -> None:
    values = data.draw(hnp.arrays(dtype, st.integers(1, 300)))
    cut = data.draw(st.integers(0, len(values)))
    first, second = ValueCounter(dtype), ValueCounter(dtype)
    first.add(values[:cut])
    second.add(values[cut:])
    first.merge(second)
    found = first.summary()
    wide = values.astype(np.float64)
    assert (found.count, found.low, found.high) == (len(values), wide.min(), wide.max())
    assert found.mean == pytest.approx(wide.mean(), abs=1e-9)
    assert found.std == pytest.approx(wide.std(), abs=1e-6)
    assert found.p01 == np.percentile(wide, 1, method="inverted_cdf")
    assert found.p99 == np.percentile(wide, 99, method="inverted_cdf")
    assert sum(found.histogram) == len(values)


@given(
    st.lists(
        hnp.arrays(np.float32, st.integers(1, 80), elements=st.floats(-(2.0**90), 2.0**90, width=32)),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=60, deadline=None)
def test_floats_are_counted_to_half_a_percent(parts: list[npt.NDArray[np.float32]]) -> None:
    counter = ValueCounter("float32")
    for part in parts:
        counter.add(part)
    found, values = counter.summary(), np.concatenate(parts).astype(np.float64)
    assert (found.count, found.low, found.high) == (len(values), values.min(), values.max())
    size = np.abs(values).max()
    assert found.mean == pytest.approx(values.mean(), abs=1e-12 * size)
    assert found.std == pytest.approx(values.std(), rel=1e-6, abs=1e-7 * size)
    for share, percentile in ((1, found.p01), (99, found.p99)):
        assert percentile == pytest.approx(np.percentile(values, share, method="inverted_cdf"), rel=0.004, abs=1e-37)


def test_numbers_beyond_float32_are_counted() -> None:
    counter = ValueCounter("float64")
    counter.add(np.array([-1e200, 0.0, 1e200]))
    found = counter.summary()
    most = float(np.finfo(np.float32).max)
    assert (found.count, found.low, found.high) == (3, -most, most)
    assert found.mean == 0


def test_a_sheet_is_counted_pixel_by_pixel() -> None:
    source = MemorySource(LEGEND, [random_sheet(0, 150, 170), random_sheet(1, 40, 30)], unknown=77)
    found = survey(source)
    for number, sheet in enumerate(found.sheets):
        whole = source.read(number, source.sheets[number].window)
        assert sheet.defect is None
        assert sheet.pixels == whole.present.sum()
        assert sheet.pixels + sheet.absent == whole.present.size
        assert sheet.class_pixels.tolist() == [(whole.indices == k).sum() for k in range(3)]
        assert sheet.ignored == ((whole.indices == 255) & whole.present).sum()
        assert sheet.unknown == {77: (whole.indices == 254).sum()}
        assert sheet.unknown_pixels == (whole.indices == 254).sum()
        assert sheet.labelled + sheet.ignored + sheet.unknown_pixels == sheet.pixels
        for band, values in zip(sheet.bands, whole.pixels, strict=True):
            data = values[whole.present]
            assert (band.count, band.low, band.high) == (data.size, data.min(), data.max())
            assert band.mean == pytest.approx(data.mean())
    assert found.class_pixels.tolist() == [sum(s.class_pixels[k] for s in found.sheets) for k in range(3)]
    assert found.unknown == {77: sum(s.unknown_pixels for s in found.sheets)}
    assert found.bands[1].count == sum(s.bands[1].count for s in found.sheets)
    assert found.readable == (0, 1)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 200), (128, 128), (130, 300), (257, 511)])
def test_cells_hold_the_classes_of_their_ground(height: int, width: int) -> None:
    source = MemorySource(LEGEND, [random_sheet(2, height, width)])
    (sheet,) = survey(source).sheets
    indices = source.read(0, source.sheets[0].window).indices
    side = sheet.cell
    assert sheet.cells.shape == (-(-height // side), -(-width // side), 3)
    for row, line in enumerate(sheet.cells):
        for col, counts in enumerate(line):
            ground = indices[row * side : (row + 1) * side, col * side : (col + 1) * side]
            assert counts.tolist() == [(ground == k).sum() for k in range(3)]


def test_present_by_band_counts_each_band_for_itself() -> None:
    present = np.ones((2, 4, 5), np.bool_)
    present[0, :2] = False
    present[1, 1:3] = False
    pixels = np.arange(40, dtype=np.uint16).reshape(2, 4, 5)
    (sheet,) = survey(MemorySource(LEGEND, [(pixels, present, None)])).sheets
    assert sheet.pixels == 15
    assert [(b.count, b.low, b.high) for b in sheet.bands] == [(10, 10, 19), (10, 20, 39)]


def test_what_is_not_finite_is_counted_and_left_out() -> None:
    pixels = np.ones((1, 3, 4), np.float32)
    pixels[0, 0] = [np.nan, np.inf, -np.inf, 5]
    (sheet,) = survey(MemorySource(LEGEND, [(pixels, None, None)])).sheets
    assert sheet.not_finite == 3
    assert (sheet.bands[0].count, sheet.bands[0].low, sheet.bands[0].high) == (9, 1, 5)


@pytest.mark.parametrize("limit", [64 * 90, 2 * 64 * 90, 1 << 23])
def test_every_row_is_read_once_and_handed_on_in_order(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(surveying, "_STRIP_PIXELS", limit)
    source = MemorySource(LEGEND, [random_sheet(i, height, 90) for i, height in enumerate((200, 64, 65))])
    taken: list[tuple[int, Window]] = []
    built = [np.zeros((s.height, s.width), np.uint8) for s in source.sheets]

    def sink(sheet: int, window: Window, strip: LabelledPixels) -> None:
        taken.append((sheet, window))
        built[sheet][window.row_off : window.row_end] = strip.indices

    told: list[tuple[int, int]] = []
    found = survey(source, sink, lambda done, total: told.append((done, total)))
    assert taken == source.reads
    covered = [(s, row) for s, window in taken for row in range(window.row_off, window.row_end)]
    assert covered == [(s, row) for s, sheet in enumerate(source.sheets) for row in range(sheet.height)]
    assert all(window.width == 90 for _, window in taken)
    assert told[-1] == (329 * 90, 329 * 90)
    for number, indices in enumerate(built):
        assert (indices == source.read(number, source.sheets[number].window).indices).all()
    whole = survey(MemorySource(LEGEND, [random_sheet(0, 200, 90)]))
    assert (found.sheets[0].cells == whole.sheets[0].cells).all()
    assert found.sheets[0].bands == whole.sheets[0].bands


def test_strips_are_bounded_and_end_on_block_borders() -> None:
    source = MemorySource(LEGEND, [(np.broadcast_to(np.uint8(0), (1, 20000, 3000)), None, None)])
    strips = strip_windows(source.sheets[0])
    assert sum(w.height for w in strips) == 20000
    assert {w.row_off % 512 for w in strips} == {0}
    assert max(w.height * w.width for w in strips) <= 1 << 23


def test_what_cannot_be_read_is_noted_and_the_rest_goes_on() -> None:
    sheets = [random_sheet(i, 30, 30) for i in range(3)]
    source = MemorySource(LEGEND, sheets, failing={1: "sheet1.tif: block 3 cannot be decoded"})
    taken: list[int] = []
    told: list[tuple[int, int]] = []
    found = survey(source, lambda sheet, *_: taken.append(sheet), lambda *now: told.append(now))
    assert [s.defect for s in found.sheets] == [None, "sheet1.tif: block 3 cannot be decoded", None]
    assert found.readable == (0, 2)
    assert taken == [0, 2]
    assert told[-1] == (2700, 2700)
    assert found.sheets[1].labelled == 0
    assert found.class_pixels.sum() == found.sheets[0].labelled + found.sheets[2].labelled


def test_a_sheet_that_fails_midway_counts_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surveying, "_STRIP_PIXELS", 64 * 30)
    source = MemorySource(LEGEND, [random_sheet(0, 200, 30), random_sheet(1, 20, 30)])
    read = source.read

    def failing(sheet: int, window: Window) -> LabelledPixels:
        if sheet == 0 and window.row_off:
            raise OutputError("gone")
        return read(sheet, window)

    monkeypatch.setattr(source, "read", failing)
    found = survey(source)
    assert [s.defect for s in found.sheets] == ["gone", None]
    assert found.bands == found.sheets[1].bands


def test_odd_bands_and_types_are_defects() -> None:
    sheets = [random_sheet(0, 9, 9), random_sheet(1, 9, 9, bands=3), random_sheet(2, 9, 9, dtype="uint16")]
    found = survey(MemorySource(LEGEND, sheets))
    assert [s.defect for s in found.sheets] == [
        None,
        "sheet1 gives (3, 9, 9) samples for a window of (2, 9, 9) (bands, rows, columns)",
        "sheet2 holds uint16, the other images uint8; convert it",
    ]


@pytest.mark.parametrize("error", [OutputError("disk full"), ResourceError("no memory")])
def test_what_the_sink_raises_goes_through(error: Exception) -> None:
    def sink(*_: object) -> None:
        raise error

    with pytest.raises(type(error), match=str(error)):
        survey(MemorySource(LEGEND, [random_sheet(0, 9, 9)]), sink)


def test_lack_of_memory_is_no_defect_of_a_sheet(monkeypatch: pytest.MonkeyPatch) -> None:
    source = MemorySource(LEGEND, [random_sheet(0, 9, 9)])

    def read(*_: object) -> LabelledPixels:
        raise ResourceError("no memory")

    monkeypatch.setattr(source, "read", read)
    with pytest.raises(ResourceError):
        survey(source)
