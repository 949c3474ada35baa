"""geo-inference: ``GeoInference``, which takes TorchScript and overlaps its tiles by half, whatever is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

PACKAGES = ("geo-inference",)
CASES = ("half overlap",)


def edges(size: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin and end along an axis."""
    del overlap
    return list(range(0, size, tile // 2))


def prepare(job: Any, network: Any) -> Callable[[], None]:
    """See harness.py."""
    import torch
    from geo_inference.geo_inference import GeoInference

    script = Path(job.work) / "network.pt"
    # What cannot be TorchScript is put in its place below.
    traced = network if job.kind != "openvino" else torch.nn.Conv2d(3, 7, 1)
    example = torch.zeros((1, 3, job.tile, job.tile), dtype=torch.uint8 if job.kind != "openvino" else torch.float32)
    with torch.inference_mode():
        torch.jit.save(torch.jit.trace(traced, example), script)
    inference = GeoInference(model=str(script), work_dir=job.work, device="cpu", num_classes=7)
    if job.kind == "openvino":
        inference.model = network
    with torch.inference_mode():
        for _ in range(2):  # TorchScript optimises itself in its first calls
            inference.model(torch.zeros((1, 3, job.tile, job.tile), dtype=torch.uint8))

    def run() -> None:
        name = inference(inference_input=job.scene, patch_size=job.tile)
        (Path(job.work) / name).replace(job.output)

    return run
