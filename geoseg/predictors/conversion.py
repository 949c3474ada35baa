"""Networks converted for OpenVINO and ONNX Runtime, once, and compared with the network that they were made from."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from geoseg import __version__
from geoseg.errors import ModelError
from geoseg.predictors.networks import TileNetwork
from geoseg.predictors.options import Loaded
from geoseg.predictors.precision import changed_beyond
from geoseg.predictors.tiles import Predictor, SampleTiles, Tiles, TileType
from geoseg.predictors.toolkits import load_toolkit, quiet, reason_of

_log = logging.getLogger("geoseg")

# A converted network computes the same sums in another order. Labels that change where the scores are further apart
# than this are a sign of a wrong conversion, and beyond this share an error.
_MARGIN = 1e-3
_SHARE = 1e-3


@dataclass(frozen=True)
class Source:
    """A network to convert, and the tiles that it will be given.

    Attributes:
        loaded: The model.
        sides: See :class:`TileNetwork`.
        tile_size: Side of a tile in pixels.
        dtype: Type of its values.
        sample_tiles: Gives tiles of the scene.
    """

    loaded: Loaded
    sides: tuple[int, ...]
    tile_size: int
    dtype: TileType
    sample_tiles: SampleTiles

    @property
    def key(self) -> dict[str, object]:
        """All that the graph depends on."""
        return {
            "model": self.loaded.hash,
            "mean": self.loaded.stats.mean,
            "std": self.loaded.stats.std,
            "tile_size": self.tile_size,
            "dtype": self.dtype,
            "sides": self.sides,
            "geoseg": __version__,
        }

    @cached_property
    def graph(self) -> TileNetwork:
        """The network as torch runs it, float32."""
        return TileNetwork(self.loaded, self.loaded.network(), self.tile_size, self.sides).eval()

    @cached_property
    def shape(self) -> tuple[int, int, int, int]:
        """Of one tile's values, and of its ``present``."""
        return (1, len(self.loaded.spec.bands), self.tile_size, self.tile_size)

    @cached_property
    def sample(self) -> Tiles:
        """A tile of the scene; noise around the mean where the scene has none."""
        found = self.sample_tiles(1)
        return found[0].part(0, 1) if found else self._noise()

    def _noise(self) -> Tiles:
        stats, noise = self.loaded.stats, np.random.default_rng(0).normal(size=self.shape)
        values = noise * np.array(stats.std)[:, None, None] + np.array(stats.mean)[:, None, None]
        if self.dtype == "uint8":
            values = np.clip(values, 0, 255)
        return Tiles(values.astype(self.dtype), np.ones(self.shape, np.bool_), ((0, 0),))

    def example(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs to trace the graph with."""
        present = np.broadcast_to(self.sample.present, self.shape).copy()
        return torch.from_numpy(self.sample.values), torch.from_numpy(present)

    def scores(self) -> torch.Tensor:
        """What the torch network makes of the sample."""
        with torch.inference_mode():
            result: torch.Tensor = self.graph(*self.example())
        return result


def openvino_files(source: Source, folder: Path) -> None:
    """Write ``model.xml`` and ``model.bin``.

    Raises:
        ModelError: OpenVINO cannot convert the network.
    """
    ov = load_toolkit("openvino", "pip install openvino, or give --backend torch")
    values = ov.Type.u8 if source.dtype == "uint8" else ov.Type.f32
    inputs = [(list(source.shape), values), (list(source.shape), ov.Type.boolean)]
    graph, example = source.graph, source.example()
    try:
        with torch.no_grad(), quiet(), _dense_unpooling(graph):
            model = ov.convert_model(graph, example_input=example, input=inputs)
    except Exception as error:  # whatever an unknown operation makes tracing or the converter raise
        raise _refused(source, "OpenVINO", error) from error
    ov.save_model(model, str(folder / "model.xml"), compress_to_fp16=False)


def onnx_files(source: Source, folder: Path) -> None:
    """Write ``model.onnx``.

    Raises:
        ModelError: torch cannot export the network.
    """
    load_toolkit("onnxscript", "pip install onnx onnxscript onnxruntime, or give --backend torch")
    graph, example = source.graph, source.example()
    try:
        with torch.no_grad(), quiet(), _dense_unpooling(graph), contextlib.redirect_stdout(io.StringIO()):
            torch.onnx.export(
                graph, example, str(folder / "model.onnx"), dynamo=True, external_data=False, verbose=False
            )
    except Exception as error:  # whatever an unknown operation makes the exporter raise
        raise _refused(source, "ONNX", error) from error


@contextmanager
def _dense_unpooling(graph: nn.Module) -> Iterator[None]:
    """Export what unpools by indices in the form that does without them."""
    networks: list[Any] = [module for module in graph.modules() if hasattr(module, "dense_unpooling")]
    for network in networks:
        network.dense_unpooling = True
    try:
        yield
    finally:
        for network in networks:
            network.dense_unpooling = False


def _refused(source: Source, by: str, error: Exception) -> ModelError:
    name = source.loaded.spec.name
    return ModelError(f"{by} cannot take model {name!r} ({reason_of(error)}); give --backend torch")


def check_converted(source: Source, predictor: Predictor) -> None:
    """Compare a converted network in fp32 with the network on a tile of the scene.

    Raises:
        ModelError: Labels differ where the scores leave no doubt.
    """
    found, expected = predictor.submit(source.sample)(), source.scores()
    share = changed_beyond(found, expected, _MARGIN)
    if share > _SHARE:
        raise ModelError(
            f"{predictor.description}: {share:.2%} of the labels of a sample tile differ from torch's, at most "
            f"{_SHARE:.1%} may; model {source.loaded.spec.name!r} is converted wrongly: give --backend torch"
        )
    _log.info(
        "%s agrees with torch (largest difference of a score %.1e)",
        predictor.description,
        (found - expected).abs().max(),
    )
