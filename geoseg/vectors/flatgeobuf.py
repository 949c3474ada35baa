"""FlatGeobuf through GDAL, fed by a stream of Arrow batches (https://flatgeobuf.org)."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from geoseg.vectors.arrow import record_batches, schema_of
from geoseg.vectors.description import GEOMETRY, Description
from geoseg.vectors.features import Features

if TYPE_CHECKING:
    import pyarrow as pa


class FlatGeobufSink:
    """Writes a FlatGeobuf with its packed index at ``path``, which does not exist yet."""

    def __init__(self, path: Path, description: Description) -> None:
        self._path = path
        self._description = description

    def consume(self, batches: Iterator[tuple[Features, int]]) -> None:
        """Write all features."""
        import pyarrow as pa
        import pyogrio

        about = self._description
        schema = schema_of(about, GEOMETRY, {"ARROW:extension:name": "geoarrow.wkb"})

        def arrow() -> Iterator[pa.RecordBatch]:
            for features, _ in batches:
                yield from record_batches(features, schema, about)

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="'crs' was not provided", category=UserWarning)
            pyogrio.write_arrow(
                pa.RecordBatchReader.from_batches(schema, arrow()),
                self._path,
                layer=about.layers[0],
                driver="FlatGeobuf",
                geometry_name=GEOMETRY,
                geometry_type=about.geometry_type,
                crs=about.crs_wkt,
                layer_options={"SPATIAL_INDEX": "YES", "TITLE": about.layers[0], "DESCRIPTION": about.text},
            )

    def stored(self) -> list[int]:
        """How many features GDAL finds."""
        import pyogrio

        return [int(pyogrio.read_info(self._path, force_feature_count=True)["features"])]
