"""Scenes: samples as stored, and which of them are data."""

from __future__ import annotations

import logging
import math
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.io import DatasetReader
from rasterio.windows import Window as Rectangle

from geoseg.errors import CorruptRasterError, RasterError
from geoseg.rasters.identity import raster_identity
from geoseg.rasters.opening import (
    DEFAULT_CACHE,
    GDAL_ERRORS,
    display_name,
    environment,
    gdal_messages,
    grid_of,
    open_dataset,
    reason,
    source_files,
    stands_alone,
)
from geoseg.rasters.scenes import refuse_outside
from geoseg.rasters.validity import DTYPES, Pixels, Values, joined, judge, never_absent, stored_nodata
from geoseg.tiling import Window

log = logging.getLogger("geoseg")

# What libjpeg calls a warning although samples were made up. Extraneous bytes are harmless: many cameras write them.
_DAMAGE = re.compile(r"premature end|corrupt(?!.*extraneous)|inconsistent progression", re.IGNORECASE)

_MAX_CACHE = 2**30
_LARGE_BLOCK = 2**29
_SAMPLED_WHOLE = 2**27  # a scene of more pixels and without overviews is sampled in patches, not decoded whole
_PATCHES = 16


class FileScene:
    """A scene in one file, or one VRT of many; made by :func:`open_scene`. See :class:`geoseg.rasters.Scene`.

    Attributes:
        name: Its path or URL, without secrets.
        grid: Where its pixels are.
        dtype: NumPy name of the samples' type.
        bands: Numbers of the bands that are read, from 1.
        band_names: Their descriptions; else their colours; else ``band 1``, ...
        nodata: Nodata value of each band that is read, None without.
        block_shape: (rows, columns) of a storage block.
        files: Local files that it is made of, those that a VRT names included; no output may replace one.
        notices: What is noteworthy about the file.
        warnings: What about it is likely to spoil a result.
        always_valid: Whether every sample is data, whatever it is.
        identity: What tells it from others and from itself before a change.
    """

    def __init__(self, dataset: DatasetReader, path: str | Path, bands: Sequence[int] | None, cache: int = 0) -> None:
        self.name = display_name(path)
        self._dataset = dataset
        self._path = path
        self._lock = threading.Lock()
        self._damage: CorruptRasterError | None = None
        self.bands, self._alpha = _select(dataset, self.name, bands)
        self.dtype = _common_dtype(dataset, self.name, self.bands)
        self.grid = grid_of(dataset, self.name)
        self.band_names = tuple(_band_name(dataset, b) for b in self.bands)
        self.nodata: tuple[float | None, ...] = tuple(dataset.nodatavals[b - 1] for b in self.bands)
        self.block_shape: tuple[int, int] = dataset.block_shapes[self.bands[0] - 1]
        flags = dataset.mask_flag_enums[self.bands[0] - 1]
        self._has_own_validity = MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags
        self._nodata = tuple(self._nodata_sample(dataset, b, v) for b, v in zip(self.bands, self.nodata, strict=True))
        self.files = source_files(dataset)
        self._cache = cache or min(max(DEFAULT_CACHE, 2 * self._block_row_bytes()), _MAX_CACHE)
        self.notices = tuple(_notices(self, dataset, self._alpha))
        self.warnings = tuple(_warnings(self, dataset))
        self.always_valid = not self._alpha and not self._has_own_validity and never_absent(self.dtype, self._nodata)
        judged_by = {"bands": list(self.bands), "alpha": list(self._alpha), "nodata": [str(v) for v in self.nodata]}
        self.identity = raster_identity(dataset, path, self.files, self.grid, judged_by)

    def _nodata_sample(self, dataset: DatasetReader, band: int, nodata: float | None) -> np.generic | None:
        """The tag as a sample of its own band, in the common type: float32's -9999.9 is not float64's."""
        sample = stored_nodata(nodata, np.dtype(dataset.dtypes[band - 1]))
        return None if sample is None else np.dtype(self.dtype).type(sample)

    def read(self, window: Window) -> Pixels:
        """Read a window at full resolution. Full-width windows from top to bottom decode each block about once.

        Raises:
            ParameterError: The window reaches outside the scene.
            CorruptRasterError: A block cannot be decoded; the message says which.
        """
        refuse_outside(window, self.grid, self.name)
        return self._guarded(window, window.height, window.width)

    def sample(self, max_side: int = 512) -> Pixels:
        """Pixels from all over the scene, at most about ``max_side`` squared, for statistics.

        The nearest pixels of the overviews or of the scene; of a large scene without overviews a lattice of small
        patches at full resolution, put side by side.
        """
        height, width = self.grid.shape
        if max(height, width) <= max_side:
            return self.read(Window(0, 0, height, width))
        if height * width > _SAMPLED_WHOLE and not self._dataset.overviews(self.bands[0]):
            return self._sample_patches(max_side)
        scale = max_side / max(height, width)
        return self._guarded(Window(0, 0, height, width), max(1, round(height * scale)), max(1, round(width * scale)))

    def _sample_patches(self, max_side: int) -> Pixels:
        height, width = self.grid.shape
        rows, cols = (min(max(1, max_side // _PATCHES), side) for side in (height, width))
        tops, lefts = (np.linspace(0, s - n, _PATCHES).astype(int) for s, n in ((height, rows), (width, cols)))
        bands = []
        for top in tops:
            row = [self.read(Window(int(top), int(left), rows, cols)) for left in lefts]
            bands.append(joined(row, -1))
        return joined(bands, -2)

    def _guarded(self, window: Window, rows: int, cols: int) -> Pixels:
        """Fetch, and say where it fails. GDAL may keep what it made of a bad block, so one failure ends the reading."""
        with self._lock:
            if self._damage is not None:
                raise CorruptRasterError(str(self._damage))
            try:
                return self._fetch(self._dataset, window, rows, cols)
            except GDAL_ERRORS as error:
                self._damage = self._located(window, error)
                raise self._damage from error

    def _fetch(self, dataset: DatasetReader, window: Window, rows: int, cols: int) -> Pixels:
        """Read a window into ``rows`` × ``cols`` pixels."""
        rectangle = Rectangle(window.col_off, window.row_off, window.width, window.height)
        with environment(self._cache, alone=stands_alone(self._path)), gdal_messages() as messages:
            samples = _read_bands(dataset, [*self.bands, *self._alpha], rectangle, rows, cols)
            own = None
            if self._has_own_validity:
                own = dataset.read_masks(self.bands[0], window=rectangle, out_shape=(rows, cols))
        for text in messages:
            if _DAMAGE.search(text):
                raise OSError(text)
        values, alpha = samples[: len(self.bands)], samples[len(self.bands) :]
        return judge(values.astype(self.dtype, copy=False), self._nodata, alpha, own)

    def _located(self, window: Window, error: BaseException) -> CorruptRasterError:
        """The error for the first bad block of a window. A fresh handle decodes anew what the old one has cached."""
        with open_dataset(self._path) as dataset:
            for block in _blocks(window, self.block_shape, self.grid.shape):
                try:
                    self._fetch(dataset, block, block.height, block.width)
                except GDAL_ERRORS as inner:
                    return CorruptRasterError(
                        f"{self.name}: the block at {block} cannot be decoded ({reason(inner)}); "
                        "the file is damaged or cut short: copy or download it again"
                    )
        return CorruptRasterError(
            f"{self.name}: {window} cannot be read ({reason(error)}); try again, or remake its overviews"
        )

    def _block_row_bytes(self) -> int:
        rows, cols = self.block_shape
        across = math.ceil(self.grid.width / cols) * cols
        return int(rows * across * self._dataset.count * np.dtype(self.dtype).itemsize)


@contextmanager
def open_scene(path: str | Path, bands: Sequence[int] | None = None) -> Iterator[FileScene]:
    """Open a scene for reading.

    Args:
        path: Local path, VRT (named ``.vrt``), ``/vsi...`` or URL.
        bands: Numbers from 1, in the order wanted; by default all but alpha. An alpha band that is not named here says
            where there is data; one that is named is a band like others (near infrared is often tagged alpha).

    Raises:
        MissingFileError: There is nothing under that name.
        RasterError: No raster, no or unsupported bands, or bands that it does not have.
    """
    with open_quietly(path, bands) as scene:
        for notice in scene.notices:
            log.info("%s: %s", scene.name, notice)
        for warning in scene.warnings:
            log.warning("%s: %s", scene.name, warning)
        yield scene


@contextmanager
def open_quietly(path: str | Path, bands: Sequence[int] | None = None, *, cache: int = 0) -> Iterator[FileScene]:
    """Open a scene as one of many: what it has to say is for whoever opens them all, as is the block cache (bytes)."""
    with open_dataset(path) as dataset:
        yield FileScene(dataset, path, bands, cache)


def _select(dataset: DatasetReader, name: str, bands: Sequence[int] | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Bands to read as data, and those that say where data is."""
    if not dataset.count:
        inside = f"; it holds {', '.join(dataset.subdatasets[:3])}" if dataset.subdatasets else ""
        raise RasterError(f"{name} has no band{inside}; name a raster with bands")
    alpha = [i for i, c in enumerate(dataset.colorinterp, start=1) if c == ColorInterp.alpha]
    if bands is None:
        chosen = tuple(i for i in dataset.indexes if i not in alpha)
        if not chosen:
            raise RasterError(f"{name} has no band but alpha; to read it as data, select it with bands={alpha[0]}")
    else:
        chosen = tuple(int(b) for b in bands)
        if not chosen or not all(1 <= b <= dataset.count for b in chosen):
            listed = ", ".join(f"{i} ({_band_name(dataset, i)})" for i in dataset.indexes[:12])
            raise RasterError(
                f"bands {list(chosen)} were asked of {name}, which has {dataset.count}: "
                f"{listed}{', …' if dataset.count > 12 else ''}"
            )
    return chosen, tuple(i for i in alpha if i not in chosen)


def _common_dtype(dataset: DatasetReader, name: str, bands: Sequence[int]) -> str:
    """The type that holds the samples of all bands."""
    dtypes = {dataset.dtypes[b - 1] for b in bands}
    for dtype in sorted(dtypes):
        if dtype.startswith("complex"):
            raise RasterError(f"{name} holds complex samples ({dtype}); take their amplitude first")
        if dtype not in DTYPES:
            raise RasterError(
                f"{name} holds {dtype} samples; convert them (gdal_translate -ot) to one of {', '.join(DTYPES)}"
            )
    common = str(np.result_type(*dtypes))
    if common not in DTYPES:
        raise RasterError(
            f"{name} mixes {', '.join(sorted(dtypes))}, which only {common} would hold; select other bands"
        )
    return common


def _band_name(dataset: DatasetReader, band: int) -> str:
    description = (dataset.descriptions[band - 1] or "").strip()
    color = dataset.colorinterp[band - 1].name
    return description or (f"band {band}" if color in ("undefined", "gray", "palette") else color)


def _read_bands(dataset: DatasetReader, bands: Sequence[int], rectangle: Rectangle, rows: int, cols: int) -> Values:
    """(B, rows, cols). One call for all bands decodes a pixel-interleaved block once."""
    if len({dataset.dtypes[b - 1] for b in bands}) == 1:
        return np.asarray(dataset.read(list(bands), window=rectangle, out_shape=(len(bands), rows, cols)))
    return np.stack([dataset.read(b, window=rectangle, out_shape=(rows, cols)) for b in bands])


def _blocks(window: Window, block_shape: tuple[int, int], shape: tuple[int, int]) -> Iterator[Window]:
    """The storage blocks that a window touches, clipped to the scene."""
    rows, cols = block_shape
    for top in range(window.row_off // rows * rows, window.row_end, rows):
        for left in range(window.col_off // cols * cols, window.col_end, cols):
            yield Window(top, left, min(rows, shape[0] - top), min(cols, shape[1] - left))


def _notices(scene: FileScene, dataset: DatasetReader, alpha: Sequence[int]) -> Iterator[str]:
    """What is noteworthy and harmless."""
    for band in alpha:
        yield (
            f"band {band} is tagged alpha: it tells where data is and is not read as a band; "
            "if it holds data (near infrared), name it in bands"
        )
    if scene._has_own_validity:
        yield "it has a validity band of its own: no data where that is 0"
    for value in sorted({v for v, s in zip(scene.nodata, scene._nodata, strict=True) if v is not None and s is None}):
        if not math.isnan(value) or not scene.dtype.startswith("float"):
            yield f"nodata {value:g} is not a value of {scene.dtype}: no pixel equals it"
    scaled = {(dataset.scales[b - 1], dataset.offsets[b - 1]) for b in scene.bands} - {(1.0, 0.0)}
    if scaled:
        yield f"it has scale and offset tags {sorted(scaled)}: values are used as stored"
    if dataset.tags().get("AREA_OR_POINT") == "Point":
        yield "its tags place pixel centres (AREA_OR_POINT=Point); outputs lie on the same ground and say Area"
    if len(dataset.subdatasets) > 1:
        yield f"it holds {len(dataset.subdatasets)} images: only the first is read"


def _warnings(scene: FileScene, dataset: DatasetReader) -> Iterator[str]:
    """What is likely to spoil the result."""
    if not scene.grid.is_georeferenced:
        where = "pixel space" if scene.grid.transform.is_identity and not scene.grid.gcps else "units without a name"
        yield f"it has no CRS: outputs are in {where}; assign one with gdal_edit.py -a_srs"
    if dataset.rpcs is not None and scene.grid.transform.is_identity:
        yield "it has RPCs, which are not used; orthorectify it first (gdalwarp -rpc)"
    if any(dataset.colorinterp[b - 1] == ColorInterp.palette for b in scene.bands):
        yield "it has a colour table: its values are indices, not brightness; expand it (gdal_translate -expand rgb)"
    if scene._block_row_bytes() // max(1, math.ceil(scene.grid.width / scene.block_shape[1])) > _LARGE_BLOCK:
        rows, cols = scene.block_shape
        yield f"a storage block has {rows}×{cols} pixels, which is slow to read; gdal_translate -co TILED=YES helps"
