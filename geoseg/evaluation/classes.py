"""What an attribute of polygons says, as class ids of a legend."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from geoseg.errors import LegendError
from geoseg.legend import NODATA_ID, Legend


def class_ids(values: npt.NDArray[Any], legend: Legend, where: str) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """The class of each value: an id, or a name in any case.

    Args:
        values: (N,) numbers or texts; None, NaN and empty texts are no class.
        legend: The classes.
        where: File and field, for messages.

    Returns:
        (N,) uint8 ids, 0 without class; and what is noteworthy.

    Raises:
        LegendError: Values are not in the legend; lists them with how often they occur.
    """
    plain = [_plain(v) for v in values.tolist()]
    counts = Counter(plain)
    found = {value: _id(value, legend) for value in counts}
    unknown = [f"{value!r} ({counts[value]})" for value, number in found.items() if number is None]
    if unknown:
        raise LegendError(
            f"{where} has classes that the map does not know: {', '.join(unknown)}; its classes are {_listed(legend)}"
        )
    ids = np.array([found[value] for value in plain], np.uint8)
    empty = counts[None]
    return ids, [f"{empty} of {len(plain)} shapes of {where} have no class: their ground is not compared"] * bool(empty)


def id_of(value: str | int, legend: Legend) -> int:
    """The id of a class given by name or id.

    Raises:
        LegendError: The legend has no such class.
    """
    found = _id(_plain(value), legend)
    if not found:
        raise LegendError(f"{value!r} is no class of the map; its classes are {_listed(legend)}")
    return found


def _plain(value: object) -> int | str | None:
    """An id, a name, or None for no class. Tables keep ids as 3.0 or "3" too."""
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return int(value) if value.is_integer() else str(value)
    if isinstance(value, int):
        return int(value)
    return None if value is None else str(value).strip() or None


def _id(value: int | str | None, legend: Legend) -> int | None:
    if value is None:
        return NODATA_ID
    if isinstance(value, str):
        names = {c.name.casefold(): c.id for c in legend}
        exact = {c.name: c.id for c in legend}
        if value in exact or value.casefold() in names:
            return exact.get(value, names.get(value.casefold()))
        if not value.isdecimal():
            return None
    return int(value) if int(value) in legend.ids else None


def _listed(legend: Legend) -> str:
    return ", ".join(f"{c.id} {c.name}" for c in legend)
