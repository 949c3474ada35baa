"""Class and confidence rasters: streamed to a temporary file, finished as a COG that QGIS opens styled and named.

The pixels go block row by block row to a tiled GeoTIFF under a temporary name; when all are there it is copied to a
Cloud-Optimized GeoTIFF with overviews (https://docs.ogc.org/is/21-026/21-026.html), checked, and renamed.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
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

from geoseg.errors import MissingFileError, ParameterError, RasterError
from geoseg.grids import Grid
from geoseg.legend import NODATA_ID, Legend
from geoseg.qgis import confidence_qml, pam_xml, raster_qml
from geoseg.rasters.cog import BLOCK, Deflate, bigtiff, check_pixels, georeference, quick_compression, same_crs, to_cog
from geoseg.rasters.opening import GDAL_ERRORS, open_dataset
from geoseg.rasters.overviews import Halve, halve_by_majority, halve_by_mean
from geoseg.rasters.publishing import check_no_world_file, check_output, publish, temporary_names, write_errors
from geoseg.rasters.streams import RasterWriter

log = logging.getLogger("geoseg")

CONFIDENCE_SCALE = 0.004
"""Confidence of one stored step: 250 is 1.0."""

CONFIDENCE_NODATA = 255
"""Stored where there is no confidence."""

CONFIDENCE_BAND = "confidence"
"""Description of the first band of a confidence raster."""

LEGEND_TAG = "GEOSEG_LEGEND"
"""TIFF metadata item with the legend's records as JSON."""

RUN_TAG = "GEOSEG_RUN"
"""TIFF metadata item with the run that a raster was made by."""

_NO_TAGS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class _Layout:
    """What sets one kind of output apart.

    Attributes:
        bands: Their descriptions.
        nodata: Nodata tag.
        halve: Makes overviews.
        deflate: How the finished file is compressed.
        allowed: (256,) bool, values that may occur.
        prepare: Sets up the new file: colours, scale.
        qml: QGIS style.
        pam: Text of the ``.aux.xml`` for (counts, CRS that the file itself cannot hold), or None for none.
    """

    bands: tuple[str, ...]
    nodata: int
    halve: Halve
    deflate: Deflate
    allowed: npt.NDArray[np.bool_]
    prepare: Callable[[DatasetWriter], None]
    qml: str
    pam: Callable[[npt.NDArray[np.int64], str | None], str | None]


@contextmanager
def write_class_raster(
    path: Path,
    grid: Grid,
    legend: Legend,
    *,
    folder: Path | None = None,
    tags: Mapping[str, str] = _NO_TAGS,
    overwrite: bool = False,
) -> Iterator[RasterWriter]:
    """Write class ids, 0 = no data, as a COG with colours, names and a style for QGIS.

    Beside ``X.tif`` come ``X.qml`` and ``X.tif.aux.xml``. They and the raster appear when the block ends and all pixels
    are written; before, and after an exception, an older output is untouched.

    Args:
        path: Ends in ``.tif``.
        grid: Kept bit for bit.
        legend: The only ids that may be written, beside 0.
        folder: Of a run, on the same disk, where the temporaries go; beside ``path`` without it.
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
        bands=("land cover class",),
        nodata=NODATA_ID,
        halve=halve_by_majority,  # anything that averages invents classes
        deflate=Deflate(level=5, predictor=False),
        allowed=allowed,
        prepare=prepare,
        qml=raster_qml(legend),
        pam=lambda counts, srs: pam_xml(legend, {i: int(counts[i]) for i in legend.ids}, srs),
    )
    tags = {**tags, LEGEND_TAG: json.dumps(legend.to_records(), ensure_ascii=False)}
    with _write_raster(Path(path), grid, layout, folder, tags, overwrite) as writer:
        yield writer


@contextmanager
def write_confidence_raster(
    path: Path,
    grid: Grid,
    bands: Sequence[str] = (CONFIDENCE_BAND,),
    *,
    folder: Path | None = None,
    tags: Mapping[str, str] = _NO_TAGS,
    overwrite: bool = False,
) -> Iterator[RasterWriter]:
    """Write confidence, and more in further bands, as uint8 in steps of 0.004 with 255 = no data.

    Args:
        path: Ends in ``.tif``.
        grid: Kept bit for bit.
        bands: Names of the bands; the first is ``confidence``.
        folder: As for :func:`write_class_raster`, like ``tags`` and ``overwrite``.
        tags: More metadata.
        overwrite: Replace an older output.

    Raises:
        ParameterError: The bands do not start with confidence, or have names twice.
        OutputExistsError: It exists and ``overwrite`` is not given.
        OutputError: It cannot be written, or pixels are missing in the end.
    """
    if tuple(bands[:1]) != (CONFIDENCE_BAND,) or len(set(bands)) != len(bands):
        raise ParameterError(f"the bands of {path} must start with {CONFIDENCE_BAND} and differ, not {list(bands)}")
    with write_share_raster(path, grid, bands, folder=folder, tags=tags, overwrite=overwrite) as writer:
        yield writer


@contextmanager
def write_share_raster(
    path: Path,
    grid: Grid,
    bands: Sequence[str],
    *,
    folder: Path | None = None,
    tags: Mapping[str, str] = _NO_TAGS,
    overwrite: bool = False,
) -> Iterator[RasterWriter]:
    """Write shares of 0..1 as uint8 in steps of 0.004 with 255 = no data; see :func:`write_confidence_raster`.

    Raises:
        OutputExistsError: It exists and ``overwrite`` is not given.
        OutputError: It cannot be written, or pixels are missing in the end.
    """

    def prepare(dataset: DatasetWriter) -> None:
        dataset.scales = (CONFIDENCE_SCALE,) * len(bands)

    allowed = np.arange(256) <= round(1 / CONFIDENCE_SCALE)
    allowed[CONFIDENCE_NODATA] = True
    layout = _Layout(
        bands=tuple(bands),
        nodata=CONFIDENCE_NODATA,
        halve=halve_by_mean,
        deflate=Deflate(level=2, predictor=True),
        allowed=allowed,
        prepare=prepare,
        qml=confidence_qml(),
        pam=lambda _, srs: f"<PAMDataset><SRS>{escape(srs)}</SRS></PAMDataset>\n" if srs else None,
    )
    with _write_raster(Path(path), grid, layout, folder, tags, overwrite) as writer:
        yield writer


def run_of(path: Path) -> str | None:
    """The run that made a raster; None where there is no raster, or none of a run.

    An output has its name only when it is complete, so this tells a run that goes on what it need not make again.
    """
    try:
        with open_dataset(path) as dataset:
            return str(found) if (found := dataset.tags().get(RUN_TAG)) else None
    except (RasterError, MissingFileError, *GDAL_ERRORS):
        return None


@contextmanager
def _write_raster(
    path: Path, grid: Grid, layout: _Layout, folder: Path | None, tags: Mapping[str, str], overwrite: bool
) -> Iterator[RasterWriter]:
    check_output(path, overwrite, sidecars=folder is None)
    if grid.transform.is_identity:
        check_no_world_file(path)
    with temporary_names(path, folder) as base:
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
            to_cog(stream, base, cog, grid, layout.halve, layout.deflate)
            check_pixels(cog, writer.checksums)
            sidecars = _write_sidecars(base, path, cog, grid, layout, writer.counts[0])
            publish(path, cog, sidecars, overwrite)


def _create(stream: Path, path: Path, grid: Grid, layout: _Layout, tags: Mapping[str, str]) -> DatasetWriter:
    options: dict[str, Any] = {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "bigtiff": bigtiff(grid)}
    options |= {"interleave": "band", "photometric": "MINISBLACK", **quick_compression()}
    with write_errors(path), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        dataset = rasterio.open(
            stream, "w", driver="GTiff", height=grid.height, width=grid.width, count=len(layout.bands), dtype="uint8",
            nodata=layout.nodata, **georeference(grid), **options,
        )  # fmt: skip
        layout.prepare(dataset)
        for index, name in enumerate(layout.bands, 1):
            dataset.set_band_description(index, name)
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
