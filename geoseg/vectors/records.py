"""Features as rows of a GeoPackage table: GeoPackage geometries inside SQLite records."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geoseg.vectors.features import SMALLEST, Features
from geoseg.vectors.pages import Bytes, Integers, copy_bytes, put_big_endian, put_varint

_POLYGON, _MULTIPOLYGON = 3, 6
_DOUBLE = 8

# "GP", version, flags, srs id, and the envelope (section 2.1.3.1 of the standard).
_BLOB_HEADER = 40

# Of a record without geometry and name: header of at most 9 + 6 + 9 bytes, 4 numbers of 8 bytes.
_MOST_BESIDE = 80


def feature_records(
    features: Features, names: Bytes, name_offsets: Integers, srs_id: int, multi: bool
) -> tuple[Bytes, Integers, NDArray[np.float64]]:
    """SQLite records of the columns fid, geometry, class id, class name, area, perimeter, pixels[, confidence].

    Args:
        features: What is written.
        names: UTF-8 names of the classes, one after the other.
        name_offsets: (257,) where the name of each class id begins and ends.
        srs_id: Of the GeoPackage.
        multi: Whether all geometries are multipolygons; else all are polygons.

    Returns:
        (B,) the records one after the other; (N + 1,) where they begin and end; (N, 4) envelopes min x, max x, min y,
        max y.

    Raises:
        ValueError: A geometry is of the other type, or no WKB.
    """
    sizes = np.diff(name_offsets)[features.class_id]
    most = len(features.wkb) + int(sizes.sum()) + len(features) * (_BLOB_HEADER + _MOST_BESIDE)
    records, offsets = np.empty(most, np.uint8), np.zeros(len(features) + 1, np.int64)
    envelopes = np.empty((len(features), 4))
    has_confidence = features.mean_confidence is not None
    confidence = features.mean_confidence if features.mean_confidence is not None else np.zeros(0)
    written = _encode(
        features.wkb, features.offsets, features.class_id, features.area_m2, features.perimeter_m,
        features.pixel_count, confidence, has_confidence, names, name_offsets, srs_id,
        _MULTIPOLYGON if multi else _POLYGON, _scratch_for(features), records, offsets, envelopes,
        envelopes.view(np.uint8),
    )  # fmt: skip
    _refuse_wrong(written, features, multi)
    return records[: offsets[-1]], offsets, envelopes


def envelopes_of(features: Features, multi: bool) -> NDArray[np.float64]:
    """(N, 4) min x, max x, min y, max y.

    Raises:
        ValueError: A geometry is no multipolygon, or no polygon where not ``multi``.
    """
    envelopes, scratch = np.empty((len(features), 4)), _scratch_for(features)
    measured = _measure_all(features.wkb, features.offsets, _MULTIPOLYGON if multi else _POLYGON, scratch, envelopes)
    _refuse_wrong(measured, features, multi)
    return envelopes


class _Scratch(NamedTuple):
    """Room for the largest ring, as numbers and as the same bytes: in WKB coordinates lie at odd addresses."""

    doubles: NDArray[np.float64]
    raw: Bytes


def _scratch_for(features: Features) -> _Scratch:
    doubles = np.empty(int(np.diff(features.offsets).max(initial=0)) // _DOUBLE + 1)
    return _Scratch(doubles, doubles.view(np.uint8))


def _refuse_wrong(done: int, features: Features, multi: bool) -> None:
    if done < len(features):
        raise ValueError(f"geometry {done} is no little-endian {'multipolygon' if multi else 'polygon'} in WKB")


@njit(cache=True, nogil=True)
def _measure_all(wkb: Bytes, offsets: Integers, kind: int, scratch: _Scratch, envelopes: NDArray[np.float64]) -> int:
    for i in range(len(envelopes)):
        if not _measure(wkb, offsets[i], offsets[i + 1], kind, scratch, envelopes[i]):
            return i
    return len(envelopes)


@njit(cache=True, nogil=True)
def _encode(
    wkb: Bytes,
    wkb_offsets: Integers,
    class_id: NDArray[np.int32],
    area: NDArray[np.float64],
    perimeter: NDArray[np.float64],
    pixels: Integers,
    confidence: NDArray[np.float64],
    has_confidence: bool,
    names: Bytes,
    name_offsets: Integers,
    srs_id: int,
    kind: int,
    scratch: _Scratch,
    records: Bytes,
    offsets: Integers,
    envelopes: NDArray[np.float64],
    envelope_bytes: NDArray[np.uint8],
) -> int:
    """Fill ``records``, ``offsets``, ``envelopes``; returns how many were written, less than all at a wrong one."""
    at = 0
    for i in range(len(class_id)):
        begin, end = wkb_offsets[i], wkb_offsets[i + 1]
        if not _measure(wkb, begin, end, kind, scratch, envelopes[i]):
            return i
        name, name_end = name_offsets[class_id[i]], name_offsets[class_id[i] + 1]
        known = has_confidence and not np.isnan(confidence[i])
        id_type, pixels_type = _integer_type(class_id[i]), _integer_type(pixels[i])
        header = at
        at = put_varint(records, at + 2, 12 + 2 * (_BLOB_HEADER + end - begin))
        records[header + 1] = 0  # NULL: the id is the row's
        records[at] = id_type
        at = put_varint(records, at + 1, 13 + 2 * (name_end - name))
        records[at], records[at + 1], records[at + 2] = 7, 7, pixels_type
        at += 3
        if has_confidence:
            records[at] = 7 if known else 0
            at += 1
        records[header] = at - header
        at = _put_blob_header(records, at, srs_id, envelope_bytes[i])
        at = copy_bytes(records, at, wkb, begin, end)
        at = put_big_endian(records, at, class_id[i], id_type)
        at = copy_bytes(records, at, names, name, name_end)
        at = _put_double(records, at, area[i], scratch)
        at = _put_double(records, at, perimeter[i], scratch)
        at = put_big_endian(records, at, pixels[i], 8 if pixels_type == 6 else pixels_type)
        if known:
            at = _put_double(records, at, confidence[i], scratch)
        offsets[i + 1] = at
    return len(class_id)


@njit(cache=True, nogil=True)
def _integer_type(value: int) -> int:
    """SQLite's code of the smallest integer that holds ``value`` >= 0; below 5 it is the number of bytes."""
    if value < 1 << 7:
        return 1
    if value < 1 << 15:
        return 2
    return 4 if value < 1 << 31 else 6


@njit(cache=True, nogil=True)
def _put_double(target: Bytes, at: int, value: float, scratch: _Scratch) -> int:
    scratch.doubles[0] = value
    for i in range(_DOUBLE):  # big-endian, from a little-endian machine
        target[at + i] = scratch.raw[_DOUBLE - 1 - i]
    return at + _DOUBLE


@njit(cache=True, nogil=True)
def _put_blob_header(target: Bytes, at: int, srs_id: int, envelope: Bytes) -> int:
    target[at], target[at + 1], target[at + 2], target[at + 3] = 0x47, 0x50, 0, 0b011  # x, y envelope, little-endian
    for i in range(4):
        target[at + 4 + i] = (srs_id >> (8 * i)) & 255
    return copy_bytes(target, at + 8, envelope, 0, envelope.size)


@njit(cache=True, nogil=True)
def _read_count(wkb: Bytes, at: int) -> int:
    """The little-endian uint32 at ``at``."""
    value = np.int64(0)
    for i in range(4):
        value |= np.int64(wkb[at + i]) << (8 * i)
    return value  # type: ignore[return-value]  # an int, compiled


@njit(cache=True, nogil=True)
def _measure(wkb: Bytes, begin: int, end: int, kind: int, scratch: _Scratch, envelope: NDArray[np.float64]) -> bool:
    """The envelope of a geometry of ``kind``; False where it is none."""
    envelope[0], envelope[1], envelope[2], envelope[3] = np.inf, -np.inf, np.inf, -np.inf
    if wkb[begin] != 1 or _read_count(wkb, begin + 1) != kind:
        return False
    if kind == _POLYGON:
        return _measure_polygon(wkb, begin, end, scratch, envelope) == end
    at = begin + SMALLEST
    for _ in range(_read_count(wkb, begin + 5)):
        at = _measure_polygon(wkb, at, end, scratch, envelope)
        if at < 0:
            return False
    return at == end


@njit(cache=True, nogil=True)
def _measure_polygon(wkb: Bytes, at: int, end: int, scratch: _Scratch, envelope: NDArray[np.float64]) -> int:
    """Widen ``envelope`` by the exterior of the polygon at ``at``; returns where it ends, -1 where it is none."""
    if at + SMALLEST > end or wkb[at] != 1 or _read_count(wkb, at + 1) != _POLYGON:
        return -1
    rings = _read_count(wkb, at + 5)
    at += SMALLEST
    for ring in range(rings):
        if at + 4 > end:
            return -1
        count = _read_count(wkb, at)
        at += 4
        if at + 16 * count > end:
            return -1
        if ring == 0:
            copy_bytes(scratch.raw, 0, wkb, at, at + 16 * count)
            for i in range(count):
                x, y = scratch.doubles[2 * i], scratch.doubles[2 * i + 1]
                envelope[0], envelope[1] = min(envelope[0], x), max(envelope[1], x)
                envelope[2], envelope[3] = min(envelope[2], y), max(envelope[3], y)
        at += 16 * count
    return at
