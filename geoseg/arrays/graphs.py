"""The graph of a lazy map: a task a block, which gets the samples that its tiles show and nothing else."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from operator import getitem
from typing import Any, cast

import dask.array as da
import numpy as np
from dask._task_spec import DataNode, List, Task, TaskRef
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from geoseg.arrays.agreeing import Arithmetic
from geoseg.arrays.blocks import LEAST_TILES, Blocks, advised_chunks, needed, plan_blocks
from geoseg.arrays.plans import ArrayPlan
from geoseg.arrays.tasks import agree, compute_block
from geoseg.inference.job import Job
from geoseg.tiling import Window

_log = logging.getLogger("geoseg")

WARNED_TWICE = 0.5
"""Share of tiles computed twice above which it is said how chunks should be."""


def lazily(planned: ArrayPlan, samples: da.Array) -> da.Array:
    """(…, P, H, W) uint8 planes of a job over (…, C, H, W) samples; nothing is computed, and no pixel read.

    Chunks are those of the samples along rows and columns, neighbours merged where they are small against a tile, and
    one along all others.
    """
    job = planned.job
    blocks = plan_blocks(job, *samples.chunks[-2:])
    _tell(job, blocks)
    name = f"geoseg-{tokenize(samples.name, _identity(planned))}"
    plan = f"{name}-plan"  # a description is small, and still not to be sent with each task
    agreed = f"{name}-agreed"  # one process says what it computes with, and the others see that they do, too
    graph: dict[Any, Any] = {
        plan: DataNode(plan, replace(planned, name=name)),
        agreed: Task(agreed, agree, TaskRef(plan)),
    }
    for (i, j), window in blocks.windows():
        held = needed(job, window)
        for outer in np.ndindex(samples.shape[:-3]):
            at = (*outer, 0, i, j)
            parts = _parts(graph, f"{name}-part", samples, outer, at, held)
            graph[name, *at] = Task(
                (name, *at), _block, TaskRef(plan), TaskRef(agreed), parts, held, window, len(outer)
            )
    chunks = (*((1,) * size for size in samples.shape[:-3]), (len(job.planes),), blocks.heights, blocks.widths)
    dependent = HighLevelGraph.from_collections(name, graph, dependencies=[cast("Any", samples)])
    return da.Array(dependent, name, chunks, meta=np.empty((0,) * samples.ndim, np.uint8))


def _block(plan: ArrayPlan, agreed: Arithmetic, parts: Any, held: Window, window: Window, outer: int) -> Any:
    """A block of the map with as many dimensions of length 1 in front as there are others than bands and pixels."""
    return compute_block(plan, np.block(parts), held, window, agreed)[(None,) * outer]


def _parts(
    graph: dict[Any, Any], name: str, samples: da.Array, outer: tuple[int, ...], at: tuple[int, ...], held: Window
) -> List:
    """What of the chunks of samples a block needs: a task a chunk, for what is not needed should not travel.

    Args:
        graph: Takes the tasks.
        name: Of the tasks.
        samples: (…, C, H, W).
        outer: Position along the first dimensions.
        at: Position of the block.
        held: What of the scene it needs.

    Returns:
        References to them, nested by band, row and column.
    """
    chunks = samples.chunks
    # Position of a chunk along each of the first dimensions, and position in it.
    before = [next(_cuts(sizes, k, k + 1)) for sizes, k in zip(chunks, outer, strict=False)]
    found = []
    for band in range(len(chunks[-3])):
        rows = []
        for row, down in _cuts(chunks[-2], held.row_off, held.row_end):
            line = []
            for col, across in _cuts(chunks[-1], held.col_off, held.col_end):
                source: Any = (samples.name, *(chunk for chunk, _ in before), band, row, col)
                key: Any = (name, *at, band, row, col)
                cut = (*(part.start for _, part in before), slice(None), down, across)
                graph[key] = Task(key, getitem, TaskRef(source), cut)
                line.append(TaskRef(key))
            rows.append(List(*line))
        found.append(List(*rows))
    return List(*found)


def _cuts(sizes: Sequence[int], first: int, end: int) -> Iterator[tuple[int, slice]]:
    """Chunks along an axis that hold any of ``[first, end)``, and what of each does."""
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    k = int(np.searchsorted(bounds, first, side="right")) - 1
    while k < len(sizes) and bounds[k] < end:
        start, stop = int(bounds[k]), int(bounds[k + 1])
        if start < stop:
            yield k, slice(max(first, start) - start, min(end, stop) - start)
        k += 1


def _tell(job: Job, blocks: Blocks) -> None:
    """Say what blocks cost."""
    count = len(blocks.heights) * len(blocks.widths)
    _log.info(
        "%d blocks of up to %d×%d pixels; %.1f %% of the tiles are computed twice",
        count, max(blocks.heights), max(blocks.widths), 100 * blocks.twice,
    )  # fmt: skip
    if blocks.twice > WARNED_TWICE:
        rows, cols = advised_chunks(job)
        better = plan_blocks(job, *(_chunks(*pair) for pair in zip(job.scene.grid.shape, (rows, cols), strict=True)))
        _log.warning(
            "%.0f %% of the tiles are computed twice, because %d blocks of up to %d×%d pixels meet; with "
            ".chunk(y=%d, x=%d) it is %.0f %%",
            100 * blocks.twice, count, max(blocks.heights), max(blocks.widths), rows, cols, 100 * better.twice,
        )  # fmt: skip


def _chunks(size: int, chunk: int) -> tuple[int, ...]:
    """Lengths of chunks along an axis."""
    return tuple(min(chunk, size - first) for first in range(0, size, chunk))


def _identity(plan: ArrayPlan) -> object:
    """All that changes pixels and is not in the samples, as plain values."""
    job = plan.job
    return [
        plan.version, plan.scene.identity, str(plan.scene.missing), str(job.source.grid), LEAST_TILES,
        [m.sha256 for m in job.models], str(job.stats), job.parameters(), str(job.settings),
    ]  # fmt: skip
