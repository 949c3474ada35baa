"""Parts into a map, alone: what the client does when all workers are done.

usage: python benchmarks/scaling/assembly.py JOB

The job is JSON: ``map``, a class raster whose labels are repeated, ``height`` and ``width`` of the map to make,
``folder`` for it. The last line on stdout is JSON again. What runs is geoseg's own :func:`assemble`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from plans import CLASSES, OVERLAP, TILE
from rasterio.crs import CRS

from geoseg.grids import Grid
from geoseg.inference.assembly import assemble
from geoseg.inference.steps import plan_steps
from geoseg.legend import Legend
from geoseg.parts import Run, open_run
from geoseg.tiling import TileGrid, Window


def main(job: dict[str, Any]) -> dict[str, float]:
    """Do it, and tell seconds, pixels and bytes."""
    height, width, folder = job["height"], job["width"], Path(job["folder"])
    with rasterio.open(job["map"]) as file:
        labels = file.read(1)
    steps = plan_steps(TileGrid(height, width, TILE, OVERLAP), Window(0, 0, height, width), CLASSES)
    output = folder / "assembled.tif"
    with open_run(folder / "assembled.tif.parts", {"benchmark": True}, ["labels"], resume=False) as run:
        begin = time.perf_counter()
        for step in steps:
            run.write(step, repeated(labels, step)[None])
        writing, part_bytes = time.perf_counter() - begin, sum(run.size(step) for step in steps)
        begin = time.perf_counter()
        assemble(_job(output, height, width, steps), run, {}, overwrite=True, carry_on=lambda: None)
        seconds = time.perf_counter() - begin
        _compare(output, run, steps[-1])
        run.finish()
    found = {"seconds": seconds, "writing": writing, "map_bytes": output.stat().st_size, "part_bytes": part_bytes}
    for path in folder.glob("assembled*"):
        path.unlink()
    return {"pixels": height * width, "parts": len(steps), **found}


def repeated(labels: Any, window: Window) -> Any:
    """A window of a map that repeats, mirrored at each edge."""
    rows, cols = (
        np.minimum(at % (2 * n), 2 * n - 1 - at % (2 * n))
        for at, n in (
            (np.arange(window.row_off, window.row_end), labels.shape[0]),
            (np.arange(window.col_off, window.col_end), labels.shape[1]),
        )
    )
    return labels[rows][:, cols]


def _job(output: Path, height: int, width: int, steps: tuple[Window, ...]) -> Any:
    """What assembling looks at of a job."""
    grid = Grid(CRS.from_epsg(32633).to_wkt(), Affine(0.3, 0, 412_000, 0, -0.3, 5_655_000), height, width)
    scene = SimpleNamespace(grid=grid)
    return SimpleNamespace(
        outputs=SimpleNamespace(rasters=(output,), labels=output),
        selection=SimpleNamespace(window=Window(0, 0, height, width)),
        scene=scene, source=scene, output_grid=grid, gsd=None, steps=steps,
        legend=Legend.from_names([f"class {number}" for number in range(CLASSES)]),
    )  # fmt: skip


def _compare(output: Path, run: Run, step: Window) -> None:
    window = rasterio.windows.Window(step.col_off, step.row_off, step.width, step.height)
    with rasterio.open(output) as file:
        if not np.array_equal(file.read(1, window=window), run.read(step, "labels")):
            raise RuntimeError(f"the map differs from its part of {step}")


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
