"""The report of a training: whole, sound and readable whatever a training gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from html_pages import Page
from run_reports import history, judgement, run_report

from geoseg.errors import OutputError
from geoseg.legend import Legend
from geoseg.metrics import BoundaryScore
from geoseg.training.report import run_page, write_run_report
from geoseg.training.results import HistoryRow, Judgement, RunReport

NASTY = "<script>alert('&\")</script>"
LEGEND = Legend.from_names(["water", NASTY, "road", "never"], ["#ffffff", "#ff0000", "#00ff00", "#0000ff"])


def read(report: RunReport) -> Page:
    text = run_page(report)
    found = Page(text)
    found.assert_sound()
    assert NASTY not in text
    assert "http" not in text.replace("http-equiv", "")
    assert len(text) < 3_000_000
    return found


def sections(found: Page) -> list[str]:
    return [str(a["id"]) for tag, a in found.tags if tag == "section"]


def words(found: Page, of: str) -> list[str]:
    return [row[1] for row in found.rows if row[0] == of]


ALL = [
    "learning",
    "figures",
    "classes",
    "confusion-matrix",
    "areas",
    "worst-chips",
    "class-shares",
    "calibration",
    "time-and-memory",
    "notes",
    "settings",
]


def areas() -> dict[str, Judgement]:
    rng = np.random.default_rng(5)
    pairs = [rng.integers(1, 4, (2, 30, 30)).astype(np.uint8) for _ in range(2)]
    return {name: judgement(*pair, LEGEND) for name, pair in zip(("urban", NASTY), pairs, strict=True)}


def test_all_that_is_known_is_told() -> None:
    subsets = areas()
    report = run_report(LEGEND, subsets=subsets, history=history(LEGEND, 12, subsets=tuple(subsets)))
    found = read(report)
    assert sections(found) == ALL
    assert report.judgement is not None
    m, b, c = report.judgement.metrics, report.judgement.boundary, report.judgement.calibration
    assert words(found, "mean IoU") == [f"{m.mean_iou:.4f}"]
    assert words(found, "kappa") == [f"{m.kappa:.4f}"]
    assert words(found, "mean border F1 within 2 px (0.6 m)") == [f"{b.mean_f1:.4f}"]
    assert words(found, "expected calibration error in 15 bins") == [f"{c.error:.4f}"]
    assert words(found, "the same at temperature 1") == [f"{report.judgement.uncalibrated.error:.4f}"]
    assert words(found, "temperature") == ["1.3700"]
    assert words(found, "urban") == [f"{subsets['urban'].metrics.mean_iou:.4f}"]
    assert words(found, "time in all") == ["1 h 08 min"]
    assert words(found, "chips a second") == ["123"]
    assert words(found, "peak memory") == ["3.00 GiB"]
    assert words(found, "peak memory of the GPU") == ["200 MiB"]
    assert words(found, "parameters") == ["24,436,369"]
    start = next(i for i, row in enumerate(found.rows) if row[0].startswith("truth ↓"))
    counts = [[int(cell.split()[0].replace(",", "")) for cell in row[1:5]] for row in found.rows[start + 1 : start + 5]]
    assert counts == report.judgement.confusion.tolist()
    by_class = next(i for i, row in enumerate(found.rows) if row[:2] == ["IoU", "urban"])
    assert found.rows[by_class + 1] == ["water", *(f"{s.metrics.iou[0]:.4f}" for s in subsets.values())]
    assert found.rows[by_class + 4] == ["never", "–", "–"]


def test_every_curve_is_drawn() -> None:
    subsets = areas()
    found = read(run_report(LEGEND, subsets=subsets, history=history(LEGEND, 12, subsets=tuple(subsets))))
    curves = [a["stroke"] for tag, a in found.tags if tag == "polyline" and a["class"] == "line"]
    # Losses, mean IoU, overall accuracy and two areas, three classes that occur, learning rate.
    assert len(curves) == 2 + 4 + 3 + 1
    assert {"#ffffff", "#ff0000", "#00ff00"} < set(curves)
    assert "#0000ff" not in curves
    assert "urban" in " ".join(found.titles)
    assert f"{NASTY}, epoch 3: " in " ".join(found.titles)


def test_the_figure_that_decides_is_drawn_too() -> None:
    plain = len([t for t in read(run_report(LEGEND)).titles if t.startswith("kappa")])
    kappa = [t for t in read(run_report(LEGEND, monitor="kappa")).titles if t.startswith("kappa")]
    assert (plain, len(kappa)) == (0, 12)


def test_epochs_between_validations_do_not_break_a_curve() -> None:
    found = read(run_report(LEGEND, history=history(LEGEND, 12, every=4), best_epoch=8))
    lengths = [len(str(a["points"]).split()) for tag, a in found.tags if tag == "polyline" and a["class"] == "line"]
    assert lengths == [12, 3, 3, 3, 3, 3, 3, 12]


def test_chips_come_in_their_order_with_their_pictures() -> None:
    report = run_report(LEGEND, chips=3, side=48)
    found = read(report)
    assert [text.split(" · ")[0] for text in found.places] == [chip.sheet for chip in report.chips]
    assert [text.split(" · ")[2] for text in found.places] == [str(chip.window) for chip in report.chips]
    assert [text.split(" · ")[3] for text in found.places] == [f"{chip.error:.1%} wrong" for chip in report.chips]
    pictures = found.pictures()
    assert len(pictures) == 4 * 3
    for chip, picture in zip(report.chips, pictures[::4], strict=True):
        assert np.abs(picture[..., :3].astype(int) - chip.image).mean() < 25  # JPEG of noise
    for chip, picture in zip(report.chips, pictures[1::4], strict=True):
        np.testing.assert_array_equal(picture[..., 3] > 0, chip.truth > 0)


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"epochs": 1, "chips": 0}, {"areas", "worst-chips"}),
        ({"history": (HistoryRow(1, 2, float("nan"), 0.0, 3.0),), "best_epoch": None}, {"areas"}),
        ({"history": (), "best_epoch": None, "notes": (), "config": ""}, {"areas", "learning", "notes", "settings"}),
        ({"judgement": None, "best_epoch": None}, {"areas", "figures", "classes", "confusion-matrix", "calibration"}),
        ({"peak_memory": None, "peak_device_memory": None, "chips_per_second": None, "seconds": {}}, {"areas"}),
        ({"training_pixels": (0, 0, 0, 0), "purpose": "", "source": "", "architecture": ""}, {"areas"}),
    ],
)
def test_what_there_is_not_is_left_out(changes: dict[str, Any], missing: set[str]) -> None:
    found = read(run_report(LEGEND, **changes))
    assert sections(found) == [name for name in ALL if name not in missing]


def test_a_model_that_nobody_judged_is_warned_of() -> None:
    assert "nobody knows how good" in run_page(run_report(LEGEND, judgement=None, best_epoch=None))
    assert "nobody knows how good" not in run_page(run_report(LEGEND))


def test_figures_without_a_value_are_dashes() -> None:
    none = np.zeros((9, 9), np.uint8)
    found = read(run_report(LEGEND, judgement=judgement(none, none, LEGEND)))
    assert words(found, "mean IoU") == ["–"]
    assert words(found, "overall accuracy") == ["–"]
    assert words(found, "expected calibration error in 15 bins") == ["–"]
    assert words(found, "temperature") == []


def test_pixels_of_unknown_size_give_a_tolerance_in_pixels_alone() -> None:
    report = run_report(LEGEND)
    j = report.judgement
    assert j is not None
    boundary = BoundaryScore.from_counts(np.zeros((4, 4), np.int64), 3.0)
    found = read(
        run_report(LEGEND, judgement=Judgement(j.metrics, j.confusion, boundary, j.calibration, j.uncalibrated))
    )
    assert words(found, "mean border F1 within 3 px") == ["–"]


@pytest.mark.parametrize("count", [1, 40])
def test_few_and_many_classes(count: int) -> None:
    legend = Legend.from_names([f"{NASTY} {i}" for i in range(count)])
    found = read(run_report(legend, epochs=60))
    assert len(found.rows[next(i for i, r in enumerate(found.rows) if r[0].startswith("truth ↓"))]) == count + 2


def test_every_text_is_escaped() -> None:
    texts = dict.fromkeys(("name", "purpose", "source", "config", "device", "architecture"), NASTY)
    report = run_report(LEGEND, **texts, seconds={NASTY: 1.0}, notes=(NASTY,), warnings=(NASTY,))
    assert NASTY in [row[0].removeprefix("time: ") for row in read(report).rows]


def test_many_large_chips_stay_small() -> None:
    assert len(read(run_report(LEGEND, chips=40, side=512)).pictures()) == 160


def test_settings_keep_every_character() -> None:
    config = "a: 'x # y'  # says\n# alone\ncolor: '#ffffff'\n"
    text = run_page(run_report(LEGEND, config=config))
    inside = text[text.index("<pre>") + 5 : text.index("</pre>")]
    assert inside.replace("<i>", "").replace("</i>", "") == config
    assert "<i># alone</i>" in inside
    assert "<i>#ffffff" not in inside


def test_the_report_replaces_an_older_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    for report in (run_report(LEGEND), run_report(LEGEND, chips=0)):
        write_run_report(path, report)
        assert path.read_text("utf-8") == run_page(report)
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(OutputError, match="cannot be written"):
        write_run_report(tmp_path / "no" / "report.html", run_report(LEGEND))
