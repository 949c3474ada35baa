"""From models and options to what runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from geoseg.predictors.choosing import Choice, choose
from geoseg.predictors.machine import check_device, this_machine
from geoseg.predictors.networks import sides
from geoseg.predictors.options import Loaded, NetworkOptions, same_legend
from geoseg.predictors.tiles import Predictor, SampleTiles, TileType
from geoseg.predictors.torch_backend import TorchBackend, grow_batch


def load_predictor(
    models: Sequence[Loaded],
    options: NetworkOptions,
    *,
    tile_size: int,
    dtype: TileType,  # noqa: ARG001
    sample_tiles: SampleTiles,
    cache: Path | None,  # noqa: ARG001
) -> Predictor:
    """Make ready what runs one model, or the mean of several.

    Args:
        models: One or more; of one legend.
        options: How they are run.
        tile_size: Side of the tiles in pixels.
        dtype: Of the tiles that will be submitted.
        sample_tiles: Gives tiles of the scene, for what is measured on them.
        cache: Folder for compiled models; None keeps none.

    Raises:
        ParameterError: The options do not fit each other, the machine or the models.
        ModelError: The models have different legends, or cannot be run.
    """
    same_legend(models)
    choice = choose(options, this_machine())
    loaded = models[0]
    return _torch(loaded, options, choice, tile_size, sample_tiles)


def _torch(
    loaded: Loaded, options: NetworkOptions, choice: Choice, tile_size: int, sample_tiles: SampleTiles
) -> Predictor:
    device = torch.device(choice.devices[0])
    check_device(device)
    at = sides(tile_size, options.scales, loaded.spec.stride_multiple)
    backend = TorchBackend(loaded, device, choice.precision, at, choice.reason)
    backend.best_batch = grow_batch(backend, sample_tiles(1))
    return backend
