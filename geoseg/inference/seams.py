"""The seam score: do labels change more often across the borders of tiles than elsewhere?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geoseg.legend import NODATA_ID
from geoseg.tiling import Axis, Blend, TileGrid, Window

Bytes = npt.NDArray[np.uint8]

# Elsewhere than at borders every so many rows (and columns) are looked at: a rate needs no more.
_EVERY = 4


@dataclass(frozen=True, slots=True)
class SeamCounts:
    """Neighbouring pixels with data, and those of them with different labels.

    Attributes:
        seam_pairs: Pairs with a tile border between them.
        seam_changes: Those with different labels.
        inner_pairs: Others, of every fourth row and column.
        inner_changes: Those with different labels.
    """

    seam_pairs: int = 0
    seam_changes: int = 0
    inner_pairs: int = 0
    inner_changes: int = 0

    def __add__(self, other: SeamCounts) -> SeamCounts:
        return SeamCounts(
            self.seam_pairs + other.seam_pairs,
            self.seam_changes + other.seam_changes,
            self.inner_pairs + other.inner_pairs,
            self.inner_changes + other.inner_changes,
        )

    @property
    def score(self) -> float | None:
        """Rate of changes across tile borders over the rate elsewhere: 1 is seamless. None where nothing changes."""
        if not self.seam_pairs or not self.inner_changes:
            return None
        return (self.seam_changes / self.seam_pairs) / (self.inner_changes / self.inner_pairs)


class SeamCounter:
    """Counts label changes in finished rows.

    A border is where a core begins and, unless tiles are cropped to their cores, where a tile begins or ends.

    Args:
        grid: The tile grid.
        blend: How tiles were blended.
    """

    def __init__(self, grid: TileGrid, blend: Blend) -> None:
        self._rows, self._cols = (_borders(axis, blend) for axis in (grid.rows, grid.cols))

    def count(self, window: Window, labels: Bytes) -> SeamCounts:
        """Pairs inside a window of (h, w) uint8 labels."""
        return _changes(labels, self._cols, window.col_off) + _changes(labels.T, self._rows, window.row_off)

    def count_between(self, row: int, above: Bytes, below: Bytes) -> SeamCounts:
        """Pairs of (w,) labels ``above`` row ``row`` and in it, which no window holds both of."""
        if row in self._rows:
            return SeamCounts(*_compared(above, below))
        return SeamCounts(0, 0, *_compared(above[::_EVERY], below[::_EVERY]))


def _borders(axis: Axis, blend: Blend) -> npt.NDArray[np.intp]:
    """Positions whose pixel has a tile border before it."""
    found = {axis.core(i)[0] for i in range(len(axis))}
    if blend != "crop":
        for i in range(len(axis)):
            found |= {axis.start(i), axis.start(i) + axis.tile_size}
    return np.array(sorted(p for p in found if 0 < p < axis.size), np.intp)


def _changes(lines: Bytes, borders: npt.NDArray[np.intp], origin: int) -> SeamCounts:
    """Pairs along the last axis of (n, size) labels whose first column is at ``origin``."""
    at = borders - origin
    at = at[(at > 0) & (at < lines.shape[1])]
    seam_pairs, seam_changes = _compared(lines[:, at - 1], lines[:, at])
    some = lines[::_EVERY]
    pairs, changes = _compared(some[:, :-1], some[:, 1:])
    some_pairs, some_changes = _compared(some[:, at - 1], some[:, at])
    return SeamCounts(seam_pairs, seam_changes, pairs - some_pairs, changes - some_changes)


def _compared(before: Bytes, after: Bytes) -> tuple[int, int]:
    """How many pairs have data, and how many of those differ."""
    both = (before != NODATA_ID) & (after != NODATA_ID)
    return int(np.count_nonzero(both)), int(np.count_nonzero(both & (before != after)))
