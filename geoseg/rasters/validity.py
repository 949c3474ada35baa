"""Which samples are data: one judgement for nodata tag, alpha, validity band, NaN and infinity. NumPy only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
"""Sample types that geoseg reads."""

Bools = npt.NDArray[np.bool_]
Values = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Pixels:
    """Samples of a window, and which of them are data.

    A pixel is invalid where an alpha band or the file's own validity band is 0, or where every selected band is NaN,
    infinite or equal to its nodata value. A single band that equals nodata is absent only in signed and floating types:
    there the value (-9999) is no measurement. In unsigned types it is 0 or 255, which a dark or saturated band reaches.

    Attributes:
        values: (C, h, w), as stored.
        valid: (h, w) bool, True = data.
        present: (C, h, w) bool, ``valid`` and the sample itself is data. May be a read-only view of ``valid``.
    """

    values: Values
    valid: Bools
    present: Bools


def judge(
    values: Values, nodata: Sequence[np.generic | None], alpha: Values, own: npt.NDArray[np.uint8] | None
) -> Pixels:
    """Tell data from no data. GDAL lets one kind of validity hide the others; here all of them count.

    Args:
        values: (C, h, w) samples.
        nodata: For each band what :func:`stored_nodata` gave.
        alpha: (A, h, w) alpha bands, A may be 0.
        own: (h, w) the file's validity band, if it has one.
    """
    absent = [_absent(band, missing) for band, missing in zip(values, nodata, strict=True)]
    found = [a for a in absent if a is not None]
    valid = ~np.logical_and.reduce(found) if len(found) == len(absent) else np.ones(values.shape[1:], np.bool_)
    for band in alpha:
        valid &= band != 0
    if own is not None:
        valid &= own != 0
    if not found or np.issubdtype(values.dtype, np.unsignedinteger):
        return Pixels(values, valid, np.broadcast_to(valid, values.shape))
    return Pixels(values, valid, np.stack([valid if a is None else valid & ~a for a in absent]))


def stored_nodata(nodata: float | None, dtype: np.dtype[np.generic]) -> np.generic | None:
    """A nodata tag as a sample would hold it; None where no sample can equal it, and for NaN, which is never equal."""
    if nodata is None or math.isnan(nodata):
        return None
    if np.issubdtype(dtype, np.floating):
        with np.errstate(over="ignore"):
            return dtype.type(nodata)
    limits = np.iinfo(dtype)  # type: ignore[type-var]
    return dtype.type(int(nodata)) if float(nodata).is_integer() and limits.min <= nodata <= limits.max else None


def never_absent(dtype: str, nodata: Sequence[np.generic | None]) -> bool:
    """Whether no sample can be absent: :func:`judge` without alpha and validity band then finds all of them present.

    Args:
        dtype: NumPy name of the samples' type.
        nodata: For each band what :func:`stored_nodata` gave.
    """
    if np.issubdtype(np.dtype(dtype), np.floating):
        return False
    free = [missing is None for missing in nodata]
    return any(free) if np.issubdtype(np.dtype(dtype), np.unsignedinteger) else all(free)


def is_valid_repeated(pixels: Pixels) -> bool:
    """Whether ``present`` is ``valid`` for every band, as its memory tells: one band, or a view that repeats it."""
    return len(pixels.present) == 1 or pixels.present.strides[0] == 0


def joined(parts: Sequence[Pixels], axis: int) -> Pixels:
    """Put windows side by side (``axis`` -1) or one below the other (-2)."""
    return Pixels(
        np.concatenate([p.values for p in parts], axis=axis),
        np.concatenate([p.valid for p in parts], axis=axis),
        np.concatenate([p.present for p in parts], axis=axis),
    )


def _absent(band: Values, nodata: np.generic | None) -> Bools | None:
    """Where samples are not data; None where no sample can be."""
    if np.issubdtype(band.dtype, np.floating):
        with np.errstate(over="ignore"):  # what float32 cannot hold is no reflectance, and infinite for a network
            unreal = ~np.isfinite(band.astype(np.float32, copy=False))
        return np.asarray(unreal if nodata is None else unreal | (band == nodata))
    return None if nodata is None else np.asarray(band == nodata)
