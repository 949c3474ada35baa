"""Where vectorizing puts what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from geoseg.errors import MissingFileError
from geoseg.parts import inside, is_url


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


@dataclass(frozen=True, slots=True)
class PartsPlace:
    """Where a run on a cluster keeps what is made.

    Attributes:
        folder: Beside the output.
        elsewhere: Where parts are, a path or a URL, if not in ``folder``.
    """

    folder: Path
    elsewhere: str | None

    @property
    def everywhere(self) -> str:
        """Where parts are; the same for all who make them."""
        return str(self.folder.absolute()) if self.elsewhere is None else self.elsewhere


def parts_places(target: Path, parts_folder: str | Path | None) -> tuple[PartsPlace, PartsPlace]:
    """Those of the traced strips of an output, and of its filtered labels.

    Raises:
        ParameterError: ``parts_folder`` has no name.
    """
    if parts_folder is not None and not is_url(parts_folder):
        parts_folder = Path(parts_folder).absolute()
    strips, labels = (target.with_name(f"{target.name}{suffix}") for suffix in (".parts", ".labels.parts"))
    elsewhere = [None if parts_folder is None else inside(parts_folder, folder.name) for folder in (strips, labels)]
    return PartsPlace(strips, elsewhere[0]), PartsPlace(labels, elsewhere[1])
