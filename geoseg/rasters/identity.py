"""What tells one raster from another, and from itself before a change, without reading its pixels."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from rasterio.io import DatasetReader

from geoseg.grids import Grid
from geoseg.rasters.opening import display_name, stands_alone

_LISTED = 4
_BLOCKS_LOOKED_AT = 64

# Statistics and pictures that other programs leave beside a raster. What an .aux.xml says of nodata, bands and place is
# part of the identity by itself.
_HARMLESS = (".aux.xml", ".ovr")


def raster_identity(
    dataset: DatasetReader, path: str | Path, files: Iterable[Path], grid: Grid, judged_by: dict[str, object]
) -> dict[str, object]:
    """The identity of an open raster.

    Args:
        dataset: The raster.
        path: The name that it was opened by.
        files: Local files that it is made of.
        grid: Where its pixels are.
        judged_by: What decides which of its samples are read and are data: bands, alpha, nodata.
    """
    name = str(path).removeprefix("file://")
    parts = sorted(f for f in files if not f.name.lower().endswith(_HARMLESS))
    if stands_alone(path):
        place: dict[str, object] = {"path": display_name(name), "layout": _layout(dataset)}
        container = _container(name)
        parts = [container] if container is not None else []
    else:
        place = {"path": str(Path(name).absolute())}
        first = Path(name).absolute()
        parts = [first, *(f for f in parts if f != first)]
    if parts:
        status = parts[0].stat()
        place |= {"size": status.st_size, "modified": status.st_mtime_ns}
    if len(parts) > 1:
        place |= {"files": len(parts), "sha256": digest([_stamp(p) for p in parts])}
    return place | judged_by | {"grid": grid.summary(), "georeference": georeference_digest(grid)}


def joint_identity(identities: Sequence[dict[str, object]]) -> dict[str, object]:
    """The identity of many rasters in an order that matters: the list, or its hash where it is long."""
    if len(identities) <= _LISTED:
        return {"mosaic": list(identities)}
    return {"mosaic": len(identities), "first": identities[0]["path"], "sha256": digest(list(identities))}


def digest(value: object) -> str:
    """SHA-256 of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def georeference_digest(grid: Grid) -> str:
    """A hash of CRS, transform, shape and control points to the last bit."""
    points = [(p.row, p.col, p.x, p.y, p.z) for p in grid.gcps]
    return digest([grid.crs_wkt, list(grid.transform)[:6], list(grid.shape), points])[:16]


def _stamp(path: Path) -> list[object]:
    status = path.stat()
    return [str(path), status.st_size, status.st_mtime_ns]


def _container(name: str) -> Path | None:
    """The local archive that a ``/vsizip/...`` name points into; None where there is none."""
    inner = re.sub(r"^(/vsi\w+/|\w+://)+", "", name).replace("{", "").replace("}", "")
    whole = Path(inner.partition("!")[0])
    return next((p.absolute() for p in (whole, *whole.parents) if p.is_file()), None)


def _layout(dataset: DatasetReader) -> str:
    """A hash of where a file without a date keeps its blocks, which no two compressed pictures do alike."""
    tags: list[object] = [dataset.tags(), [dataset.count, *dataset.shape], [str(d) for d in dataset.dtypes]]
    if dataset.driver == "GTiff":
        rows, cols = dataset.block_shapes[0]
        down, across = -(-dataset.height // rows), -(-dataset.width // cols)
        step = max(1, down * across // _BLOCKS_LOOKED_AT)
        for number in range(0, down * across, step):
            at = f"{number % across}_{number // across}"
            tags.append([dataset.get_tag_item(f"BLOCK_{what}_{at}", "TIFF", bidx=1) for what in ("OFFSET", "SIZE")])
    return digest(tags)[:16]
