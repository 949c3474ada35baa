"""Maps of a benchmark's test images in the form that the benchmark takes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from geoseg.errors import LegendError, MissingFileError, ParameterError, RasterError
from geoseg.evaluation.legends import is_unnamed
from geoseg.legend import NODATA_ID, Legend
from geoseg.rasters import CONFIDENCE_SUFFIX, LABELS_SUFFIX, ClassRaster, open_class_raster
from geoseg.tiling import Progress, Window
from geoseg.wording import listed

if TYPE_CHECKING:
    from geoseg.datasets import LabelledImages

_MAPS = (".tif", ".tiff", ".png")

# Files that an error names; the others are counted.
_NAMED = 3


def write_submission(
    dataset: str,
    predictions: str | Path,
    output: str | Path,
    *,
    data_dir: str | Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Turn class rasters of the test images into the folder that a benchmark takes.

    Args:
        dataset: ``loveda``: PNG files named like the images, values 0 (background) .. 6 (agriculture).
        predictions: Folder with one map of each test image and none of others: what :func:`geoseg.predict_scenes`
            writes, or class rasters named like the images. Classes are matched by name; where a file names none, its
            values are ids as in the dataset's own labels, 1 .. 7.
        output: Folder to write; must not exist, and appears when all files are in it.
        data_dir: Folder of the dataset; default ``data/NAME``.
        progress: Told pixels done and in total, as if all images were of one size.

    Returns:
        The folder.

    Raises:
        ParameterError: There is no such dataset or none with a benchmark's format, maps are missing or too many, or
            one has another size than its image.
        MissingFileError: The dataset or the folder of maps is not there.
        RasterError: A map is no class raster, or has pixels without class.
        LegendError: A map has other classes.
        OutputExistsError: ``output`` exists.
    """
    from geoseg.datasets import dataset_info, open_dataset, write_label_images

    info = dataset_info(dataset)
    info.require_submission("test")
    images = open_dataset(dataset, Path("data") / dataset if data_dir is None else data_dir, "test")
    maps = _maps_of(images, Path(predictions))
    return write_label_images(images, _indices(maps, info.legend, progress), output)


def _maps_of(images: LabelledImages, folder: Path) -> list[Path]:
    """The map of each image, in their order."""
    if not folder.is_dir():
        raise MissingFileError(f"{folder} is no folder; name the one with the maps of the test images")
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in _MAPS and not path.stem.endswith(CONFIDENCE_SUFFIX):
            found.setdefault(path.stem.removesuffix(LABELS_SUFFIX), []).append(path)
    wanted = [file.image.stem for file in images.files]
    _refuse(folder, "lacks maps of", [stem for stem in wanted if stem not in found], "predict them too")
    _refuse(folder, "has maps of no test image:", [s for s in found if s not in set(wanted)], "move them elsewhere")
    several = [stem for stem, paths in found.items() if len(paths) > 1]
    _refuse(folder, "has more than one map of", several, "leave one of each")
    return [found[stem][0] for stem in wanted]


def _refuse(folder: Path, what: str, stems: Sequence[str], remedy: str) -> None:
    if stems:
        raise ParameterError(f"{folder} {what} {listed(stems, _NAMED)}; {remedy}")


def _indices(maps: Sequence[Path], legend: Legend, progress: Progress | None) -> Iterator[npt.NDArray[np.uint8]]:
    """(H, W) uint8 indices of ``legend`` for each map."""
    for done, path in enumerate(maps, start=1):
        with open_class_raster(path) as raster:
            height, width = raster.grid.shape
            labels = raster.read(Window(0, 0, height, width))
            empty = int((labels == NODATA_ID).sum())
            if empty:
                raise RasterError(
                    f"{path} has no class at {empty} of {labels.size} pixels; a benchmark wants one at all"
                )
            yield _table(raster, legend)[labels]
        if progress is not None:
            progress(done * labels.size, len(maps) * labels.size)


def _table(raster: ClassRaster, legend: Legend) -> npt.NDArray[np.uint8]:
    """(256,) from the values of a map to indices of ``legend``."""
    by_id = {c.id: i for i, c in enumerate(legend)}
    by_name = {_plain(c.name): i for i, c in enumerate(legend)}
    table, unknown = np.zeros(256, np.uint8), []
    for entry in raster.legend:
        index = by_id.get(entry.id) if is_unnamed(entry) else by_name.get(_plain(entry.name))
        if index is None:
            unknown.append(f"{entry.id} ({entry.name})")
        else:
            table[entry.id] = index
    if unknown:
        raise LegendError(
            f"{raster.name} has classes that the benchmark has not: {', '.join(unknown)}; it has "
            f"{', '.join(f'{c.id} ({c.name})' for c in legend)}: predict with a model that was trained on it"
        )
    return table


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()
