"""Patches of a strip of labels: its rows as runs of equal labels, and which runs hang together.

Everything after the one look at every pixel works on runs, which are several times fewer: the union-find here (two
passes over runs, He, Chao and Suzuki 2008, DOI 10.1109/TIP.2008.919369) and the borders in
:mod:`geoseg.polygons.tracing`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int32]
Longs = NDArray[np.int64]

# An index that may be negative costs compiled code a comparison each time: a quarter of the time here.
Index = np.uintp


class Runs(NamedTuple):
    """The maximal runs of equal labels of an (h, w) array, row by row; what lies beside the array counts as no data.

    The first run of a row is no data from column -1 on, so that each further one begins at a vertical border, the left
    and right edge of the array included. A row ends with a run that begins at w + 1 and stands for nothing.

    Attributes:
        starts: (R,) int32, first column of each run; it ends where the next one of its row begins.
        labels: (R,) uint8, its label.
        rows: (h + 1,) int64; row i is runs ``rows[i]:rows[i + 1]``.
    """

    starts: Ints
    labels: Bytes
    rows: Longs


def label_strip(labels: Bytes) -> tuple[Ints, int]:
    """Number the patches of (h, w) ``labels``, 4-connected sets of equal labels other than 0.

    Returns:
        (h, w) int32 patch numbers from 1 in the order of the patches' first pixels, row by row, with 0 where the label
        is 0; and how many there are.
    """
    runs = find_runs(labels)
    numbers, roots = number_runs(runs, 0)
    ids = np.empty(labels.shape, np.int32)
    _paint(runs, numbers, ids)
    return ids, len(roots)


def find_runs(labels: Bytes) -> Runs:
    """The runs of (h, w) ``labels``."""
    rows = np.empty(len(labels) + 1, np.int64)
    _count_runs(labels, rows)
    starts, values = np.empty(rows[-1], np.int32), np.empty(rows[-1], np.uint8)
    _fill_runs(labels, rows, starts, values)
    return Runs(starts, values, rows)


def number_runs(runs: Runs, first_row: int) -> tuple[Ints, Ints]:
    """Number the patches of the rows from ``first_row`` on; those before it join nothing.

    Returns:
        (R,) int32 patch of each run from 1 in the order of first pixels, 0 for no data and for rows before
        ``first_row``; and (N,) int32 the first run of each patch.
    """
    parents = np.empty(len(runs.starts), np.int32)
    _join_runs(runs, first_row, parents)
    count = _count_roots(runs, first_row, parents)
    roots = np.empty(count, np.int32)
    _number_roots(runs, first_row, parents, roots)
    return parents, roots


@njit(cache=True, nogil=True)
def _count_runs(labels: Bytes, rows: Longs) -> None:
    height, width = labels.shape
    rows[0] = 0
    for r in range(height):
        row = labels[r]
        changes = 0
        for c in range(1, width):
            changes += row[c] != row[c - 1]
        changes += (row[0] != 0) + (row[width - 1] != 0)
        rows[r + 1] = rows[r] + changes + 2


@njit(cache=True, nogil=True)
def _fill_runs(labels: Bytes, rows: Longs, starts: Ints, values: Bytes) -> None:
    height, width = labels.shape
    for r in range(height):
        row = labels[r]
        n = Index(rows[r])
        starts[n], values[n] = -1, 0
        n += Index(1)
        before = np.uint8(0)
        for c in range(width):  # without a branch: what is no start is overwritten by the next column
            value = row[c]
            starts[n], values[n] = c, value
            n += Index(value != before)
            before = value
        if before:
            starts[n], values[n] = width, 0
            n += Index(1)
        starts[n], values[n] = width + 1, 0


@njit(cache=True, nogil=True)
def _root(parents: Ints, run: int) -> int:
    while parents[Index(run)] != run:
        parents[Index(run)] = parents[Index(parents[Index(run)])]
        run = parents[Index(run)]
    return run


@njit(cache=True, nogil=True)
def _join_runs(runs: Runs, first_row: int, parents: Ints) -> None:
    """Let each run's chain of ``parents`` end at the first run of its patch; a parent is never a later run."""
    starts, labels, rows = runs
    for run in range(len(parents)):
        parents[run] = run
    for r in range(first_row + 1, len(rows) - 1):
        above, below = Index(rows[r - 1]), Index(rows[r])
        last_above, last_below = Index(rows[r] - 1), Index(rows[r + 1] - 1)  # the runs that stand for nothing
        while above < last_above and below < last_below:
            if labels[above] == labels[below] and labels[below] != 0:
                a, b = parents[above], parents[below]
                if a != b:
                    a, b = _root(parents, a), _root(parents, b)
                    parents[Index(max(a, b))] = min(a, b)
            end_above, end_below = starts[above + Index(1)], starts[below + Index(1)]
            above += Index(end_above <= end_below)
            below += Index(end_below <= end_above)


@njit(cache=True, nogil=True)
def _count_roots(runs: Runs, first_row: int, parents: Ints) -> int:
    count = 0
    for run in range(runs.rows[first_row], len(parents)):
        count += (parents[run] == run) and (runs.labels[run] != 0)
    return count


@njit(cache=True, nogil=True)
def _number_roots(runs: Runs, first_row: int, parents: Ints, roots: Ints) -> None:
    """Turn ``parents`` into patch numbers, in place: a parent stands before its runs and has its number already."""
    first = runs.rows[first_row]
    count = 0
    for run in range(first):
        parents[run] = 0
    for run in range(first, len(parents)):
        if runs.labels[run] == 0:
            parents[run] = 0
        elif parents[run] == run:
            roots[count] = run
            count += 1
            parents[run] = count
        else:
            parents[run] = parents[parents[run]]


@njit(cache=True, nogil=True)
def _paint(runs: Runs, numbers: Ints, ids: Ints) -> None:
    starts, _, rows = runs
    height, width = ids.shape
    for r in range(height):
        row = ids[r]
        for run in range(rows[r], rows[r + 1] - 1):
            number = numbers[run]
            for c in range(max(0, starts[run]), min(width, starts[run + 1])):
                row[c] = number
