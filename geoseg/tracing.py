"""Patches to polygons along pixel edges, strip by strip."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio import features

from geoseg.polygons import Geometries, Patches, set_vertices


def trace_patches(patches: Patches, strip_height: int) -> Iterator[tuple[int, NDArray[np.int64], Geometries]]:
    """One valid polygon with its holes for each patch, in pixel coordinates, given as soon as it is complete.

    Together the polygons are a valid coverage of the valid area. They do not depend on ``strip_height``; their order
    does.

    Yields:
        For each strip: the number of rows done, and patch ids (N,) and polygons (N,), which may be none.
    """
    joiner = _SeamJoiner(patches)
    height = len(patches.ids)
    for top in range(0, height, strip_height):
        strip = patches.ids[top : top + strip_height]
        ids, polygons = joiner.add(*_trace_strip(strip, top))
        yield top + len(strip), ids, set_vertices(polygons, patches.ids)


def _trace_strip(strip: NDArray[np.int32], top: int) -> tuple[NDArray[np.int64], Geometries]:
    """Patch ids and polygons of the pieces inside ``strip``, whose first row is row ``top`` of the raster."""
    shapes = features.shapes(strip, mask=strip > 0, connectivity=4, transform=Affine.translation(0, top))
    ids: list[int] = []
    rings_of: list[int] = []
    rings: list[list[tuple[float, float]]] = []
    for geometry, value in shapes:
        ids.append(int(value))
        rings_of.append(len(geometry["coordinates"]))
        rings.extend(geometry["coordinates"])
    if not ids:
        return np.zeros(0, np.int64), np.zeros(0, object)
    points = np.array(list(chain.from_iterable(rings)), np.float64)
    ring_index = np.repeat(np.arange(len(rings)), [len(r) for r in rings])
    polygon_index = np.repeat(np.arange(len(ids)), rings_of)
    polygons = shapely.polygons(shapely.linearrings(points, indices=ring_index), indices=polygon_index)
    return np.array(ids, np.int64), polygons


class _SeamJoiner:
    """Collects the pieces that strips cut patches into, and gives each patch back once it is whole.

    A patch is whole when the areas of its pieces, exact in pixel coordinates, sum to its pixel count.
    """

    def __init__(self, patches: Patches) -> None:
        self._pixels = patches.pixels
        self._held: dict[int, list[shapely.Polygon]] = {}
        self._missing: dict[int, int] = {}

    def add(self, ids: NDArray[np.int64], pieces: Geometries) -> tuple[NDArray[np.int64], Geometries]:
        """Take the pieces of one strip; return the patches that are whole now, as ids and polygons."""
        areas = np.rint(shapely.area(pieces)).astype(np.int64)
        whole = areas == self._pixels[ids]
        done: dict[int, shapely.Polygon] = {}
        for patch, area, piece in zip(ids[~whole].tolist(), areas[~whole].tolist(), pieces[~whole], strict=True):
            self._held.setdefault(patch, []).append(piece)
            self._missing[patch] = self._missing.get(patch, int(self._pixels[patch])) - area
            if self._missing[patch] == 0:
                del self._missing[patch]
                done[patch] = shapely.union_all(self._held.pop(patch))
        joined = np.array(list(done.values()), object)
        return np.concatenate([ids[whole], np.array(list(done), np.int64)]), np.concatenate([pieces[whole], joined])
