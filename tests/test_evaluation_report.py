"""The report of evaluate(): one file, whole, escaped, with pictures that show what there is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import geopandas
import numpy as np
import numpy.typing as npt
import pytest
import shapely
from affine import Affine
from html_pages import Page, rgba
from rasterio.crs import CRS

from geoseg.cli import main
from geoseg.errors import OutputError, OutputExistsError, RasterError
from geoseg.evaluation import evaluate
from geoseg.evaluation.thumbnails import Thumbnails
from geoseg.evaluation.worst import ErrorCells
from geoseg.grids import Grid
from geoseg.legend import Legend
from geoseg.rasters import write_class_raster, write_confidence_raster
from geoseg.tiling import Window

Labels = npt.NDArray[np.uint8]

NASTY = "<script>alert('&\")</script>"
LEGEND = Legend.from_names(["water", NASTY, "road", "never"])
UTM = CRS.from_epsg(32633).to_wkt()


def labels(seed: int, shape: tuple[int, int]) -> Labels:
    return np.random.default_rng(seed).integers(0, 4, shape).astype(np.uint8)


def write(path: Path, values: Labels) -> Path:
    grid = Grid(UTM, Affine(10, 0, 500_000, 0, -10, 5_000_000), *values.shape)
    with write_class_raster(path, grid, LEGEND) as writer:
        writer.write(Window(0, 0, *values.shape), values)
    return path


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return write(tmp_path / "p&q.tif", labels(1, (40, 30))), write(tmp_path / "t.tif", labels(2, (40, 30)))


def test_report_holds_all_figures(pair: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    found = evaluate(*pair, report=path)
    page = Page(path.read_text(encoding="utf-8"))
    assert page.open == []
    rows = {row[0]: row[1:] for row in page.rows if len(row) == 2}
    assert found.boundary is not None
    for name, value in (
        ("mean IoU", found.metrics.mean_iou),
        ("overall accuracy", found.metrics.overall_accuracy),
        ("class-average accuracy", found.metrics.mean_accuracy),
        ("kappa", found.metrics.kappa),
        ("mean border F1 within 2 px (20 m)", found.boundary.mean_f1),
    ):
        assert rows[name] == [f"{value:.4f}"]
    start = next(i for i, row in enumerate(page.rows) if row[0].startswith("reference ↓"))
    for line, name, counts in zip(page.rows[start + 1 :], LEGEND.names, found.confusion, strict=False):
        total = counts.sum()
        shares = [f"{n / total:.1%}" if total else "–" for n in counts]
        assert line == [name, *(f"{n:,} {s}" for n, s in zip(counts, shares, strict=True)), f"{total:,}"]
    classes = next(i for i, row in enumerate(page.rows) if row[:2] == ["class", "IoU"])
    assert page.rows[classes + 4] == ["never", "–", "–", "–", "–", "0", "–", "–", "–"]
    assert page.rows[classes + 1][1] == f"{found.metrics.iou[0]:.4f}"
    shares_at = next(i for i, row in enumerate(page.rows) if row[:2] == ["class", "reference"])
    assert page.rows[shares_at + 1][1] == f"{found.metrics.support[0] / found.metrics.pixels:.2%}"


def test_report_needs_no_network_and_runs_nothing(pair: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    evaluate(*pair, report=path)
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}
    assert "http://" not in text
    assert "https://" not in text
    assert "url(" not in text
    assert NASTY not in text
    assert NASTY in [row[0] for row in page.rows]
    assert "p&amp;q.tif" in text
    assert "p&q.tif" not in text


def test_pictures_show_both_maps_and_their_differences(pair: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    evaluate(*pair, report=path)
    predicted, truth, differences = Page(path.read_text(encoding="utf-8")).pictures()
    p, t = labels(1, (40, 30)), labels(2, (40, 30))
    for picture, values in ((predicted, p), (truth, t)):
        np.testing.assert_array_equal(picture[..., 3], np.where(values > 0, 255, 0))
        for c in LEGEND.classes[:3]:
            assert {tuple(v) for v in picture[values == c.id, :3].tolist()} == {c.rgb}
    compared = (p > 0) & (t > 0)
    np.testing.assert_array_equal(differences[..., 3], np.where(compared, 255, 0))
    red = differences[..., 1] < 100
    np.testing.assert_array_equal(red[compared], (p != t)[compared])


@pytest.mark.parametrize("shape", [(1700, 5), (5, 1700), (900, 1601), (801, 801)])
def test_thumbnails_lose_no_error_and_do_not_depend_on_strips(shape: tuple[int, int]) -> None:
    p, t = labels(1, shape), labels(2, shape)
    area = Window(100, 7, *shape)
    whole, strips = Thumbnails(area), Thumbnails(area)
    whole.add(t, p, 100)
    for top in range(0, shape[0], 37):
        strips.add(t[top : top + 37], p[top : top + 37], 100 + top)
    step = whole.step
    assert max(whole.truth.shape) <= 800 < max(shape)
    assert whole.truth.shape == (-(-shape[0] // step), -(-shape[1] // step))
    np.testing.assert_array_equal(whole.truth[0, 0], t[min(step // 2, shape[0] - 1), min(step // 2, shape[1] - 1)])
    compared = (p > 0) & (t > 0)
    assert whole.compared.sum() == compared.sum()
    assert whole.wrong.sum() == (compared & (p != t)).sum()
    assert (
        whole.wrong[-1, -1]
        == (compared & (p != t))[(shape[0] - 1) // step * step :, (shape[1] - 1) // step * step :].sum()
    )
    for name in ("truth", "predicted", "compared", "wrong"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(strips, name))


def test_one_wrong_pixel_in_a_hundred_is_seen() -> None:
    truth = np.ones((8000, 10), np.uint8)
    predicted = truth.copy()
    predicted[5, 5] = 2
    maps = Thumbnails(Window(0, 0, 8000, 10))
    maps.add(truth, predicted, 0)
    picture = rgba(maps.differences_png()).astype(int)
    assert maps.step == 10
    assert picture[1, 0, 1] - picture[0, 0, 1] >= 15


def test_confidence_is_shown_as_bins_and_as_bars(pair: tuple[Path, Path], tmp_path: Path) -> None:
    grid = Grid(UTM, Affine(10, 0, 500_000, 0, -10, 5_000_000), 40, 30)
    sure = np.random.default_rng(3).integers(75, 251, (40, 30)).astype(np.uint8)
    with write_confidence_raster(tmp_path / "c.tif", grid, tags={}) as writer:
        writer.write(Window(0, 0, 40, 30), sure)
    found = evaluate(*pair, confidence=tmp_path / "c.tif", report=tmp_path / "report.html")
    assert found.calibration is not None
    page = Page((tmp_path / "report.html").read_text("utf-8"))
    page.assert_sound()
    filled = [i for i, n in enumerate(found.calibration.pixels) if n]
    assert [row[1] for row in page.rows if " to " in row[0]] == [f"{n:,}" for n in found.calibration.pixels]
    assert len([tag for tag, _ in page.tags if tag == "rect"]) == 2 * len(filled)
    assert f"{found.calibration.accuracy[filled[0]]:.2%} of them right" in page.titles[0]


@pytest.mark.parametrize("shape", [(700, 600), (300, 2000), (257, 256)])
def test_cells_count_every_error_once_and_do_not_depend_on_strips(shape: tuple[int, int]) -> None:
    p, t = labels(1, shape), labels(2, shape)
    area = Window(100, 7, *shape)
    whole, strips = ErrorCells(area), ErrorCells(area)
    whole.add(t, p, 100)
    for top in range(0, shape[0], 37):
        strips.add(t[top : top + 37], p[top : top + 37], 100 + top)
    np.testing.assert_array_equal(whole.wrong, strips.wrong)
    wrong = (p > 0) & (t > 0) & (p != t)
    assert whole.wrong.sum() == wrong.sum()
    cells = whole.worst()
    found = [int(wrong[c.row_off - 100 :, c.col_off - 7 :][: c.height, : c.width].sum()) for c in cells]
    assert found == sorted(whole.wrong.ravel().tolist(), reverse=True)[: len(cells)]
    assert len(cells) == min(12, whole.wrong.size)


def test_an_area_of_one_cell_or_without_error_has_no_worst_place() -> None:
    one, right = ErrorCells(Window(0, 0, 256, 256)), ErrorCells(Window(0, 0, 300, 300))
    one.add(labels(1, (256, 256)), labels(2, (256, 256)), 0)
    right.add(labels(1, (300, 300)), labels(1, (300, 300)), 0)
    assert one.worst() == []
    assert right.worst() == []


def test_the_worst_place_comes_first_with_its_pixels_and_its_place(tmp_path: Path) -> None:
    truth = np.ones((600, 300), np.uint8)
    predicted = truth.copy()
    predicted[300:340, 260:300] = 3  # 1600 wrong pixels
    predicted[10:40, 10:40] = 2  # 900 of them
    files = write(tmp_path / "p.tif", predicted), write(tmp_path / "t.tif", truth)
    evaluate(*files, report=tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text("utf-8"))
    first, second = page.places
    assert first.startswith("rows 256..511, columns 256..299 · x 502,780, y 4,996,160 (WGS 84 / UTM zone 33N)")
    assert f"{1600 / (256 * 44):.1%} wrong" in first
    assert first.endswith(f"most often water taken for road ({1600 / (256 * 44):.1%})")
    assert second.startswith("rows 0..255, columns 0..255")
    assert NASTY in second
    shown, judged, errors = page.pictures()[3:6]
    assert shown.shape == (256, 44, 4)
    np.testing.assert_array_equal(shown[..., :3], np.broadcast_to(LEGEND.classes[0].rgb, (256, 44, 3)))
    road = (judged[..., :3] == LEGEND.classes[2].rgb).all(axis=-1)
    np.testing.assert_array_equal(road, predicted[256:512, 256:] == 3)
    np.testing.assert_array_equal(errors[..., 1] < 100, road)


def test_two_runs_give_the_same_file(pair: tuple[Path, Path], tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        evaluate(*pair, report=tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_report_is_never_overwritten_unasked(pair: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("mine")
    with pytest.raises(OutputExistsError, match="--overwrite"):
        evaluate(tmp_path / "none.tif", pair[1], report=path)
    assert path.read_text() == "mine"
    evaluate(*pair, report=path, overwrite=True)
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_report_that_came_into_being_meanwhile_stays(pair: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    before = set(tmp_path.iterdir())

    def write_mine(done: int, total: int) -> None:
        path.write_text(f"mine {done} of {total}")

    with pytest.raises(OutputExistsError):
        evaluate(*pair, report=path, progress=write_mine)
    assert path.read_text() == "mine 1200 of 1200"
    assert set(tmp_path.iterdir()) == before | {path}


def test_a_failed_run_leaves_no_report(pair: tuple[Path, Path], tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    with pytest.raises(RasterError):
        evaluate(pair[0], tmp_path / "p&q.qml", report=tmp_path / "report.html")
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "why"), [("r.pdf", r"end in \.html"), ("no/r.html", "does not exist"), ("d.html", "folder")]
)
def test_what_no_report_can_be(pair: tuple[Path, Path], tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "d.html").mkdir()
    with pytest.raises(OutputError, match=why):
        evaluate(*pair, report=tmp_path / name)


def test_notes_are_in_the_report(pair: tuple[Path, Path], tmp_path: Path) -> None:
    grid = Grid(UTM, Affine(20, 0, 500_000, 0, -20, 5_000_000), 20, 15)
    with write_class_raster(tmp_path / "coarse.tif", grid, LEGEND) as writer:
        writer.write(Window(0, 0, 20, 15), labels(3, (20, 15)))
    evaluate(pair[0], tmp_path / "coarse.tif", report=tmp_path / "report.html")
    assert re.search(r"<h2>Notes</h2>\s*<p>.*coarse\.tif .*resampled", (tmp_path / "report.html").read_text("utf-8"))


def test_the_command_line_reaches_every_option(
    pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = geopandas.GeoDataFrame(
        {"kind": ["road", "water"]},
        geometry=[
            shapely.box(500_000, 4_999_800, 500_300, 5_000_000),
            shapely.box(500_000, 4_999_600, 500_100, 4_999_800),
        ],
        crs="EPSG:32633",
    )
    boxes.to_crs(4326).to_file(tmp_path / "t.geojson")
    report = tmp_path / "report.html"
    report.write_text("old")
    options = ["--class-field", "kind", "--outside", NASTY, "--boundary-tolerance", "3", "--report", str(report)]
    command = ["geoseg", "evaluate", str(pair[0]), str(tmp_path / "t.geojson"), *options, "--overwrite", "--json"]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    record = json.loads(capsys.readouterr().out)
    assert record["boundary"]["tolerance_px"] == 3
    assert record["reference_pixels"] == 1200
    assert any("was reprojected from WGS 84" in note for note in record["notes"])
    assert f"ground without polygon counts as {NASTY!r}" in record["notes"]
    assert report.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
