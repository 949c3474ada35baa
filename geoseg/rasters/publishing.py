"""From finished files under temporary names to an output: all of it or nothing."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from geoseg.durable import sync
from geoseg.errors import MissingFileError, OutputError, OutputExistsError, ParameterError, RasterError
from geoseg.rasters.opening import GDAL_ERRORS, environment, gdal_messages, reason

_SUFFIXES = (".tif", ".tiff")
_WRITE_FAILURE = re.compile(
    r"write error|error writing|error while writing|no space left|file too large", re.IGNORECASE
)
_WORLD_FILES = (".tfw", ".tifw", ".tiffw", ".wld", ".tab")
_COMPANIONS = (".aux.xml", ".ovr", ".msk", ".msk.ovr")


def check_output(path: Path, overwrite: bool, *, sidecars: bool = True) -> None:
    """See before any work whether a raster can be written.

    Args:
        path: The output.
        overwrite: Replace an older one.
        sidecars: Whether style and metadata that stand there without the raster are someone's. A run that goes on may
            have been killed between them and the raster: they come first.

    Raises:
        OutputExistsError: It exists and ``overwrite`` is not given.
        OutputError: It is no name for a GeoTIFF, or its folder is missing or read-only.
    """
    path = Path(path)
    if path.suffix.lower() not in _SUFFIXES:
        raise OutputError(f"{path} must end in .tif: rasters are written as GeoTIFF")
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise OutputError(f"the folder of {path} does not exist; create {path.parent} first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(f"the folder {path.parent} is read-only; choose another one for {path.name}")
    beside = (path.with_suffix(".qml"), path.with_name(path.name + ".aux.xml")) if sidecars else ()
    for file in (path, *beside):
        if file.exists() and not overwrite:
            raise OutputExistsError(f"{file} exists; give --overwrite (overwrite=True) to replace it")


def check_no_world_file(path: Path) -> None:
    """See that nothing beside an output without georeference would give it one.

    Raises:
        OutputExistsError: A world file does.
    """
    for suffix in _WORLD_FILES:
        if path.with_suffix(suffix).exists():
            raise OutputExistsError(
                f"{path.with_suffix(suffix)} would georeference {path.name}, whose scene has no georeference; "
                "remove it or choose another output"
            )


def refuse_inputs(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """See that no output is an input, under whatever name.

    Raises:
        ParameterError: One is.
    """
    sources = [path for path in inputs if path.exists()]
    for output in outputs:
        if output.exists() and any(output.samefile(source) for source in sources):
            raise ParameterError(f"{output} is an input of this run and would be replaced; give another output")


@contextmanager
def temporary_names(path: Path, folder: Path | None = None) -> Iterator[Path]:
    """A name that nobody uses; whatever starts with it is removed in the end.

    Args:
        path: What the files become.
        folder: Where they lie until then; beside ``path`` without it.

    Raises:
        OutputError: The folder is missing, or on another disk, from where no file can be renamed to ``path``.
    """
    folder = path.parent if folder is None else folder
    if not folder.is_dir():
        raise OutputError(f"the folder {folder} for what is not finished does not exist; create it first")
    if folder.stat().st_dev != path.parent.stat().st_dev:
        raise OutputError(f"{folder} and {path.parent} are on different disks; finished files are renamed, not copied")
    base = folder / f".{path.name[:150]}.{secrets.token_hex(4)}"
    try:
        yield base
    finally:
        for left in folder.iterdir():
            if left.name.startswith(base.name):
                with suppress(OSError):
                    left.unlink()


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Run GDAL operations on an output; what goes wrong, also what GDAL only mentions, is an OutputError.

    GDAL writes blocks when its cache is full or the file is closed, and rasterio raises for neither.
    """
    failure: BaseException | None = None
    with environment(), gdal_messages() as messages:
        try:
            yield
        except (OutputError, OutputExistsError):
            raise
        except (*GDAL_ERRORS, RasterError, MissingFileError) as error:
            failure = error
    why = next((text for text in messages if _WRITE_FAILURE.search(text)), reason(failure) if failure else None)
    if why is not None:
        raise OutputError(f"{path} cannot be written ({why[:200]}); is the disk full or read-only?") from failure


def publish(path: Path, finished: Path, sidecars: Mapping[Path, Path], overwrite: bool) -> None:
    """Give files their final names, the raster last.

    Args:
        path: The output.
        finished: The complete raster under its temporary name.
        sidecars: Temporary to final names of the files that belong to it.
        overwrite: Whether an output that has come up meanwhile may be replaced.
    """
    for file in (*sidecars, finished):
        sync(file)
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} has come into being meanwhile; give --overwrite to replace it")
    for suffix in _COMPANIONS:
        companion = path.with_name(path.name + suffix)
        if companion not in sidecars.values():
            companion.unlink(missing_ok=True)
    for file, final in sidecars.items():
        file.replace(final)
    finished.replace(path)
    with suppress(OSError):  # some network file systems cannot
        sync(path.parent)
