"""What an attribute of polygons says, as class ids of a legend."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from geoseg.errors import LegendError
from geoseg.legend import IGNORE_ID, NODATA_ID, Legend

Plain = int | str | None
"""An id, a name, or None for no class."""


def class_ids(
    values: npt.NDArray[Any], legend: Legend, where: str, meanings: Mapping[int | str, int] | None = None
) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """The class of each value: an id, or a name in any case.

    Args:
        values: (N,) numbers or texts; None, NaN and empty texts are no class.
        legend: The classes.
        where: File and field, for messages.
        meanings: Ids of values that the legend does not know, or that mean something else here; 0 for no class.

    Returns:
        (N,) uint8 ids, 0 without class; and what is noteworthy.

    Raises:
        LegendError: Values are not in the legend; lists them with how often they occur.
    """
    plain = [plain_value(v) for v in values.tolist()]
    counts = Counter(plain)
    found = ids_of(counts, legend, where, meanings)
    ids = np.array([found[value] for value in plain], np.uint8)
    empty = int((ids == NODATA_ID).sum())
    return ids, [f"{empty} of {len(plain)} shapes of {where} have no class: their ground is left out"] * bool(empty)


def ids_of(
    counts: Counter[Plain], legend: Legend, where: str, meanings: Mapping[int | str, int] | None = None
) -> dict[Plain, int]:
    """The class of each plain value; see :func:`class_ids`."""
    known: dict[Plain, int] = {None: NODATA_ID}
    known.update((meanings or {}).items())
    found = {value: known[value] if value in known else _id(value, legend) for value in counts}
    unknown = [f"{value!r} ({counts[value]})" for value, number in found.items() if number is None]
    if unknown:
        raise LegendError(
            f"{where} has classes that the legend does not know: {', '.join(unknown)}; its classes are "
            f"{_listed(legend)}; complete the legend"
        )
    return {value: number for value, number in found.items() if number is not None}


def id_of(value: str | int, legend: Legend) -> int:
    """The id of a class given by name or id.

    Raises:
        LegendError: The legend has no such class.
    """
    found = _id(plain_value(value), legend)
    if not found:
        raise LegendError(f"{value!r} is no class of the legend; its classes are {_listed(legend)}")
    return found


def legend_of_values(values: Iterable[Plain]) -> Legend:
    """A legend of what polygons say: ids where all values are such, else names in order.

    Args:
        values: Plain values; None is no class, and so are the reserved numbers 0 and 255.

    Raises:
        LegendError: There is no class, or there are too many.
    """
    found = set(values) - {None, NODATA_ID, IGNORE_ID}
    numbers = sorted(v for v in found if isinstance(v, int))
    if found and len(numbers) == len(found) and all(NODATA_ID < v < IGNORE_ID for v in numbers):
        return Legend.from_values(numbers)
    return Legend.from_names([*map(str, numbers), *sorted(v for v in found if isinstance(v, str))])


def plain_value(value: object) -> Plain:
    """An id, a name, or None for no class. Tables keep ids as 3.0 or "3" too."""
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return int(value) if value.is_integer() else str(value)
    if isinstance(value, int):
        return int(value)
    text = "" if value is None else str(value).strip()
    return int(text) if text.isdecimal() and str(int(text)) == text else text or None


def _id(value: Plain, legend: Legend) -> int | None:
    if value is None:
        return NODATA_ID
    names = {c.name.casefold(): c.id for c in legend}
    exact = {c.name: c.id for c in legend}
    if str(value) in exact or str(value).casefold() in names:
        return exact.get(str(value), names.get(str(value).casefold()))
    if isinstance(value, str) and not value.isdecimal():
        return None
    return int(value) if int(value) in legend.ids else None


def _listed(legend: Legend) -> str:
    return ", ".join(f"{c.id} {c.name}" for c in legend)
