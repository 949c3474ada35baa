"""What is known of the patches of a strip: sums over their runs."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geoseg.polygons.labelling import Ints, Longs, Runs
from geoseg.polygons.shapes import CONFIDENCE_UNIT, PatchTable

Float = NDArray[np.float32]


def describe_patches(
    runs: Runs, numbers: Ints, roots: Ints, top: int, width: int, confidence: Float | None
) -> PatchTable:
    """The table of all patches of a strip.

    Args:
        runs: Of the row above the strip and of its rows.
        numbers: (R,) patch of each run from 1, 0 for no data.
        roots: (N,) first run of each patch.
        top: First row of the strip.
        width: Columns.
        confidence: (h, W) 0..1, NaN where there is none.
    """
    pixels, first, sums, counts = (np.zeros(len(roots), np.int64) for _ in range(4))
    _sum_runs(runs, numbers, roots, top, width, pixels, first)
    if confidence is not None:
        _sum_confidence(runs, numbers, confidence, sums, counts)
    return PatchTable(runs.labels[roots], pixels, first, sums, counts)


@njit(cache=True, nogil=True)
def _sum_runs(runs: Runs, numbers: Ints, roots: Ints, top: int, width: int, pixels: Longs, first: Longs) -> None:
    starts, _, rows = runs
    found = 0
    for r in range(1, len(rows) - 1):
        for run in range(rows[r], rows[r + 1] - 1):
            if numbers[run] > 0:
                pixels[numbers[run] - 1] += starts[run + 1] - starts[run]
        while found < len(roots) and roots[found] < rows[r + 1]:
            first[found] = (top + r - 1) * width + starts[roots[found]]
            found += 1


@njit(cache=True, nogil=True)
def _sum_confidence(runs: Runs, numbers: Ints, confidence: Float, sums: Longs, counts: Longs) -> None:
    starts, _, rows = runs
    unit = np.float32(CONFIDENCE_UNIT)
    for r in range(1, len(rows) - 1):
        row = confidence[r - 1]
        for run in range(rows[r], rows[r + 1] - 1):
            if numbers[run] > 0:
                total, count = np.int64(0), np.int64(0)
                for c in range(starts[run], starts[run + 1]):
                    there = row[c] == row[c]
                    total += np.int32(np.rint(row[c] * unit if there else np.float32(0)))
                    count += there
                sums[numbers[run] - 1] += total
                counts[numbers[run] - 1] += count
