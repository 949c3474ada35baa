"""One part as bytes: a GeoTIFF of uint8 planes that knows where it belongs and can tell whether it is sound.

It is made and read in memory, so that every byte goes through the operating system's own calls: GDAL writes to a full
disk without a word.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader, MemoryFile
from rasterio.windows import Window as Rectangle

from geoseg.tiling import Window

_TAG = "GEOSEG_PART"

# Rows of a storage strip. Parts are written and read in full rows, so strips need no cutting and no padding: at 64 rows
# zstd level 1 takes 0.5 ms/Mpx for a class map and 1.1 for confidences on two threads (tiles of 512: 0.6 and 1.2).
_ROWS = 64

_CACHE = 64 * 2**20


class DamageError(Exception):
    """A part is not what was written; the message says how."""


@dataclass(frozen=True, slots=True)
class Belonging:
    """Where a part belongs.

    Attributes:
        run: Name of the run.
        window: Its pixels.
        planes: Names of its planes.
    """

    run: str
    window: Window
    planes: tuple[str, ...]


def encode(belonging: Belonging, planes: npt.NDArray[np.uint8], notes: Mapping[str, object]) -> bytes:
    """(P, h, w) uint8 planes and JSON notes as a file.

    Its transform counts pixels of the scene, so that parts of one run lie side by side in QGIS. Rows start at 1:
    rasterio warns of a transform that only turns the rows round.
    """
    count, height, width = planes.shape
    checksums = [[zlib.crc32(plane[top : top + _ROWS].data) for top in range(0, height, _ROWS)] for plane in planes]
    record = _place(belonging) | {"crc": checksums, "notes": dict(notes)}
    options: dict[str, Any] = {"blockysize": _ROWS, "interleave": "band", "photometric": "MINISBLACK"}
    options |= {"num_threads": _threads(), "bigtiff": "IF_SAFER", **_compression()}
    transform = Affine(1, 0, belonging.window.col_off, 0, -1, -1 - belonging.window.row_off)
    with _environment(), MemoryFile() as memory:
        with memory.open(
            driver="GTiff", count=count, height=height, width=width, dtype="uint8", transform=transform, **options
        ) as dataset:
            dataset.update_tags(**{_TAG: json.dumps(record, allow_nan=False)})
            for index, name in enumerate(belonging.planes, 1):
                dataset.set_band_description(index, name)
            dataset.write(planes)
        return bytes(memory.getbuffer())


def decode(data: bytes, belonging: Belonging, plane: str, rows: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Rows ``[lo, hi)`` of one plane, (hi - lo, w) uint8.

    Raises:
        DamageError: They are not what was written, or the file belongs elsewhere.
    """
    index = belonging.planes.index(plane)
    first, last = rows[0] // _ROWS, -(-rows[1] // _ROWS)
    top, bottom = first * _ROWS, min(last * _ROWS, belonging.window.height)
    with _opened(data, belonging) as (dataset, record):
        values: npt.NDArray[np.uint8] = dataset.read(
            index + 1, window=Rectangle(0, top, belonging.window.width, bottom - top)
        )
        for strip in range(first, last):
            at = strip * _ROWS - top
            if zlib.crc32(values[at : at + _ROWS].data) != record["crc"][index][strip]:
                raise DamageError(f"plane {plane}, rows from {strip * _ROWS} on: checksum differs")
    return values[rows[0] - top : rows[1] - top]


def decode_notes(data: bytes, belonging: Belonging) -> dict[str, object]:
    """The notes of a part.

    Raises:
        DamageError: They cannot be read, or the file belongs elsewhere.
    """
    with _opened(data, belonging) as (_, record):
        return dict(record["notes"])


@contextmanager
def _opened(data: bytes, belonging: Belonging) -> Iterator[tuple[DatasetReader, dict[str, Any]]]:
    window = belonging.window
    try:
        with (
            _environment(),
            MemoryFile(data) as memory,
            memory.open(driver="GTiff", num_threads=_threads()) as dataset,
        ):
            record = json.loads(dataset.tags().get(_TAG, "{}"))
            shape = dataset.count, dataset.height, dataset.width
            if shape != (len(belonging.planes), window.height, window.width) or set(dataset.dtypes) != {"uint8"}:
                raise DamageError(f"it holds {shape} {dataset.dtypes[0]}")
            if any(record.get(key) != value for key, value in _place(belonging).items()):
                raise DamageError("it belongs to another run or place")
            yield dataset, record
    except (RasterioError, CPLE_BaseError, OSError, LookupError, TypeError, ValueError) as error:
        raise DamageError(" ".join(str(error.__cause__ or error).split())[:150]) from error


def _place(belonging: Belonging) -> dict[str, object]:
    w = belonging.window
    window = [w.row_off, w.col_off, w.height, w.width]
    return {"run": belonging.run, "window": window, "planes": list(belonging.planes)}


def _environment() -> rasterio.Env:
    return rasterio.Env(
        GDAL_CACHEMAX=_CACHE, GDAL_PAM_ENABLED=False, GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", GTIFF_DIRECT_IO=False
    )


def _threads() -> int:
    return min(4, os.cpu_count() or 1)


@cache
def _compression() -> dict[str, Any]:
    """Options for zstd where this GDAL has it, else for deflate, which takes two to four times as long."""
    zstd = {"compress": "zstd", "zstd_level": 1}
    try:
        with _environment(), MemoryFile() as memory:
            with memory.open(
                driver="GTiff", count=1, height=1, width=1, dtype="uint8", transform=Affine.scale(2, -2), **zstd
            ) as dataset:
                dataset.write(np.ones((1, 1, 1), np.uint8))
            with memory.open(driver="GTiff") as dataset:
                if dataset.compression is not None and dataset.read(1)[0, 0] == 1:
                    return zstd
    except (RasterioError, CPLE_BaseError, OSError, ValueError):
        pass
    return {"compress": "deflate", "zlevel": 1}
