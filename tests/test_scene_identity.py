from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from scenes import write_scene

from geoseg.rasters import open_scene
from geoseg.rasters.validity import judge, never_absent, stored_nodata

RNG = np.random.default_rng(7)


def identity_of(path: str | Path, bands: list[int] | None = None) -> dict[str, object]:
    with open_scene(path, bands) as scene:
        return scene.identity


def noise(count: int = 1) -> np.ndarray:
    return RNG.integers(1, 200, (count, 16, 16)).astype(np.uint8)


def test_an_identity_is_json_and_stays(tmp_path):
    path = write_scene(tmp_path / "s.tif", noise(3))
    first = identity_of(path)
    assert json.loads(json.dumps(first)) == first
    assert identity_of(path) == first
    assert (first["path"], first["size"]) == (str(path), path.stat().st_size)


def test_a_relative_name_and_a_file_url_are_the_same_scene(tmp_path, monkeypatch):
    path = write_scene(tmp_path / "s.tif", noise())
    monkeypatch.chdir(tmp_path)
    assert identity_of("s.tif") == identity_of(path) == identity_of(f"file://{path}")


def test_every_change_shows(tmp_path):
    """Touched, other bands, other nodata, moved, a validity band beside it: each is another scene."""
    path = write_scene(tmp_path / "s.tif", noise(2))
    found = [identity_of(path), identity_of(path, [2]), identity_of(path, [2, 1])]
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    found.append(identity_of(path))
    times = (status.st_atime_ns, status.st_mtime_ns)
    with rasterio.open(path, "r+") as dataset:
        dataset.nodata = 3
    os.utime(path, ns=times)
    found.append(identity_of(path))
    with rasterio.open(path, "r+") as dataset:
        dataset.transform = dataset.transform @ Affine.translation(1e-7, 0)
    os.utime(path, ns=times)
    found.append(identity_of(path))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(np.tri(16, dtype=bool))
    os.utime(path, ns=times)
    found.append(identity_of(path))
    texts = [json.dumps(f, sort_keys=True) for f in found]
    assert len(set(texts)) == len(texts)


def test_statistics_that_another_program_leaves_change_nothing(tmp_path):
    path = write_scene(tmp_path / "s.tif", noise())
    before = identity_of(path)
    Path(f"{path}.aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="1"><Metadata><MDI key="STATISTICS_MEAN">7</MDI></Metadata></PAMRasterBand>'
        "</PAMDataset>"
    )
    assert identity_of(path) == before


def test_the_sources_of_a_vrt_count(tmp_path):
    source = write_scene(tmp_path / "source.tif", noise())
    (tmp_path / "s.vrt").write_text(
        '<VRTDataset rasterXSize="16" rasterYSize="16"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        '<SourceFilename relativeToVRT="1">source.tif</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>'
    )
    before = identity_of(tmp_path / "s.vrt")
    os.utime(source, ns=(1, 1))
    assert identity_of(tmp_path / "s.vrt") != before


def test_a_scene_in_an_archive(tmp_path):
    paths = [write_scene(tmp_path / f"{i}.tif", noise(), compress="deflate") for i in range(2)]
    found = []
    for time, path in enumerate(paths):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.write(path, "s.tif")
        os.utime(tmp_path / "a.zip", ns=(time, time))
        name = f"/vsizip/{tmp_path}/a.zip/s.tif"
        found.append(identity_of(name))
        assert found[-1]["size"] == (tmp_path / "a.zip").stat().st_size
        assert found[-1] == identity_of(name)
    assert found[0] != found[1]


def test_a_scene_without_a_date_is_told_by_its_blocks(tmp_path):
    """In memory, as behind a URL, nothing has a time: where compressed blocks lie differs with what they hold."""
    found = []
    for values in (noise(), noise(), np.zeros((1, 16, 16), np.uint8)):
        path = write_scene(tmp_path / "s.tif", values, compress="deflate")
        with rasterio.MemoryFile(path.read_bytes(), filename="same.tif") as memory:
            found.append(identity_of(memory.name))
            assert "modified" not in found[-1]
    assert found[0]["layout"] != found[2]["layout"]


def test_a_copy_elsewhere_is_another_scene(tmp_path):
    path = write_scene(tmp_path / "s.tif", noise())
    copy = Path(shutil.copy2(path, tmp_path / "t.tif"))
    assert identity_of(path) != identity_of(copy)


@pytest.mark.parametrize(
    ("dtype", "count", "options", "expected"),
    [
        ("uint8", 3, {}, True),
        ("uint8", 3, {"nodata": 0}, False),
        ("int16", 1, {}, True),
        ("int16", 1, {"nodata": -1}, False),
        ("float32", 1, {}, False),
        ("uint8", 4, {"photometric": "rgb", "alpha": "YES"}, False),
        ("uint8", 1, {"valid": np.ones((16, 16), bool)}, False),
    ],
)
def test_what_is_always_valid(tmp_path, dtype, count, options, expected):
    with open_scene(write_scene(tmp_path / "s.tif", noise(count).astype(dtype), **options)) as scene:
        assert scene.always_valid is expected


@pytest.mark.parametrize("nodata", [(None, None), (0, None), (0, 0), (300, 300)])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "float32"])
def test_never_absent_is_what_judge_does(dtype, nodata):
    """Where the rule says never, no sample of any value is absent; where not, some is."""
    kind = np.dtype(dtype)
    stored = [stored_nodata(v, kind) for v in nodata]
    values = np.broadcast_to(np.arange(100, dtype=kind) if kind.kind != "f" else kind.type(np.nan), (2, 10, 100))
    both = np.array(np.meshgrid([0, 1, np.nan if kind.kind == "f" else 44], [0, 1])).reshape(2, 1, -1).astype(kind)
    for samples in (values, both):
        pixels = judge(samples, stored, np.empty((0, *samples.shape[1:])), None)
        if never_absent(dtype, stored):
            assert pixels.valid.all()
            assert pixels.present.all()
    if not never_absent(dtype, stored):
        if kind.kind == "f":
            worst = np.full((2, 1, 1), np.nan, kind)
        else:
            worst = np.array([[[0 if s is None else s]] for s in stored]).astype(kind)
        assert not judge(worst, stored, np.empty((0, 1, 1)), None).present.all()
