"""Networks under ONNX Runtime, fp32: on the CPU, or on a CUDA device where its package can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from geoseg.errors import ModelError, ParameterError
from geoseg.predictors.cache import ModelCache
from geoseg.predictors.machine import device_name
from geoseg.predictors.options import Loaded
from geoseg.predictors.tiles import Tiles, Wait, check_shape, damaged
from geoseg.predictors.toolkits import load_toolkit
from geoseg.processors import cores

REMEDY = "pip install onnx onnxscript onnxruntime, or give --backend torch"


class OnnxBackend:
    """An exported network; scores are on the CPU wherever it runs.

    Args:
        loaded: What it was exported from.
        path: The ``.onnx`` file.
        device: ``cpu`` or ``cuda:N``.
        sides: What it was exported with; see :class:`~geoseg.predictors.networks.TileNetwork`.
        reason: Why this backend.
        cache: Closed with this.

    Raises:
        ParameterError: A CUDA device is asked for but this onnxruntime has no support for it.
    """

    def __init__(
        self, loaded: Loaded, path: Path, device: str, sides: tuple[int, ...], reason: str, cache: ModelCache
    ) -> None:
        runtime = load_toolkit("onnxruntime", REMEDY)
        self._cache, self._spec = cache, loaded.spec
        options = runtime.SessionOptions()
        options.intra_op_num_threads = cores()
        options.log_severity_level = 3  # errors only
        self._session: Any = runtime.InferenceSession(str(path), options, providers=_providers(runtime, device))
        self._inputs = [item.name for item in self._session.get_inputs()]
        self._input = tuple(self._session.get_inputs()[0].shape)
        self.device = torch.device("cpu")
        self.classes = self.planes = len(loaded.spec.classes)
        self.reason = reason
        self.best_batch = self.in_flight = 1
        self.description = f"ONNX Runtime {runtime.__version__}, fp32 on {device_name(torch.device(device))}"
        self.identity: dict[str, object] = {
            "backend": "onnx",
            "version": str(runtime.__version__),
            "precision": "fp32",
            "device": device.partition(":")[0],
            "model": loaded.hash,
            "sides": list(sides),
            "threads": cores(),
        }

    def submit(self, tiles: Tiles) -> Wait:
        """See :class:`~geoseg.predictors.Predictor`."""
        if tiles.values.shape[1:] != self._input[1:]:
            raise ModelError(f"tiles of {tiles.values.shape[1:]} given, the exported model takes {self._input[1:]}")
        scores = np.concatenate([self._run(tiles.part(i, i + 1)) for i in range(len(tiles))])
        check_shape(scores.shape, tiles, self.planes, self._spec)
        if not np.isfinite(scores.max()):
            raise damaged(self._spec.name)
        return lambda: torch.from_numpy(scores)

    def _run(self, tile: Tiles) -> Any:
        present = np.ascontiguousarray(np.broadcast_to(tile.present, self._input))
        return self._session.run(None, dict(zip(self._inputs, (tile.values, present), strict=True)))[0]

    def close(self) -> None:
        """Give the memory back."""
        self._session = None
        self._cache.close()


def _providers(runtime: Any, device: str) -> list[Any]:
    if device == "cpu":
        return ["CPUExecutionProvider"]
    available = runtime.get_available_providers()
    if "CUDAExecutionProvider" not in available:
        raise ParameterError(
            f"this onnxruntime cannot use {device}, only {', '.join(available)}; pip install onnxruntime-gpu, or give "
            "--backend torch"
        )
    number = int(device.partition(":")[2] or 0)
    return [("CUDAExecutionProvider", {"device_id": number}), "CPUExecutionProvider"]
