"""Features as Arrow record batches, for the formats that are written through Arrow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from geoseg.vectors.description import Description
from geoseg.vectors.features import Features

if TYPE_CHECKING:
    import pyarrow as pa

# The binary type of Arrow counts bytes in 31 bits.
_MOST_BYTES = 2**30


def schema_of(description: Description, geometry: str, metadata: dict[str, str] | None = None) -> pa.Schema:
    """The columns of an output, its geometries last.

    Args:
        description: What is written.
        geometry: Name of the geometry column.
        metadata: Of the geometry column.
    """
    import pyarrow as pa

    kinds = {"class_id": pa.int32(), "class_name": pa.string(), "pixel_count": pa.int64()}
    fields = [pa.field(name, kinds.get(name, pa.float64())) for name in description.columns]
    return pa.schema([*fields, pa.field(geometry, pa.binary(), nullable=False, metadata=metadata)])


def record_batches(features: Features, schema: pa.Schema, description: Description) -> Iterator[pa.RecordBatch]:
    """The columns of :func:`schema_of`, in batches of at most a GiB of geometries or of one feature."""
    import pyarrow as pa

    ids = np.full(256, -1, np.int32)
    ids[list(description.legend.ids)] = np.arange(len(description.legend))
    names = pa.array(list(description.legend.names), pa.string())
    columns: dict[str, Any] = {
        "class_id": features.class_id,
        "class_name": names.take(pa.array(ids[features.class_id])),
        "area_m2": features.area_m2,
        "perimeter_m": features.perimeter_m,
        "pixel_count": features.pixel_count,
    }
    if features.mean_confidence is not None:
        columns["mean_confidence"] = pa.array(features.mean_confidence, from_pandas=True)  # NaN is NULL
    arrays = [pa.array(columns[name]) for name in description.columns]
    begin = 0
    while begin < len(features):
        end = int(np.searchsorted(features.offsets, features.offsets[begin] + _MOST_BYTES, "right")) - 1
        end = max(end, begin + 1)
        low, high = features.offsets[begin], features.offsets[end]
        offsets = (features.offsets[begin : end + 1] - low).astype(np.int32)
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(features.wkb[low:high]))]
        geometries = pa.Array.from_buffers(pa.binary(), end - begin, buffers)
        yield pa.RecordBatch.from_arrays([*(a.slice(begin, end - begin) for a in arrays), geometries], schema=schema)
        begin = end
