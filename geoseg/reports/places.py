"""Pieces of ground where a map is wrong: image, truth, prediction and errors side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np
import numpy.typing as npt

from geoseg.errors import ParameterError
from geoseg.grids import Grid
from geoseg.legend import NODATA_ID, Legend
from geoseg.metrics import Metrics, confusion_matrix
from geoseg.reports.markup import class_keys, figure, share
from geoseg.reports.pictures import captioned, errors_png, labels_png, means, photo_jpeg, picture, thinned
from geoseg.tiling import Window

Labels = npt.NDArray[np.uint8]

MOST_PIXELS = 512
"""Longest side of a picture."""

# Pixels of all pieces together, and characters that they may take at most: a page stays below 3 MB.
_PIXELS = 12 * MOST_PIXELS**2
_CHARACTERS = 2_400_000


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A piece of ground.

    Attributes:
        title: Which it is.
        where: Its position, as text; may be empty.
        truth: (h, w) uint8 class ids, 0 without label.
        predicted: (h, w) uint8 class ids, 0 without data.
        image: (h, w, 3) uint8; None where there is none.
    """

    title: str
    where: str
    truth: Labels = field(repr=False)
    predicted: Labels = field(repr=False)
    image: npt.NDArray[np.uint8] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        shape = self.truth.shape
        if self.predicted.shape != shape or (self.image is not None and self.image.shape != (*shape, 3)):
            raise ParameterError(f"truth {shape}, prediction {self.predicted.shape} and image are not one place")


def place_gallery(places: Sequence[Place], legend: Legend, *, truth: str = "reference", aspect: float = 1.0) -> str:
    """Places in their order, with the key to their colours; empty without any.

    Args:
        places: All with an image, or none.
        legend: The classes.
        truth: What the truth is called.
        aspect: Width over height of a pixel on the ground.
    """
    if not places:
        return ""
    most = min(MOST_PIXELS, max(16, int((_PIXELS / len(places)) ** 0.5)))
    parts = _parts(places, legend, truth, aspect, most)
    while len(parts) > _CHARACTERS and most > 16:
        most = max(16, int(most * 0.95 * (_CHARACTERS / len(parts)) ** 0.5))
        parts = _parts(places, legend, truth, aspect, most)
    wide = "" if any(place.image is not None for place in places) else ' class="places"'
    note = "Wrong is red; chequered ground has no data or no label."
    return f'{class_keys(legend)}\n<p class="gallery lead">{note}</p>\n<div{wide}>\n{parts}</div>'


def place_of(grid: Grid | None, window: Window) -> str:
    """The centre of a window in map coordinates, as text; empty where the pixels have no place."""
    if grid is None or not grid.is_georeferenced:
        return ""
    centre = np.array([(window.col_off + window.width / 2, window.row_off + window.height / 2)], np.float64)
    x, y = (float(v) for v in grid.to_world(centre)[0])
    crs = (grid.crs_wkt or "").split('"')[1]
    if grid.is_geographic:
        return f"longitude {x:.5f}°, latitude {y:.5f}° ({crs})"
    return f"x {x:,.0f}, y {y:,.0f} ({crs})"


def _parts(places: Sequence[Place], legend: Legend, truth: str, aspect: float, most: int) -> str:
    return "".join(_place(place, legend, truth, aspect, most) for place in places)


def _place(place: Place, legend: Legend, truth: str, aspect: float, most: int) -> str:
    known = (place.truth != NODATA_ID) & (place.predicted != NODATA_ID)
    wrong = known & (place.truth != place.predicted)
    shape = aspect * place.truth.shape[1] / place.truth.shape[0]
    photo = None if place.image is None else np.rint(means(place.image, most)).astype(np.uint8)
    images = [] if photo is None else [("image", photo_jpeg(photo))]
    part = means(known, most)
    images += [
        (truth, labels_png(thinned(place.truth, most), legend)),
        ("prediction", labels_png(thinned(place.predicted, most), legend)),
        ("errors", errors_png(means(wrong, most) / np.maximum(part, 1e-9), part > 0)),
    ]
    pictures = "".join(captioned(picture(data, f"{name} of {place.title}", shape), name) for name, data in images)
    return f'<article class="place">\n<p>{_words(place, legend, known, wrong)}</p>\n<div>\n{pictures}</div></article>\n'


def _words(place: Place, legend: Legend, known: npt.NDArray[np.bool_], wrong: npt.NDArray[np.bool_]) -> str:
    """What a place is, and how wrong."""
    matrix = confusion_matrix(place.truth, place.predicted, legend.ids)
    pixels, errors = int(known.sum()), int(wrong.sum())
    words = [f"<b>{escape(place.title)}</b>"]
    if place.where:
        words.append(escape(place.where))
    words.append(f"{share(errors / pixels if pixels else None, 1)} wrong")
    words.append(f"mean IoU {figure(Metrics.from_confusion(matrix).mean_iou, 3)}")
    if errors:
        np.fill_diagonal(matrix, 0)
        i, j = np.unravel_index(int(matrix.argmax()), matrix.shape)
        what = f"{legend.names[i]} taken for {legend.names[j]}"
        words.append(f"most often {escape(what)} ({share(int(matrix[i, j]) / pixels, 1)})")
    return " · ".join(words)
