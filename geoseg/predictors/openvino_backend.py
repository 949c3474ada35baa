"""Networks under OpenVINO, on the CPU: one tile a request, several requests under way."""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from geoseg.errors import ModelError, ParameterError
from geoseg.predictors.cache import ModelCache
from geoseg.predictors.options import Loaded
from geoseg.predictors.tiles import Tiles, Wait, check_shape, damaged
from geoseg.predictors.toolkits import load_toolkit
from geoseg.processors import cores

REMEDY = "pip install openvino, or give --backend torch"

# Two networks side by side, each on half the cores, are 2 to 6 % faster than one on all of them.
_STREAMS = 2

_Floats = npt.NDArray[np.float32]


class OpenVinoBackend:
    """A converted network.

    Args:
        loaded: What it was converted from.
        path: The model's ``.xml``.
        precision: ``fp32``, ``bf16`` or ``int8`` (where the model is quantised).
        sides: What it was converted with; see :class:`~geoseg.predictors.networks.TileNetwork`.
        reason: Why this backend.
        cache: Closed with this.

    Raises:
        ModelError: The network gives no score for each class and pixel.
        ParameterError: The processor does not compute in this precision.
    """

    def __init__(
        self, loaded: Loaded, path: Path, precision: str, sides: tuple[int, ...], reason: str, cache: ModelCache
    ) -> None:
        ov = load_toolkit("openvino", REMEDY)
        self._ov, self._cache, self._spec = ov, cache, loaded.spec
        core = ov.Core()
        streams = min(_STREAMS, cores())
        self._model = core.compile_model(str(path), "CPU", _settings(ov, core, precision, streams))
        _check_precision(ov, self._model, precision)
        self._input = tuple(int(n) for n in self._model.input(0).shape)
        self._output = tuple(int(n) for n in self._model.output(0).shape)
        self._everywhere = np.ones(self._input, np.bool_)
        self._buffers = Buffers()
        self._idle: list[Any] = []
        self._running: dict[int, tuple[Any, Any, _Floats]] = {}
        self.device = torch.device("cpu")
        self.classes = self.planes = len(loaded.spec.classes)
        self.reason = reason
        self.best_batch = 1
        self.in_flight = streams + 1
        version = str(ov.__version__).split("-")[0]
        name = str(core.get_property("CPU", "FULL_DEVICE_NAME")).strip()
        self.description = f"OpenVINO {version}, {precision}, {streams} streams on {name}"
        self.identity: dict[str, object] = {
            "backend": "openvino",
            "version": version,
            "precision": precision,
            "device": "cpu",
            "model": loaded.hash,
            "sides": list(sides),
        }

    def submit(self, tiles: Tiles) -> Wait:
        """See :class:`~geoseg.predictors.Predictor`."""
        if tiles.values.shape[1:] != self._input[1:]:
            raise ModelError(f"tiles of {tiles.values.shape[1:]} given, the compiled model takes {self._input[1:]}")
        check_shape((len(tiles), *self._output[1:]), tiles, self.planes, self._spec)
        scores = self._buffers.take((len(tiles), *self._output[1:]))
        requests = [self._started(tiles.part(i, i + 1), scores[i : i + 1]) for i in range(len(tiles))]

        def wait() -> torch.Tensor:
            for request in requests:
                request.wait()
                del self._running[id(request)]
                self._idle.append(request)
            if not np.isfinite(scores.max()):  # a NaN is the largest of all
                raise damaged(self._spec.name)
            return torch.from_numpy(scores)

        return wait

    def _started(self, tile: Tiles, scores: _Floats) -> Any:
        """A request under way; it reads from the tile and writes to ``scores`` without a copy."""
        request = self._idle.pop() if self._idle else self._model.create_infer_request()
        inputs = tile.values, self._present(tile.present)
        for index, array in enumerate(inputs):
            request.set_input_tensor(index, self._ov.Tensor(array, shared_memory=True))
        request.set_output_tensor(0, self._ov.Tensor(scores, shared_memory=True))
        self._running[id(request)] = request, inputs, scores  # OpenVINO keeps no reference to what it reads and writes
        request.start_async()
        return request

    def _present(self, present: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        if present.all():
            return self._everywhere
        if present.shape != self._input:
            present = np.broadcast_to(present, self._input)
        return np.ascontiguousarray(present)

    def close(self) -> None:
        """Wait for what is under way and give threads and memory back."""
        for request, *_ in self._running.values():
            request.wait()
        self._running.clear()
        self._idle.clear()
        self._model = None
        self._cache.close()


class Buffers:
    """Arrays of float32 that are used again once nobody refers to them: no page is touched for the first time twice."""

    def __init__(self) -> None:
        self._free: list[_Floats] = []

    def take(self, shape: tuple[int, ...]) -> _Floats:
        """An array with any content."""
        memory = self._free.pop() if self._free else None
        if memory is None or memory.shape != shape:
            memory = np.empty(shape, np.float32)
        array = memory[...]
        weakref.finalize(array, self._free.append, memory).atexit = False
        return array


def _settings(ov: Any, core: Any, precision: str, streams: int) -> dict[str, Any]:
    return {
        "PERFORMANCE_HINT": "THROUGHPUT",
        "NUM_STREAMS": str(streams),
        "INFERENCE_NUM_THREADS": cores(),
        # Processes that share a machine would all hold on to its first cores.
        "ENABLE_CPU_PINNING": cores() == os.cpu_count(),
        "INFERENCE_PRECISION_HINT": _hint(ov, core, precision),
    }


def _hint(ov: Any, core: Any, precision: str) -> Any:
    """What is not quantised runs in bfloat16 beside int8, where the processor has it."""
    has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ov.Type.bf16 if precision == "bf16" or (precision == "int8" and has_bf16) else ov.Type.f32


def _check_precision(ov: Any, model: Any, precision: str) -> None:
    # OpenVINO takes a hint and runs what it can: what it settled on must be what was asked for.
    used = model.get_property("INFERENCE_PRECISION_HINT")
    if (precision == "bf16") != (used == ov.Type.bf16) and precision != "int8":
        raise ParameterError(f"OpenVINO runs in {used.get_type_name()} here, not in {precision}; give --precision fp32")
