"""What a file of polygons is worth; each look runs in a process of its own, for its memory.

usage: python benchmarks/vectorizing/checks.py JOB

The job is JSON. ``{"look": "coverage", "raster": …, "output": …}`` looks at one output, as ``"count"`` does;
``{"look": "equality", …}`` looks at ``output`` and ``other``. The last line on stdout is JSON again.

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

# Of so many polygons all are checked by GEOS, beyond that those with fewer vertices than that: it takes minutes else.
_MANY, _SMALL = 70_000, 100


def coverage(job: Job) -> dict[str, object]:
    """Count, validity, shared borders and, with ``areas``, what overlaps or is missing against the valid area.

    ``borders`` is True where every segment of a border belongs to exactly two polygons, vertex by vertex, or lies on
    the edge of the valid area, and that edge is complete. Then nothing overlaps and nothing is missing: around every
    point the polygons count as often as the valid area does, once. Only where it is False are areas computed.
    """
    polygons, _ = _read(Path(job["output"]))
    with rasterio.open(job["raster"]) as file:
        present = file.read(1) != 0
    in_pixels = _to_pixels(polygons, Path(job["raster"]))
    areas = shapely.area(in_pixels)
    valid = bool(shapely.is_valid(polygons).all())
    borders = valid and borders_match(in_pixels, present)
    overlap: float | None = 0.0 if borders else None
    gap = overlap
    if valid and not borders and job["areas"] and len(polygons) <= _MANY:
        union = float(shapely.union_all(in_pixels).area)
        overlap, gap = float(areas.sum()) - union, float(np.count_nonzero(present)) - union
    return {
        "polygons": len(polygons),
        "least": float(areas.min(initial=np.inf)),
        "overlap": overlap,
        "gap": gap,
        "valid": valid,
        "borders": borders,
        "coverage": _is_coverage(polygons),
    }


def borders_match(polygons: Polygons, present: npt.NDArray[np.bool_]) -> bool:
    """Whether the borders of polygons in pixel coordinates are shared exactly, and bound the pixels that are present.

    Args:
        polygons: (N,) valid polygons with vertices on the lattice.
        present: (H, W) bool.
    """
    height, width = present.shape
    begin, end = _segments(shapely.orient_polygons(polygons), width)
    if len(begin) and (begin.min() < 0 or max(begin.max(), end.max()) >= (height + 1) * (width + 1)):
        return False
    there = np.sort(begin[begin < end] << 32 | end[begin < end])
    back = np.sort(end[begin > end] << 32 | begin[begin > end])
    if (there[1:] == there[:-1]).any() or (back[1:] == back[:-1]).any():
        return False  # two polygons on one side of a segment
    only_there = there[~_in_sorted(there, back)]
    only_back = back[~_in_sorted(back, there)]
    edges = [_unit_edges(keys, width) for keys in (only_there, only_back)]
    wanted = _edges_of(present)
    return all(e is not None and np.array_equal(e, w) for e, w in zip(edges, wanted, strict=True))


def _segments(polygons: Polygons, width: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The numbers of the lattice points at which each segment begins and ends; -1 for a point off the lattice."""
    points, ring = shapely.get_coordinates(shapely.get_rings(polygons), return_index=True)
    lattice = np.rint(points).astype(np.int64)
    number = np.where((lattice == points).all(axis=1), lattice[:, 1] * (width + 1) + lattice[:, 0], -1)
    same = ring[1:] == ring[:-1]
    return number[:-1][same], number[1:][same]


def _in_sorted(keys: npt.NDArray[np.int64], among: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    if not len(among):
        return np.zeros(len(keys), np.bool_)
    found: npt.NDArray[np.bool_] = among[np.minimum(np.searchsorted(among, keys), len(among) - 1)] == keys
    return found


def _unit_edges(keys: npt.NDArray[np.int64], width: int) -> npt.NDArray[np.int64] | None:
    """Segments along rows or columns as edges of one pixel, in order; None if one is oblique."""
    first, last = keys >> 32, keys & (2**32 - 1)
    along_row = first // (width + 1) == last // (width + 1)
    step = np.where(along_row, 1, width + 1)
    if ((last - first) % step).any():
        return None
    length = (last - first) // step
    place = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    begin = np.repeat(first, length) + place * np.repeat(step, length)
    return np.sort(begin << 32 | begin + np.repeat(step, length))


def _edges_of(present: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Pixel edges around what is present, as keys: those passed towards higher numbers, and those passed back.

    Exteriors are counter-clockwise where y goes up, so a pixel's upper row edge (of lower y) is passed towards higher x
    and its left column edge towards lower y.
    """
    width = present.shape[1]
    padded = np.pad(present, 1).astype(np.int8)
    across = np.diff(padded, axis=0)[:, 1:-1]  # +1: present below this line and not above
    along = np.diff(padded, axis=1)[1:-1]  # +1: present to the right of this line and not to the left
    found = []
    for way in (1, -1):
        rows, cols = np.nonzero(across == way)
        begin = rows * (width + 1) + cols
        of_rows = begin << 32 | begin + 1
        rows, cols = np.nonzero(along == -way)
        begin = rows * (width + 1) + cols
        found.append(np.sort(np.concatenate([of_rows, begin << 32 | begin + width + 1])))
    return found[0], found[1]


def _is_coverage(polygons: Polygons) -> str:
    """``shapely.coverage_is_valid``; of many polygons only of small ones.

    Its cost is the number of polygons times the size of their neighbours, and a few have a hundred thousand vertices.
    """
    if len(polygons) <= _MANY:
        return str(bool(shapely.coverage_is_valid(polygons)))
    some = polygons[shapely.get_num_coordinates(polygons) < _SMALL][:_MANY]
    found = bool(shapely.coverage_is_valid(some))
    return f"True for {len(some)} small ones" if found else "False"


def count(job: Job) -> dict[str, object]:
    """The number of polygons."""
    path = Path(job["output"])
    return {"polygons": int(pyogrio.read_info(path, layer=_layer(path))["features"])}


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


def _layer(path: Path) -> str:
    """The first one: what follows may be a table of styles."""
    return str(pyogrio.list_layers(path)[0, 0])


def _read(path: Path) -> tuple[Polygons, npt.NDArray[np.int64]]:
    """Polygons as they are in the first layer, and the class of each."""
    layer = _layer(path)
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


LOOKS = {"coverage": coverage, "count": count, "equality": equality}


def main() -> None:
    """Look and tell."""
    job = json.loads(sys.argv[1])
    print(json.dumps(LOOKS[job["look"]](job)))


if __name__ == "__main__":
    main()
