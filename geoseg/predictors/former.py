"""Normalised tiles in, class probabilities out: the plain call, for networks that are at hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from geoseg.config import ModelSpec
from geoseg.errors import ModelError, ParameterError, ResourceError

Float = npt.NDArray[np.float32]


class TorchPredictor:
    """Runs a network under torch in float32, channels last.

    Args:
        model: Maps (B, C, T, T) to logits (B, K, T, T).
        spec: What the network was trained for.
        device: A torch device, or ``auto``: CUDA, else MPS, else CPU.

    Raises:
        ParameterError: The device does not exist here.
    """

    def __init__(self, model: nn.Module, spec: ModelSpec, device: str = "auto") -> None:
        self._device = _device(device)
        self._model = model.eval().to(self._device).to(memory_format=torch.channels_last)
        self._spec = spec

    @property
    def description(self) -> str:
        """What runs where."""
        name = torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else self._device.type
        return f"torch {torch.__version__} on {name}, fp32"

    @property
    def best_batch(self) -> int:
        """1 on a CPU, where larger batches are slower; 8 on a GPU."""
        return 1 if self._device.type == "cpu" else 8

    @torch.inference_mode()
    def __call__(self, tiles: Float) -> Float:
        """Class probabilities (B, K, T, T) float32 of normalised (B, C, T, T) float32 tiles.

        Raises:
            ModelError: The network changes the tile's size, has another number of classes, or gives NaN.
            ResourceError: A batch does not fit into memory.
        """
        # A CPU is fastest tile by tile, and then no bit of a score depends on its neighbours in the batch.
        step = 1 if self._device.type == "cpu" else len(tiles)
        try:
            parts = [self._run(tiles[i : i + step]) for i in range(0, len(tiles), step)]
        except torch.OutOfMemoryError as error:
            raise ResourceError(
                f"{step} tiles of {tiles.shape[2]} px do not fit into the memory of {self._device}; "
                f"give a smaller --batch or --tile-size"
            ) from error
        result = parts[0] if len(parts) == 1 else np.concatenate(parts)
        self._check(tiles, result)
        return result

    def _run(self, tiles: Float) -> Float:
        batch = torch.from_numpy(tiles).to(self._device, memory_format=torch.channels_last)
        scores = torch.softmax(self._model(batch) / self._spec.temperature, dim=1)
        result: Float = scores.to("cpu", memory_format=torch.contiguous_format).numpy()
        return result

    def _check(self, tiles: Float, scores: Float) -> None:
        expected = (len(tiles), len(self._spec.classes), *tiles.shape[2:])
        if scores.shape != expected:
            raise ModelError(
                f"model {self._spec.name!r} gave scores of shape {scores.shape} for tiles of {tiles.shape}, "
                f"expected {expected}"
            )
        if not np.isfinite(scores.sum(dtype=np.float64)):
            raise ModelError(f"model {self._spec.name!r} gave NaN or infinite scores; its weights are damaged")


def _device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda", "mps"):
            raise ParameterError(f"device {name!r} runs no network; give auto, cpu, cuda, cuda:1 or mps")
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ParameterError(f"device {name!r} cannot be used here ({str(error).splitlines()[0]}); try cpu") from error
    return device
