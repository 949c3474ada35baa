"""A source as a torchgeo dataset, for torchgeo's own samplers, set operations and trainers."""

from __future__ import annotations

from typing import Any

import geopandas
import numpy as np
import pandas as pd
import shapely
import torch
from affine import Affine
from pyproj.crs import CRS
from torchgeo.datasets import GeoDataset

from geoseg.errors import ParameterError
from geoseg.grids import Grid
from geoseg.legend import IGNORE_ID
from geoseg.sources.values import Source
from geoseg.tiling import Window

# Sizes of pixels count as one where over a whole sheet they differ by less than this share of a pixel.
_TOLERANCE = 0.01


class SourceDataset(GeoDataset):
    """A source of one CRS and pixel size as a torchgeo dataset; made by :func:`~geoseg.sources.as_torchgeo`.

    A sample is ``image`` (C, H, W) float32, 0 where there is no data, and ``mask`` (H, W) int64, indices of the legend
    and 255 = ignore, also beyond the borders of the sheets; and what torchgeo's own datasets say of the query.
    Where sheets overlap, the first that has data counts. Works with torchgeo 0.8 to 0.10.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._grids = tuple(_grid(source, i) for i in range(len(source.sheets)))
        first = self._grids[0]
        crs = CRS.from_wkt(str(first.crs_wkt))
        for sheet, grid in zip(source.sheets, self._grids, strict=True):
            _check_kind(sheet.name, grid, first, crs)
        self._res = (first.transform.a, -first.transform.e)
        self.paths = [str(sheet.files[0]) for sheet in source.sheets if sheet.files]
        ever = pd.Interval(pd.Timestamp.min, pd.Timestamp.max, closed="both")
        self.index = geopandas.GeoDataFrame(
            {"filepath": [str(sheet.files[0]) if sheet.files else sheet.name for sheet in source.sheets]},
            index=pd.IntervalIndex([ever] * len(self._grids), closed="both", name="datetime"),
            geometry=[_footprint(grid) for grid in self._grids],
            crs=crs.to_wkt(),
        )
        self._tree = shapely.STRtree(self.index.geometry.to_numpy())

    def __getitem__(self, query: Any) -> dict[str, Any]:
        """Read what a query ``[xmin:xmax, ymin:ymax]`` shows.

        Raises:
            IndexError: No sheet lies there.
        """
        x, y, t = self._disambiguate_slice(query)
        near = np.sort(self._tree.query(shapely.box(x.start, y.start, x.stop, y.stop)))
        width, height = round((x.stop - x.start) / self._res[0]), round((y.stop - y.start) / self._res[1])
        if not near.size or min(width, height) < 1:
            raise IndexError(f"query: {query} not found in index with bounds: {self.bounds}")
        image = np.zeros((len(self._source.band_names), height, width), np.float32)
        labels = np.full((height, width), IGNORE_ID, np.int64)
        empty = np.ones((height, width), np.bool_)
        for sheet in near:
            self._paste(int(sheet), x.start, y.stop, image, labels, empty)
        return {"image": torch.from_numpy(image), "mask": torch.from_numpy(labels), **self._told((x, y, t))}

    def _told(self, query: tuple[slice, slice, slice]) -> dict[str, Any]:
        """What torchgeo's own datasets say of a sample: slices in 0.8, and from 0.9 on what a batch can be made of."""
        if not hasattr(self, "_slice_to_tensor"):
            return {"crs": self.crs, "bounds": query}
        x, y, _ = query
        place = Affine(self._res[0], 0, x.start, 0, -self._res[1], y.stop)
        return {"bounds": self._slice_to_tensor(query), "transform": torch.tensor(place)}

    def _paste(self, sheet: int, left: float, top: float, image: Any, labels: Any, empty: Any) -> None:
        """Fill in what one sheet has of the ground whose upper left corner is given."""
        grid = self._grids[sheet]
        col, row = round((left - grid.transform.c) / self._res[0]), round((grid.transform.f - top) / self._res[1])
        height, width = empty.shape
        rows, cols = (max(row, 0), min(row + height, grid.height)), (max(col, 0), min(col + width, grid.width))
        if rows[0] >= rows[1] or cols[0] >= cols[1]:
            return
        found = self._source.read(sheet, Window(rows[0], cols[0], rows[1] - rows[0], cols[1] - cols[0]))
        here = np.s_[rows[0] - row : rows[1] - row, cols[0] - col : cols[1] - col]
        present = np.broadcast_to(found.present, found.pixels.shape)
        new = empty[here] & present.any(axis=0)
        image[(slice(None), *here)] = np.where(new & present, found.pixels, image[(slice(None), *here)])
        labels[here] = np.where(new, found.indices, labels[here])
        empty[here] &= ~new


def _grid(source: Source, sheet: int) -> Grid:
    told = source.sheets[sheet]
    if told.grid is None or told.grid.crs_wkt is None or told.grid.gcps:
        raise ParameterError(f"{told.name} has no CRS with a transform: a torchgeo GeoDataset is made of places")
    return told.grid


def _check_kind(name: str, grid: Grid, first: Grid, crs: CRS) -> None:
    t = grid.transform
    if t.b or t.d or t.a <= 0 or t.e >= 0:
        raise ParameterError(f"{name} is not north up ({grid.summary()}); rectify it (gdalwarp -r near)")
    off = max(abs(t.a / first.transform.a - 1) * grid.width, abs(t.e / first.transform.e - 1) * grid.height)
    if off > _TOLERANCE or not CRS.from_wkt(str(grid.crs_wkt)).equals(crs, ignore_axis_order=True):
        raise ParameterError(
            f"{name} ({grid.summary()}) and the first sheet ({first.summary()}) differ in CRS or size of pixels, and a "
            "torchgeo GeoDataset has one; warp them to one grid (gdalwarp -t_srs -tr)"
        )


def _footprint(grid: Grid) -> shapely.Polygon:
    t = grid.transform
    return shapely.box(t.c, t.f + grid.height * t.e, t.c + grid.width * t.a, t.f)
