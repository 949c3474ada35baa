"""What a file of polygons is worth; each look runs in a process of its own, for its memory.

usage: python benchmarks/vectorizing/checks.py JOB

The job is JSON. ``{"look": "coverage", "raster": …, "output": …}`` looks at one output; ``{"look": "equality", …}`` at
``output`` and ``other``. The last line on stdout is JSON again.

All areas are in pixels. Vertices are taken to pixel coordinates and put on the lattice of pixel corners where they are
within 1e-3 of it, so that areas of borders along pixel edges are exact: 0 means 0.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyogrio
import pyogrio.raw
import rasterio
import shapely

Job = dict[str, Any]
Polygons = npt.NDArray[np.object_]

# gdal_polygonize.py calls its field DN.
_FIELDS = ("class_id", "DN")

_NEAR = 1e-3


def coverage(job: Job) -> dict[str, object]:
    """Count, validity and, with ``areas``, what overlaps or is missing against the valid area of the raster."""
    polygons, _ = _read(Path(job["output"]))
    with rasterio.open(job["raster"]) as file:
        valid_area = int(np.count_nonzero(file.read(1)))
    in_pixels = _to_pixels(polygons, Path(job["raster"]))
    valid = bool(shapely.is_valid(polygons).all())
    is_coverage = valid and bool(shapely.coverage_is_valid(polygons))
    total = float(shapely.area(in_pixels).sum())
    union = float(shapely.union_all(in_pixels).area) if valid and job["areas"] else None
    return {
        "polygons": len(polygons),
        "valid": valid,
        "coverage": is_coverage,
        "least": float(shapely.area(in_pixels).min(initial=np.inf)),
        "overlap": None if union is None else total - union,
        "gap": None if union is None else valid_area - union,
    }


def equality(job: Job) -> dict[str, object]:
    """Count and area by class of two outputs and of the raster, and whether the polygons are the same."""
    raster = Path(job["raster"])
    found = []
    for name in ("output", "other"):
        polygons, classes = _read(Path(job[name]))
        polygons = _to_pixels(polygons, raster)
        areas = np.bincount(classes, shapely.area(polygons), minlength=256)
        found.append((np.bincount(classes, minlength=256), areas, _forms(polygons, classes)))
    with rasterio.open(raster) as file:
        pixels = np.bincount(file.read(1).ravel(), minlength=256)
    pixels[0] = 0
    (counts, areas, forms), (other_counts, other_areas, other_forms) = found
    return {
        "classes": int(np.count_nonzero(pixels)),
        "polygons": [int(counts.sum()), int(other_counts.sum())],
        "same counts": bool((counts == other_counts).all()),
        "same areas": bool((areas == other_areas).all()),
        "areas of the raster": bool((areas == pixels).all()),
        "not in the other": [len(forms - other_forms), len(other_forms - forms)],
    }


def _read(path: Path) -> tuple[Polygons, npt.NDArray[np.int64]]:
    """Polygons as they are in the first layer, and the class of each."""
    layer = str(pyogrio.list_layers(path)[0, 0])
    fields = [name for name in _FIELDS if name in pyogrio.read_info(path, layer=layer)["fields"]]
    _, _, geometries, columns = pyogrio.raw.read(path, layer=layer, columns=fields)
    return shapely.from_wkb(geometries), np.asarray(columns[0], np.int64)


def _to_pixels(polygons: Polygons, raster: Path) -> Polygons:
    with rasterio.open(raster) as file:
        to_pixels = ~file.transform

    def convert(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        found = points @ np.array([[to_pixels.a, to_pixels.d], [to_pixels.b, to_pixels.e]]) + (to_pixels.c, to_pixels.f)
        lattice = np.rint(found)
        near: npt.NDArray[np.float64] = np.where(abs(found - lattice) < _NEAR, lattice, found)
        return near

    moved: Polygons = shapely.transform(polygons, convert)
    return moved


def _forms(polygons: Polygons, classes: npt.NDArray[np.int64]) -> set[tuple[int, bytes]]:
    """Each polygon as bytes that are the same for the same set of points: corners only, rings and starts in order."""
    # A normalized ring starts at a corner, its first point by x and then y; so no point in line is left after that.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        corners = shapely.normalize(shapely.simplify(shapely.normalize(polygons), 0, preserve_topology=False))
    return set(zip(classes.tolist(), shapely.to_wkb(corners).tolist(), strict=True))


def main() -> None:
    """Look and tell."""
    job = json.loads(sys.argv[1])
    print(json.dumps({"coverage": coverage, "equality": equality}[job["look"]](job)))


if __name__ == "__main__":
    main()
