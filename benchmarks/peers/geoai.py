"""GeoAI: ``predict_geotiff``, which blends what the network gives, and ``semantic_inference_on_geotiff``.

The former is asked for one band of class indices, not for seven of scores: every peer writes the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

PACKAGES = ("geoai-py",)
CASES = ("predict_geotiff", "semantic_inference")


def edges(size: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin and end along an axis."""
    starts = {min(start, size - tile) for start in range(0, size, tile - overlap)}
    return sorted(starts | {start + tile for start in starts})


def prepare(job: Any, network: Any) -> Callable[[], None]:
    """See harness.py."""
    return _predict_geotiff(job, network) if job.case == "predict_geotiff" else _semantic_inference(job, network)


def _predict_geotiff(job: Any, network: Any) -> Callable[[], None]:
    import torch
    from geoai.inference import predict_geotiff

    def run() -> None:
        predict_geotiff(
            network, job.scene, job.output, tile_size=job.tile, overlap=job.overlap, batch_size=job.batch,
            num_classes=7, output_dtype="uint8", output_nodata=255, preprocess_fn=lambda tile: tile, device="cpu",
            # 30 times as fast as argmax
            postprocess_fn=lambda scores: torch.from_numpy(scores).max(dim=0).indices.numpy(), verbose=False,
        )  # fmt: skip

    return run


def _semantic_inference(job: Any, network: Any) -> Callable[[], None]:
    import torch
    from geoai.train import semantic_inference_on_geotiff

    class Scaled(torch.nn.Module):
        """Undoes the division by 255 that the function insists on."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.network(pixels * 255)

    scaled = Scaled().eval()

    def run() -> None:
        semantic_inference_on_geotiff(
            scaled, job.scene, job.output, window_size=job.tile, overlap=job.overlap, batch_size=job.batch,
            num_channels=3, num_classes=7, device=torch.device("cpu"), quiet=True,
        )  # fmt: skip

    return run
