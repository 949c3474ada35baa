"""Class maps to vectorize: made once, then kept in the folder that ``--folder`` names."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from common import DATA, say
from rasterio.crs import CRS
from rasterio.windows import Window
from scenes import profile
from scipy import ndimage

Labels = npt.NDArray[np.uint8]

CLASSES = 7
WATER = CLASSES + 1

REAL = ("omnicloudmask_classmap_10980x10980_utm19s.tif", "riotiler_cmap_classmap_7168x8704_3857.tif")

# Standard deviations of the smoothing in pixels, and the weight of the coarse noise over the fine: these give 140
# pixels to a patch, with a few large ones and very many small ones.
_FINE, _COARSE, _WEIGHT = 2.65, 96, 2.0

# The coarse noise is made on a grid this much coarser.
_STEP = 8

# The corners of a map hold no data: this share of each side that meets there.
_CUT = 0.1

# Of the world that is water; its coasts are noise of this many grid points per 180 degrees and twice, four times … it.
_OCEAN, _SHAPES, _OCTAVES = 0.6, 5, 6

_ROWS = 1024


def real_maps(folder: Path) -> list[Path]:
    """The real class maps that are here, 0 declared as no data, so that every way leaves it out."""
    found = []
    for name in REAL:
        source, target = DATA / "scenes" / name, folder / name
        if not source.exists():
            say(f"{source} is missing: no figures for it")
            continue
        if not target.exists():
            temporary = target.with_name(f"partial-{name}")
            _copy_without_zero(source, temporary)
            temporary.replace(target)
        found.append(target)
    return found


def _copy_without_zero(source: Path, target: Path) -> None:
    """The file as it is where it leaves out what is 0 and nothing else; else the same pixels in a file that does."""
    with rasterio.open(source) as file:
        labels, profile_of_source = file.read(1), file.profile
        if np.array_equal(file.read_masks(1) != 0, labels != 0):
            shutil.copyfile(source, target)
            return
    with rasterio.open(target, "w", **{**profile_of_source, "nodata": 0}) as file:
        file.write(labels, 1)


def make_landcover(folder: Path, side: int) -> Path:
    """A map of 7 classes like land cover, 0.5 m a pixel, square, with corners of no data.

    The class of a pixel is that of the greatest of 7 noises, each a smooth one plus a rough one.
    """
    path = folder / f"landcover-{side}.tif"
    if not path.exists():
        labels = _argmax_of_noise(side)
        from_middle = abs(np.arange(side, dtype=np.float32) - (side - 1) / 2)
        labels[from_middle[:, None] + from_middle > (1 - _CUT) * side] = 0
        _write(path, side, side, lambda top, bottom: labels[top:bottom])
    return path


def make_mirrored(folder: Path, source: Path, height: int, width: int) -> Path:
    """A map of any size mirrored out of another."""
    path = folder / f"{source.stem}-mirrored-{height}x{width}.tif"
    if not path.exists():
        labels = read_labels(source)
        rows, cols = (_mirrored(n, side) for n, side in zip((height, width), labels.shape, strict=True))
        _write(path, height, width, lambda top, bottom: labels[rows[top:bottom]][:, cols])
    return path


def make_world(folder: Path, landcover: Path, height: int) -> Path:
    """A world of twice as many columns as rows in degrees: continents with land cover, islands, lakes, one ocean.

    What is open longest in it, and largest, is the ocean: one polygon with every continent and island as a hole.
    """
    width = 2 * height
    path = folder / f"world-{height}x{width}.tif"
    if path.exists():
        return path
    labels, coarse = read_labels(landcover), _continents(height // 16, width // 16)
    labels[labels == 0] = WATER
    rows, cols = (_mirrored(n, side) for n, side in zip((height, width), labels.shape, strict=True))
    sea = np.quantile(coarse, _OCEAN)

    def strip(top: int, bottom: int) -> Labels:
        land: Labels = labels[rows[top:bottom]][:, cols]
        land[_stretched(coarse, top, bottom, height, width) < sea] = WATER
        return land

    degree = 180 / height
    place = {"crs": CRS.from_epsg(4326), "transform": Affine(degree, 0, -180, 0, -degree, 90)}
    _write(path, height, width, strip, **place)
    return path


def read_labels(path: Path) -> Labels:
    """(H, W) uint8 class ids, 0 = no data."""
    with rasterio.open(path) as file:
        labels: Labels = file.read(1)
    return labels


def count_patches(labels: Labels) -> int:
    """How many 4-connected patches of one class there are: the true number of polygons."""
    return sum(int(ndimage.label(labels == c)[1]) for c in np.flatnonzero(np.bincount(labels.ravel())) if c)


def _argmax_of_noise(side: int) -> Labels:
    best = np.full((side, side), -np.inf, np.float32)
    labels = np.zeros((side, side), np.uint8)
    for k in range(CLASSES):
        say(f"making a {side}×{side} map: class {k + 1} of {CLASSES}")
        noise = _noise(k, side)
        labels[noise > best] = k + 1
        np.maximum(best, noise, out=best)
    return labels


def _noise(k: int, side: int) -> npt.NDArray[np.float32]:
    """(side, side) float32 of a class, fine and coarse, of deviations 1 and the weight."""
    random = np.random.default_rng([4, k])
    fine = _smoothed(random, side, _FINE)
    few = -(-side // _STEP)
    coarse = _smoothed(random, few, _COARSE / _STEP)
    coarse *= _WEIGHT
    for top in range(0, side, _ROWS):
        bottom = min(top + _ROWS, side)
        fine[top:bottom] += _stretched(coarse, top, bottom, few * _STEP, few * _STEP)[:, :side]
    return fine


def _smoothed(random: np.random.Generator, side: int, sigma: float) -> npt.NDArray[np.float32]:
    noise = random.standard_normal((side, side), dtype=np.float32)
    ndimage.gaussian_filter(noise, sigma, mode="wrap", truncate=3, output=noise)
    noise /= noise.std(dtype=np.float64)
    return noise


def _continents(height: int, width: int) -> npt.NDArray[np.float32]:
    """(height, width) float32: the higher, the more surely land."""
    random = np.random.default_rng(40)
    total = np.zeros((height, width), np.float32)
    for octave in range(_OCTAVES):
        n = _SHAPES * 2**octave
        few = random.standard_normal((n, 2 * n), dtype=np.float32)
        total += ndimage.zoom(few, (height / n, width / (2 * n)), order=3, mode="grid-wrap", grid_mode=True) / 2**octave
    return total


def _stretched(few: npt.NDArray[np.float32], top: int, bottom: int, height: int, width: int) -> npt.NDArray[np.float32]:
    """Rows ``top`` to ``bottom`` of ``few`` stretched to (height, width), linear between the middles of its cells."""
    along_rows = _between(np.arange(top, bottom), few.shape[0], height)
    along_cols = _between(np.arange(width), few.shape[1], width)
    (above, below, down), (left, right, across) = along_rows, along_cols
    rows = few[above] * (1 - down)[:, None] + few[below] * down[:, None]
    stretched: npt.NDArray[np.float32] = rows[:, left] * (1 - across) + rows[:, right] * across
    return stretched


def _between(places: npt.NDArray[np.int64], few: int, many: int) -> tuple[Any, Any, Any]:
    """The cells before and after each place, and how far it is from the one to the other."""
    position = np.clip((places + 0.5) * (few / many) - 0.5, 0, few - 1).astype(np.float32)
    before = position.astype(np.int64)
    return before, np.minimum(before + 1, few - 1), position - before.astype(np.float32)


def _mirrored(n: int, side: int) -> Any:
    position = np.arange(n) % (2 * side)
    return np.minimum(position, 2 * side - 1 - position)


def _write(path: Path, height: int, width: int, strip: Any, **place: Any) -> None:
    """Write what ``strip(top, bottom)`` gives under the final name once it is whole."""
    temporary = path.with_name(f"partial-{path.name}")
    with rasterio.open(temporary, "w", **profile(height, width, 1, nodata=0, **place)) as file:
        for top in range(0, height, _ROWS):
            bottom = min(top + _ROWS, height)
            file.write(strip(top, bottom), 1, window=Window(0, top, width, bottom - top))
    temporary.replace(path)
    say(f"made {path}")
