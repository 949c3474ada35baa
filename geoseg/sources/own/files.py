"""Image and label files before a pixel is read: where they are, what they hold, whether they are of one kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from affine import Affine

from geoseg.errors import GeosegError, RasterError
from geoseg.grids import Grid
from geoseg.legend import Legend
from geoseg.rasters import describe_classes, open_quietly
from geoseg.sources.values import LeftOut
from geoseg.wording import listed


@dataclass(frozen=True, slots=True, eq=False)
class ImageFile:
    """An image.

    Attributes:
        path: The file.
        grid: Where its pixels are; the identity without CRS where it has no place.
        band_names: Of the bands that are read.
        dtype: NumPy name of the samples' type.
    """

    path: Path
    grid: Grid
    band_names: tuple[str, ...]
    dtype: str

    @property
    def place(self) -> Grid | None:
        """Its grid; None where it has no place."""
        grid = self.grid
        return None if grid.crs_wkt is None and grid.transform == Affine.identity() and not grid.gcps else grid


@dataclass(frozen=True, slots=True, eq=False)
class LabelFile:
    """A label raster.

    Attributes:
        path: The file.
        grid: Where its pixels are.
        nodata: Its nodata value.
        legend: The legend that geoseg wrote into it.
        names: Names of values, from the files beside it.
        colors: Colours of values, from the files beside it and its colour table.
    """

    path: Path
    grid: Grid
    nodata: float | None
    legend: Legend | None
    names: Mapping[int, str]
    colors: Mapping[int, str]


def describe_images(paths: Sequence[Path], bands: Sequence[int] | None) -> tuple[list[ImageFile], list[str]]:
    """What the images are, and a sentence for each that cannot be opened.

    Raises:
        GeosegError: None of them can be opened.
        RasterError: They differ in their number of bands or type.
    """
    found: list[ImageFile] = []
    failed: list[GeosegError] = []
    for path in paths:
        try:
            with open_quietly(path, bands) as scene:
                found.append(ImageFile(path, scene.grid, scene.band_names, scene.dtype))
        except GeosegError as error:
            failed.append(error)
    if not found:
        raise failed[0]
    _refuse_mixture(found)
    return found, [LeftOut(f"left out, because it cannot be opened: {why}") for why in failed]


def describe_labels(path: Path) -> LabelFile:
    """What a label raster is.

    Raises:
        GeosegError: It cannot be opened, or has several bands.
    """
    with open_quietly(path) as scene:
        if len(scene.bands) != 1:
            raise RasterError(
                f"the labels {path} have {len(scene.bands)} bands ({', '.join(scene.band_names)}); labels have one, "
                "with a number for each class (gdal_translate -b 1, or rgb2pct.py for colours)"
            )
        grid, nodata = scene.grid, scene.nodata[0]
    return LabelFile(path, grid, nodata, *describe_classes(path))


def _refuse_mixture(images: Sequence[ImageFile]) -> None:
    kinds: dict[tuple[int, str], list[Path]] = {}
    for image in images:
        kinds.setdefault((len(image.band_names), image.dtype), []).append(image.path)
    if len(kinds) > 1:
        told = [f"{len(paths)} with {n} bands of {dtype}, such as {paths[0]}" for (n, dtype), paths in kinds.items()]
        raise RasterError(
            f"the images are not of one kind: {listed(told, 6)}; choose common bands with --bands (bands=...), convert "
            "(gdal_translate -ot), or train on one kind"
        )
