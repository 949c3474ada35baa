"""What a job will cost, before it starts: memory, disk, and with a few tiles measured, time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geoseg.disk import estimate_disk
from geoseg.inference.job import Job
from geoseg.inference.network import tiles_of
from geoseg.inference.outputs import confidence_bands
from geoseg.inference.streaming import Walk, network_dtype
from geoseg.inference.wanted import touches_of
from geoseg.memory import require_memory, used_memory
from geoseg.processors import cores
from geoseg.refinement import SIDE, held_rows

if TYPE_CHECKING:
    from geoseg.predictors import Predictor

_MEASURED_TILES = 8

# A compiled network keeps its largest layers for a tile: about so many float32 planes of the tile's size, measured on
# U-Nets with ResNet-34 and EfficientNet encoders.
_LAYER_PLANES = 256

# Batches, finished rows and block caches that wait between the threads.
_WAITING = 192 * 2**20

# A sample may miss what little data there is.
_LEAST_SHARE = 1e-3


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a prediction will cost.

    Attributes:
        tiles: Tiles that cover what is mapped.
        wanted_tiles: Those of them that touch the area of interest; tiles without data cost nothing more.
        parts: Files on disk to go on from.
        valid_share: Share of the pixels that have data, from a sample of the scene.
        memory: Bytes at the peak.
        disk: Bytes of parts and outputs.
        seconds: Expected time; None where no tile was measured.
        backend: What runs the network; None where none was loaded.
        reason: Why.
    """

    tiles: int
    wanted_tiles: int
    parts: int
    valid_share: float
    memory: int
    disk: int
    seconds: float | None = None
    backend: str | None = None
    reason: str | None = None


def estimate_cost(job: Job, predictor: Predictor | None, *, measure: bool = False) -> Estimate:
    """What a job will cost.

    Args:
        job: What is to be computed.
        predictor: What runs the network; its memory is then counted as it is.
        measure: Run a few tiles to tell the time.
    """
    walk = Walk(job.grid, job.around, lambda _: (0, 0), touches_of(job), None)
    tiles, wanted = len(walk.tile_rows) * len(walk.tile_cols), sum(len(walk.cols_of(row)) for row in walk.tile_rows)
    share = max(job.valid_share, _LEAST_SHARE)
    seconds = None
    if measure and predictor is not None:
        seconds = _seconds(job, predictor, wanted * share) + _refining_seconds(job, predictor, share * wanted / tiles)
    # Parts have the pixels that the network sees, outputs those of the scene.
    pixels = max(window.height * window.width for window in (job.area, job.selection.window))
    return Estimate(
        tiles=tiles,
        wanted_tiles=wanted,
        parts=len(job.steps),
        valid_share=share,
        memory=_memory(job),
        disk=estimate_disk(
            round(pixels * share * wanted / tiles), ("labels", *confidence_bands(job.stored, job.legend))
        ),
        seconds=seconds,
        backend=predictor.description if predictor is not None else None,
        reason=predictor.reason if predictor is not None else None,
    )


def require_job_memory(job: Job) -> None:
    """See that the memory of a job is there: before its network is loaded, which is tried on tiles.

    Raises:
        ResourceError: It is not.
    """
    require_memory(_memory(job) - used_memory(), "prediction", "give a smaller --tile-size or --batch")


def _memory(job: Job) -> int:
    """Bytes at the peak: what is there now, the scores of a panel, the rows of the scene, and the network's layers."""
    grid, size, read = job.grid, job.grid.tile_size, job.grid.input_size
    classes = len(job.spec.classes) + (job.settings.mc_samples > 0)
    width = max(step.width for step in job.steps) + 2 * size
    scores = 4 * classes * min(size, grid.height) * width
    samples = np.dtype(network_dtype(job.source)).itemsize + np.dtype(job.source.dtype).itemsize + 1
    # The rows of a tile row are held while those of the next one are read and joined to them.
    rows = 2 * len(job.source.bands) * samples * (read + grid.rows.stride) * (width + 2 * (read - size))
    finished = 4 * len(job.planes) * max(step.height * step.width for step in job.steps)
    layers = 4 * _LAYER_PLANES * read * read
    return used_memory() + scores + rows + finished + layers + _refining(job, classes, width) + _WAITING


def _refining(job: Job, planes: int, width: int) -> int:
    """Bytes of blocks, and of the rows that wait for their halo: twice while others are joined to them."""
    if job.crf is None:
        return 0
    bands, rows = len(job.source.bands), held_rows(job.crf) + job.grid.rows.stride
    held = 2 * 4 * (planes + bands + 1) * rows * (width + 2 * job.crf.halo)
    return held + cores() * job.crf.block_bytes(planes, bands, SIDE)


def _refining_seconds(job: Job, predictor: Predictor, share: float) -> float:
    """Time for refining such a share of the pixels, measured on a few blocks."""
    if job.crf is None:
        return 0.0
    from geoseg.refinement.strips import seconds_per_pixel

    each = seconds_per_pixel(job.crf, predictor.classes, len(job.source.bands), predictor.device)
    return each * share * job.area.height * job.area.width


def _seconds(job: Job, predictor: Predictor, tiles: float) -> float:
    """Time for so many tiles, from a few that are run after one to warm up."""
    samples = tiles_of(job, _MEASURED_TILES)
    if not samples:
        return 0.0
    predictor.submit(samples[0])()
    begin = time.perf_counter()
    waiting = []
    for sample in samples:
        waiting.append(predictor.submit(sample))
        if len(waiting) >= predictor.in_flight:
            waiting.pop(0)()
    for wait in waiting:
        wait()
    return (time.perf_counter() - begin) / len(samples) * tiles
