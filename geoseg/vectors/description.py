"""What an output of polygons is to hold, and the names that it uses in every format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from geoseg.legend import Legend
from geoseg.vectors.features import Features

GEOMETRY = "geom"
"""The geometry column, where a format names it."""

CONFIDENCE = "mean_confidence"
COLUMNS = ("class_id", "class_name", "area_m2", "perimeter_m", "pixel_count")
"""The attributes of every polygon, in their order; ``mean_confidence`` follows where it is known."""


@dataclass(frozen=True, slots=True)
class Description:
    """What is written.

    Attributes:
        layers: Names of the layers.
        styles: The classes that the style of each layer shows.
        legend: Names and colours of all classes.
        crs_wkt: CRS of the polygons, of any kind; None for undefined.
        multi: Whether every geometry is a multipolygon; else every one is a polygon.
        confidence: Whether there is a column ``mean_confidence``.
        text: What the layers are, for catalogues.
    """

    layers: tuple[str, ...]
    styles: tuple[Legend, ...]
    legend: Legend
    crs_wkt: str | None
    multi: bool = False
    confidence: bool = False
    text: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the attributes in their order."""
        return (*COLUMNS, CONFIDENCE) if self.confidence else COLUMNS

    @property
    def geometry_type(self) -> str:
        """The type of the layers, as GDAL spells it."""
        return "MultiPolygon" if self.multi else "Polygon"


class Sink(Protocol):
    """Writes an output of one format to a temporary path."""

    def consume(self, batches: Iterator[tuple[Features, int]]) -> None:
        """Write all features, each batch with the index of its layer, and complete the file."""

    def stored(self) -> list[int]:
        """How many features a reader finds in each layer of the complete file."""
