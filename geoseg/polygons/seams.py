"""What of a strip goes on beyond it: patches at its first and last row."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geoseg.polygons.labelling import Ints, Runs

Flags = NDArray[np.bool_]


class Seams(NamedTuple):
    """How patches of a strip meet the strips around it.

    Attributes:
        above: (U,) int32 first columns of the runs of wanted labels in the row above.
        numbers: (R0,) int32 for every run of that row its place in ``above``; -1 for none.
        joins: (J, 2) int32 place in ``above``, and number from 1 of the patch of this strip that goes on there.
        is_open: (N + 1,) bool, patches that go on above or below, by their number.
    """

    above: Ints
    numbers: Ints
    joins: Ints
    is_open: Flags


def find_seams(runs: Runs, numbers: Ints, count: int, wanted: Flags, *, last: bool) -> Seams:
    """The seams of a strip.

    Args:
        runs: Of the row above the strip and of its rows.
        numbers: (R,) patch of each run from 1, 0 for no data.
        count: Patches of the strip, N.
        wanted: (256,) the labels that count; that of no data is False.
        last: No strip follows.
    """
    upper, lower = runs.rows[1], runs.rows[2]
    chosen = wanted[runs.labels[:upper]]
    places = np.where(chosen, np.cumsum(chosen, dtype=np.int32) - 1, -1).astype(np.int32)
    joins = np.empty((lower, 2), np.int32)
    joins = joins[: _find_joins(runs, numbers, places, joins)].copy()
    is_open = np.zeros(count + 1, np.bool_)
    is_open[joins[:, 1]] = True
    if not last:
        in_last_row = slice(int(runs.rows[-2]), int(runs.rows[-1]))
        is_open[numbers[in_last_row][wanted[runs.labels[in_last_row]]]] = True
    return Seams(runs.starts[:upper][chosen], places, joins, is_open)


def spread_last_row(runs: Runs, values: Ints, width: int) -> Ints:
    """(W,) the value of its run for every column of the last row; ``values`` are those of the row's runs."""
    starts = runs.starts[runs.rows[-2] : runs.rows[-1]]
    edges = np.clip(starts, 0, width)
    return np.repeat(values[:-1], np.diff(edges))


@njit(cache=True, nogil=True)
def _find_joins(runs: Runs, numbers: Ints, places: Ints, joins: Ints) -> int:
    starts, labels, rows = runs
    above, below = rows[0], rows[1]
    count = 0
    while above < rows[1] - 1 and below < rows[2] - 1:
        if places[above] >= 0 and labels[above] == labels[below]:
            joins[count, 0], joins[count, 1] = places[above], numbers[below]
            count += 1
        end_above, end_below = starts[above + 1], starts[below + 1]
        above += end_above <= end_below
        below += end_below <= end_above
    return count
