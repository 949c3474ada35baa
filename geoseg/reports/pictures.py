"""Pictures inside a page: labels, errors and photographs as data of the page itself."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from geoseg.legend import Legend

Labels = npt.NDArray[np.uint8]

RIGHT, WRONG = (225, 228, 226), (200, 30, 30)
"""Colours of agreement and error."""

_QUALITY = 82
_LEVELS = 255


def labels_png(labels: Labels, legend: Legend) -> bytes:
    """(h, w) uint8 class ids in the colours of a legend; what is no class is transparent."""
    colors = np.zeros((256, 4), np.uint8)
    for c in legend:
        colors[c.id] = (*c.rgb, 255)
    return _palette_png(labels, colors)


def errors_png(wrong: npt.NDArray[Any], compared: npt.NDArray[np.bool_]) -> bytes:
    """From grey, where all agrees, to red, where all differs.

    Args:
        wrong: (h, w) share of each pixel that differs, 0..1, or bool.
        compared: (h, w); what was not compared is transparent.
    """
    # One wrong pixel in a hundred shall be seen: the eye takes the root for even steps.
    levels = np.rint(np.sqrt(wrong.astype(np.float64)) * (_LEVELS - 1)).astype(np.uint8)
    steps = np.linspace(0, 1, _LEVELS)[:, None]
    colors = np.zeros((256, 4), np.uint8)
    colors[:_LEVELS, :3] = np.rint(RIGHT + steps * np.subtract(WRONG, RIGHT))
    colors[:_LEVELS, 3] = 255
    return _palette_png(np.where(compared, levels, np.uint8(_LEVELS)), colors)


def photo_jpeg(pixels: npt.NDArray[np.uint8]) -> bytes:
    """(h, w, 3) uint8 red, green, blue."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def picture(data: bytes, alt: str, aspect: float | None = None) -> str:
    """An image element with the image in it.

    Args:
        data: PNG, shown pixel by pixel; or JPEG, smoothed.
        alt: Text.
        aspect: Width over height to show it in; None = that of the image.
    """
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    exact = ' class="exact"' if kind == "png" else ""
    shape = "" if aspect is None else f' style="aspect-ratio: {aspect:.4f}"'
    return f'<img alt="{escape(alt)}"{exact}{shape} src="data:image/{kind};base64,{base64.b64encode(data).decode()}">'


def captioned(image: str, caption: str) -> str:
    """An element of :func:`picture` with a text below."""
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>\n"


def thinned(labels: Labels, most: int) -> Labels:
    """The middle pixels of cells, so that no side is longer than ``most``."""
    step = -(-max(labels.shape) // most)
    rows, cols = (np.minimum(np.arange(0, n, step) + step // 2, n - 1) for n in labels.shape)
    return np.asarray(labels[np.ix_(rows, cols)])


def means(values: npt.NDArray[Any], most: int) -> npt.NDArray[np.float64]:
    """(h, w, ...) means over the cells of :func:`thinned`."""
    height, width = values.shape[:2]
    step = -(-max(height, width) // most)
    rows, cols = np.arange(0, height, step), np.arange(0, width, step)
    sums = np.add.reduceat(np.add.reduceat(values, rows, axis=0, dtype=np.float64), cols, axis=1)
    sizes = np.outer(np.diff(rows, append=height), np.diff(cols, append=width))
    return np.asarray(sums / sizes.reshape(*sizes.shape, *[1] * (values.ndim - 2)))


def _palette_png(values: Labels, colors: npt.NDArray[np.uint8]) -> bytes:
    """(h, w) uint8 numbers of (256, 4) uint8 colours with opacity."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(values))
    image.putpalette(colors[:, :3].tobytes())
    file = io.BytesIO()
    image.save(file, "PNG", transparency=colors[:, 3].tobytes())
    return file.getvalue()
