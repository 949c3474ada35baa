"""Where features go: one layer, a layer for each class, or one multipolygon for each class."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import OutputError, VectorError
from geoseg.polygons.shapes import PatchTable
from geoseg.vectorization.describing import Described
from geoseg.vectors import Features, VectorWriter
from geoseg.vectors.features import gather_wkb

Sink = Callable[[Described], None]

# SQLite stores no value larger than this, and neither does GDAL write one.
_MOST_BYTES = 1_000_000_000

_MULTIPOLYGON, _WKB_MULTIPOLYGON = struct.Struct("<BII"), 6

# Areas and lengths of dissolved polygons are summed in whole multiples of its inverse.
_UNIT = 1 << 36


def by_class(batch: Described) -> Iterator[tuple[int, Described]]:
    """The polygons of each class, in ascending order of class ids."""
    ids = batch.table.class_id
    classes = np.unique(ids).tolist()
    for class_id in classes:  # a huge polygon comes alone and is not copied
        yield class_id, batch if len(classes) == 1 else batch.take(np.flatnonzero(ids == class_id))


def layer_sink(writer: VectorWriter, layer_of: Mapping[int, int]) -> Sink:
    """Writes every feature into the layer of its class.

    Args:
        writer: Of the output.
        layer_of: Layer by class id; empty where there is one layer for all.
    """

    def write(batch: Described) -> None:
        if not layer_of:
            writer.write(batch.features)
            return
        for class_id, some in by_class(batch):
            writer.write(some.features, layer_of[class_id])

    return write


@contextmanager
def dissolving_sink(target: Sink, folder: Path) -> Iterator[Sink]:
    """Holds polygons back and gives ``target`` one multipolygon for each class when the block ends without an error.

    Polygons of one class touch at corners at most, since a patch is all that is connected: side by side they are a
    valid multipolygon. They wait in unnamed files in ``folder``, so memory holds one class at a time.

    Raises:
        OutputError: ``folder`` has no room for them.
    """
    with ExitStack() as stack:
        classes: dict[int, _Class] = {}

        def collect(batch: Described) -> None:
            for class_id, some in by_class(batch):
                with _disk_errors(folder):
                    if class_id not in classes:
                        spool = stack.enter_context(tempfile.TemporaryFile(dir=folder))
                        classes[class_id] = _Class(cast("BinaryIO", spool))
                    classes[class_id].add(some)

        yield collect
        for _, found in sorted(classes.items()):
            with _disk_errors(folder):
                dissolved = found.dissolved()
            target(dissolved)


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"polygons that wait to be dissolved cannot be kept in {folder} ({error.strerror}); make room there"
        ) from error


class _Class:
    """All polygons of a class."""

    def __init__(self, spool: BinaryIO) -> None:
        self._spool = spool
        self._count = 0
        self._area = self._perimeter = 0
        self._firsts: list[NDArray[np.int64]] = []
        self._sizes: list[NDArray[np.int64]] = []
        self._tables: list[PatchTable] = []
        self._has_confidence = False

    def add(self, batch: Described) -> None:
        """Append the polygons of ``batch``."""
        features = batch.features
        self._spool.write(features.wkb.data)
        self._count += len(batch)
        self._area += _whole(features.area_m2)
        self._perimeter += _whole(features.perimeter_m)
        self._firsts.append(batch.table.first)
        self._sizes.append(np.diff(features.offsets))
        self._tables = [_sum([*self._tables, batch.table])]
        self._has_confidence = features.mean_confidence is not None

    def dissolved(self) -> Described:
        """The one feature of the class.

        Raises:
            VectorError: It is too large for any format.
        """
        (table,) = self._tables
        size = self._spool.tell() + _MULTIPOLYGON.size
        if size > _MOST_BYTES:
            raise VectorError(
                f"the multipolygon of class {table.class_id[0]} takes {size / 1e9:.1f} GB, more than any file holds; "
                "leave dissolve out, or simplify more"
            )
        wkb = self._multipolygon(size)
        features = Features(
            wkb=wkb,
            offsets=np.array([0, len(wkb)], np.int64),
            class_id=table.class_id.astype(np.int32),
            area_m2=np.array([self._area / _UNIT]),
            perimeter_m=np.array([self._perimeter / _UNIT]),
            pixel_count=table.pixels,
            mean_confidence=table.mean_confidence() if self._has_confidence else None,
        )
        return Described(features, table)

    def _multipolygon(self, size: int) -> NDArray[np.uint8]:
        """All polygons by their first pixels: the order in which they came depends on the strips."""
        self._spool.flush()
        spooled = np.asarray(np.memmap(self._spool, np.uint8, "r"))
        sizes, order = np.concatenate(self._sizes), np.argsort(np.concatenate(self._firsts))
        begins = sizes.cumsum() - sizes
        wkb = np.empty(size, np.uint8)
        _MULTIPOLYGON.pack_into(wkb.data, 0, 1, _WKB_MULTIPOLYGON, self._count)
        offsets = np.concatenate([np.zeros(1, np.int64), sizes[order].cumsum()]) + _MULTIPOLYGON.size
        gather_wkb(spooled, begins[order], offsets, wkb)
        return wkb


def _whole(values: NDArray[np.float64]) -> int:
    """The sum of (N,) values in whole multiples of 1 / ``_UNIT``, which does not depend on their order."""
    floor = np.floor(values)
    return int(floor.astype(np.int64).sum()) * _UNIT + int(np.rint((values - floor) * _UNIT).astype(np.int64).sum())


def _sum(tables: list[PatchTable]) -> PatchTable:
    """One row for patches of one class."""
    every = PatchTable.concatenate(tables)
    sums = (getattr(every, name).sum(keepdims=True) for name in ("pixels", "confidence", "confident"))
    pixels, confidence, confident = sums
    return PatchTable(every.class_id[:1], pixels, every.first.min(keepdims=True), confidence, confident)
