"""Networks under torch: CPU, CUDA and MPS."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import torch
from torch import nn

from geoseg.errors import ResourceError
from geoseg.predictors.dropout import SampledNetwork
from geoseg.predictors.folding import folded
from geoseg.predictors.machine import device_name
from geoseg.predictors.networks import TileNetwork
from geoseg.predictors.options import Loaded
from geoseg.predictors.tiles import Tiles, Wait, check_shape, damaged

_log = logging.getLogger("geoseg")

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# A batch is made twice as large as long as that makes tiles this much faster.
_WORTH_GROWING = 1.05
_LARGEST_BATCH = 64


class TorchBackend:
    """One network on one device.

    A CPU runs every tile alone: that is fastest there, and no bit of a score depends on its neighbours in the batch.

    Args:
        loaded: What to run.
        device: Where.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        tile_size: Side of the tiles in pixels.
        sides: See :class:`TileNetwork`.
        reason: Why this backend.
        samples: Passes of Monte Carlo dropout; 0 is none.

    Raises:
        ModelError: Samples are asked for but the network has no dropout.
    """

    def __init__(
        self,
        loaded: Loaded,
        device: torch.device,
        precision: str,
        tile_size: int,
        sides: tuple[int, ...],
        reason: str,
        *,
        samples: int = 0,
    ) -> None:
        graph = TileNetwork(
            loaded,
            lean_network(loaded),
            tile_size,
            sides,
            dtype=DTYPES[precision],
            channels_last=device.type != "mps",
        )
        self._graph = (SampledNetwork(graph, samples, loaded.spec.name) if samples else graph).to(device)
        self._samples = samples
        self._spec = loaded.spec
        self._told = False
        self.device = device
        self.classes = len(loaded.spec.classes)
        self.planes = self.classes + (samples > 0)
        self.reason = reason
        dropout = f", {samples} samples of Monte Carlo dropout" if samples else ""
        self.description = f"torch {torch.__version__}, {precision}{dropout} on {device_name(device)}"
        self.identity: dict[str, object] = {
            "backend": "torch",
            "version": str(torch.__version__),
            "precision": precision,
            "device": device.type,
            "model": loaded.hash,
            "sides": list(sides),
            "mc": samples,
        }
        if device.type == "cpu":  # its convolutions and its softmax cut their sums by the number of threads
            self.identity["threads"] = torch.get_num_threads()
        self.best_batch = 1
        self.in_flight = 1 if device.type == "cpu" else 2

    def submit(self, tiles: Tiles) -> Wait:
        """See :class:`~geoseg.predictors.Predictor`."""
        if self.device.type == "cpu":
            return self._submit_parts(tiles, 1)
        try:
            return self.run(tiles)
        except torch.OutOfMemoryError as error:
            if len(tiles) == 1:
                raise ResourceError(
                    f"a tile of {tiles.values.shape[2]} px does not fit into the memory of {self.device}; "
                    "give a smaller --tile-size, or --device cpu"
                ) from error
        torch.cuda.empty_cache()
        half = -(-len(tiles) // 2)
        if not self._told:
            self._told = True
            _log.warning("%d tiles do not fit into the memory of %s: going on by %d", len(tiles), self.device, half)
        return self._submit_parts(tiles, half)

    def _submit_parts(self, tiles: Tiles, step: int) -> Wait:
        submit = self.run if self.device.type == "cpu" else self.submit
        waits = [submit(tiles.part(i, i + step)) for i in range(0, len(tiles), step)]
        return waits[0] if len(waits) == 1 else lambda: torch.cat([wait() for wait in waits])

    @torch.no_grad()  # and not inference_mode, so that the caller may change what it is given
    def run(self, tiles: Tiles) -> Wait:
        """Begin a batch as it is.

        Raises:
            torch.OutOfMemoryError: It does not fit.
        """
        values, present = self._sent(tiles.values), self._sent(tiles.present)
        keys = (tiles.keys,) if self._samples else ()
        scores = self._graph(values, present, *keys).contiguous()
        check_shape(scores.shape, tiles, self.planes, self._spec)
        finite = torch.isfinite(scores.max())  # a NaN is the largest of all
        if self.device.type != "cuda":
            return lambda: self._checked(scores, finite)
        finite = finite.to("cpu", non_blocking=True)
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record(torch.cuda.current_stream(self.device))

        def wait() -> torch.Tensor:
            done.synchronize()
            return self._checked(scores, finite)

        return wait

    def _sent(self, array: object) -> torch.Tensor:
        tensor = torch.as_tensor(array)
        if self.device.type == "cuda":  # pinned memory is copied while the GPU computes
            return tensor.pin_memory().to(self.device, non_blocking=True)
        return tensor.to(self.device)

    def _checked(self, scores: torch.Tensor, finite: torch.Tensor) -> torch.Tensor:
        if not bool(finite):
            raise damaged(self._spec.name)
        return scores

    def close(self) -> None:
        """Give the memory back."""
        self._graph = self._graph.to("meta")
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def lean_network(loaded: Loaded) -> nn.Module:
    """The network of a model with its batch normalisation folded."""
    network = loaded.network().eval()
    multiple = loaded.spec.stride_multiple
    side = loaded.spec.surroundings.input_size(-(-64 // multiple) * multiple)
    return folded(network, len(loaded.spec.bands), side)


def grow_batch(backend: TorchBackend, samples: Sequence[Tiles]) -> int:
    """Tiles per batch beyond which a GPU gets no faster, measured on tiles of the scene.

    Raises:
        ResourceError: Not even one tile fits.
    """
    if backend.device.type == "cpu" or not samples:
        return 1
    one = samples[0].part(0, 1)
    best, best_rate, batch = 1, _rate(backend, one, 1), 2
    while batch <= _LARGEST_BATCH:
        try:
            rate = _rate(backend, one, batch)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            break
        if rate < _WORTH_GROWING * best_rate:
            break
        best, best_rate, batch = batch, rate, 2 * batch
    return best


def _rate(backend: TorchBackend, tile: Tiles, batch: int) -> float:
    """Tiles a second in batches of so many; the first run, which loads kernels, does not count."""
    tiles = Tiles(tile.values.repeat(batch, 0), tile.present.repeat(batch, 0), tile.keys * batch)
    backend.run(tiles)()
    started = time.perf_counter()
    runs = 3
    for _ in range(runs):
        backend.run(tiles)()
    return runs * batch / (time.perf_counter() - started)
