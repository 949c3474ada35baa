"""Vectorizing with processes of their own: workers of this machine, one that is killed, and a client that is killed."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
from affine import Affine
from distributed import Client, LocalCluster
from scipy import ndimage

from geoseg.grids import Grid
from geoseg.legend import Legend
from geoseg.rasters import write_class_raster
from geoseg.tiling import Window
from geoseg.vectorization import vectorize

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are looked at as on Linux"),
    # Dask does not close all of its own sockets.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ROWS, HEIGHT, WIDTH = 16, 1200, 260
STRIPS = HEIGHT // ROWS


@pytest.fixture
def raster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DASK_LOGGING__DISTRIBUTED", "critical")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    rng = np.random.default_rng(4)
    scores = [ndimage.gaussian_filter(rng.standard_normal((HEIGHT, WIDTH)), 3) for _ in range(4)]
    labels = (np.argmax(scores, axis=0) + 1).astype(np.uint8)
    labels[500:700, 40:150] = 0
    grid = Grid(pyproj.CRS.from_epsg(32633).to_wkt(), Affine(10, 0, 5e5, 0, -10, 5e6), HEIGHT, WIDTH)
    with write_class_raster(tmp_path / "lc.tif", grid, Legend.from_names(list("abcd"))) as writer:
        writer.write(Window(0, 0, HEIGHT, WIDTH), labels)
    return tmp_path / "lc.tif"


@pytest.fixture
def processes(raster: Path) -> Iterator[Client]:
    """Two worker processes, with nannies that start them anew."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as found,
    ):
        yield found


def run(raster: Path, name: str, **choices: Any) -> Path:
    return vectorize(raster, raster.with_name(name), strip_height=ROWS, **choices)


def features(path: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f'SELECT * FROM "{path.stem}" ORDER BY fid').fetchall()


def parts_of(path: Path) -> list[Path]:
    return list(path.with_name(f"{path.name}.parts").glob("[0-9a-f]*.npz"))


@pytest.mark.parametrize("choices", [{}, {"min_area": 5000.0, "fill_holes": 5000.0, "to_crs": "EPSG:4326"}])
def test_polygons_of_workers_of_this_machine_are_those_of_one_process(raster: Path, choices: dict[str, Any]) -> None:
    there = run(raster, "there.gpkg", workers=3, region_parts=4, **choices)
    assert features(there) == features(run(raster, "local.gpkg", **choices))


def test_a_killed_worker_loses_its_region_to_others(raster: Path, processes: Client) -> None:
    pids: list[int] = list(processes.run(os.getpid).values())
    killed: list[int] = []

    def progress(done: int, total: int) -> None:
        if not killed and done < total:
            killed.append(pids[0])
            os.kill(pids[0], signal.SIGKILL)

    there = run(raster, "there.gpkg", client=processes, region_parts=3, min_area=5000.0, progress=progress)
    assert killed
    assert features(there) == features(run(raster, "local.gpkg", min_area=5000.0))


def test_a_killed_client_is_followed_by_another_that_goes_on(raster: Path) -> None:
    output = raster.with_name("there.gpkg")
    script = (
        "import sys, geoseg\n"
        "if __name__ == '__main__':\n"
        f"    geoseg.vectorize(sys.argv[1], sys.argv[2], strip_height={ROWS}, workers=2, region_parts=1)\n"
    )
    (raster.parent / "run.py").write_text(script)
    command = [sys.executable, str(raster.parent / "run.py"), str(raster), str(output)]
    client = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while len(parts_of(output)) < 3 and client.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    client.kill()
    client.wait()
    assert not output.exists()
    time.sleep(3)  # its workers go with it
    left = len(parts_of(output))
    assert 3 <= left < STRIPS
    time.sleep(1)
    assert len(parts_of(output)) == left
    shares: list[float] = []
    run(raster, "there.gpkg", workers=2, progress=lambda done, total: shares.append(done / total))
    assert shares[0] == pytest.approx(left / STRIPS, abs=0.02)
    assert features(output) == features(run(raster, "local.gpkg"))
    assert not output.with_name("there.gpkg.parts").exists()
