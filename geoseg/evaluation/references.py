"""The truth, whatever it is made of, on the pixels of a map."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from geoseg.errors import ParameterError
from geoseg.evaluation.legends import shared_legend
from geoseg.legend import Legend
from geoseg.polygon_labels import is_vector, open_polygon_labels
from geoseg.rasters import ClassRaster, open_class_raster, open_class_raster_on, same_grid
from geoseg.tiling import Window


class Labels(Protocol):
    """Labels on the grid of a map."""

    @property
    def name(self) -> str:
        """Name of the file."""

    def read(self, window: Window) -> npt.NDArray[np.uint8]:
        """(h, w) uint8 class ids, 0 = no data."""


def open_reference(
    stack: ExitStack,
    path: str | Path,
    predicted: ClassRaster,
    *,
    class_field: str | None,
    outside: str | int | None,
) -> tuple[Labels, Legend, tuple[str, ...]]:
    """Open a class raster or polygons as the truth for a map.

    Returns:
        The labels on the grid of the map, the legend of both, and what was done to the reference, in sentences.
    """
    if is_vector(path):
        drawn = open_polygon_labels(path, predicted.grid, predicted.legend, class_field=class_field, outside=outside)
        return drawn, drawn.legend, drawn.notes
    for option, value in (("class_field", class_field), ("outside", outside)):
        if value is not None:
            raise ParameterError(f"{path} is read as a raster, for which {option} says nothing; leave it out")
    truth = stack.enter_context(open_class_raster(path))
    legend = shared_legend(predicted, truth)
    if same_grid(predicted.grid, truth.grid):
        return truth, legend, ()
    note = (
        f"{truth.name} ({truth.grid.summary()}) was resampled to the grid of {predicted.name} "
        f"({predicted.grid.summary()}) by nearest neighbour"
    )
    return stack.enter_context(open_class_raster_on(path, predicted.grid, truth.legend)), legend, (note,)
