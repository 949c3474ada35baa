"""Blended rows as they are kept: class ids and stored confidence, and no data where there is none."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from geoseg.blending.stored import NOTHING
from geoseg.errors import ModelError
from geoseg.legend import NODATA_ID, Legend
from geoseg.rasters import CONFIDENCE_NODATA

Bytes = npt.NDArray[np.uint8]


class Storing:
    """Class indices into ids, invalid pixels into no data.

    Args:
        legend: Maps class indices to ids.
        clipped: Whether a valid pixel that no tile covered is a mistake; not so where an outer area is cut off later.
    """

    def __init__(self, legend: Legend, *, clipped: bool) -> None:
        self._ids = _id_table(legend)
        self._clipped = clipped

    def put(self, planes: Bytes, valid: npt.NDArray[np.bool_], held: Bytes) -> None:
        """Put blended rows, (P, h, w) in the order of ``Stored.planes``, where they are held.

        Args:
            planes: Class indices first.
            valid: (h, w).
            held: (P, h, w), written.

        Raises:
            ModelError: A valid pixel was covered by no tile.
        """
        uncovered = valid & (planes[0] == NOTHING)
        if uncovered.any():
            if self._clipped:
                raise ModelError(
                    f"{np.count_nonzero(uncovered)} pixels with data got no score from the network; please report this"
                )
            valid = valid & ~uncovered
        if isinstance(self._ids, np.uint8):
            np.add(planes[0], self._ids, out=held[0])
        else:
            held[0] = self._ids[planes[0]]
        held[1:] = planes[1:]
        if not valid.all():
            clear(held, ~valid)


def no_data(planes: int, height: int, width: int) -> Bytes:
    """(P, h, w) without any data."""
    held = np.full((planes, height, width), CONFIDENCE_NODATA, np.uint8)
    held[0] = NODATA_ID
    return held


def clear(held: Bytes, invalid: npt.NDArray[np.bool_]) -> None:
    """Make (P, h, w) planes no data where (h, w) ``invalid`` is True."""
    np.copyto(held[0], NODATA_ID, where=invalid)
    np.copyto(held[1:], CONFIDENCE_NODATA, where=invalid)


def _id_table(legend: Legend) -> np.uint8 | Bytes:
    """(256,) ids by class index; where they follow one another only the first: adding is ten times faster."""
    ids = np.array(legend.ids, np.uint8)
    if np.array_equal(ids, np.arange(ids[0], ids[0] + len(ids))):
        return np.uint8(ids[0])
    table = np.full(256, NODATA_ID, np.uint8)
    table[: len(ids)] = ids
    return table
