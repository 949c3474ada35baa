"""How much of a prediction a GPU spends computing: kernels on the device against the time from first to last.

usage: python benchmarks/gpu.py [--quick] [--precision auto|fp32|bf16|fp16 ...] [--repeat N]

Kernel times come from torch's profiler, which reads them from the driver. Says so and ends well where there is no GPU.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from common import parse, say, table
from scenes import make_network, make_scene

GOAL = 0.9
"""Share of the time that the GPU is to compute."""


def measure(scene: Path, model: Path, output: Path, precision: str, sizes: Any) -> list[object]:
    """One row: a prediction under the profiler, after one that warms up."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    import geoseg

    options: dict[str, Any] = {
        "device": "cuda", "precision": precision, "tile_size": sizes.tile, "overlap": sizes.overlap, "overwrite": True,
    }  # fmt: skip
    geoseg.predict(scene, model, output, **options)
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        done = geoseg.predict(scene, model, output, **options)
    torch.cuda.synchronize()
    busy = covered((e.time_range.start, e.time_range.end) for e in profiler.events() if e.device_type.name == "CUDA")
    shares = ", ".join(f"{stage} {100 * share:.0f} %" for stage, share in done.shares.items())
    mpx = (sizes.scene**2) / 1e6
    return [precision, done.seconds, mpx / done.seconds, f"{busy / 1e6 / done.seconds:.2f}", GOAL, shares, done.backend]


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Length of the union of intervals."""
    total = end = 0.0
    for start, stop in sorted(spans):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), action="append")
    parser.add_argument("--repeat", type=int, default=3)


def main() -> None:
    """Run and print."""
    args = parse(__doc__, _options)
    import torch

    if not torch.cuda.is_available():
        say("no CUDA device: nothing was measured")
        return
    scene = make_scene(args.folder, "synthetic", args.sizes, args.sizes.scene, args.sizes.scene)
    model = make_network(args.folder, "synthetic", args.sizes) / "model.safetensors"
    rows = [
        measure(scene, model, args.folder / "gpu.tif", precision, args.sizes)
        for precision in args.precision or ("fp32", "bf16")
        for _ in range(args.repeat)
    ]
    print(f"\n## A GPU: {torch.cuda.get_device_name()}")
    table(["precision", "s", "Mpx/s", "share that the GPU computes", "goal", "busy", "ran"], rows)


if __name__ == "__main__":
    main()
