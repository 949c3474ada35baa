"""The files of a mosaic: what is kept of each, and whether they fit together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from affine import Affine

from geoseg.errors import RasterError
from geoseg.grids import Grid
from geoseg.rasters.reading import FileScene
from geoseg.rasters.validity import DTYPES

_OFF_LATTICE = 0.01
_MOST_PIXELS = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Member:
    """What is kept of a file while it is closed: its name, and the attributes of its :class:`FileScene`."""

    path: str | Path
    name: str
    grid: Grid
    dtype: str
    bands: tuple[int, ...]
    band_names: tuple[str, ...]
    nodata: tuple[float | None, ...]
    block_shape: tuple[int, int]
    files: frozenset[Path]
    always_valid: bool
    identity: dict[str, object]


def member_of(path: str | Path, scene: FileScene) -> Member:
    """What to keep of an open file."""
    return Member(
        path, scene.name, scene.grid, scene.dtype, scene.bands, scene.band_names, scene.nodata, scene.block_shape,
        scene.files, scene.always_valid, scene.identity,
    )  # fmt: skip


def check_fit(first: Member, other: Member) -> None:
    """See that two files make one scene.

    Raises:
        RasterError: They do not; names both, the figures and the remedy.
    """
    both = f"{first.name} and {other.name} are not one scene"
    for member in (first, other):
        if member.grid.gcps:
            raise RasterError(
                f"{member.name} has ground control points and no transform, so it has no place in a mosaic; "
                "rectify it first (gdalwarp)"
            )
        if member.grid.crs_wkt is None and member.grid.transform == Affine.identity():
            raise RasterError(
                f"{member.name} is not georeferenced, so it has no place in a mosaic; "
                "georeference it (gdal_edit.py -a_srs -a_ullr), or give it alone"
            )
    if len(first.bands) != len(other.bands):
        raise RasterError(
            f"{both}: {len(first.bands)} bands ({', '.join(first.band_names)}) and {len(other.bands)} "
            f"({', '.join(other.band_names)}); choose the same number of each with bands"
        )
    if first.grid.crs_wkt != other.grid.crs_wkt and _square(first.grid) != _square(other.grid):
        raise RasterError(
            f"{both}: their CRSs differ, {_crs_name(first.grid)} and {_crs_name(other.grid)}; bring the second to the "
            "first (gdalwarp -t_srs)"
        )
    _check_lattice(first, other, both)


def _check_lattice(first: Member, other: Member, both: str) -> None:
    """Each corner of the other file must be a pixel corner of the first one's lattice, counted in its own pixels."""
    a, b = first.grid, other.grid
    corners = [(0, 0), (b.width, 0), (0, b.height)]
    found = [~a.transform @ (b.transform @ corner) for corner in corners]
    origin = np.array(found[0])
    sides = np.array(found[1:]) - origin - corners[1:]
    if np.abs(sides).max() > _OFF_LATTICE:
        raise RasterError(
            f"{both}: their pixels differ, {_pixel(a)} and {_pixel(b)}; bring the second onto the first's "
            f"(gdalwarp -tr {_pixel_size(a)} -tap)"
        )
    off = np.abs(origin - np.rint(origin)).max()
    if off > _OFF_LATTICE:
        raise RasterError(
            f"{both}: the second lies {off:.2g} pixels off the first's lattice (origins {a.transform.c:.12g}, "
            f"{a.transform.f:.12g} and {b.transform.c:.12g}, {b.transform.f:.12g}, pixels of {_pixel_size(a)}); "
            f"bring both onto one (gdalwarp -tr {_pixel_size(a)} -tap)"
        )


def laid_out(members: Sequence[Member]) -> tuple[Grid, npt.NDArray[np.int64]]:
    """The grid of all files, and (N, 4) top, left, bottom, right of each in it."""
    first = members[0].grid
    origins = np.array([~first.transform @ (m.grid.transform.c, m.grid.transform.f) for m in members])
    starts = np.rint(origins[:, ::-1]).astype(np.int64)
    shapes = np.array([m.grid.shape for m in members], np.int64)
    low = starts.min(axis=0)
    boxes = np.column_stack([starts - low, starts - low + shapes])
    height, width = (int(v) for v in boxes[:, 2:].max(axis=0))
    if max(height, width) > _MOST_PIXELS:
        raise RasterError(f"the files lie in {height}×{width} pixels, more than a raster can have; is one far away?")
    row, col = int(low[0]), int(low[1])
    transform = first.transform @ Affine.translation(col, row) if row or col else first.transform
    return Grid(first.crs_wkt, transform, height, width), boxes


def joint_dtype(members: Sequence[Member]) -> str:
    """The type that holds the samples of all files."""
    by_type: dict[str, str] = {}
    for member in members:
        by_type.setdefault(member.dtype, member.name)
    common = str(np.result_type(*by_type))
    if common not in DTYPES:
        listed = ", ".join(f"{dtype} ({name})" for dtype, name in by_type.items())
        raise RasterError(f"no type holds the samples of all files: {listed}; convert them (gdal_translate -ot)")
    return common


def _square(grid: Grid) -> Grid:
    """One pixel in the CRS of a grid, to compare CRSs by."""
    return Grid(grid.crs_wkt, Affine.identity(), 1, 1)


def _crs_name(grid: Grid) -> str:
    return (grid.crs_wkt or '"no CRS"').split('"')[1]


def _pixel(grid: Grid) -> str:
    t = grid.transform
    return f"({', '.join(f'{v:.12g}' for v in (t.a, t.b, t.d, t.e))})"


def _pixel_size(grid: Grid) -> str:
    t = grid.transform
    return f"{math.hypot(t.a, t.d):.12g} {math.hypot(t.b, t.e):.12g}"
