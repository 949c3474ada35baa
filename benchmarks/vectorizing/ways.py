"""The ways from a class raster to polygons; each runs in a process of its own.

usage: python benchmarks/vectorizing/ways.py JOB

The job is JSON: ``way``, ``raster``, ``output`` and, for the ways that simplify, ``pixel`` (its side in metres),
``tolerance`` and ``least`` (side of the triangles that go and area of the patches that go, in pixels). The last line on
stdout is JSON again: ``seconds`` of the work after the imports, and ``peak`` bytes.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

Job = dict[str, Any]
Work = Callable[[], object]


def geoseg_way(job: Job) -> Work:
    """What is measured here."""
    import geoseg

    vectorize = geoseg.vectorize  # loads it
    more = {}
    if "tolerance" in job:
        more = {"simplify": job["tolerance"] * job["pixel"], "min_area": job["least"] * job["pixel"] ** 2}
    return lambda: vectorize(job["raster"], job["output"], overwrite=True, **more)


def naive_way(job: Job) -> Work:
    """As anybody writes it: shapes, shapely, a GeoDataFrame, ``to_file``."""
    import geopandas
    import rasterio
    import rasterio.features
    import shapely.geometry

    def work() -> None:
        with rasterio.open(job["raster"]) as file:
            labels, transform, crs = file.read(1), file.transform, file.crs
        shapes = rasterio.features.shapes(labels, mask=labels != 0, connectivity=4, transform=transform)
        pairs = [(shapely.geometry.shape(geometry), int(value)) for geometry, value in shapes]
        frame = geopandas.GeoDataFrame(
            {"class_id": [value for _, value in pairs], "class_name": [f"class {value}" for _, value in pairs]},
            geometry=[polygon for polygon, _ in pairs],
            crs=crs,
        )
        frame["area"] = frame.area
        frame.to_file(job["output"], driver="GPKG")

    return work


def ragged_way(job: Job) -> Work:
    """The same polygons, all made at once from flat arrays: the fastest found with the same tools."""
    import geopandas
    import numpy as np
    import rasterio
    import rasterio.features
    import shapely

    def work() -> None:
        with rasterio.open(job["raster"]) as file:
            labels, transform, crs = file.read(1), file.transform, file.crs
        shapes = rasterio.features.shapes(labels, mask=labels != 0, connectivity=4, transform=transform)
        points: list[Any] = []
        in_ring: list[int] = []
        in_polygon: list[int] = []
        values: list[int] = []
        for geometry, value in shapes:
            rings = geometry["coordinates"]
            values.append(int(value))
            in_polygon.append(len(rings))
            in_ring += map(len, rings)
            points.append(np.fromiter(chain.from_iterable(chain.from_iterable(rings)), np.float64))
        flat = np.concatenate([np.zeros(0), *points]).reshape(-1, 2)
        offsets = tuple(np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]) for counts in (in_ring, in_polygon))
        class_id = np.array(values, np.int32)
        polygons = shapely.from_ragged_array(shapely.GeometryType.POLYGON, flat, offsets)
        names = np.array([f"class {k}" for k in range(256)], object)
        columns = {"class_id": class_id, "class_name": names[class_id], "area": shapely.area(polygons)}
        geopandas.GeoDataFrame(columns, geometry=polygons, crs=crs).to_file(job["output"], driver="GPKG")

    return work


def naive_simplified_way(job: Job) -> Work:
    """Sieve, then as naive, then GEOS's simplification of a coverage, which keeps borders shared."""
    import geopandas
    import rasterio
    import rasterio.features
    import shapely
    import shapely.geometry

    def work() -> None:
        with rasterio.open(job["raster"]) as file:
            labels, transform, crs = file.read(1), file.transform, file.crs
        labels = rasterio.features.sieve(labels, job["least"], mask=labels != 0, connectivity=4)
        shapes = rasterio.features.shapes(labels, mask=labels != 0, connectivity=4, transform=transform)
        pairs = [(shapely.geometry.shape(geometry), int(value)) for geometry, value in shapes]
        polygons = [polygon for polygon, _ in pairs]
        simplified = shapely.coverage_simplify(polygons, job["tolerance"] * job["pixel"], simplify_boundary=False)
        columns = {"class_id": [value for _, value in pairs], "class_name": [f"class {value}" for _, value in pairs]}
        frame = geopandas.GeoDataFrame(columns, geometry=simplified, crs=crs)
        frame["area"] = frame.area
        frame.to_file(job["output"], driver="GPKG")

    return work


WAYS = {
    "geoseg": geoseg_way,
    "naive": naive_way,
    "ragged": ragged_way,
    "naive simplified": naive_simplified_way,
}


def main() -> None:
    """Import, work, tell."""
    job = json.loads(sys.argv[1])
    work = WAYS[job["way"]](job)
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    # VmHWM and not ru_maxrss: the latter starts with what the parent process held.
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    print(json.dumps({"seconds": seconds, "peak": peak * 1024}))


if __name__ == "__main__":
    main()
