"""Predictions in the form that a benchmark takes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from geoseg.datasets.opening import LabelledImages
from geoseg.errors import OutputExistsError, ParameterError


def write_label_images(
    images: LabelledImages, predictions: Iterable[npt.NDArray[np.uint8]], folder: str | Path
) -> Path:
    """Write a folder of PNG files for LoveDA's benchmark: one band, values 0 (background) .. 6 (agriculture).

    Args:
        images: LoveDA's test split.
        predictions: For each image in its order (H, W) uint8, indices of the legend.
        folder: Must not exist; appears when all files are in it.

    Returns:
        The folder.

    Raises:
        ParameterError: No benchmark's format is known, the count or a value does not fit.
        OutputExistsError: The folder exists.
    """
    target = Path(folder)
    images.info.require_submission(images.split)
    if target.exists():
        raise OutputExistsError(f"{target} exists; remove it or choose another folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        _write_all(images, predictions, scratch)
        scratch.chmod(0o755)  # mkdtemp makes it private
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def _write_all(images: LabelledImages, predictions: Iterable[npt.NDArray[np.uint8]], folder: Path) -> None:
    from PIL import Image

    classes, count = len(images.info.legend), 0
    for count, indices in enumerate(predictions, start=1):
        if count > len(images):
            break
        file = images.files[count - 1]
        with Image.open(file.image) as picture:
            shape = picture.height, picture.width
        if indices.dtype != np.uint8 or indices.shape != shape or int(indices.max()) >= classes:
            raise ParameterError(
                f"the prediction of {file.name} is {indices.dtype} {indices.shape} up to {indices.max()}; "
                f"give uint8 {shape}, 0..{classes - 1}"
            )
        Image.fromarray(indices).save(folder / file.image.name)
    if count != len(images):
        raise ParameterError(
            f"{images.info.name} {images.split} has {len(images)} images here, not {count} predictions"
        )
