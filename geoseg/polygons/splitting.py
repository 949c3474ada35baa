"""Rings that meet themselves become simple rings.

A 4-connected patch can touch itself where two of its pixels meet at a corner only. Its ring, traced with the patch on
the left and turning left there, then passes that point twice, without crossing itself: the two visits of one point
either enclose those of another or lie apart, like brackets. So one walk with a stack takes the ring apart.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from geoseg.polygons.shapes import Offsets, Points


@njit(cache=True, nogil=True)
def split_ring(points: Points, start: int, stop: int, touches: list[int], rings: Offsets, count: int) -> int:
    """Split the ring ``points[start:stop]`` in place where it passes a point twice.

    Args:
        points: (V, 2) x, y.
        start: First vertex of the ring.
        stop: End of the ring.
        touches: Which of its vertices, from 0, lie at points that it may pass twice; whole numbers are expected there.
        rings: ``rings[i + 1]`` receives the end of ring ``i``.
        count: Rings so far; the first new one gets this number.

    Returns:
        Rings now; -1 if the ring crosses itself.
    """
    partner = np.empty(0, np.int64)
    pairs = 0
    if len(touches) > 1:
        partner = np.full(stop - start, -1, np.int64)
        pairs = _pair(points, start, touches, partner)
    if pairs == 0:
        rings[count + 1] = stop
        return count + 1
    ring = points[start:stop].copy()
    stack, place = np.empty(len(ring), np.int64), np.full(len(ring), -1, np.int64)
    at, depth = start, 0
    for i in range(len(ring)):
        earlier = partner[i]
        if earlier >= 0:
            base = place[earlier]
            if base >= depth or stack[base] != earlier:
                return -1
            at = _put(points, at, ring, stack[base:depth])
            count += 1
            rings[count] = at
            depth = base
        place[i] = depth
        stack[depth] = i
        depth += 1
    rings[count + 1] = _put(points, at, ring, stack[:depth])
    return count + 1


@njit(cache=True, nogil=True)
def _pair(points: Points, start: int, touches: list[int], partner: npt.NDArray[np.int64]) -> int:
    """Enter for the later of two visits of one point the earlier one; the number of such pairs."""
    keys = np.empty(len(touches), np.int64)
    for k in range(len(touches)):
        x, y = points[start + touches[k]]
        keys[k] = (np.int64(y) << 32) + np.int64(x)
    order = np.argsort(keys)
    pairs = 0
    for k in range(1, len(order)):
        if keys[order[k]] == keys[order[k - 1]]:
            a, b = touches[order[k]], touches[order[k - 1]]
            partner[max(a, b)] = min(a, b)
            pairs += 1
    return pairs


@njit(cache=True, nogil=True)
def _put(points: Points, at: int, ring: Points, chosen: npt.NDArray[np.int64]) -> int:
    for k in chosen:
        points[at, 0], points[at, 1] = ring[k, 0], ring[k, 1]
        at += 1
    return at
