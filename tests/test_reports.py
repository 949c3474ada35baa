"""The building blocks of reports: what they escape, draw and keep small."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from html_pages import Page, rgba
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rasterio.crs import CRS

from geoseg.errors import OutputError, OutputExistsError, ParameterError
from geoseg.grids import Grid
from geoseg.legend import Legend
from geoseg.metrics import Calibration, Metrics, calibration_counts
from geoseg.reports import (
    Line,
    Place,
    Section,
    calibration_chart,
    cards,
    charts,
    class_table,
    confusion_table,
    errors_png,
    labels_png,
    line_chart,
    page,
    paragraphs,
    place_gallery,
    place_of,
    share_table,
    size_in_bytes,
    time_span,
    warning_box,
    write_page,
)
from geoseg.reports.charts import ticks
from geoseg.reports.pictures import means, photo_jpeg, thinned
from geoseg.tiling import Window

NASTY = "<script>alert('&\")</script>"
LEGEND = Legend.from_names(["water", NASTY, "road"])


def read(body: str) -> Page:
    found = Page(page("t", "", [Section("s", body)]))
    found.assert_sound()
    return found


def test_texts_are_escaped_wherever_they_stand() -> None:
    metrics = Metrics.from_confusion(np.ones((3, 3), np.int64))
    place = Place(NASTY, NASTY, np.ones((4, 4), np.uint8), np.full((4, 4), 2, np.uint8))
    body = "".join(
        [
            cards([(NASTY, NASTY)]),
            paragraphs([NASTY]),
            warning_box([NASTY]),
            class_table(LEGEND, metrics, None, "truth"),
            confusion_table(LEGEND, np.ones((3, 3), np.int64)),
            share_table(LEGEND, (NASTY, [1, 2, 3]), (NASTY, [3, 2, 1])),
            line_chart(NASTY, [Line(NASTY, [(1, 2.0)], "red")], x_label=NASTY, y_label=NASTY, mark=(1, NASTY)),
            place_gallery([place], LEGEND),
        ]
    )
    text = page(NASTY, "", [Section(NASTY, body)])
    assert NASTY not in text
    Page(text).assert_sound()


def test_sections_without_body_are_left_out_and_the_others_are_linked() -> None:
    found = Page(page("t", "", [Section("A b & c", "<p>x</p>"), Section("Empty", ""), Section("D", "<p>y</p>")]))
    assert [a["href"] for tag, a in found.tags if tag == "a"] == ["#a-b-c", "#d"]
    assert [a["id"] for tag, a in found.tags if tag == "section"] == ["a-b-c", "d"]


def points(svg: str) -> list[list[tuple[float, float]]]:
    """Places of the curves of a chart."""
    lines = [a for tag, a in read(svg).tags if tag == "polyline" and a["class"] == "line"]
    return [[(float(x), float(y)) for x, y in (p.split(",") for p in str(a["points"]).split())] for a in lines]


def test_a_curve_is_linear_in_its_values() -> None:
    values = [0.1, 0.4, 0.2, 0.9]
    svg = line_chart(
        "c", [Line("a", list(enumerate(values, 1)), "var(--c0)")], x_label="epoch", y_label="y", y_range=(0, 1)
    )
    (curve,) = points(svg)
    xs, ys = np.transpose(curve)
    np.testing.assert_allclose(np.diff(xs, 2), 0, atol=0.11)
    slope = (ys[3] - ys[0]) / (values[3] - values[0])
    assert slope < 0
    np.testing.assert_allclose(ys, ys[0] + slope * (np.array(values) - values[0]), atol=0.11)
    assert read(svg).titles == [f"a, epoch {i}: {v:g}" for i, v in enumerate(values, 1)]


@pytest.mark.parametrize("gap", [None, math.nan, math.inf])
def test_a_curve_breaks_where_there_is_no_value(gap: float | None) -> None:
    line = Line("a", [(1, 1.0), (2, 2.0), (3, gap), (4, 1.0), (5, 3.0), (6, gap), (7, 2.0)], "var(--c0)")
    svg = line_chart("c", [line], x_label="x", y_label="y")
    assert [len(curve) for curve in points(svg)] == [2, 2]
    assert len([tag for tag, a in read(svg).tags if tag == "circle" and a["class"] == "axis"]) == 1
    assert "nan" not in svg
    assert "inf" not in svg


def test_lines_without_a_value_are_left_out_and_no_line_is_no_chart() -> None:
    nothing = Line("nothing", [(1, None), (2, math.nan)], "red")
    assert line_chart("c", [nothing], x_label="x", y_label="y") == ""
    assert charts(["", ""]) == ""
    assert "nothing" not in line_chart("c", [nothing, Line("a", [(1, 1.0)], "red")], x_label="x", y_label="y")


@pytest.mark.parametrize("value", [0.0, 1.0, -3.5, 1e-9, 1e12])
def test_a_single_point_is_drawn_inside_the_frame(value: float) -> None:
    svg = line_chart("c", [Line("a", [(7, value)], "red")], x_label="x", y_label="y", mark=(7, "best"))
    (dot,) = [a for tag, a in read(svg).tags if tag == "circle" and a["class"] == "axis"]
    assert 0 < float(str(dot["cx"])) < 600
    assert 0 < float(str(dot["cy"])) < 300


def test_a_chart_of_many_points_stays_small() -> None:
    rng = np.random.default_rng(0)
    lines = [Line(str(i), list(enumerate(rng.random(1000).tolist())), "#123456") for i in range(40)]
    svg = line_chart("c", lines, x_label="x", y_label="y")
    assert len(read(svg).titles) <= 40 * 40
    assert [len(curve) for curve in points(svg)] == [1000] * 40


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_ticks_enclose_what_they_measure(low: float, span: float) -> None:
    found = ticks(low, low + span)
    assert 2 <= len(found) <= 12
    assert found == sorted(set(found))
    little = 1e-9 * max(abs(low), span, 1)
    assert found[0] <= low + little
    assert found[-1] >= low + span - little


def test_a_reliability_chart_has_a_bar_as_high_as_its_bin_is_right() -> None:
    sure = np.repeat([0.1, 0.55, 0.95], [100, 100, 200])
    right = np.concatenate([np.arange(100) < 20, np.arange(100) < 50, np.arange(200) < 150])
    svg = calibration_chart("c", Calibration.from_counts(calibration_counts(right, sure)))
    boxes = [float(str(a["height"])) for tag, a in read(svg).tags if tag == "rect"]
    np.testing.assert_allclose(np.array(boxes[::2]) / 260, [0.2, 0.5, 0.75], atol=1e-3)
    np.testing.assert_allclose(np.array(boxes[1::2]) / max(boxes[1::2]), [0.5, 0.5, 1], atol=1e-2)
    assert read(svg).titles[0].endswith("25.00% of the pixels, 20.00% of them right")
    assert calibration_chart("c", Calibration.from_counts(np.zeros((3, 15)))) == ""


def test_shares_of_no_pixel_are_undefined() -> None:
    rows = read(share_table(LEGEND, ("training", [3, 1, 0]), ("validation", [0, 0, 0]))).rows
    assert rows == [
        ["class", "training", "validation", "difference", ""],
        ["water", "75.00%", "–", "–", ""],
        [NASTY, "25.00%", "–", "–", ""],
        ["road", "0.00%", "–", "–", ""],
    ]


def test_many_columns_are_set_small() -> None:
    many = Legend.from_names(map(str, range(40)))
    tables = [
        a.get("class") for tag, a in read(confusion_table(many, np.eye(40, dtype=np.int64))).tags if tag == "table"
    ]
    assert tables == ["many"]


def test_labels_have_the_colours_of_the_legend_and_nothing_elsewhere() -> None:
    labels = np.random.default_rng(0).integers(0, 256, (30, 50)).astype(np.uint8)
    picture = rgba(labels_png(labels, LEGEND))
    np.testing.assert_array_equal(picture[..., 3] > 0, np.isin(labels, LEGEND.ids))
    for c in LEGEND:
        np.testing.assert_array_equal(picture[labels == c.id], np.array([[*c.rgb, 255]] * (labels == c.id).sum()))


def test_errors_are_the_redder_the_more_of_a_pixel_is_wrong() -> None:
    share = np.linspace(0, 1, 101)[None]
    picture = rgba(errors_png(share, share < 1)).astype(int)
    assert (np.diff(picture[0, :100, 1]) <= 0).all()
    assert picture[0, 0, 1] - picture[0, 1, 1] >= 15
    assert picture[0, :, 3].tolist() == [255] * 100 + [0]
    right, wrong = rgba(errors_png(np.array([[False, True]]), np.ones((1, 2), bool)))[0]
    assert right.tolist() == [225, 228, 226, 255]
    assert wrong.tolist() == [200, 30, 30, 255]


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 20))
def test_smaller_pictures_keep_means_and_middles(height: int, width: int, most: int) -> None:
    values = np.arange(height * width, dtype=np.uint8).reshape(height, width)
    small, middles = means(values, most), thinned(values, most)
    step = -(-max(height, width) // most)
    assert small.shape == middles.shape == (-(-height // step), -(-width // step))
    assert max(small.shape) <= most
    for i, j in np.ndindex(small.shape):
        cell = values[i * step : (i + 1) * step, j * step : (j + 1) * step]
        assert small[i, j] == pytest.approx(cell.mean())
        assert middles[i, j] in cell


def test_a_photograph_stays_what_it_is_to_the_eye() -> None:
    ramp = np.dstack([*np.meshgrid(np.arange(256), np.arange(256)), np.full((256, 256), 90)]).astype(np.uint8)
    shown = np.asarray(Image.open(io.BytesIO(photo_jpeg(ramp))))
    assert np.abs(shown.astype(int) - ramp).mean() < 3


def test_a_place_says_how_wrong_it_is() -> None:
    truth, predicted = np.ones((10, 10), np.uint8), np.ones((10, 10), np.uint8)
    truth[0] = 0
    predicted[1, :9] = 3
    predicted[2, 0] = 0
    gallery = read(place_gallery([Place("here", "x 1, y 2", truth, predicted)], LEGEND))
    how_wrong = f"{9 / 89:.1%} wrong · mean IoU {(80 / 89) / 2:.3f}"
    assert gallery.places == [f"here · x 1, y 2 · {how_wrong} · most often water taken for road ({9 / 89:.1%})"]
    errors = gallery.pictures()[-1]
    np.testing.assert_array_equal(errors[..., 3] > 0, (truth > 0) & (predicted > 0))
    np.testing.assert_array_equal(errors[..., 0] == 200, (truth == 1) & (predicted == 3))


def test_a_place_without_label_or_error_says_so() -> None:
    none, ones = np.zeros((3, 3), np.uint8), np.ones((3, 3), np.uint8)
    found = read(place_gallery([Place("a", "", none, ones), Place("b", "", ones, ones)], LEGEND)).places
    assert found == ["a · – wrong · mean IoU –", "b · 0.0% wrong · mean IoU 1.000"]
    assert place_gallery([], LEGEND) == ""


@pytest.mark.parametrize("count", [12, 60])
def test_places_stay_small_whatever_they_show(count: int) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(1, 4, (512, 512)).astype(np.uint8)
    place = Place("noise", "", noise, noise[::-1].copy(), rng.integers(0, 256, (512, 512, 3)).astype(np.uint8))
    gallery = place_gallery([place] * count, LEGEND)
    assert 300_000 < len(gallery) <= 2_400_000 + 2000
    assert len(read(gallery).pictures()) == 4 * count


def test_parts_of_a_place_have_one_shape() -> None:
    with pytest.raises(ParameterError, match="not one place"):
        Place("a", "", np.ones((3, 3), np.uint8), np.ones((3, 4), np.uint8))


def test_the_place_of_a_window_is_its_centre() -> None:
    utm = Grid(CRS.from_epsg(32633).to_wkt(), Affine(10, 0, 500_000, 0, -10, 5_000_000), 100, 100)
    degrees = Grid(CRS.from_epsg(4326).to_wkt(), Affine(0.1, 0, 10, 0, -0.1, 50), 100, 100)
    window = Window(10, 20, 20, 40)
    assert place_of(utm, window) == "x 500,400, y 4,999,800 (WGS 84 / UTM zone 33N)"
    assert place_of(degrees, window) == "longitude 14.00000°, latitude 48.00000° (WGS 84)"
    assert place_of(Grid(None, Affine.identity(), 100, 100), window) == ""
    assert place_of(None, window) == ""


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.04, "0.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (245.4, "4 min 05 s"),
        (3599.7, "1 h 00 min"),
        (7620, "2 h 07 min"),
    ],
)
def test_times_are_said_plainly(seconds: float, said: str) -> None:
    assert time_span(seconds) == said


def test_sizes_are_said_plainly() -> None:
    assert size_in_bytes(512 << 20) == "512 MiB"
    assert size_in_bytes(13 << 28) == "3.25 GiB"


def test_a_page_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    write_page(path, "one", overwrite=False)
    with pytest.raises(OutputExistsError, match="--overwrite"):
        write_page(path, "two", overwrite=False)
    assert path.read_text() == "one"
    write_page(path, "three", overwrite=True)
    assert path.read_text() == "three"
    with pytest.raises(OutputError, match="cannot be written"):
        write_page(tmp_path / "no" / "r.html", "x", overwrite=False)
    assert list(tmp_path.iterdir()) == [path]
