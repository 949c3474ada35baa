"""From models and options to what runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from geoseg.predictors.cache import ModelCache
from geoseg.predictors.choosing import Choice, choose
from geoseg.predictors.combining import Augmented, Ensemble, Replicas
from geoseg.predictors.conversion import Source, check_converted, openvino_files
from geoseg.predictors.machine import check_device, this_machine
from geoseg.predictors.networks import network_sides
from geoseg.predictors.openvino_backend import REMEDY, OpenVinoBackend
from geoseg.predictors.options import Loaded, NetworkOptions, same_legend
from geoseg.predictors.tiles import Predictor, SampleTiles, TileType
from geoseg.predictors.toolkits import load_toolkit
from geoseg.predictors.torch_backend import TorchBackend, grow_batch


def load_predictor(
    models: Sequence[Loaded],
    options: NetworkOptions,
    *,
    tile_size: int,
    dtype: TileType,
    sample_tiles: SampleTiles,
    cache: Path | None,
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
    members: list[Predictor] = []
    for model in models:
        sides = network_sides(tile_size, options.scales, model.spec.stride_multiple)
        source = Source(model, sides, tile_size, dtype, sample_tiles)
        member = (
            _openvino(source, choice, ModelCache(cache))
            if choice.backend == "openvino"
            else _torch(source, choice, options.mc)
        )
        members.append(member if options.tta == "none" else Augmented(member, options.tta))
    return members[0] if len(members) == 1 else Ensemble(members)


def _torch(source: Source, choice: Choice, samples: int) -> Predictor:
    backends: list[TorchBackend] = []
    for name in choice.devices:
        device = torch.device(name)
        check_device(device)
        backends.append(
            TorchBackend(
                source.loaded, device, choice.precision, source.tile_size, source.sides, choice.reason, samples=samples
            )
        )
    best = grow_batch(backends[0], source.sample_tiles(1))
    for backend in backends:
        backend.best_batch = best
    return backends[0] if len(backends) == 1 else Replicas(backends)


def _openvino(source: Source, choice: Choice, cache: ModelCache) -> Predictor:
    ov = load_toolkit("openvino", REMEDY)

    def make(folder: Path) -> None:
        openvino_files(source, folder)
        exact = OpenVinoBackend(
            source.loaded, folder / "model.xml", "fp32", source.sides, choice.reason, ModelCache(None)
        )
        check_converted(source, exact)
        exact.close()

    folder = cache.entry("openvino", {**source.key, "openvino": str(ov.__version__)}, make)
    return OpenVinoBackend(source.loaded, folder / "model.xml", choice.precision, source.sides, choice.reason, cache)
