"""The overlap-tile grid as a torchgeo sampler, so that any torchgeo dataset can be tiled as ``geoseg predict`` does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd
from torchgeo.samplers import GeoSampler

from geoseg.errors import ParameterError
from geoseg.tiling import Tile, TileGrid, Window

if TYPE_CHECKING:
    from torchgeo.datasets import GeoDataset

GeoSlice = tuple[slice, slice, slice]


class OverlapTileSampler(GeoSampler):
    """Yields the tiles of each file of a torchgeo dataset in row-major order, exact to the pixel.

    Unlike torchgeo's grid samplers it misses no border, drops no small file and never moves the last tile inwards:
    tiles reach outside the file by a margin, where a dataset returns its fill value. Works with torchgeo 0.8 to 0.10.

    Args:
        dataset: A dataset with an index of footprints and a resolution in units of its CRS per pixel.
        tile_size: Side of a tile in pixels.
        overlap: Pixels that neighbouring tiles share.

    Attributes:
        grids: The tile grid of each file, in the order of the dataset's index.

    Raises:
        ParameterError: ``overlap`` does not fit ``tile_size``, or a file is smaller than half a pixel.
    """

    def __init__(self, dataset: GeoDataset, tile_size: int, overlap: int = 0) -> None:
        # Not torchgeo's own constructor: 0.8 wants a dataset there, 0.10 takes nothing.
        self.index = dataset.index
        self.res = _resolution(dataset.res)
        self.grids = tuple(self._grid(bounds, tile_size, overlap) for bounds in self.index.geometry.bounds.to_numpy())

    def _grid(self, bounds: Any, tile_size: int, overlap: int) -> TileGrid:
        left, bottom, right, top = bounds
        width, height = round((right - left) / self.res[0]), round((top - bottom) / self.res[1])
        if min(width, height) < 1:
            raise ParameterError(f"a file of {right - left} × {top - bottom} CRS units has no pixel of {self.res}")
        return TileGrid(height, width, tile_size, overlap)

    def __len__(self) -> int:
        return sum(len(grid) for grid in self.grids)

    def tiles(self) -> Iterator[tuple[int, Tile]]:
        """Position of the file in the dataset's index, and the tile, in the order of :meth:`__iter__`."""
        for file, grid in enumerate(self.grids):
            for tile in grid:
                yield file, tile

    def __iter__(self) -> Iterator[GeoSlice]:
        for file, tile in self.tiles():
            yield self.slices(file, tile.window)

    def slices(self, file: int, window: Window) -> GeoSlice:
        """The query ``[xmin:xmax, ymin:ymax, tmin:tmax]`` that reads ``window`` of a file."""
        left, _, _, top = self.index.geometry.iloc[file].bounds
        xres, yres = self.res
        interval: pd.Interval[Any] = self.index.index[file]
        return (
            slice(left + window.col_off * xres, left + window.col_end * xres),
            slice(top - window.row_end * yres, top - window.row_off * yres),
            slice(interval.left, interval.right),
        )


def _resolution(res: float | tuple[float, float]) -> tuple[float, float]:
    return (res, res) if isinstance(res, int | float) else (res[0], res[1])
