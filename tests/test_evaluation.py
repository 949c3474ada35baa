"""evaluate(): what counts, what does not, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS

from geoseg.errors import LegendError, MissingFileError, ParameterError, RasterError
from geoseg.evaluation import Evaluation, evaluate
from geoseg.grids import Grid
from geoseg.legend import Legend
from geoseg.metrics import Metrics, confusion_matrix
from geoseg.rasters import write_class_raster
from geoseg.tiling import Window

LEGEND = Legend.from_names(["water", "forest", "road"])
TRANSFORM = Affine(10, 0, 500_000, 0, -10, 5_000_000)
UTM = CRS.from_epsg(32633).to_wkt()
SHAPE = (90, 70)


def _labels(seed: int, shape: tuple[int, int] = SHAPE) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 4, shape).astype(np.uint8)


def _write(
    path: Path,
    labels: npt.NDArray[np.uint8],
    legend: Legend = LEGEND,
    transform: Affine = TRANSFORM,
    crs: str | None = UTM,
) -> Path:
    with write_class_raster(path, Grid(crs, transform, *labels.shape), legend) as writer:
        writer.write(Window(0, 0, *labels.shape), labels)
    return path


def _write_foreign(path: Path, labels: npt.NDArray[np.uint8]) -> Path:
    """A file that says nothing of its classes."""
    height, width = labels.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=height,
        width=width,
        count=1,
        dtype="uint8",
        crs=UTM,
        transform=TRANSFORM,
        nodata=0,
    ) as file:
        file.write(labels, 1)
    return path


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return _write(tmp_path / "prediction.tif", _labels(1)), _write(tmp_path / "truth.tif", _labels(2))


def test_counts_each_pixel_once_and_leaves_no_data_out(pair: tuple[Path, Path]) -> None:
    found = evaluate(*pair)
    predicted, truth = _labels(1), _labels(2)
    np.testing.assert_array_equal(found.confusion, confusion_matrix(truth, predicted, LEGEND.ids))
    assert found.metrics == Metrics.from_confusion(found.confusion)
    assert found.legend == LEGEND
    assert found.compared_pixels == ((truth > 0) & (predicted > 0)).sum()
    assert found.reference_pixels == (truth > 0).sum()
    assert found.predicted_pixels == (predicted > 0).sum()
    assert found.missing_share == pytest.approx(((predicted == 0) & (truth > 0)).sum() / (truth > 0).sum())


@pytest.mark.parametrize("window", [None, Window(7, 5, 60, 33)])
def test_strips_never_change_the_counts(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, window: Window | None
) -> None:
    whole = evaluate(*pair, window=window)
    monkeypatch.setattr("geoseg.evaluation.comparing._STRIP_PIXELS", 1)
    seen: list[tuple[int, int]] = []
    strips = evaluate(*pair, window=window, progress=lambda done, total: seen.append((done, total)))
    np.testing.assert_array_equal(strips.confusion, whole.confusion)
    pixels = 90 * 70 if window is None else 60 * 33
    assert seen[-1] == (pixels, pixels)


def test_large_rasters_are_read_in_many_strips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geoseg.evaluation.comparing._STRIP_PIXELS", 1)
    truth = _labels(3, (1100, 9))
    seen: list[int] = []
    found = evaluate(
        _write(tmp_path / "a.tif", truth), _write(tmp_path / "b.tif", truth), progress=lambda done, _: seen.append(done)
    )
    assert len(seen) > 1
    assert found.metrics.mean_iou == 1.0


def test_window_compares_only_what_is_inside(pair: tuple[Path, Path]) -> None:
    inside = np.s_[10:50, 20:70]
    found = evaluate(*pair, window=Window(10, 20, 40, 50))
    np.testing.assert_array_equal(found.confusion, confusion_matrix(_labels(2)[inside], _labels(1)[inside], LEGEND.ids))


@pytest.mark.parametrize("window", [Window(-1, 0, 5, 5), Window(0, 0, 91, 5), Window(0, 66, 5, 5)])
def test_window_outside_is_refused(pair: tuple[Path, Path], window: Window) -> None:
    with pytest.raises(ParameterError, match="outside the rasters of 90×70"):
        evaluate(*pair, window=window)


def test_another_grid_without_crs_is_refused(tmp_path: Path) -> None:
    ours = _write(tmp_path / "prediction.tif", _labels(1))
    theirs = _write(tmp_path / "truth.tif", _labels(2), crs=None)
    with pytest.raises(RasterError, match=r"truth\.tif \(90×70 px, no CRS.*\(90×70 px, WGS 84 / UTM zone 33N.*a_srs"):
        evaluate(ours, theirs)


def test_rounding_of_the_grid_is_no_difference(tmp_path: Path) -> None:
    ours = _write(tmp_path / "prediction.tif", _labels(1))
    theirs = _write(tmp_path / "truth.tif", _labels(2), transform=TRANSFORM @ Affine.translation(1e-6, -1e-6))
    assert evaluate(ours, theirs).compared_pixels > 0


def test_colours_may_differ_and_classes_may_be_missing(tmp_path: Path) -> None:
    ours = _write(tmp_path / "prediction.tif", _labels(1))
    other = Legend.from_names(["water", "forest", "road", "roof"], ["#000001", "#000002", "#000003", "#000004"])
    found = evaluate(ours, _write(tmp_path / "truth.tif", _labels(2), other))
    assert found.legend.names == ("water", "forest", "road", "roof")
    assert found.legend.classes[:3] == LEGEND.classes
    assert found.metrics.iou[3] is None


@pytest.mark.parametrize("swap", [False, True])
def test_files_without_names_agree_by_id(tmp_path: Path, swap: bool) -> None:
    two_classes = np.where(_labels(2) == 3, 1, _labels(2)).astype(np.uint8)
    named = _write(tmp_path / "named.tif", _labels(1))
    plain = _write_foreign(tmp_path / "plain.tif", two_classes)
    found = evaluate(plain, named) if swap else evaluate(named, plain)
    assert found.legend == LEGEND


def test_contradicting_legends_are_listed(tmp_path: Path) -> None:
    ours = _write(tmp_path / "prediction.tif", _labels(1), Legend.from_names(["forest", "water", "road", "roof"]))
    records = [
        {"id": i, "name": n, "color": "#112233"} for i, n in ((1, "water"), (2, "forest"), (3, "road"), (9, "sea"))
    ]
    theirs = _write(tmp_path / "truth.tif", _labels(2), Legend.from_records(records))
    with pytest.raises(LegendError) as error:
        evaluate(ours, theirs)
    for part in (
        "class 1 is 'forest' here and 'water' there",
        "class 2 is",
        "4 (roof) is only here",
        "9 (sea) is only there",
    ):
        assert part in str(error.value)
    assert "road" not in str(error.value)


def test_nothing_in_common_is_an_error(tmp_path: Path) -> None:
    left, right = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    left[:, :30], right[:, 30:] = 1, 1
    with pytest.raises(RasterError, match=r"nothing to compare: 2700 pixels of .* 3600 pixels of"):
        evaluate(_write(tmp_path / "a.tif", left), _write(tmp_path / "b.tif", right))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        evaluate(tmp_path / "none.tif", _write(tmp_path / "truth.tif", _labels(2)))


def test_report_is_json_and_a_table(pair: tuple[Path, Path]) -> None:
    found = evaluate(*pair)
    record = json.loads(json.dumps(found.to_dict()))
    assert record["mean_iou"] == found.metrics.mean_iou
    assert np.sum(record["confusion"]) == record["pixels"] == found.compared_pixels
    lines = str(found).splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["class", "water", "forest", "road"]
    assert lines[4].startswith("mean IoU 0.")
    assert "% of the reference has no prediction" in lines[5]


def test_table_shows_what_is_undefined() -> None:
    confusion = np.array([[4, 0], [0, 0]])
    text = str(Evaluation("a", "b", Legend.from_names(["x", "y"]), confusion, Metrics.from_confusion(confusion), 4, 4))
    assert text.splitlines()[2].split() == ["y", "–", "–", "–", "–", "0.0%"]
