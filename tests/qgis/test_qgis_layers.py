"""Several layers in one GeoPackage, and the other formats, in a real QGIS: styled and named with no user action."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import shapely
from test_qgis import LEGEND, qgis_python, run

from geoseg.vectors import Features, layer_names, write_vectors

__all__ = ["qgis_python"]

pytestmark = pytest.mark.qgis

UTM = pyproj.CRS.from_epsg(32633).to_wkt()
COUNT = 900


def squares(class_id: int) -> Features:
    """Squares of one class: enough for more than one level of index."""
    x = np.arange(COUNT) * 10.0 + 5e5
    shapes = shapely.box(x, 5e6 + 10 * class_id, x + 10, 5e6 + 10 * class_id + 10)
    wkb = [shapely.to_wkb(shape, byte_order=1, flavor="iso") for shape in shapes]
    ones = np.ones(COUNT)
    return Features(
        np.frombuffer(b"".join(wkb), np.uint8), np.cumsum([0, *map(len, wkb)]), np.full(COUNT, class_id, np.int32),
        ones * 100, ones * 40, np.ones(COUNT, np.int64),
    )  # fmt: skip


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("layers")
    layers = layer_names(folder / "split.gpkg", LEGEND, split_by_class=True)
    with write_vectors(folder / "split.gpkg", LEGEND, UTM, layers=layers) as writer:
        for index, c in enumerate(LEGEND.classes[:-1]):
            writer.write(squares(c.id), index)
    with write_vectors(folder / "flat.fgb", LEGEND, UTM) as writer:
        for c in LEGEND.classes[:-1]:
            writer.write(squares(c.id))
    return folder


@pytest.fixture(scope="module")
def reports(outputs: Path, qgis_python: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    script = Path(__file__).with_name("check_layers.py")
    files = [outputs / "split.gpkg", outputs / "flat.fgb"]
    ended = run(qgis_python, script, *files, XDG_RUNTIME_DIR=str(tmp_path_factory.mktemp("qgis")))
    assert ended.returncode == 0, ended.stderr
    reports: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return reports


def test_each_class_has_a_layer_with_its_own_style(reports: dict[str, Any]) -> None:
    layers = reports["split.gpkg"]
    assert sorted(layers) == sorted(LEGEND.names)
    for c in LEGEND:
        seen = c != LEGEND.classes[-1]
        assert layers[c.name] == {
            "valid": True,
            "legend": [[c.name, c.color]],
            "crs": "EPSG:32633",
            "features": COUNT if seen else 0,
            "names": [c.name] if seen else [],
            "spatial_index": True,
        }


def test_flatgeobuf_takes_the_style_beside_it(reports: dict[str, Any]) -> None:
    (layer,) = reports["flat.fgb"].values()
    assert layer == {
        "valid": True,
        "legend": [[c.name, c.color] for c in LEGEND],
        "crs": "EPSG:32633",
        "features": 3 * COUNT,
        "names": sorted(LEGEND.names[:3]),
        "spatial_index": True,
    }


def test_layers_keep_the_standard(outputs: Path, qgis_python: str) -> None:
    module = "osgeo_utils.samples.validate_gpkg"
    if run(qgis_python, "-c", f"import {module}").returncode:
        pytest.skip("GDAL's validate_gpkg is not there; install python3-gdal")
    ended = run(qgis_python, "-m", module, outputs / "split.gpkg")
    assert ended.returncode == 0, ended.stdout + ended.stderr
