"""Where vectorizing puts what."""

from __future__ import annotations

from pathlib import Path

from geoseg.errors import MissingFileError
from geoseg.parts import PartsPlace

LABELS_PARTS_SUFFIX = ".labels.parts"


def default_output(raster: str | Path) -> Path:
    """Beside a local raster, in the current folder for one behind a URL or ``/vsi``.

    Raises:
        MissingFileError: ``raster`` names no file.
    """
    name = str(raster)
    if not Path(name).name:
        raise MissingFileError(f"{name!r} names no file; name a raster")
    if "://" in name or name.startswith("/vsi"):
        return Path(Path(name.split("?", maxsplit=1)[0]).stem + ".gpkg")
    return Path(raster).with_suffix(".gpkg")


def parts_places(output: Path, parts_folder: str | Path | None) -> tuple[PartsPlace, PartsPlace]:
    """Those of the traced strips of an output, and of its filtered labels.

    Raises:
        ParameterError: ``parts_folder`` has no name.
    """
    return PartsPlace.beside(output, parts_folder), PartsPlace.beside(output, parts_folder, LABELS_PARTS_SUFFIX)
