"""What becomes of every patch, known before the second look at a raster: its class, its area and where it begins.

A raster that is read in strips shows parts of patches. :class:`Survey` reads it once, joins parts across the seams by
union-find, and on the second look tells of every part which patch it belongs to. Only parts beside a seam need to be
remembered for that; what is known of them goes to a temporary file, so memory depends on the width alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geoseg.errors import ParameterError
from geoseg.polygons.survey_bands import AreaUnits, Band, Bytes, Ints, Longs, Parts, Strips, read_bands
from geoseg.polygons.survey_records import Record, Records


class Survey:
    """All patches of a raster.

    Args:
        strips: The raster.
        row_areas: (H,) area of one pixel of each row in m².
        band_rows: Rows to look at together; chosen by the width if not given. It changes no result.
        scratch: Folder for the temporary file; the system's if not given.

    Raises:
        ParameterError: The areas are not positive, or do not fit the strips.
    """

    def __init__(
        self,
        strips: Strips,
        row_areas: NDArray[np.float64],
        *,
        band_rows: int | None = None,
        scratch: Path | None = None,
    ) -> None:
        self._strips, self._row_areas, self._band_rows = strips, np.asarray(row_areas, np.float64), band_rows
        if self._row_areas.ndim != 1 or not (np.isfinite(self._row_areas) & (self._row_areas > 0)).all():
            raise ParameterError("areas of pixels must be positive numbers, one for each row; check the transform")
        self._records = Records(scratch)

    def bands(self) -> Iterator[tuple[Band, Record, AreaUnits]]:
        """The raster from top to bottom, with what is known of whole patches; the first call reads it twice."""
        if not self._records.complete:
            self._records.clear()
            self._look()
        bands = read_bands(self._strips, self._row_areas, self._band_rows)
        for index, (band, units) in enumerate(bands):
            record, parts = self._records[index], band.parts
            parts.first[record.rim], parts.pixels[record.rim], parts.areas[record.rim] = record.values[record.owners].T
            yield band, record, units

    def _look(self) -> None:
        nothing = np.zeros(0, np.int32)
        seam = _Seam(nothing, np.zeros(0, np.uint8), nothing, np.zeros((0, 3), np.int64))
        pending = None
        for band, _ in read_bands(self._strips, self._row_areas, self._band_rows):
            seam, record, following = seam.pass_on(band)
            if pending is not None:
                self._records.append(replace(pending, following=following))
            pending = record
        if pending is not None:
            self._records.append(pending)
        self._records.resolve()


@dataclass(frozen=True, slots=True)
class _Seam:
    """The last row of a band, and the groups of its parts that are known so far to be one patch.

    Attributes:
        starts: (R,) int32, first columns of the runs of the row.
        labels: (R,) uint8, their labels.
        groups: (R,) int32, their groups; -1 for no data.
        values: (G, 3) int64, first pixel, pixels and area of the groups so far.
    """

    starts: Ints
    labels: Bytes
    groups: Ints
    values: Longs

    def pass_on(self, band: Band) -> tuple[_Seam, Record, Ints]:
        """The seam below ``band``, the record of the band without what follows, and what follows the groups here."""
        count = len(self.values)
        runs, numbers = band.runs, band.numbers
        parents = np.arange(count + len(band.goes_on), dtype=np.int32)
        top, end = slice(runs.rows[0], runs.rows[1]), slice(runs.rows[-2], runs.rows[-1])
        _join_seam(
            self.starts, self.labels, self.groups, runs.starts[top], runs.labels[top], numbers[top], count, parents
        )  # fmt: skip
        owner_of, following = _number_groups(parents, band.goes_on, count)
        rim = np.flatnonzero(owner_of >= 0).astype(np.int32)
        owners = owner_of[rim]
        values = _sum_groups(self.values, following, band.parts, rim, owners)
        record = Record(rim, owners, np.full(len(values), -1, np.int32), values)
        return _Seam(runs.starts[end], runs.labels[end], owner_of[numbers[end]], values), record, following


@njit(cache=True, nogil=True)
def _find(parents: Ints, item: int) -> int:
    while parents[item] != item:
        parents[item] = parents[parents[item]]
        item = parents[item]
    return item


@njit(cache=True, nogil=True)
def _join_seam(
    starts_above: Ints,
    labels_above: Bytes,
    groups: Ints,
    starts: Ints,
    labels: Bytes,
    numbers: Ints,
    count: int,
    parents: Ints,
) -> None:
    """Let one tree of ``parents`` (``count`` groups above, then parts below) hold what is one patch, its root first."""
    a = b = 0
    while a < len(starts_above) - 1 and b < len(starts) - 1:
        if labels_above[a] == labels[b] and labels[b] != 0:
            x, y = _find(parents, groups[a]), _find(parents, numbers[b] + count)
            parents[max(x, y)] = min(x, y)
        end_a, end_b = starts_above[a + 1], starts[b + 1]
        a += end_a <= end_b
        b += end_b <= end_a


@njit(cache=True, nogil=True)
def _number_groups(parents: Ints, goes_on: NDArray[np.bool_], count: int) -> tuple[Ints, Ints]:
    """Groups of the parts that hang together across the seam or go on below, in the order of the parts.

    Returns:
        (N + 1,) int32 group of each part, -1 for those inside the band; and (``count``,) int32 what each group of the
        seam above becomes, -1 if it ends there.
    """
    number = np.full(len(parents), -1, np.int32)
    owners = np.full(len(goes_on), -1, np.int32)
    groups = 0
    for part in range(1, len(goes_on)):
        root = _find(parents, count + part)
        if root < count or goes_on[part]:
            if number[root] < 0:
                number[root] = groups
                groups += 1
            owners[part] = number[root]
    following = np.empty(count, np.int32)
    for group in range(count):
        following[group] = number[_find(parents, group)]
    return owners, following


def _sum_groups(above: Longs, following: Ints, parts: Parts, rim: Ints, owners: Ints) -> Longs:
    """(G, 3) first pixel, pixels and area of each group so far."""
    values = np.zeros((int(owners.max(initial=-1)) + 1, 3), np.int64)
    values[:, 0] = np.iinfo(np.int64).max
    known = np.stack([parts.first[rim], parts.pixels[rim], parts.areas[rim]], axis=1)
    going = following >= 0
    for owner, some in ((owners, known), (following[going], above[going])):
        np.minimum.at(values[:, 0], owner, some[:, 0])
        np.add.at(values[:, 1], owner, some[:, 1])
        np.add.at(values[:, 2], owner, some[:, 2])
    return values
