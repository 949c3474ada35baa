"""Our outputs in a real QGIS: opened with no user action, they are styled, named, and in the right place.

Needs a Python that has QGIS (Debian: qgis python3-qgis python3-gdal), found on the PATH or named by QGIS_PYTHON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
from affine import Affine
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.grids import Grid, GroundControlPoint
from geoseg.legend import Legend
from geoseg.rasters import write_class_raster, write_confidence_raster
from geoseg.tiling import Window
from geoseg.vectorization import vectorize

pytestmark = pytest.mark.qgis

HEIGHT, WIDTH = 120, 160
UTM = pyproj.CRS.from_epsg(32633).to_wkt()
NORTH_UP = Affine(10, 0, 500000, 0, -10, 5000000)
LEGEND = Legend.from_names(['Water & <wet> "land"', "d'Or, Köln 森林", "Crops", "Never seen"])


def _control_points() -> tuple[GroundControlPoint, ...]:
    pixels = np.array([(0, 0), (WIDTH, 0), (0, HEIGHT), (WIDTH, HEIGHT)], np.float64)
    world = Grid(UTM, Affine(10, 0.4, 5e5, 0.3, -10, 5e6), HEIGHT, WIDTH).to_world(pixels)
    return tuple(GroundControlPoint(row, col, x, y) for (col, row), (x, y) in zip(pixels, world, strict=True))


# Degrees that are exact in binary: the acceptance check draws pixel by pixel, and rounding would move its window.
DEGREES = 2.0**-13
PLACES = {
    "projected": Grid(UTM, NORTH_UP, HEIGHT, WIDTH),
    "geographic": Grid(pyproj.CRS.from_epsg(4326).to_wkt(), Affine(DEGREES, 0, 11, 0, -DEGREES, 60), HEIGHT, WIDTH),
    "mercator": Grid(pyproj.CRS.from_epsg(3857).to_wkt(), Affine(10, 0, 1e6, 0, -10, 8e6), HEIGHT, WIDTH),
    "rotated": Grid(UTM, Affine(8.6, 5.1, 5e5, 5.1, -8.6, 5e6), HEIGHT, WIDTH),
    "points": Grid(UTM, Affine.identity(), HEIGHT, WIDTH, _control_points()),
    "nocrs": Grid(None, NORTH_UP, HEIGHT, WIDTH),
    "nowhere": Grid(None, Affine.identity(), HEIGHT, WIDTH),
}
CODES = {"projected": "EPSG:32633", "geographic": "EPSG:4326", "mercator": "EPSG:3857", "rotated": "EPSG:32633"}
NORTH_UP_PLACES = ["projected", "geographic", "mercator", "nocrs", "nowhere"]


def make_labels() -> NDArray[np.uint8]:
    rng = np.random.default_rng(2)
    scores = [ndimage.gaussian_filter(rng.standard_normal((HEIGHT, WIDTH)), 3) for _ in range(3)]
    labels = (np.argmax(scores, axis=0) + 1).astype(np.uint8)
    labels[:20, :30] = 0
    labels[60:70, 80:95] = 0
    return labels


def make_confidence(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    smooth = ndimage.gaussian_filter(np.random.default_rng(3).random(labels.shape), 2)
    return np.where(labels == 0, 255, np.rint(250 * smooth)).astype(np.uint8)


@pytest.fixture(scope="session")
def qgis_python() -> str:
    """A Python that can import QGIS, and is not ours."""
    folders = os.environ.get("PATH", "").split(os.pathsep)
    candidates = [os.environ.get("QGIS_PYTHON"), *(str(Path(f) / "python3") for f in folders)]
    ours = Path(sys.prefix).resolve()
    for candidate in candidates:
        if candidate and Path(candidate).is_file() and ours not in Path(candidate).absolute().parents:
            tried = subprocess.run(
                [candidate, "-c", "import qgis.core"], env=_environment(), capture_output=True, check=False
            )
            if tried.returncode == 0:
                return candidate
    pytest.skip("no Python on the PATH has QGIS; install qgis and python3-qgis, or set QGIS_PYTHON")


def _environment() -> dict[str, str]:
    ours = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PROJ_LIB", "PROJ_DATA", "GDAL_DATA")
    return {k: v for k, v in os.environ.items() if k not in ours} | {"QT_QPA_PLATFORM": "offscreen"}


def run(python: str, *arguments: str | Path, **extra: str) -> subprocess.CompletedProcess[str]:
    command = [python, *map(str, arguments)]
    return subprocess.run(
        command, env=_environment() | extra, capture_output=True, encoding="utf-8", check=False, timeout=250
    )


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with class raster, confidence raster and polygons for each place."""
    folder = tmp_path_factory.mktemp("outputs")
    labels = make_labels()
    window = Window(0, 0, HEIGHT, WIDTH)
    for name, grid in PLACES.items():
        with write_class_raster(folder / f"{name}.tif", grid, LEGEND) as writer:
            writer.write(window, labels)
        with write_confidence_raster(folder / f"{name}_confidence.tif", grid) as writer:
            writer.write(window, make_confidence(labels))
        vectorize(folder / f"{name}.tif", confidence=folder / f"{name}_confidence.tif")
    return folder


@pytest.fixture(scope="module")
def reports(outputs: Path, qgis_python: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What QGIS says about each place."""
    folder = tmp_path_factory.mktemp("qgis")
    cases = [
        {
            "name": name,
            "raster": str(outputs / f"{name}.tif"),
            "vector": str(outputs / f"{name}.gpkg"),
            "confidence": str(outputs / f"{name}_confidence.tif"),
        }
        for name in PLACES
    ]
    (folder / "cases.json").write_text(json.dumps(cases), encoding="utf-8")
    script = Path(__file__).with_name("check_outputs.py")
    ended = run(qgis_python, script, folder / "cases.json", XDG_RUNTIME_DIR=str(folder))
    assert ended.returncode == 0, ended.stderr
    reports: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return reports


@pytest.mark.parametrize("place", PLACES)
def test_raster_is_named_and_coloured(reports: dict[str, Any], place: str) -> None:
    raster = reports[place]["raster"]
    assert raster["valid"]
    assert raster["renderer"] == "paletted"
    assert raster["legend"] == [[c.id, c.name, c.color] for c in LEGEND]
    assert (raster["bands"], raster["nodata"]) == (1, 0)


@pytest.mark.parametrize("place", PLACES)
def test_polygons_are_named_and_coloured(reports: dict[str, Any], place: str) -> None:
    vector = reports[place]["vector"]
    assert vector["valid"]
    assert vector["renderer"] == "categorizedSymbol"
    assert vector["default_style"]
    assert vector["attribute"] == "class_name"
    assert vector["legend"] == [[c.name, c.name, c.color] for c in LEGEND]
    assert vector["names"] == sorted(LEGEND.names[:3])
    assert vector["styles"] == 1


@pytest.mark.parametrize("place", PLACES)
def test_polygons_are_valid_and_indexed(reports: dict[str, Any], place: str) -> None:
    labels, vector = make_labels(), reports[place]["vector"]
    assert vector["features"] == sum(ndimage.label(labels == c.id)[1] for c in LEGEND)
    assert vector["valid_geometries"]
    assert vector["spatial_index"]


@pytest.mark.parametrize("place", PLACES)
def test_confidence_is_in_false_colour_from_0_to_1(reports: dict[str, Any], place: str) -> None:
    confidence = reports[place]["confidence"]
    assert confidence["renderer"] == "singlebandpseudocolor"
    assert (confidence["ramp"][0], confidence["ramp"][-1]) == (0, 1)
    assert confidence["extent"] == reports[place]["raster"]["extent"]


@pytest.mark.parametrize("place", PLACES)
def test_raster_and_polygons_agree(reports: dict[str, Any], place: str) -> None:
    tried, equal = reports[place]["samples"]
    assert tried > 20
    assert equal == tried


@pytest.mark.parametrize("place", NORTH_UP_PLACES)
def test_raster_and_polygons_have_the_same_extent(reports: dict[str, Any], place: str) -> None:
    raster, vector = reports[place]["raster"]["extent"], reports[place]["vector"]["extent"]
    assert vector == pytest.approx(raster, rel=1e-12, abs=1e-6)


@pytest.mark.parametrize("place", PLACES)
def test_crs_is_that_of_the_scene(reports: dict[str, Any], place: str) -> None:
    report = reports[place]
    if place in CODES:
        assert report["raster"]["crs"] == report["vector"]["crs"] == CODES[place]
    elif place == "points":
        assert report["vector"]["crs"] == "EPSG:32633"
    else:
        assert report["raster"]["crs"] == report["vector"]["crs"] == ""
        assert "undefined" in report["vector"]["crs_name"].lower()


@pytest.mark.parametrize("place", NORTH_UP_PLACES)
def test_acceptance(outputs: Path, qgis_python: str, project_root: Path, place: str, tmp_path: Path) -> None:
    script = project_root / "../shared/acceptance/qgis_check.py"
    if not script.is_file():
        pytest.skip("the acceptance check lies in ../shared/acceptance, which is absent here")
    (tmp_path / "classes.json").write_text(
        json.dumps({c.id: {"name": c.name, "color": c.color} for c in LEGEND}), encoding="utf-8"
    )
    ended = run(
        qgis_python, script, "--quiet", "--classes-json", tmp_path / "classes.json",
        "--raster", outputs / f"{place}.tif", "--vector", outputs / f"{place}.gpkg",
        "--confidence", outputs / f"{place}_confidence.tif", *([] if place in CODES else ["--expect-no-crs"]),
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("place", PLACES)
def test_geopackage_keeps_the_standard(outputs: Path, qgis_python: str, place: str) -> None:
    module = "osgeo_utils.samples.validate_gpkg"
    if run(qgis_python, "-c", f"import {module}").returncode:
        pytest.skip("GDAL's validate_gpkg is not there; install python3-gdal")
    ended = run(qgis_python, "-m", module, outputs / f"{place}.gpkg")
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_qgis_leaves_nothing_beside_the_files(outputs: Path, reports: dict[str, Any]) -> None:
    assert len(reports) == len(PLACES)
    assert not [p.name for p in outputs.iterdir() if p.name.endswith(("-wal", "-shm", "-journal"))]
