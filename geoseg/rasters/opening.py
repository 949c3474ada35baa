"""Opening rasters that others made: their names, the drivers that may read them, and what can go wrong in one line."""

from __future__ import annotations

import logging
import os
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio._err import CPLE_BaseError
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader

from geoseg.errors import CorruptRasterError, MissingFileError, ParameterError, RasterError
from geoseg.grids import Grid, GroundControlPoint

log = logging.getLogger("geoseg")

# Drivers that decode the content of the named file and follow no reference to another. HDF5 and netCDF are not among
# them (external links and raw storage), nor is MRF (data file and source by name). A VRT may name any file or URL, so
# it is read only where the user can see that it is one.
_DRIVERS = ("GTiff", "PNG", "JPEG", "JP2OpenJPEG", "HFA", "ENVI", "BMP", "WEBP")

_REMOTE = re.compile(r"\b(https?|ftp|s3|gs|az|abfss?|oss)://|/vsi(curl|s3|gs|az|adls|oss|swift|webhdfs)", re.IGNORECASE)
_VIRTUAL = re.compile(r"[a-z][a-z0-9+.-]*://|/vsi|GTIFF_DIR:", re.I)
_ABSENT = re.compile(r"no such file|does not exist|404|not found|could not (resolve|connect)|failed to connect", re.I)
_TIFF_OR_HFA = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"EHFA")

GDAL_ERRORS = (RasterioError, CPLE_BaseError, OSError)
"""What rasterio raises when GDAL fails."""

DEFAULT_CACHE = 64 * 2**20


def environment(cache: int = DEFAULT_CACHE, *, alone: bool = False) -> rasterio.Env:
    """GDAL's settings for one operation, on the thread that runs it.

    Args:
        cache: Block cache of the process, in bytes. GDAL's own default is 5 % of the memory: it would grow with the
            scene and be taken for a leak.
        alone: Do not list the folder of a file or look for sidecars, and try again where a network fails.
    """
    options: dict[str, Any] = {
        "GDAL_CACHEMAX": cache,
        "GDAL_NUM_THREADS": str(min(4, os.cpu_count() or 1)),
        "GDAL_PNG_WHOLE_IMAGE_OPTIM": False,  # this path of GDAL takes a truncated PNG for zeros
    }
    if alone:
        options |= {
            "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
            "GDAL_HTTP_MAX_RETRY": "3",
            "GDAL_HTTP_RETRY_DELAY": "1",
        }
    return rasterio.Env(**options)


@contextmanager
def gdal_messages() -> Iterator[list[str]]:
    """Collect what GDAL says on this thread: some damage is only ever a warning, or a line in rasterio's log."""
    messages: list[str] = []
    _LISTENER.open.append(messages)
    try:
        yield messages
    finally:
        _LISTENER.open.pop()


@contextmanager
def open_dataset(path: str | Path) -> Iterator[DatasetReader]:
    """Open a raster for reading, whoever made it.

    Args:
        path: Local path, ``/vsi...``, or a URL as GDAL reads it. A VRT must be local and named ``.vrt``. Sidecars
            (``.aux.xml``, ``.ovr``, ``.msk``) are used with plain local paths only.

    Raises:
        MissingFileError: There is nothing under that name, or it cannot be reached.
        RasterError: It is not a raster of an accepted format, or tries to make another file be read.
    """
    name = str(path).removeprefix("file://")
    _check_local(name)
    with _open(name) as dataset:
        if dataset.driver != "VRT":
            _check_companions(dataset, name)
        if dataset.driver == "ENVI":
            _check_size(dataset, name)
        yield dataset


def display_name(path: str | Path) -> str:
    """The name for messages and metadata: without passwords and signatures of a URL."""
    return _without_secrets(str(path))


def is_remote(path: str | Path) -> bool:
    """Whether reading ``path`` goes over a network."""
    return _REMOTE.search(str(path)) is not None


def stands_alone(path: str | Path) -> bool:
    """Whether ``path`` is read without sidecars: a URL, or inside an archive, where they cannot be looked at first."""
    return is_remote(path) or _VIRTUAL.match(str(path).removeprefix("file://")) is not None


def source_files(dataset: DatasetReader) -> frozenset[Path]:
    """Local files that an open raster is made of; of a VRT also those that its VRTs name."""
    found: set[Path] = set()
    waiting = [str(f) for f in dataset.files]
    while waiting:
        path = Path(waiting.pop()).absolute()
        if path in found or not path.is_file():
            continue
        found.add(path)
        if _is_named_vrt(path.name):
            with suppress(*GDAL_ERRORS), warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                with DatasetReader(str(path), driver=["VRT"]) as inner:
                    waiting.extend(str(f) for f in inner.files)
    return frozenset(found)


def reason(error: BaseException) -> str:
    """What GDAL said last, in one line."""
    text = str(error.__cause__ or error)
    return _without_secrets(" ".join(text.split()))[:300]


def grid_of(dataset: DatasetReader, name: str) -> Grid:
    """CRS, transform or control points, and shape of an open raster.

    Raises:
        RasterError: The transform has no inverse.
    """
    crs, transform = dataset.crs, dataset.transform
    wkt = crs.to_wkt(version="WKT2_2019") if crs else None
    points, points_crs = dataset.gcps
    if points and transform == Affine.identity():
        gcps = tuple(GroundControlPoint(p.row, p.col, p.x, p.y, p.z or 0.0) for p in points)
        with suppress(ParameterError):
            points_wkt = points_crs.to_wkt(version="WKT2_2019") if points_crs else None
            return Grid(points_wkt, Affine.identity(), dataset.height, dataset.width, gcps)
        log.warning("%s: its %d ground control points have no CRS or span no area: they are not used", name, len(gcps))
    try:
        return Grid(wkt, transform, dataset.height, dataset.width)
    except ParameterError as error:
        raise RasterError(f"{name}: {error}; georeference the file anew (gdal_edit.py -a_ullr or -unsetgt)") from error


class _Listener(threading.local):
    """Hears rasterio's loggers from level INFO on, where it reports failed writes, and lets nothing more through."""

    def __init__(self) -> None:
        self.open: list[list[str]] = []

    def __call__(self, record: logging.LogRecord) -> bool:
        text = " ".join(record.getMessage().split()).removesuffix("'").rpartition("msg='")[2]
        for messages in self.open:
            messages.append(text)
        return record.levelno >= logging.getLogger("rasterio").getEffectiveLevel()


_LISTENER = _Listener()
for _name in ("rasterio._err", "rasterio._env"):
    logging.getLogger(_name).setLevel(logging.INFO)
    logging.getLogger(_name).addFilter(_LISTENER)


@contextmanager
def _open(name: str) -> Iterator[DatasetReader]:
    shown = display_name(name)
    drivers = [*_DRIVERS, "VRT"] if _is_named_vrt(name) and not is_remote(name) else list(_DRIVERS)
    try:
        with environment(alone=stands_alone(name)), gdal_messages(), warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            # rasterio.open takes one driver only; the class it opens takes the allow-list.
            dataset = DatasetReader(name, driver=drivers)
    except GDAL_ERRORS as error:
        raise _refusal(name, shown, reason(error)) from error
    try:
        yield dataset
    finally:  # not ``with dataset``, which may enter GDAL settings that only the thread that opened it can leave
        dataset.close()


def _refusal(name: str, shown: str, why: str) -> MissingFileError | RasterError:
    """The error for a name that GDAL does not open."""
    start = _first_bytes(name)
    if b"<VRTDataset" in start and not _is_named_vrt(name):
        return RasterError(
            f"{shown} is a VRT, which can make any other file be read; if you trust it, "
            "keep it on a local disk under a name that ends in .vrt"
        )
    if _is_named_vrt(name) and is_remote(name):
        return RasterError(f"{shown} is a remote VRT, which can make local files be read; download it if you trust it")
    if not start and _ABSENT.search(why):
        return MissingFileError(f"{shown} does not exist or cannot be reached: {why}")
    return RasterError(f"{shown} is not a raster that geoseg can open ({', '.join(_DRIVERS)}, .vrt): {why}")


def _without_secrets(text: str) -> str:
    """Take user, password and query out of every URL in a text."""
    return re.sub(r"(://)[^/@\s]*@", r"\1", re.sub(r"(://[^\s?']*)\?[^\s']*", r"\1", text))


def _is_named_vrt(name: str) -> bool:
    return name.lower().endswith(".vrt")


def _first_bytes(name: str) -> bytes:
    """The start of a local file; nothing where that cannot be had."""
    with suppress(OSError, ValueError), Path(name).open("rb") as file:
        return file.read(1024)
    return b""


def _check_local(name: str) -> None:
    if not name.strip():
        raise MissingFileError("the name of the raster is empty; give a path or URL")
    if _VIRTUAL.match(name):
        return
    path = Path(name)
    try:
        size, is_file = path.stat().st_size, path.is_file()
    except (OSError, ValueError) as error:
        raise MissingFileError(f"{name} does not exist or cannot be reached: {error}") from error
    if not is_file:
        raise RasterError(f"{name} is not a file; name one raster")
    if not os.access(path, os.R_OK):
        raise MissingFileError(f"{name} cannot be read: permission denied")
    if not size:
        raise RasterError(f"{name} is empty (0 bytes); copy or download it again")


def _check_companions(dataset: DatasetReader, name: str) -> None:
    """Overviews and validity may lie in companion files, which GDAL opens with any driver, VRT included."""
    folder, stem = Path(name).parent, Path(name).stem
    pointed = dataset.tags(ns="OVERVIEWS").get("OVERVIEW_FILE")
    own = [Path(f) for f in dataset.files[1:] if f.lower().endswith((".ovr", ".msk"))]
    if pointed is not None:
        companion = folder / pointed.removeprefix(":::BASE:::")
        if stands_alone(name) or companion.parent != folder or not companion.name.startswith(stem):
            raise RasterError(f"{name} names {pointed} as its overviews, a file that is not its own; remove that tag")
        own.append(companion)
    for companion in own:
        start = _first_bytes(str(companion))
        if start and not start.startswith(_TIFF_OR_HFA):
            raise RasterError(
                f"{companion}, which comes with {name}, is not a TIFF; delete it (gdaladdo makes overviews)"
            )


def _check_size(dataset: DatasetReader, name: str) -> None:
    """GDAL takes what is missing of a raw file for zeros."""
    if _VIRTUAL.match(name) or dataset.tags(ns="ENVI").get("file_compression", "0") == "1":
        return
    need = dataset.count * dataset.height * dataset.width * _itemsize(dataset.dtypes[0])
    size = Path(name).stat().st_size
    if size < need:
        raise CorruptRasterError(f"{name} is cut short: {size} bytes of {need}; copy or download it again")


def _itemsize(dtype: str) -> int:
    return 4 if dtype == "complex_int16" else np.dtype(dtype).itemsize
