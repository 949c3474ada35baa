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
class TracedStrip:
    """What a strip gives by itself.

    Attributes:
        end: First row below it.
        inside: Polygons that lie in it, in their order; no batch is empty.
        rest: What goes on in other strips.
    """

    end: int
    inside: tuple[Described, ...]
    rest: Fragments


def trace_strips(strips: Iterable[Strip], plan: Plan, describe: Describer) -> Iterator[TracedStrip]:
    """Each strip by itself, in their order."""
    with _pool(plan.threads) as submit:
        yield from _in_order(strips, lambda strip: submit(_trace, strip, plan, describe), plan.threads)


def join_strips(strips: Iterable[TracedStrip], describe: Describer, width: int) -> Iterator[tuple[Described, ...]]:
    """Features of all strips of a raster, those first that lie in one alone, then those of which it was the last."""
    joiner = SeamJoiner(width)
    for strip in strips:
        yield (*strip.inside, *describe(joiner.add(strip.rest)))
    joiner.finish()


def _trace(strip: Strip, plan: Plan, describe: Describer) -> TracedStrip:
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
    return TracedStrip(strip.end, describe(shapes), fragments)


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
    strips: Iterable[Strip], start: Callable[[Strip], Future[TracedStrip]], threads: int
) -> Iterator[TracedStrip]:
    """Results in the order of the strips, no more than one strip waiting for each thread."""
    waiting: deque[Future[TracedStrip]] = deque()
    for strip in strips:
        waiting.append(start(strip))
        if len(waiting) > threads:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@contextmanager
def _pool(threads: int) -> Iterator[Callable[..., Future[TracedStrip]]]:
    """Threads that end with the block; on an error what has not begun is dropped."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="trace")
    try:
        yield pool.submit
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
