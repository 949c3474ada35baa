"""TerraTorch: ``terratorch.tasks.tiled_inference.tiled_inference`` on the scene as one tensor, with its defaults.

It neither reads nor writes rasters there; that is rasterio's part here, as it would be its user's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

PACKAGES = ("terratorch",)
CASES = ("tiled_inference",)

# What it cuts off each side of a tile by default, and pads the scene with.
_DELTA = 8


def edges(size: int, tile: int, overlap: int) -> list[int]:
    """Where what is left of the tiles begins and ends along an axis."""
    padded = size + 2 * _DELTA
    starts = {*range(0, padded - tile - 1, tile - overlap), padded - tile}
    return sorted(starts | {start + tile - 2 * _DELTA for start in starts})


def prepare(job: Any, network: Any) -> Callable[[], None]:
    """See harness.py."""
    import rasterio
    import torch
    from terratorch.tasks.tiled_inference import tiled_inference

    def run() -> None:
        with rasterio.open(job.scene) as scene:
            pixels, profile = torch.from_numpy(scene.read()).float(), scene.profile
        logits = tiled_inference(
            network, pixels[None], crop=job.tile, stride=job.tile - job.overlap, delta=_DELTA, batch_size=job.batch
        )
        labels = logits.max(dim=1).indices[0].to(torch.uint8)  # 30 times as fast as argmax
        with rasterio.open(job.output, "w", **profile | {"count": 1, "photometric": None}) as file:
            file.write(labels.numpy(), 1)

    return run
