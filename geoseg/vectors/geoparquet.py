"""GeoParquet 1.1 (https://geoparquet.org/releases/v1.1.0): WKB in row groups, each with the box of every feature."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

from geoseg.vectors.arrow import record_batches, schema_of
from geoseg.vectors.description import Description
from geoseg.vectors.features import Features
from geoseg.vectors.records import envelopes_of
from geoseg.vectors.rtree import outward

if TYPE_CHECKING:
    import pyarrow as pa

_GEOMETRY, _BOX = "geometry", "bbox"
_SIDES = ("xmin", "xmax", "ymin", "ymax")

# A row group is what readers skip or read; it is held in memory until it is full.
_GROUP_ROWS, _GROUP_BYTES = 65_536, 2**26


class GeoParquetSink:
    """Writes a GeoParquet at ``path``."""

    def __init__(self, path: Path, description: Description) -> None:
        self._path = path
        self._description = description
        self._extent = np.array([np.inf, -np.inf, np.inf, -np.inf])
        self._count = 0

    def consume(self, batches: Iterator[tuple[Features, int]]) -> None:
        """Write all features."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        box = pa.struct([pa.field(side, pa.float32(), nullable=False) for side in _SIDES])
        plain = schema_of(self._description, _GEOMETRY)
        schema = plain.append(pa.field(_BOX, box, nullable=False))
        with pq.ParquetWriter(self._path, schema, compression="zstd") as writer:
            for group in _grouped(self._columns(batches, plain, schema)):
                writer.write_table(group, row_group_size=len(group))
            writer.add_key_value_metadata({"geo": json.dumps(self._metadata())})

    def stored(self) -> list[int]:
        """How many rows the footer counts."""
        import pyarrow.parquet as pq

        return [int(pq.read_metadata(self._path).num_rows)]

    def _columns(
        self, batches: Iterator[tuple[Features, int]], plain: pa.Schema, schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        for features, _ in batches:
            envelopes = envelopes_of(features, self._description.multi)
            self._widen(envelopes)
            boxes, begin = outward(envelopes), 0
            for batch in record_batches(features, plain, self._description):
                part = boxes[begin : begin + len(batch)]
                sides = [pa.array(np.ascontiguousarray(part[:, i])) for i in range(4)]
                box = pa.StructArray.from_arrays(sides, fields=list(schema.field(_BOX).type))
                yield pa.RecordBatch.from_arrays([*batch.columns, box], schema=schema)
                begin += len(batch)

    def _widen(self, envelopes: NDArray[np.float64]) -> None:
        if len(envelopes):
            self._count += len(envelopes)
            self._extent[0::2] = np.minimum(self._extent[0::2], envelopes[:, 0::2].min(axis=0))
            self._extent[1::2] = np.maximum(self._extent[1::2], envelopes[:, 1::2].max(axis=0))

    def _metadata(self) -> dict[str, Any]:
        about = self._description
        column: dict[str, Any] = {
            "encoding": "WKB",
            "geometry_types": [about.geometry_type],
            # Without the key readers take longitude and latitude; null says that it is not known.
            "crs": CRS.from_wkt(about.crs_wkt).to_json_dict() if about.crs_wkt is not None else None,
            "covering": {_BOX: {side: [_BOX, side] for side in ("xmin", "ymin", "xmax", "ymax")}},
        }
        if self._count:
            west, east, south, north = self._extent.tolist()
            column["bbox"] = [west, south, east, north]
        return {"version": "1.1.0", "primary_column": _GEOMETRY, "columns": {_GEOMETRY: column}}


def _grouped(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The same rows in tables of the size of a row group."""
    import pyarrow as pa

    waiting: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        waiting.append(batch)
        rows, size = rows + len(batch), size + batch.nbytes
        if rows >= _GROUP_ROWS or size >= _GROUP_BYTES:
            yield pa.Table.from_batches(waiting)
            waiting, rows, size = [], 0, 0
    if waiting:
        yield pa.Table.from_batches(waiting)
