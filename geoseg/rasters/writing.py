"""Class and confidence rasters: streamed to a temporary file, finished as a COG that QGIS opens styled and named.

The pixels go block row by block row to a tiled GeoTIFF beside the output; when all are there it is copied to a
Cloud-Optimized GeoTIFF with overviews (https://docs.ogc.org/is/21-026/21-026.html), checked, and renamed.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import DatasetWriter
from rasterio.windows import Window as Rectangle

from geoseg.errors import OutputError, ParameterError
from geoseg.grids import Grid
from geoseg.legend import NODATA_ID, Legend
from geoseg.qgis import confidence_qml, pam_xml, raster_qml
from geoseg.rasters.cog import BLOCK, bigtiff, check_pixels, georeference, same_crs, to_cog
from geoseg.rasters.publishing import check_no_world_file, check_output, publish, temporary_names, write_errors
from geoseg.tiling import Window

log = logging.getLogger("geoseg")

CONFIDENCE_SCALE = 0.004
"""Confidence of one stored step: 250 is 1.0."""

CONFIDENCE_NODATA = 255
"""Stored where there is no confidence."""

LEGEND_TAG = "GEOSEG_LEGEND"
"""TIFF metadata item with the legend's records as JSON."""

_NO_TAGS: Mapping[str, str] = MappingProxyType({})


class RasterWriter:
    """Takes the pixels of an output, each exactly once. Made by ``write_class_raster`` and ``write_confidence_raster``.

    Rows are held until a row of storage blocks is full, so that each block is compressed once whatever the height of
    the windows. Use it from one thread at a time.

    Attributes:
        counts: (256,) int64, pixels written of each value.
    """

    def __init__(self, dataset: DatasetWriter, path: Path, allowed: npt.NDArray[np.bool_]) -> None:
        self.counts = np.zeros(256, np.int64)
        self._dataset = dataset
        self._path = path
        self._allowed = allowed
        self._panels: dict[tuple[int, int], _Panel] = {}

    def write(self, window: Window, values: npt.NDArray[np.uint8]) -> None:
        """Write a window. Within a column panel (the same columns) windows come from top to bottom without gaps.

        Args:
            window: Inside the grid.
            values: (h, w) uint8.

        Raises:
            ParameterError: Wrong shape, type or value, or a window that is not the next of its panel.
            OutputError: The disk does not take it.
        """
        if values.dtype != np.uint8 or values.shape != (window.height, window.width):
            raise ParameterError(
                f"{window} needs ({window.height}, {window.width}) uint8, not {values.shape} {values.dtype}"
            )
        panel = self._panel(window)
        counts = np.bincount(values.ravel(), minlength=256)
        if (strange := np.flatnonzero(counts[~self._allowed])).size:
            value = np.flatnonzero(~self._allowed)[strange[0]]
            raise ParameterError(f"value {value} in {window} is not one that {self._path.name} may hold")
        self.counts += counts
        for top, rows in panel.take(values):
            rectangle = Rectangle(panel.col_off, top, panel.width, len(rows))
            with write_errors(self._path):
                self._dataset.write(rows, 1, window=rectangle)

    def check_complete(self) -> None:
        """Raise OutputError unless every pixel has been written."""
        missing = self._dataset.height * self._dataset.width - int(self.counts.sum())
        if missing:
            raise OutputError(f"{self._path} is incomplete: {missing} pixels were never written; nothing was kept")

    def _panel(self, window: Window) -> _Panel:
        height, width = self._dataset.height, self._dataset.width
        panel = self._panels.get((window.col_off, window.width))
        if panel is None:
            overlapping = any(window.col_off < lo + w and lo < window.col_end for lo, w in self._panels)
            if overlapping or window.col_off < 0 or window.col_end > width:
                raise ParameterError(
                    f"{window} overlaps columns of another panel or leaves the grid of {width} columns"
                )
            panel = self._panels[window.col_off, window.width] = _Panel(window.col_off, window.width, height)
        if window.row_off != panel.next_row or window.row_end > height:
            raise ParameterError(f"{window} does not follow row {panel.next_row - 1} of {height} rows")
        return panel


class _Panel:
    """A range of columns that fills from top to bottom; holds what does not fill a block row yet."""

    def __init__(self, col_off: int, width: int, height: int) -> None:
        self.col_off = col_off
        self.width = width
        self.next_row = 0
        self._height = height
        self._held = np.empty((min(BLOCK, height), width), np.uint8)

    def take(self, values: npt.NDArray[np.uint8]) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
        """Add rows; yields (first row, rows) of each block row that is now full."""
        while len(values):
            top = self.next_row // BLOCK * BLOCK
            bottom = min(top + BLOCK, self._height)
            rows = values[: bottom - self.next_row]
            values = values[len(rows) :]
            if len(rows) == bottom - top:
                full = rows
            else:
                self._held[self.next_row - top :][: len(rows)] = rows
                full = self._held[: bottom - top]
            self.next_row += len(rows)
            if self.next_row == bottom:
                yield top, full


@dataclass(frozen=True, slots=True)
class _Layout:
    """What sets one kind of output apart.

    Attributes:
        description: Of the band.
        nodata: Nodata tag.
        overviews: GDAL's resampling of the overviews.
        allowed: (256,) bool, values that may occur.
        prepare: Sets up the new file: colours, scale.
        qml: QGIS style.
        pam: Text of the ``.aux.xml`` for (counts, CRS that the file itself cannot hold), or None for none.
    """

    description: str
    nodata: int
    overviews: str
    allowed: npt.NDArray[np.bool_]
    prepare: Callable[[DatasetWriter], None]
    qml: str
    pam: Callable[[npt.NDArray[np.int64], str | None], str | None]


@contextmanager
def write_class_raster(
    path: Path, grid: Grid, legend: Legend, *, tags: Mapping[str, str] = _NO_TAGS, overwrite: bool = False
) -> Iterator[RasterWriter]:
    """Write class ids, 0 = no data, as a COG with colours, names and a style for QGIS.

    Beside ``X.tif`` come ``X.qml`` and ``X.tif.aux.xml``. They and the raster appear when the block ends and all pixels
    are written; before, and after an exception, an older output is untouched.

    Args:
        path: Ends in ``.tif``.
        grid: Kept bit for bit.
        legend: The only ids that may be written, beside 0.
        tags: More metadata, by TIFF metadata name.
        overwrite: Replace an older output.

    Raises:
        OutputExistsError: It exists and ``overwrite`` is not given.
        OutputError: It cannot be written, or pixels are missing in the end.
    """

    def prepare(dataset: DatasetWriter) -> None:
        dataset.write_colormap(1, {NODATA_ID: (0, 0, 0, 0)} | {c.id: (*c.rgb, 255) for c in legend})

    allowed = np.zeros(256, np.bool_)
    allowed[[NODATA_ID, *legend.ids]] = True
    layout = _Layout(
        description="land cover class",
        nodata=NODATA_ID,
        overviews="MODE",  # anything that averages invents classes
        allowed=allowed,
        prepare=prepare,
        qml=raster_qml(legend),
        pam=lambda counts, srs: pam_xml(legend, {i: int(counts[i]) for i in legend.ids}, srs),
    )
    tags = {**tags, LEGEND_TAG: json.dumps(legend.to_records(), ensure_ascii=False)}
    with _write_raster(Path(path), grid, layout, tags, overwrite) as writer:
        yield writer


@contextmanager
def write_confidence_raster(
    path: Path, grid: Grid, *, tags: Mapping[str, str] = _NO_TAGS, overwrite: bool = False
) -> Iterator[RasterWriter]:
    """Write confidence, stored as uint8 in steps of 0.004 with 255 = no data; else as :func:`write_class_raster`."""

    def prepare(dataset: DatasetWriter) -> None:
        dataset.scales = (CONFIDENCE_SCALE,)

    allowed = np.arange(256) <= round(1 / CONFIDENCE_SCALE)
    allowed[CONFIDENCE_NODATA] = True
    layout = _Layout(
        description="confidence",
        nodata=CONFIDENCE_NODATA,
        overviews="AVERAGE",
        allowed=allowed,
        prepare=prepare,
        qml=confidence_qml(),
        pam=lambda _, srs: f"<PAMDataset><SRS>{escape(srs)}</SRS></PAMDataset>\n" if srs else None,
    )
    with _write_raster(Path(path), grid, layout, tags, overwrite) as writer:
        yield writer


@contextmanager
def _write_raster(
    path: Path, grid: Grid, layout: _Layout, tags: Mapping[str, str], overwrite: bool
) -> Iterator[RasterWriter]:
    check_output(path, overwrite)
    if grid.transform.is_identity:
        check_no_world_file(path)
    with temporary_names(path) as base:
        stream, cog = Path(f"{base}.tmp"), Path(f"{base}.cog.tmp")
        dataset = _create(stream, path, grid, layout, tags)
        try:
            writer = RasterWriter(dataset, path, layout.allowed)
            yield writer
            writer.check_complete()
            with write_errors(path):
                dataset.close()
        finally:
            with suppress(Exception):
                dataset.close()
        with write_errors(path):
            to_cog(stream, cog, grid, layout.overviews)
            stream.unlink()
            check_pixels(cog, writer.counts)
            sidecars = _write_sidecars(base, path, cog, grid, layout, writer.counts)
            publish(path, cog, sidecars, overwrite)


def _create(stream: Path, path: Path, grid: Grid, layout: _Layout, tags: Mapping[str, str]) -> DatasetWriter:
    options: dict[str, Any] = {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "bigtiff": bigtiff(grid)}
    options |= {"compress": "deflate", "zlevel": 1, "photometric": "MINISBLACK"}
    with write_errors(path), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        dataset = rasterio.open(
            stream, "w", driver="GTiff", height=grid.height, width=grid.width, count=1, dtype="uint8",
            nodata=layout.nodata, **georeference(grid), **options,
        )  # fmt: skip
        layout.prepare(dataset)
        dataset.set_band_description(1, layout.description)
        dataset.update_tags(**tags)
    return dataset


def _write_sidecars(
    base: Path, path: Path, cog: Path, grid: Grid, layout: _Layout, counts: npt.NDArray[np.int64]
) -> dict[Path, Path]:
    """Write style and metadata under temporary names; gives their final names.

    A CRS that GeoTIFF keys cannot express goes into the metadata file, where GDAL looks first.
    """
    qml, pam = Path(f"{base}.qml.tmp"), Path(f"{cog}.aux.xml")
    pam.unlink(missing_ok=True)
    sidecars = {qml: path.with_suffix(".qml")}
    qml.write_text(layout.qml, encoding="utf-8")
    srs = grid.crs_wkt if not same_crs(cog, grid) else None
    text = layout.pam(counts, srs)
    if text is not None:
        pam.write_text(text, encoding="utf-8")
        sidecars[pam] = path.with_name(path.name + ".aux.xml")
    if srs is not None and not same_crs(cog, grid):
        log.warning("%s: its CRS cannot be stored in a GeoTIFF exactly; assign it anew where it is used", path)
    return sidecars
