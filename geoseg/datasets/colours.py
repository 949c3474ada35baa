"""Label files that hold colours: DeepGlobe, Potsdam, Vaihingen."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from geoseg.legend import IGNORE_ID, Legend

_HALF = 128


def indices_of_colours(rgb: npt.NDArray[np.uint8], legend: Legend) -> tuple[npt.NDArray[np.uint8], int]:
    """Indices of the legend for colours that are corners of the RGB cube.

    torchgeo's ``rgb_to_mask`` gives every other colour to the first class: urban land (DeepGlobe) or clutter (ISPRS),
    which also takes the black borders of the ISPRS labels without boundaries. Here each channel is cut at 128, as
    DeepGlobe's makers ask because their files hold colours that are not quite pure, and a corner that no class has is
    ignored: black on purpose, any other is counted.

    Args:
        rgb: (H, W, 3) uint8.
        legend: Classes whose colours have channels of 0 and 255 only.

    Returns:
        (H, W) uint8 indices with 255 = ignore, and how many pixels have a colour that is neither a class nor black.
    """
    table = np.full(8, IGNORE_ID, np.uint8)
    for index, one in enumerate(legend):
        red, green, blue = one.rgb
        table[(red >= _HALF) * 4 + (green >= _HALF) * 2 + (blue >= _HALF)] = index
    corner = np.zeros(rgb.shape[:2], np.uint8)
    for channel in range(3):
        corner = corner * 2 + (rgb[..., channel] >= _HALF)
    indices = table[corner]
    return indices, int(np.count_nonzero((indices == IGNORE_ID) & (corner != 0)))
