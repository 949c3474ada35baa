"""A traced strip as arrays with names, and back: what a worker writes and the client reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import OutputError
from geoseg.polygons.shapes import Fragments, PatchTable
from geoseg.vectorization.describing import Described, described
from geoseg.vectorization.tracing import TracedStrip

Arrays = dict[str, NDArray[Any]]

_COLUMNS = tuple(field.name for field in fields(PatchTable))
_PIECES = tuple(field.name for field in fields(Fragments) if field.name not in ("width", "top", "last", "table"))
_OPEN = "open_"


def pack(strip: TracedStrip, *, confidence: bool) -> Arrays:
    """All of a strip.

    Args:
        strip: The strip.
        confidence: Whether its polygons have a mean confidence.
    """
    rest, table = strip.rest, PatchTable.concatenate([batch.table for batch in strip.inside])
    found = [batch.features for batch in strip.inside]
    return {
        "numbers": np.array([strip.end, rest.width, rest.top, rest.last, confidence], np.int64),
        "batches": np.cumsum([0, *map(len, found)], dtype=np.int64),
        "wkb": np.concatenate([np.zeros(0, np.uint8), *(f.wkb for f in found)]),
        "sizes": np.concatenate([np.zeros(0, np.int64), *(np.diff(f.offsets) for f in found)]),
        "area_m2": np.concatenate([np.zeros(0), *(f.area_m2 for f in found)]),
        "perimeter_m": np.concatenate([np.zeros(0), *(f.perimeter_m for f in found)]),
        **{name: getattr(table, name) for name in _COLUMNS},
        **{f"{_OPEN}{name}": getattr(rest.table, name) for name in _COLUMNS},
        **{f"{_OPEN}{name}": getattr(rest, name) for name in _PIECES},
    }


def unpack(arrays: Mapping[str, NDArray[Any]]) -> TracedStrip:
    """What :func:`pack` was given, bit for bit.

    Raises:
        OutputError: They are not of this geoseg.
    """
    try:
        end, width, top, last, confidence = arrays["numbers"].tolist()
        rest = Fragments(
            width=width,
            top=top,
            last=bool(last),
            table=PatchTable(*(arrays[f"{_OPEN}{name}"] for name in _COLUMNS)),
            **{name: arrays[f"{_OPEN}{name}"] for name in _PIECES},
        )
        batches = pairwise(arrays["batches"].tolist())
        offsets = np.concatenate([np.zeros(1, np.int64), arrays["sizes"].cumsum()])
        inside = tuple(_batch(arrays, offsets, begin, end, bool(confidence)) for begin, end in batches)
    except (LookupError, TypeError, ValueError) as error:
        raise OutputError(
            f"a part was made by another geoseg ({error}); --no-resume (resume=False) starts over"
        ) from error
    return TracedStrip(end, inside, rest)


def _batch(
    arrays: Mapping[str, NDArray[Any]], offsets: NDArray[np.int64], begin: int, end: int, confidence: bool
) -> Described:
    every = slice(begin, end)
    return described(
        arrays["wkb"][offsets[begin] : offsets[end]],
        offsets[begin : end + 1] - offsets[begin],
        arrays["area_m2"][every],
        arrays["perimeter_m"][every],
        PatchTable(*(arrays[name][every] for name in _COLUMNS)),
        confidence=confidence,
    )
