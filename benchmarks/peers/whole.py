"""The reference: the network applied to the whole scene at once, torch in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

PACKAGES: tuple[str, ...] = ()
CASES = ("whole",)


def edges(size: int, tile: int, overlap: int) -> list[int]:
    """There is no border inside the scene."""
    del size, tile, overlap
    return []


def prepare(job: Any, network: Any) -> Callable[[], None]:
    """See harness.py."""
    import rasterio
    import torch

    @torch.inference_mode()
    def run() -> None:
        with rasterio.open(job.scene) as scene:
            pixels, profile = torch.from_numpy(scene.read()), scene.profile
        labels = network(pixels[None]).max(dim=1).indices[0].to(torch.uint8)
        with rasterio.open(job.output, "w", **profile | {"count": 1, "photometric": None}) as file:
            file.write(labels.numpy(), 1)

    return run
