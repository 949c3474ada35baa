"""Maps with refined borders: those of a slow mean field over the whole scene, wherever the work is cut."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from refining import slow_crf
from scenes import replace_network, write_scene, write_spec
from shapely import Polygon

from geoseg.errors import ParameterError
from geoseg.inference import estimate_prediction, predict, steps
from geoseg.parts import Run
from geoseg.refinement import Crf, strips

TEXT = "crf,iterations=2,radius=3,appearance=2,colour=1.5,smoothness=1.5,appearance_weight=3,smoothness_weight=1"
CRF = Crf(2, 3, 2, 1.5, 1.5, 3, 1)
OPTIONS: dict[str, Any] = {"tile_size": 16, "overlap": 6, "confidence": True, "refine": TEXT}
SHAPE = 47, 53


class UnsureNetwork:
    """Probabilities from a pixel's own value: blended, they are what they were."""

    def __call__(self, tiles: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        scores = np.exp(-((np.arange(1, 8)[None, :, None, None] - tiles[:, :1]) ** 2) / 6)
        return np.asarray(scores / scores.sum(1, keepdims=True), np.float32)


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, Path]:
    """Scene, model and output."""
    monkeypatch.setattr(steps, "STEP_PIXELS", 1)
    monkeypatch.setattr(strips, "SIDE", 16)
    replace_network(monkeypatch, UnsureNetwork())
    rng = np.random.default_rng(2)
    values = np.kron(rng.integers(1, 8, (6, 6)), np.ones((9, 9)))[: SHAPE[0], : SHAPE[1]] + rng.normal(size=SHAPE)
    values = np.clip(values, 1, 7).astype(np.float32)
    values[20:30, 15:25] = values[:, :3] = values[40:, 50:] = -9
    return (
        write_scene(tmp_path / "s.tif", values, nodata=-9),
        write_spec(tmp_path / "m.safetensors"),
        tmp_path / "o.tif",
    )


def pixels(output: Path) -> list[npt.NDArray[Any]]:
    """Labels and confidence."""
    found = []
    for path in (output, output.with_name(f"{output.stem}_confidence.tif")):
        with rasterio.open(path) as file:
            found.append(file.read())
    return found


def assert_same(found: list[npt.NDArray[Any]], expected: list[npt.NDArray[Any]], rows: slice, cols: slice) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other[:, rows, cols])


def test_a_map_is_that_of_a_slow_mean_field(job: tuple[Path, Path, Path]) -> None:
    scene, model, output = job
    predict(scene, model, output, probabilities=True, **OPTIONS)
    with rasterio.open(scene) as file:
        values = file.read()
    valid = values[0] != -9
    expected = slow_crf(UnsureNetwork()(values[None])[0], values, valid, CRF)
    labels, confidence = pixels(output)
    np.testing.assert_allclose(confidence[1:, valid], 250 * expected[:, valid], atol=0.51)
    np.testing.assert_array_equal(confidence[0, valid], confidence[1:, valid].max(0))
    sure = np.diff(np.sort(expected, 0)[-2:], axis=0)[0] > 1e-4
    np.testing.assert_array_equal(labels[0, valid & sure], expected.argmax(0)[valid & sure] + 1)
    assert (labels[0, ~valid] == 0).all()
    assert (confidence[:, ~valid] == 255).all()


def test_without_it_scores_are_as_they_were(job: tuple[Path, Path, Path]) -> None:
    scene, model, output = job
    predict(scene, model, output, **OPTIONS | {"refine": None})
    plain = pixels(output)
    predict(scene, model, output, overwrite=True, **OPTIONS | {"refine": "crf,appearance_weight=0,smoothness_weight=0"})
    np.testing.assert_array_equal(pixels(output)[0], plain[0])
    predict(scene, model, output, overwrite=True, **OPTIONS)
    assert (pixels(output)[0] != plain[0]).mean() > 0.05


@pytest.mark.parametrize(
    ("changed", "patched"),
    [
        ({}, {"STEP_PIXELS": 10**6}),
        ({}, {"PANEL_BYTES": 4 * 7 * (16 + 128 + 12) * 20}),
        ({"batch": 3}, {}),
        ({"window": (17, 5, 20, 30)}, {}),
        ({"window": (46, 52, 1, 1)}, {}),
    ],
)
def test_a_part_is_that_of_the_whole(
    job: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], patched: dict[str, int]
) -> None:
    scene, model, output = job
    predict(scene, model, output, **OPTIONS)
    expected = pixels(output)
    for name, value in patched.items():
        monkeypatch.setattr(steps, name, value)
    predict(scene, model, output, overwrite=True, **OPTIONS | changed)
    top, left, height, width = changed.get("window", (0, 0, *SHAPE))
    assert_same(pixels(output), expected, slice(top, top + height), slice(left, left + width))


def test_what_lies_around_an_area_of_interest_is_heard(job: tuple[Path, Path, Path], tmp_path: Path) -> None:
    scene, model, output = job
    predict(scene, model, output, **OPTIONS)
    expected = pixels(output)
    with rasterio.open(scene) as file:
        corners = [file.transform @ corner for corner in ((3, 2), (14, 3), (9, 41))]
        area = geopandas.GeoDataFrame(geometry=[Polygon(corners)], crs=file.crs)
    area.to_file(tmp_path / "area.gpkg")
    predict(scene, model, output, overwrite=True, aoi=tmp_path / "area.gpkg", **OPTIONS)
    labels, confidence = pixels(output)
    inside = labels != 0
    assert 150 < inside.sum() < 250
    np.testing.assert_array_equal(labels[inside], expected[0][inside])
    np.testing.assert_array_equal(confidence[inside], expected[1][inside])
    assert (confidence[~inside] == 255).all()


@pytest.mark.parametrize("after", [1, 3])
def test_an_interrupted_run_goes_on_to_the_same_pixels(
    job: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    scene, model, output = job
    predict(scene, model, output, **OPTIONS)
    expected = pixels(output)
    real, calls = Run.write, itertools.count()

    class StoppedError(Exception):
        pass

    def stopping(run: Run, *arguments: Any) -> None:
        if next(calls) == after:
            raise StoppedError
        real(run, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "write", stopping)
        with pytest.raises(StoppedError):
            predict(scene, model, output, overwrite=True, **OPTIONS)
    with pytest.raises(ParameterError, match=r"refine"):
        predict(scene, model, output, overwrite=True, **OPTIONS | {"refine": "crf"})
    with pytest.raises(ParameterError, match=r"refine"):
        predict(scene, model, output, overwrite=True, **OPTIONS | {"refine": None})
    assert predict(scene, model, output, overwrite=True, **OPTIONS).resumed > 0
    assert_same(pixels(output), expected, slice(None), slice(None))


def test_a_map_tells_how_it_was_refined(job: tuple[Path, Path, Path]) -> None:
    scene, model, output = job
    told = []
    for refine in (None, "crf,appearance=20m,radius=3"):
        predict(scene, model, output, overwrite=True, **OPTIONS | {"refine": refine})
        with rasterio.open(output) as file:
            told.append(json.loads(file.tags()["GEOSEG_PARAMETERS"]))
    assert "refine" not in told[0]
    refined = told[1].pop("refine")
    assert refined.pop("appearance") == pytest.approx(2, rel=2e-3)
    defaults = dataclasses.asdict(Crf())
    assert {**refined, "appearance": defaults["appearance"]} == {"kind": "crf", **defaults, "radius": 3}
    assert told[0] == told[1]


def test_metres_are_those_of_the_pixels_that_the_network_sees(job: tuple[Path, Path, Path]) -> None:
    scene, model, output = job
    coarse = {"gsd": 20.0, "tile_size": 16, "overlap": 6}
    predict(scene, model, output, refine="crf,radius=60m,appearance=30m", **coarse)
    with rasterio.open(output) as file:
        labels, told = file.read(1), json.loads(file.tags()["GEOSEG_PARAMETERS"])["refine"]
    assert told["radius"] == 3
    assert told["appearance"] == pytest.approx(1.5, rel=2e-3)  # UTM shortens on its meridian
    with rasterio.open(scene) as file:
        np.testing.assert_array_equal(labels > 0, file.read(1) != -9)


def test_what_it_costs_is_told(job: tuple[Path, Path, Path]) -> None:
    scene, model, output = job
    with_it = estimate_prediction(scene, model, output, **OPTIONS)
    without = estimate_prediction(scene, model, output, **OPTIONS | {"refine": None})
    assert with_it.memory > without.memory
    assert with_it.seconds is not None
    assert without.seconds is not None
    assert with_it.seconds > without.seconds
