"""From models and options to what runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from geoseg.errors import ModelError, ParameterError
from geoseg.predictors import onnx_backend, openvino_backend
from geoseg.predictors.cache import ModelCache
from geoseg.predictors.choosing import Choice, choose
from geoseg.predictors.combining import Augmented, Ensemble, Replicas
from geoseg.predictors.conversion import Source, check_converted, onnx_files, openvino_files
from geoseg.predictors.machine import check_device, this_machine
from geoseg.predictors.networks import network_sides
from geoseg.predictors.onnx_backend import OnnxBackend
from geoseg.predictors.openvino_backend import OpenVinoBackend
from geoseg.predictors.options import Loaded, NetworkOptions, same_legend
from geoseg.predictors.quantization import REMEDY, calibration_tiles, check_quantizable, quantized_files, tiles_hash
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
        tile_size: Side of the tiles in pixels, with what a network without padding eats of them.
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
    check_context(models, options)
    for model in models:
        sides = network_sides(tile_size, options.scales, model.spec.stride_multiple)
        source = Source(model, sides, tile_size, dtype, sample_tiles)
        member = _MAKERS[choice.backend](source, choice, options, cache)
        members.append(member if options.tta == "none" else Augmented(member, options.tta))
    return members[0] if len(members) == 1 else Ensemble(members)


def check_context(models: Sequence[Loaded], options: NetworkOptions) -> None:
    """Models that are run together must read the same, and what a network eats has one size.

    Raises:
        ModelError: Two of them read different surroundings of a tile.
        ParameterError: Tiles are to be magnified for a network without padding.
    """
    first = models[0].spec
    for other in (m.spec for m in models[1:]):
        if other.context != first.context:
            eaten = " and ".join(f"{s.name!r} ({s.context.pixels} px)" for s in (first, other))
            raise ModelError(
                f"models {eaten} do not eat the same border, so that their tiles cannot be averaged; map with each"
            )
    if first.context.pixels and options.scales != (1.0,):
        raise ParameterError(
            f"model {first.name!r} eats a border of {first.context.pixels} px, which magnifying tiles would change; "
            "leave --scales out"
        )


def _torch(source: Source, choice: Choice, options: NetworkOptions, _cache: Path | None) -> Predictor:
    backends: list[TorchBackend] = []
    for name in choice.devices:
        device = torch.device(name)
        check_device(device)
        backends.append(
            TorchBackend(
                source.loaded,
                device,
                choice.precision,
                source.tile_size,
                source.sides,
                choice.reason,
                samples=options.mc,
            )
        )
    best = grow_batch(backends[0], source.sample_tiles(1))
    for backend in backends:
        backend.best_batch = best
    return backends[0] if len(backends) == 1 else Replicas(backends)


def _openvino(source: Source, choice: Choice, _options: NetworkOptions, folder: Path | None) -> Predictor:
    version, cache = str(load_toolkit("openvino", openvino_backend.REMEDY).__version__), ModelCache(folder)

    def make(work: Path) -> None:
        openvino_files(source, work)
        made = work / "model.xml"
        exact = OpenVinoBackend(source.loaded, made, "fp32", source.sides, choice.reason, ModelCache(None))
        check_converted(source, exact)
        exact.close()

    key = {**source.key, "openvino": version}
    path = cache.entry("openvino", key, make) / "model.xml"
    if choice.precision == "int8":
        path = _int8(source, path, key, cache)
    return OpenVinoBackend(source.loaded, path, choice.precision, source.sides, choice.reason, cache)


def _int8(source: Source, converted: Path, key: dict[str, object], cache: ModelCache) -> Path:
    nncf, tiles = load_toolkit("nncf", REMEDY), calibration_tiles(source)

    def make(work: Path) -> None:
        check_quantizable(source.graph.network, source.loaded.spec.name)
        quantized_files(source, converted, tiles, work)

    key = {**key, "nncf": str(nncf.__version__), "calibration": tiles_hash(tiles)}
    return cache.entry("int8", key, make) / "model.xml"


def _onnx(source: Source, choice: Choice, _options: NetworkOptions, folder: Path | None) -> Predictor:
    load_toolkit("onnxruntime", onnx_backend.REMEDY)
    cache = ModelCache(folder)

    def backend(path: Path, device: str, cache: ModelCache) -> OnnxBackend:
        return OnnxBackend(source.loaded, path / "model.onnx", device, source.sides, choice.reason, cache)

    def make(work: Path) -> None:
        onnx_files(source, work)
        check_converted(source, backend(work, "cpu", ModelCache(None)))

    path = cache.entry("onnx", {**source.key, "torch": str(torch.__version__)}, make)
    return backend(path, choice.devices[0], cache)


_MAKERS = {"torch": _torch, "openvino": _openvino, "onnx": _onnx}
