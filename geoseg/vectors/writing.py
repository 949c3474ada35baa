"""Writing polygons to a file while they are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from geoseg.errors import OutputError, ParameterError
from geoseg.legend import Legend
from geoseg.qgis import layer_qml
from geoseg.threads import drained_in_background
from geoseg.vectors.description import Description, Sink
from geoseg.vectors.features import Features
from geoseg.vectors.flatgeobuf import FlatGeobufSink
from geoseg.vectors.geopackage import GeoPackageSink
from geoseg.vectors.geoparquet import GeoParquetSink
from geoseg.vectors.outputs import FLATGEOBUF, GEOPACKAGE, layer_names, staged, style_of, write_errors

# Batches that may wait for the thread that writes: enough to smooth, few enough for little memory.
_WAITING = 16

# SQLite reads no row above 10**9 bytes.
_MOST_BYTES = 999_000_000


class VectorWriter:
    """Takes the features of an output; made by :func:`write_vectors`.

    Attributes:
        layers: Names of the layers.
        counts: Features of each layer so far.
    """

    def __init__(self, description: Description, hand_over: Callable[[tuple[Features, int]], None]) -> None:
        self.layers = description.layers
        self.counts = [0] * len(self.layers)
        self._legend_ids = np.zeros(256, bool)
        self._legend_ids[list(description.legend.ids)] = True
        self._confidence = description.confidence
        self._hand_over = hand_over

    def write(self, features: Features, layer: int = 0) -> None:
        """Append features; they are written by another thread, and must not be changed any more.

        Args:
            features: Polygons, or multipolygons, as announced.
            layer: Index of their layer.

        Raises:
            ParameterError: They have another class, or confidence, than announced.
            OutputError: These, or some before them, cannot be written.
        """
        if not 0 <= layer < len(self.layers):
            raise ParameterError(f"there is no layer {layer}; the output has {len(self.layers)}")
        if (features.mean_confidence is not None) != self._confidence:
            raise ParameterError("either all features of an output have a confidence column, or none")
        ids = features.class_id
        if len(ids) and (ids.min() < 0 or ids.max() > 255 or not self._legend_ids[ids].all()):
            raise ParameterError(f"class ids {ids.min()}..{ids.max()} are not all in the legend of the output")
        largest = int(np.diff(features.offsets).max(initial=0))
        if largest > _MOST_BYTES:
            raise OutputError(
                f"a polygon of {largest} bytes is more than programs read ({_MOST_BYTES}); "
                "cut large polygons with --max-vertices"
            )
        self.counts[layer] += len(features)
        self._hand_over((features, layer))


@contextmanager
def write_vectors(
    path: Path,
    legend: Legend,
    crs_wkt: str | None,
    *,
    layers: Sequence[str] | None = None,
    multi: bool = False,
    confidence: bool = False,
    description: str = "",
    overwrite: bool = False,
) -> Iterator[VectorWriter]:
    """Write a GeoPackage, FlatGeobuf or GeoParquet, by the suffix of ``path``, styled by ``legend``.

    The file is made beside ``path`` under another name and takes its place when the block ends without an error. A
    GeoPackage holds its style; beside the others it lies as ``.qml``, with the same stem.

    Args:
        path: Output, ending in .gpkg, .fgb, .parquet or .geoparquet.
        legend: Names and colours of the classes.
        crs_wkt: CRS of the polygons, of any kind; None for undefined.
        layers: Names of the layers, as :func:`layer_names` gives them; by default one, named as the file. Those of
            single classes are styled by their class alone.
        multi: Whether the geometries are multipolygons; else they are polygons.
        confidence: Whether features have a confidence.
        description: What the layers are, for catalogues.
        overwrite: Replace an existing file as a whole, all its layers included.

    Raises:
        ParameterError: The format holds one layer only.
        OutputExistsError: ``path`` exists and ``overwrite`` is not given.
        OutputError: The output cannot be written: read-only, in use, disk full. What was there before still is.
    """
    names = tuple(layers) if layers is not None else layer_names(path, legend, split_by_class=False)
    with staged(path, overwrite) as temporary:
        if len(names) != 1 and path.suffix.lower() not in GEOPACKAGE:
            raise ParameterError(f"{path} holds one layer, not {len(names)}; write a .gpkg for several")
        about = Description(names, _styles(names, path, legend), legend, crs_wkt, multi, confidence, description)
        sink = _sink_for(temporary, about)

        def consume(batches: Iterator[tuple[Features, int]]) -> None:
            with write_errors(path):
                sink.consume(batches)

        with drained_in_background(consume, _WAITING) as hand_over:
            writer = VectorWriter(about, hand_over)
            yield writer
        with write_errors(path):
            _check_counts(writer, sink.stored())
            style = style_of(temporary)
            if style is not None:
                style.write_text(layer_qml(legend), encoding="utf-8")


def _styles(layers: tuple[str, ...], path: Path, legend: Legend) -> tuple[Legend, ...]:
    """The classes that each layer shows."""
    if len(layers) > 1 and layers == layer_names(path, legend, split_by_class=True):
        return tuple(Legend((c,)) for c in legend)
    return (legend,) * len(layers)


def _sink_for(path: Path, description: Description) -> Sink:
    suffix = path.suffix.lower()
    if suffix in GEOPACKAGE:
        return GeoPackageSink(path, description)
    return FlatGeobufSink(path, description) if suffix in FLATGEOBUF else GeoParquetSink(path, description)


def _check_counts(writer: VectorWriter, stored: list[int]) -> None:
    """See that every feature arrived: libraries may only mention what they could not write."""
    if stored != writer.counts:
        raise OutputError(f"only {sum(stored)} of {sum(writer.counts)} polygons could be stored; is the disk full?")
