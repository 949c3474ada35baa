"""Features as rows of a GeoPackage table: GeoPackage geometries inside SQLite records."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geoseg.vectors.features import Features
from geoseg.vectors.pages import Bytes, Integers, put_big_endian, put_varint

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
        _MULTIPOLYGON if multi else _POLYGON, _scratch(features), records, offsets, envelopes,
    )  # fmt: skip
    _refuse_wrong(written, features, multi)
    return records[: offsets[-1]], offsets, envelopes


def envelopes_of(features: Features, multi: bool) -> NDArray[np.float64]:
    """(N, 4) min x, max x, min y, max y.

    Raises:
        ValueError: A geometry is no multipolygon, or no polygon where not ``multi``.
    """
    envelopes, scratch = np.empty((len(features), 4)), _scratch(features)
    measured = _measure_all(features.wkb, features.offsets, _MULTIPOLYGON if multi else _POLYGON, scratch, envelopes)
    _refuse_wrong(measured, features, multi)
    return envelopes


def _scratch(features: Features) -> NDArray[np.float64]:
    return np.empty(int(np.diff(features.offsets).max(initial=0)) // _DOUBLE + 1)


def _refuse_wrong(done: int, features: Features, multi: bool) -> None:
    if done < len(features):
        raise ValueError(f"geometry {done} is no little-endian {'multipolygon' if multi else 'polygon'} in WKB")


@njit(cache=True, nogil=True)
def _measure_all(
    wkb: Bytes, offsets: Integers, kind: int, scratch: NDArray[np.float64], envelopes: NDArray[np.float64]
) -> int:
    for i in range(len(envelopes)):
        if not _measure(wkb[offsets[i] : offsets[i + 1]], kind, scratch, envelopes[i]):
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
    scratch: NDArray[np.float64],
    records: Bytes,
    offsets: Integers,
    envelopes: NDArray[np.float64],
) -> int:
    """Fill ``records``, ``offsets`` and ``envelopes``; returns how many were written, less than all at a wrong one."""
    number = np.empty(1, np.float64)
    number_bytes = number.view(np.uint8)
    at = 0
    for i in range(len(class_id)):
        geometry = wkb[wkb_offsets[i] : wkb_offsets[i + 1]]
        if not _measure(geometry, kind, scratch, envelopes[i]):
            return i
        name = names[name_offsets[class_id[i]] : name_offsets[class_id[i] + 1]]
        known = has_confidence and not np.isnan(confidence[i])
        id_type, pixels_type = _integer_type(class_id[i]), _integer_type(pixels[i])
        header = at
        at = put_varint(records, at + 2, 12 + 2 * (_BLOB_HEADER + geometry.size))
        records[header + 1] = 0  # NULL: the id is the row's
        records[at] = id_type
        at = put_varint(records, at + 1, 13 + 2 * name.size)
        records[at], records[at + 1], records[at + 2] = 7, 7, pixels_type
        at += 3
        if has_confidence:
            records[at] = 7 if known else 0
            at += 1
        records[header] = at - header
        at = _put_geometry(records, at, geometry, srs_id, envelopes[i])
        at = put_big_endian(records, at, class_id[i], id_type)
        records[at : at + name.size] = name
        at = _put_double(records, at + name.size, area[i], number, number_bytes)
        at = _put_double(records, at, perimeter[i], number, number_bytes)
        at = put_big_endian(records, at, pixels[i], 8 if pixels_type == 6 else pixels_type)
        if known:
            at = _put_double(records, at, confidence[i], number, number_bytes)
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
def _put_double(target: Bytes, at: int, value: float, number: NDArray[np.float64], number_bytes: Bytes) -> int:
    number[0] = value
    for i in range(_DOUBLE):  # big-endian, from a little-endian machine
        target[at + i] = number_bytes[_DOUBLE - 1 - i]
    return at + _DOUBLE


@njit(cache=True, nogil=True)
def _put_geometry(target: Bytes, at: int, geometry: Bytes, srs_id: int, envelope: NDArray[np.float64]) -> int:
    target[at], target[at + 1], target[at + 2], target[at + 3] = 0x47, 0x50, 0, 0b011  # x, y envelope, little-endian
    for i in range(4):
        target[at + 4 + i] = (srs_id >> (8 * i)) & 255
    target[at + 8 : at + _BLOB_HEADER] = envelope.view(np.uint8)
    end = at + _BLOB_HEADER + geometry.size
    target[at + _BLOB_HEADER : end] = geometry
    return end


@njit(cache=True, nogil=True)
def _read_count(geometry: Bytes, at: int) -> int:
    """The little-endian uint32 at ``at``."""
    value = 0
    for i in range(4):
        value |= int(geometry[at + i]) << (8 * i)
    return value


@njit(cache=True, nogil=True)
def _measure(geometry: Bytes, kind: int, scratch: NDArray[np.float64], envelope: NDArray[np.float64]) -> bool:
    """The envelope of a geometry of ``kind``; False where it is none."""
    envelope[0], envelope[1], envelope[2], envelope[3] = np.inf, -np.inf, np.inf, -np.inf
    if geometry[0] != 1 or _read_count(geometry, 1) != kind:
        return False
    if kind == _POLYGON:
        return _measure_polygon(geometry, 0, scratch, envelope) == geometry.size
    at = 9
    for _ in range(_read_count(geometry, 5)):
        at = _measure_polygon(geometry, at, scratch, envelope)
        if at < 0:
            return False
    return at == geometry.size


@njit(cache=True, nogil=True)
def _measure_polygon(geometry: Bytes, at: int, scratch: NDArray[np.float64], envelope: NDArray[np.float64]) -> int:
    """Widen ``envelope`` by the exterior of the polygon at ``at``; returns where it ends, -1 where it is none."""
    if at + 9 > geometry.size or geometry[at] != 1 or _read_count(geometry, at + 1) != _POLYGON:
        return -1
    rings = _read_count(geometry, at + 5)
    at += 9
    for ring in range(rings):
        if at + 4 > geometry.size:
            return -1
        count = _read_count(geometry, at)
        at += 4
        if at + 16 * count > geometry.size:
            return -1
        if ring == 0:
            # Copied first: the coordinates lie at odd addresses.
            scratch.view(np.uint8)[: 16 * count] = geometry[at : at + 16 * count]
            for i in range(count):
                x, y = scratch[2 * i], scratch[2 * i + 1]
                envelope[0], envelope[1] = min(envelope[0], x), max(envelope[1], x)
                envelope[2], envelope[3] = min(envelope[2], y), max(envelope[3], y)
        at += 16 * count
    return at
