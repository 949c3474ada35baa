"""Strips to features, several strips at once, in the order of the strips."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.polygons.joining import SeamJoiner
from geoseg.polygons.shapes import Arcs, Fragments, Points
from geoseg.polygons.simplification import simplify_arcs
from geoseg.polygons.smoothing import smooth_arcs
from geoseg.polygons.tracing import trace_strip
from geoseg.vectorization.describing import Described, Describer
from geoseg.vectorization.plan import Plan
from geoseg.vectorization.strips import Strip


@dataclass(frozen=True, slots=True)
class Traced:
    """What is complete now.

    Attributes:
        rows: Rows of the raster that are done.
        batches: Polygons in their order; no batch is empty.
    """

    rows: int
    batches: tuple[Described, ...]


def trace_strips(strips: Iterable[Strip], plan: Plan, describe: Describer, width: int) -> Iterator[Traced]:
    """Features of each strip, those first that lie in it alone, then those of which it was the last."""
    joiner = SeamJoiner(width)
    with _pool(plan.threads) as submit:
        results = _in_order(strips, lambda strip: submit(_trace, strip, plan, describe), plan.threads)
        for strip, (inside, fragments) in results:
            yield Traced(strip.end, (*inside, *describe(joiner.add(fragments))))
    joiner.finish()


def _trace(strip: Strip, plan: Plan, describe: Describer) -> tuple[tuple[Described, ...], Fragments]:
    shapes, fragments = trace_strip(
        strip.labels,
        strip.top,
        last=strip.last,
        confidence=strip.confidence,
        wanted=plan.wanted,
        pin_rows=plan.pin_rows,
        pin_cols=plan.pin_cols,
        shape_arcs=_shaper(strip, plan),
    )
    return describe(shapes), fragments


def _shaper(strip: Strip, plan: Plan) -> Callable[[Arcs, NDArray[np.uint8]], tuple[Points, NDArray[np.int64]]] | None:
    """Simplifies and smooths arcs as planned."""
    if not plan.reshapes:
        return None

    def shape(arcs: Arcs, marks: NDArray[np.uint8]) -> tuple[Points, NDArray[np.int64]]:
        if plan.tolerance > 0:
            arcs = simplify_arcs(
                arcs,
                marks,
                strip.top,
                tolerance=plan.tolerance,
                method=plan.method,
                pin_rows=plan.pin_rows,
                pin_cols=plan.pin_cols,
            )
        if plan.smooth == 0:
            return arcs.points.astype(np.float64), arcs.starts
        return smooth_arcs(arcs, marks, strip.top, iterations=plan.smooth, pin_rows=plan.pin_rows)

    return shape


def _in_order(
    strips: Iterable[Strip], start: Callable[[Strip], Future[tuple[tuple[Described, ...], Fragments]]], threads: int
) -> Iterator[tuple[Strip, tuple[tuple[Described, ...], Fragments]]]:
    """Results in the order of the strips, no more than one strip waiting for each thread."""
    waiting: deque[tuple[Strip, Future[tuple[tuple[Described, ...], Fragments]]]] = deque()
    for strip in strips:
        waiting.append((strip, start(strip)))
        if len(waiting) > threads:
            first, future = waiting.popleft()
            yield first, future.result()
    for first, future in waiting:
        yield first, future.result()


@contextmanager
def _pool(threads: int) -> Iterator[Callable[..., Future[tuple[tuple[Described, ...], Fragments]]]]:
    """Threads that end with the block; on an error what has not begun is dropped."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="trace")
    try:
        yield pool.submit
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
