"""geoseg itself, under the rules of the peers. Its seconds include loading the network: ``predict`` does all of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

PACKAGES: tuple[str, ...] = ()
CASES = ("auto", "fp32", "torch fp32")
TAKES_NETWORK = False

_OPTIONS: dict[str, dict[str, str]] = {
    "auto": {},
    "fp32": {"precision": "fp32"},
    "torch fp32": {"backend": "torch", "precision": "fp32"},
}


def edges(size: int, tile: int, overlap: int) -> list[int]:
    """Where tiles and cores begin and end along an axis."""
    from geoseg.tiling import Axis

    axis = Axis(size, tile, overlap)
    starts = [axis.start(k) for k in range(len(axis))]
    return sorted({*starts, *(start + tile for start in starts), *(axis.core(k)[0] for k in range(len(axis)))})


def prepare(job: Any, network: Any) -> Callable[[], None]:
    """See harness.py. A prediction of one tile imports everything and fills the cache of converted networks."""
    del network
    import rasterio
    from rasterio.windows import Window

    import geoseg

    model = Path(job.network) / ("cheap.safetensors" if job.kind == "cheap" else "model.safetensors")
    first = Path(job.work) / "one_tile.tif"
    with rasterio.open(job.scene) as scene:
        side = min(job.tile, scene.height, scene.width)
        profile = scene.profile | {"height": side, "width": side}
        with rasterio.open(first, "w", **profile) as file:
            file.write(scene.read(window=Window(0, 0, side, side)))

    def run(scene: str, output: str) -> None:
        geoseg.predict(scene, model, output, tile_size=job.tile, overlap=job.overlap, **_OPTIONS[job.case])

    run(str(first), str(Path(job.work) / "one_tile_landcover.tif"))
    return lambda: run(job.scene, job.output)
