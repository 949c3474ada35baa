"""How much disk a prediction takes and whether it is there, asked before a job that would fail at its end."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from geoseg.errors import OutputError, ResourceError

LABELS = "labels"
"""Name of the plane of class ids; every other plane holds shares of 1 in steps of 0.004."""

# Bytes for each pixel with data, at the peak: parts, and while they are assembled the finished raster with what it is
# made from. Measured with the built-in model, blended, on Amazon forest, an orthophoto and aerial images of towns:
# class ids 0.09 to 0.13 (0.04 for a reference map of 7 classes), confidences 0.5 to 0.8 where half of them are 1.0 and
# 2.6 where none is and all is textured.
_LABELS_BYTES = 0.3
_SHARE_BYTES = 1.7

# Headers, overviews, and blocks without data.
_FIXED = 8 * 2**20

_UNITS = ((2**30, "GiB"), (2**20, "MiB"))


def estimate_disk(pixels_valid: int, bands: Sequence[str]) -> int:
    """Bytes that parts, temporaries and outputs of a prediction take together at their peak, with room to spare.

    Args:
        pixels_valid: Pixels with data.
        bands: Names of the planes: ``labels``, and those of the confidence raster.
    """
    per_pixel = sum(_LABELS_BYTES if band == LABELS else _SHARE_BYTES for band in bands)
    return _FIXED + round(pixels_valid * per_pixel)


def require_disk(folder: Path, needed: int) -> None:
    """See that ``needed`` bytes are there, on the disk of a folder that need not exist yet.

    What lies in the folder counts as there: the parts of a run that goes on are a share of what it needs.

    Raises:
        ResourceError: They are not; the message gives both figures.
        OutputError: The disk cannot be asked.
    """
    folder = Path(folder).absolute()
    try:
        present = sum(file.lstat().st_size for file in folder.iterdir()) if folder.is_dir() else 0
        place = next(p for p in (folder, *folder.parents) if p.is_dir())
        free = shutil.disk_usage(place).free
    except OSError as error:
        raise OutputError(f"{folder} cannot be looked at ({error.strerror}); choose another output") from error
    if needed > free + present:
        there = f" and {_size(present)} are there already" if present else ""
        raise ResourceError(
            f"{folder} needs about {_size(needed)} of disk but {_size(free)} are free{there}; make room, write to "
            "another disk, or ask for fewer bands"
        )


def _size(count: int) -> str:
    unit, name = next(((u, n) for u, n in _UNITS if count >= u), _UNITS[-1])
    return f"{count / unit:.1f} {name}"
