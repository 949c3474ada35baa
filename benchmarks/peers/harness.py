"""Runs one peer on one scene, in the peer's own environment: ``python -P harness.py '<job as JSON>'``.

The last line on stdout is JSON: seconds (without imports and model loading) and peak bytes. Needs torch, SMP, OpenVINO
and what the peer brings, nothing of geoseg.

An adapter is a file beside this one with ``PACKAGES`` (what to install), ``CASES`` (its ways of predicting), ``edges``
(where its tiles begin and end) and ``prepare(job, network)``, which imports and loads everything and returns the call
that is timed: scene in, raster of class indices out.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import torch
from torch import nn

CLASSES = 7


@dataclass(frozen=True, slots=True)
class Job:
    """One run.

    Attributes:
        adapter: File of the peer's adapter.
        case: One of the adapter's ``CASES``.
        kind: ``torch``: the network in float32; ``openvino``: the same, converted, in bfloat16; ``cheap``: a 1×1
            convolution in its stead.
        scene: uint8 RGB GeoTIFF, every pixel valid.
        output: Raster of class indices 0..6 to write.
        network: Folder of the network's files.
        work: An empty folder.
        tile: Side of a network input.
        overlap: Pixels that neighbouring tiles share.
        batch: Tiles per call of the network.
    """

    adapter: str
    case: str
    kind: str
    scene: str
    output: str
    network: str
    work: str
    tile: int
    overlap: int
    batch: int


class Raw(nn.Module):
    """Takes pixels as they are stored (B, 3, H, W), uint8 or float32; gives logits (B, 7, H, W)."""

    def __init__(self, network: nn.Module, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32)[None, :, None, None])
        inverse = 1 / torch.tensor(std, dtype=torch.float64)
        self.register_buffer("inverse", inverse.to(torch.float32)[None, :, None, None])

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.network((pixels.float() - self.mean) * self.inverse)


class OpenVino(nn.Module):
    """The converted network in bfloat16, looking like torch: what a peer's user could put under it.

    A batch of one uses all cores for its tile; the tiles of larger ones go through two streams side by side.
    """

    def __init__(self, file: Path) -> None:
        super().__init__()
        import openvino

        self._core = openvino.Core()
        self._model = self._core.read_model(file)
        self._queues: dict[tuple[int, ...], Any] = {}

    def _queue(self, shape: tuple[int, ...]) -> Any:
        streams = 1 if shape[0] == 1 else 2
        key = (streams, *shape[1:])
        if key not in self._queues:
            import openvino

            self._model.reshape([1, *shape[1:]])
            settings = {
                "INFERENCE_PRECISION_HINT": "bf16",
                "PERFORMANCE_HINT": "LATENCY" if streams == 1 else "THROUGHPUT",
                "NUM_STREAMS": str(streams),
            }
            queue = openvino.AsyncInferQueue(self._core.compile_model(self._model, "CPU", settings), streams)
            queue.set_callback(_keep)
            self._queues[key] = queue
        return self._queues[key]

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits."""
        queue = self._queue(tuple(pixels.shape))
        logits = torch.empty((len(pixels), CLASSES, *pixels.shape[2:]))
        tiles, kept = pixels.float().contiguous().numpy(), logits.numpy()
        for k in range(len(tiles)):
            queue.start_async({0: tiles[k : k + 1]}, kept[k])
        queue.wait_all()
        return logits


def _keep(request: Any, target: Any) -> None:
    target[:] = request.get_output_tensor(0).data[0]


def load_network(folder: str | Path, kind: str) -> nn.Module:
    """The network of a folder; see :class:`Job` for the kinds."""
    folder = Path(folder)
    scaling = json.loads((folder / "network.json").read_text())
    if kind == "openvino":
        return OpenVino(folder / "network.xml").eval()
    if kind == "cheap":
        torch.manual_seed(0)
        return Raw(nn.Conv2d(3, CLASSES, 1), scaling["mean"], scaling["std"]).eval()
    import segmentation_models_pytorch as smp

    network = smp.Unet("resnet34", encoder_weights=None, in_channels=3, classes=scaling["classes"])
    network.load_state_dict(torch.load(folder / "network.pt", weights_only=True))
    return Raw(network, scaling["mean"], scaling["std"]).eval()


def load_adapter(path: str | Path) -> Any:
    """An adapter by its file: its name may be that of the package it uses."""
    spec = spec_from_file_location("adapter", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = module_from_spec(spec)
    sys.modules["adapter"] = module
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Run the job on the command line."""
    # Whoever else runs on this machine must not be the one that goes when memory runs out.
    Path("/proc/self/oom_score_adj").write_text("1000")
    job = Job(**json.loads(sys.argv[1]))
    adapter = load_adapter(job.adapter)
    network: nn.Module | None = None
    if getattr(adapter, "TAKES_NETWORK", True):
        network = load_network(job.network, job.kind)
        with torch.inference_mode():  # the first call of a network is slower than all others
            network(torch.zeros((job.batch, 3, job.tile, job.tile)))
    call: Callable[[], None] = adapter.prepare(job, network)
    start = time.perf_counter()
    call()
    seconds = time.perf_counter() - start
    # VmHWM and not ru_maxrss: the latter starts with what the parent process held.
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    print(json.dumps({"seconds": seconds, "peak": peak}))


if __name__ == "__main__":
    main()
