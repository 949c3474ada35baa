"""Where vectorizing puts what."""

from __future__ import annotations

from pathlib import Path

from geoseg.errors import MissingFileError


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


def folders_of(target: Path) -> tuple[Path, Path]:
    """Where a run on a cluster keeps the traced strips of an output, and its filtered labels."""
    return target.with_name(f"{target.name}.parts"), target.with_name(f"{target.name}.labels.parts")
