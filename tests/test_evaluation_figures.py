"""evaluate(): borders and calibration, streamed."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from affine import Affine
from rasterio.crs import CRS

from geoseg.errors import ParameterError, RasterError
from geoseg.evaluation import evaluate
from geoseg.grids import Grid
from geoseg.legend import Legend
from geoseg.metrics import BoundaryScore, Calibration, boundary_counts, calibration_counts
from geoseg.rasters import write_class_raster, write_confidence_raster
from geoseg.tiling import Window

LEGEND = Legend.from_names(["water", "forest", "road"])
SHAPE = (1100, 21)
GRID = Grid(CRS.from_epsg(32633).to_wkt(), Affine(10, 0, 500_000, 0, -10, 5_000_000), *SHAPE)
WHOLE = Window(0, 0, *SHAPE)

Labels = npt.NDArray[np.uint8]


def labels(seed: int) -> Labels:
    coarse = np.random.default_rng(seed).integers(0, 4, (221, 5)).astype(np.uint8)
    return np.kron(coarse, np.ones((5, 5), np.uint8))[: SHAPE[0], : SHAPE[1]]


def write(path: Path, values: Labels, tags: dict[str, str] | None = None) -> Path:
    with write_class_raster(path, GRID, LEGEND, tags=tags or {}) as writer:
        writer.write(WHOLE, values)
    return path


def write_confidence(path: Path, values: npt.NDArray[np.float32], grid: Grid = GRID, run: str = "r1") -> Path:
    with write_confidence_raster(path, grid, tags={"GEOSEG_RUN": run}) as writer:
        stored = np.where(np.isnan(values), 255, np.rint(np.nan_to_num(values) / 0.004)).astype(np.uint8)
        writer.write(Window(0, 0, *grid.shape), stored)
    return path


def confidence(seed: int) -> npt.NDArray[np.float32]:
    """Multiples of what is stored, between the edges of bins; none at all in some rows."""
    values = (np.random.default_rng(seed).integers(60, 250, SHAPE) * 0.004).astype(np.float32)
    values[40:60] = np.nan
    return values


@pytest.mark.parametrize("tolerance", [0, 2, 6.5])
@pytest.mark.parametrize("window", [None, Window(3, 2, 1080, 17)])
def test_borders_do_not_depend_on_strips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tolerance: float, window: Window | None
) -> None:
    ours, theirs = write(tmp_path / "p.tif", labels(1)), write(tmp_path / "t.tif", labels(2))
    part = np.s_[:, :] if window is None else np.s_[3:1083, 2:19]
    counts = boundary_counts(labels(2)[part], labels(1)[part], LEGEND.ids, tolerance)
    expected = BoundaryScore.from_counts(counts, tolerance, GRID.ground_sample_distance())
    monkeypatch.setattr("geoseg.evaluation.comparing._STRIP_PIXELS", 1)
    seen: list[int] = []
    found = evaluate(
        ours, theirs, window=window, boundary_tolerance=tolerance, progress=lambda done, _: seen.append(done)
    )
    assert len(seen) > 1
    assert found.boundary == expected
    assert found.boundary is not None
    assert found.boundary.tolerance_m == pytest.approx(10 * tolerance, rel=2e-3)


def test_borders_are_in_the_table_and_the_record(tmp_path: Path) -> None:
    found = evaluate(write(tmp_path / "p.tif", labels(1)), write(tmp_path / "t.tif", labels(2)))
    assert found.boundary is not None
    assert found.to_dict()["boundary"]["tolerance_px"] == 2.0
    assert found.to_dict()["calibration"] is None
    assert "border F1" in str(found).splitlines()[0]
    assert f"mean border F1 {found.boundary.mean_f1:.3f} within 2 px (20 m)" in str(found)


def test_tolerance_out_of_range_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"not in 0\.\.64"):
        evaluate(tmp_path / "none.tif", tmp_path / "none.tif", boundary_tolerance=99)


@pytest.mark.parametrize("given", [False, True])
def test_calibration_from_the_confidence_beside_or_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: bool
) -> None:
    tags = {} if given else {"GEOSEG_CONFIDENCE": "c.tif", "GEOSEG_RUN": "r1"}
    ours, theirs = write(tmp_path / "p.tif", labels(1), tags), write(tmp_path / "t.tif", labels(2))
    sure = write_confidence(tmp_path / "c.tif", confidence(3))
    known = (labels(1) > 0) & (labels(2) > 0) & np.isfinite(confidence(3))
    expected = Calibration.from_counts(calibration_counts((labels(1) == labels(2))[known], confidence(3)[known]))
    for pixels in (1 << 24, 1):
        monkeypatch.setattr("geoseg.evaluation.comparing._STRIP_PIXELS", pixels)
        found = evaluate(ours, theirs, confidence=sure if given else None)
        assert found.calibration is not None
        assert found.calibration.pixels == expected.pixels
        assert found.calibration.error == pytest.approx(expected.error, abs=1e-6)
    assert "expected calibration error 0." in str(found)
    assert len(found.to_dict()["calibration"]["bins"]) == 15


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ({}, "names no confidence raster"),
        ({"GEOSEG_CONFIDENCE": "gone.tif", "GEOSEG_RUN": "r1"}, "gone.tif, which is not beside it"),
        ({"GEOSEG_CONFIDENCE": "c.tif", "GEOSEG_RUN": "r2"}, "is not of the run"),
    ],
)
def test_no_calibration_is_told_with_its_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, tags: dict[str, str], why: str
) -> None:
    ours, theirs = write(tmp_path / "p.tif", labels(1), tags), write(tmp_path / "t.tif", labels(2))
    write_confidence(tmp_path / "c.tif", confidence(3))
    with caplog.at_level(logging.INFO, "geoseg"):
        assert evaluate(ours, theirs).calibration is None
    assert any(
        why in record.getMessage() and "no calibration error" in record.getMessage() for record in caplog.records
    )


def test_confidence_of_another_grid_is_refused(tmp_path: Path) -> None:
    ours = write(tmp_path / "p.tif", labels(1))
    other = Grid(GRID.crs_wkt, GRID.transform, 1100, 20)
    sure = write_confidence(tmp_path / "c.tif", confidence(3)[:, :20], other)
    with pytest.raises(RasterError, match="not on the grid of"):
        evaluate(ours, ours, confidence=sure)
