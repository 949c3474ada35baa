"""How a scene is put before its models: the pixel size it is read at, and its tiles."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from geoseg.config import ModelSpec
from geoseg.errors import ParameterError, RasterError
from geoseg.inference.settings import Settings
from geoseg.models.tiles import default_overlap, default_tile_size
from geoseg.rasters import Scene
from geoseg.tiling import TileGrid

_log = logging.getLogger("geoseg")

# With --gsd auto a scene is read as it is where its pixels are this near to the model's.
_SAME_GSD = 1.15


def wanted_gsd(scene: Scene, spec: ModelSpec, settings: Settings) -> float | None:
    """The pixel size to resample to, in metres; None where the scene is read as it is.

    Args:
        scene: On its own grid.
        spec: Of the model that it is for.
        settings: Tell whether to resample.

    Raises:
        RasterError: The scene's own is not known.
        ParameterError: The model's own is not known.
    """
    if settings.gsd == "native":
        return None
    own = scene.grid.ground_sample_distance()
    if own is None:
        raise RasterError(f"{scene.name} has no known pixel size, so it cannot be resampled; leave --gsd out")
    if settings.gsd != "auto":
        return float(settings.gsd)
    if spec.gsd is None:
        raise ParameterError(f"model {spec.name!r} does not say its pixel size; give one, e.g. --gsd 0.3")
    if 1 / _SAME_GSD <= own / spec.gsd <= _SAME_GSD:
        return None
    _log.info("%s is read at the model's %.3g m instead of its own %.3g m", scene.name, spec.gsd, own)
    return spec.gsd


def tile_grid(source: Scene, models: Sequence[ModelSpec], settings: Settings) -> TileGrid:
    """The tile grid of a scene for its models.

    Args:
        source: The scene at the pixel size it is read at.
        models: One, or the members of an ensemble.
        settings: Tell tile size and overlap, if the user chose them.

    Raises:
        ParameterError: A tile size that a network cannot take (names the nearest that it can), or an overlap that does
            not fit it.
    """
    size = max(_tile_size(model, settings.tile_size) for model in models)
    if settings.tile_size is None:  # else each has been asked
        for model in models:
            _tile_size(model, size)
    usual = max(default_overlap(model, size) for model in models)
    overlap = usual if settings.overlap is None else settings.overlap
    return TileGrid(source.grid.height, source.grid.width, size, overlap, models[0].surroundings)


def _tile_size(spec: ModelSpec, wanted: int | None) -> int:
    multiple = spec.stride_multiple
    if wanted is None:
        return default_tile_size(spec)
    if wanted < 1 or wanted % multiple:
        below, above = wanted // multiple * multiple, max(1, -(-wanted // multiple)) * multiple
        nearest = f"{below} or {above}" if below > 0 else f"{above}"
        raise ParameterError(
            f"tile size {wanted} is not a multiple of {multiple}, as {spec.name!r} needs; give {nearest}"
        )
    if wanted < spec.tile_size:
        _log.warning(
            "tile size %d is smaller than the %d px that model %r was trained on: the map may suffer",
            wanted, spec.tile_size, spec.name,
        )  # fmt: skip
    return wanted
