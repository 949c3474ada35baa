"""What the values of label rasters mean: indices of a legend, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from geoseg.errors import ParameterError
from geoseg.legend import IGNORE_ID, NODATA_ID, Legend
from geoseg.polygon_labels import id_of

UNKNOWN = 254
"""Index that stands for a value that is none of the legend."""

IGNORE_WORD = "ignore"


@dataclass(frozen=True, slots=True)
class Meanings:
    """From values to indices.

    Attributes:
        legend: The classes.
        given: Ids of classes, or 0 for ignore, of the values that the user gave a meaning.
        ids_count: Whether other values are class ids; else they are unknown.
    """

    legend: Legend
    given: Mapping[int, int] = field(default_factory=dict)
    ids_count: bool = True

    @classmethod
    def parse(cls, legend: Legend, label_values: Mapping[int, str] | None, *, ids_count: bool = True) -> Meanings:
        """Of what the settings say.

        Raises:
            LegendError: A class is not in the legend.
        """
        words = (label_values or {}).items()
        return cls(legend, {v: NODATA_ID if _ignored(w) else id_of(w, legend) for v, w in words}, ids_count)

    def indices(
        self,
        values: npt.NDArray[Any],
        valid: npt.NDArray[np.bool_],
        nodata: float | None,
        wanted: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[npt.NDArray[np.uint8], dict[int, int]]:
        """Indices of the legend of label values.

        Args:
            values: (h, w) as stored.
            valid: (h, w), False where the file says that there is no data.
            nodata: The file's nodata value; it counts where it was given a meaning.
            wanted: (h, w), False where labels are ignored whatever they say; None = wanted everywhere.

        Returns:
            (h, w) uint8 indices, 255 = ignore, 254 = unknown; and the unknown values with their numbers of pixels.
        """
        whole = _whole(values)
        table = self._table()
        found = table[np.clip(whole, -1, 256) + 1]
        for value, class_id in self.given.items():
            if not 0 <= value <= IGNORE_ID:
                found[whole == value] = self._index(class_id)
        if nodata is not None and nodata in self.given:
            valid = valid | (whole == nodata)
        found[~valid] = IGNORE_ID
        if not np.issubdtype(values.dtype, np.integer):
            found[np.isnan(values)] = IGNORE_ID
        if wanted is not None:
            found[~wanted] = IGNORE_ID
        odd, counts = np.unique(whole[found == UNKNOWN], return_counts=True)
        return found, dict(zip(odd.tolist(), counts.tolist(), strict=True))

    def _table(self) -> npt.NDArray[np.uint8]:
        """(258,) indices of the values -1 (all below 0), 0..255, 256 (all above)."""
        table = np.full(258, UNKNOWN, np.uint8)
        if self.ids_count:
            table[np.array(self.legend.ids) + 1] = np.arange(len(self.legend))
        table[[NODATA_ID + 1, IGNORE_ID + 1]] = IGNORE_ID
        for value, class_id in self.given.items():
            if 0 <= value <= IGNORE_ID:
                table[value + 1] = self._index(class_id)
        return table

    def _index(self, class_id: int) -> int:
        return IGNORE_ID if class_id == NODATA_ID else self.legend.ids.index(class_id)


def named_classes(label_values: Mapping[int, str] | None) -> list[str]:
    """The classes that meanings of values name, in the order of the values."""
    named = [word for _, word in sorted((label_values or {}).items()) if not _ignored(word)]
    return list(dict.fromkeys(named))


def _ignored(word: str) -> bool:
    return word.strip().casefold() == IGNORE_WORD


def _whole(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Values as whole numbers.

    Raises:
        ParameterError: Some are fractions.
    """
    if np.issubdtype(values.dtype, np.integer):
        return values.astype(np.int64)
    plain = np.nan_to_num(values, nan=0.0, posinf=-1.0, neginf=-1.0)
    whole: npt.NDArray[np.int64] = np.rint(plain).astype(np.int64)
    if not np.array_equal(whole, plain):
        raise ParameterError(f"labels hold {plain[whole != plain][0]:g}; they are whole numbers, one for each class")
    return whole
