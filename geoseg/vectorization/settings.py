"""How a class raster is vectorized: one value for all that the user can choose, checked when it is made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from geoseg.choices import Simplification
from geoseg.errors import ParameterError
from geoseg.legend import Legend

ClassKey = str | int
"""A class by its name or its id."""

# One more doubles the vertices; five are finer than any map shows.
_MOST_SMOOTHINGS = 5

# Cells that polygons are cut along must have room for their own vertices.
_LEAST_VERTICES = 1000


class Choices(TypedDict, total=False):
    """The keyword arguments of :func:`geoseg.vectorize`, as :class:`Settings` describes them."""

    legend: Legend | str | Path | None
    confidence: str | Path | None
    min_area: float | Mapping[ClassKey, float]
    fill_holes: float
    simplify: float
    simplify_method: Simplification
    smooth: int
    classes: Sequence[ClassKey] | None
    split_by_class: bool
    dissolve: bool
    max_vertices: int | None
    to_crs: str | None
    strip_height: int | None
    threads: int | None
    parts_folder: str | Path | None


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user can choose. Areas and lengths are m² and m, CRS units where there is no CRS.

    Attributes:
        legend: The classes, or a YAML, JSON or QML file of them; default is what the raster says of itself.
        confidence: Confidence raster on the same grid; default is the one made with the raster, where it lies beside.
        min_area: Patches below this area merge into the neighbour with the longest shared border, smallest first; or a
            minimum by class, where the key ``*`` stands for all others.
        fill_holes: Holes of a polygon below this area are filled, whatever they consist of; not where no data is.
        simplify: Simplify shared borders by about this distance; the outer border and the border to no data stay.
        simplify_method: ``visvalingam`` cuts corners off whose triangle is smaller than ``simplify`` squared;
            ``douglas-peucker`` keeps every border within ``simplify`` of where it was.
        smooth: How often corners of shared borders are cut (Chaikin), after simplifying.
        classes: Only polygons of these classes; the others still shape their borders.
        split_by_class: A layer for each class.
        dissolve: One multipolygon for each class.
        max_vertices: Polygons with more vertices are cut along a grid of pixels.
        to_crs: CRS of the polygons; areas and lengths are those of the raster's own grid.
        strip_height: Rows traced at once; changes memory and speed, never the polygons.
        threads: Threads that trace; default is one for each processor, or as many as a worker of a cluster has.
        parts_folder: On a cluster, where traced strips are kept until the output is there, if not beside it: a folder,
            or a URL of an object store.

    Raises:
        ParameterError: A choice is unknown, out of range, or excludes another.
    """

    legend: Legend | str | Path | None = None
    confidence: str | Path | None = None
    min_area: float | Mapping[ClassKey, float] = 0.0
    fill_holes: float = 0.0
    simplify: float = 0.0
    simplify_method: Simplification = "visvalingam"
    smooth: int = 0
    classes: Sequence[ClassKey] | None = None
    split_by_class: bool = False
    dissolve: bool = False
    max_vertices: int | None = None
    to_crs: str | None = None
    strip_height: int | None = None
    threads: int | None = None
    parts_folder: str | Path | None = None

    def __post_init__(self) -> None:
        for field in fields(self):  # NumPy's numbers are no JSON, which parts are named and described by
            object.__setattr__(self, field.name, _plain(getattr(self, field.name)))
        minima = self.min_area.items() if isinstance(self.min_area, Mapping) else [("all classes", self.min_area)]
        for key, value in minima:
            _require_size(f"min_area of {key}", value)
        _require_size("fill_holes", self.fill_holes)
        _require_size("simplify", self.simplify)
        if self.simplify_method not in ("visvalingam", "douglas-peucker"):
            raise ParameterError(f"simplify_method is {self.simplify_method!r}; it is visvalingam or douglas-peucker")
        if not 0 <= self.smooth <= _MOST_SMOOTHINGS:
            raise ParameterError(f"smooth is {self.smooth}; corners are cut 0 to {_MOST_SMOOTHINGS} times")
        if self.classes is not None and not self.classes:
            raise ParameterError("classes is empty; name at least one, or leave it out for all")
        if self.max_vertices is not None and self.max_vertices < _LEAST_VERTICES:
            raise ParameterError(f"max_vertices is {self.max_vertices}; it is {_LEAST_VERTICES} at least")
        if self.max_vertices is not None and self.dissolve:
            raise ParameterError("dissolve makes one feature of each class and max_vertices cuts it: choose one")
        for name in ("strip_height", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ParameterError(f"{name} is {value}; it is 1 at least")

    @classmethod
    def of(cls, choices: Choices) -> Settings:
        """From keyword arguments.

        Raises:
            TypeError: One of them is none of vectorize's.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(choices) - known):
            raise TypeError(f"vectorize() got an unexpected keyword argument {unknown[0]!r}")
        values: dict[str, Any] = dict(choices)
        return cls(**values)

    @property
    def has_minima(self) -> bool:
        """Whether any patch may be too small."""
        values = self.min_area.values() if isinstance(self.min_area, Mapping) else [self.min_area]
        return any(v > 0 for v in values)


def find_class(legend: Legend, key: ClassKey) -> int:
    """The id of a class named by its name, or else by its id.

    Raises:
        ParameterError: The legend has no such class.
    """
    matching = [c.id for c in legend if c.name == key] or [c.id for c in legend if str(c.id) == str(key)]
    if matching:
        return matching[0]
    known = ", ".join(f"{c.name} ({c.id})" for c in legend)
    raise ParameterError(f"the legend has no class {str(key)!r}; it has {known}")


def _plain(value: Any) -> Any:
    """NumPy's scalars as Python's, alone or as values of a mapping; all else as it is."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return value.item() if isinstance(value, np.generic) else value


def _require_size(name: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise ParameterError(f"{name} is {value}; give 0 for none, or a positive number")
