"""Synthetic aerial imagery with exact labels, for tests, the demo and the notebook.

from geoseg.synthetic import make_scene

scene = make_scene(Path("demo"), seed=0)
scene.scene, scene.truth, scene.legend
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp

from geoseg.errors import OutputError, ParameterError
from geoseg.grids import Grid
from geoseg.legend import NODATA_ID, Legend
from geoseg.rasters import check_output, write_class_raster
from geoseg.synthetic.landscape import LEGEND, plan_landscape
from geoseg.synthetic.texture import paint
from geoseg.tiling import Window

__all__ = ["GSD", "LEGEND", "RenderedScene", "SyntheticScene", "make_scene", "render_scene", "scene_grid"]

GSD = 0.5
"""Ground sample distance in metres."""

SMALLEST, LARGEST = 64, 8192
"""Sides in pixels: below, there is no room for a landscape; above, it does not fit ordinary memory."""

_CRS = CRS.from_epsg(32633)
_ORIGIN = 412_000.0, 5_655_000.0
_TILT = np.deg2rad(3.0)


@dataclass(frozen=True, slots=True)
class SyntheticScene:
    """A scene and its truth.

    Attributes:
        scene: Three-band 8-bit GeoTIFF, UTM zone 33N, 0.5 m; 0 is "no data", in a tilted collar like an orthophoto's.
        truth: Class raster on the same grid, exact to the pixel; 0 in the collar.
        legend: The classes.
    """

    scene: Path
    truth: Path
    legend: Legend


@dataclass(frozen=True, slots=True, eq=False)
class RenderedScene:
    """A scene and its truth in memory.

    Attributes:
        pixels: (3, H, W) uint8, 0 in the collar.
        labels: (H, W) uint8 class ids of :data:`LEGEND`, 0 in the collar.
    """

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]


def make_scene(
    folder: str | Path, *, height: int = 2048, width: int = 2048, seed: int = 0, overwrite: bool = False
) -> SyntheticScene:
    """Write ``scene.tif`` and ``truth.tif``: fields, villages, woods, a river, at 0.5 m. One seed, one landscape.

    Args:
        folder: Where to write; made if need be.
        height: Rows, 64..8192.
        width: Columns, 64..8192.
        seed: Another number is another landscape.
        overwrite: Replace existing files.

    Raises:
        ParameterError: A size or the seed is out of range.
        OutputExistsError: A file exists and ``overwrite`` was not given.
        OutputError: The folder cannot be written to.
    """
    _check(height, width, seed)
    made = SyntheticScene(Path(folder) / "scene.tif", Path(folder) / "truth.tif", LEGEND)
    _make_folder(made.scene.parent)
    for path in (made.scene, made.truth):
        check_output(path, overwrite)
    rendered = render_scene(seed, height, width)
    grid = scene_grid(height, width)
    _write_scene(made.scene, rendered.pixels, grid.transform)
    with write_class_raster(made.truth, grid, LEGEND, overwrite=overwrite) as writer:
        writer.write(Window(0, 0, height, width), rendered.labels)
    return made


def render_scene(seed: int, height: int, width: int) -> RenderedScene:
    """What :func:`make_scene` writes.

    Raises:
        ParameterError: A size or the seed is out of range.
    """
    _check(height, width, seed)
    rng = np.random.default_rng(seed)
    plan = plan_landscape(rng, (height, width))
    flown = _footprint((height, width))
    return RenderedScene(paint(rng, plan) * flown, np.where(flown, plan.labels, np.uint8(NODATA_ID)))


def scene_grid(height: int, width: int, place: int = 0) -> Grid:
    """Where a scene lies; scenes of one width and of other places lie side by side, from west to east."""
    transform = Affine(GSD, 0, _ORIGIN[0] + place * width * GSD, 0, -GSD, _ORIGIN[1])
    return Grid(_CRS.to_wkt(), transform, height, width)


def _check(height: int, width: int, seed: int) -> None:
    if not (SMALLEST <= height <= LARGEST and SMALLEST <= width <= LARGEST):
        raise ParameterError(f"a synthetic scene of {height}×{width} pixels; give sides of {SMALLEST}..{LARGEST}")
    if seed < 0:
        raise ParameterError(f"seed {seed} is negative; give 0 or more")


def _footprint(shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """(H, W): what the aeroplane saw, a rectangle tilted against the grid."""
    height, width = shape
    y = np.arange(height, dtype=np.float32)[:, None] - np.float32((height - 1) / 2)
    x = np.arange(width, dtype=np.float32)[None, :] - np.float32((width - 1) / 2)
    along = np.abs(x * np.cos(_TILT) + y * np.sin(_TILT)) < 0.475 * width
    return np.asarray(along & (np.abs(y * np.cos(_TILT) - x * np.sin(_TILT)) < 0.475 * height))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder}: {error.strerror}; choose another") from error


def _write_scene(path: Path, pixels: npt.NDArray[np.uint8], transform: Affine) -> None:
    bands, height, width = pixels.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=height,
        width=width,
        count=bands,
        dtype="uint8",
        crs=_CRS,
        transform=transform,
        nodata=0,
        photometric="RGB",
        tiled=True,
        blockxsize=256,
        blockysize=256,
        compress="deflate",
        predictor=2,
    ) as file:
        file.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        file.descriptions = ("red", "green", "blue")
        file.write(pixels)
