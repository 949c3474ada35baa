"""Choosing validation ground among units, blocks or whole sheets, so that its classes follow those of the whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]
Choice = npt.NDArray[np.bool_]

_DRAWS = 240
_MOST_LINES = 16

# What a draw costs, in units of the Kullback-Leibler divergence (nats) of class shares.
_CLASS_MISSING = 10.0
_SHARE_OFF = 1.0
_GROUND_LOST = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """What is chosen from.

    Attributes:
        classes: (N, K) pixels of each class in each unit.
        neighbours: (E, 2) numbers of units that lie side by side, or on one another.
        between: (E,) pixels that neither side can use where only one of two neighbours is chosen.
        positions: (N, 2) rows and columns of the units in their sheets.
    """

    classes: Floats
    neighbours: Numbers
    between: Floats
    positions: Floats


def draw_choices(units: Units, share: float, rng: np.random.Generator) -> list[Choice]:
    """Random choices of about ``share`` of the labelled ground, the best first.

    A choice is better the closer the class shares of either side are to those of all units, the less ground is lost
    around it, and the closer it is to the wanted share; a class that occurs in two units should be on both sides.

    Args:
        units: With labels; at least two of them.
        share: Between 0 and 1.
        rng: All the chance there is.

    Returns:
        (N,) bool each, with at least one unit chosen and one not.
    """
    drawn = [*_sweeps(units, share), *(_prefix(units, order, share) for order in _orders(units, rng))]
    choices = np.unique(np.array(drawn), axis=0)
    costs = np.array([_cost(units, choice, share) for choice in choices])
    return [choices[i] for i in np.argsort(costs, kind="stable")]


def _sweeps(units: Units, share: float) -> Iterator[Choice]:
    """Whole rows or columns of units along each side of the sheets, of the wanted share and thinner.

    That loses the least ground: where sheets are small, nothing else leaves room for chips.
    """
    for positions in units.positions.T:
        for sign in (1, -1):
            order = np.argsort(sign * positions, kind="stable")
            ends = np.flatnonzero(np.diff(positions[order]))[:_MOST_LINES]
            for count in range(1, len(ends) + 1):
                yield _prefix(units, order, share, ends[:count])


def _orders(units: Units, rng: np.random.Generator) -> Iterator[Numbers]:
    """Orders of all units: some at random, some so that neighbours come close to each other."""
    count = len(units.classes)
    a, b = units.neighbours.reshape(-1, 2).T
    number = np.bincount(np.concatenate([a, b]), minlength=count) + 1
    for draw in range(_DRAWS):
        level = rng.random(count)
        for _ in range(draw % 4 * 2):
            level = (level + np.bincount(a, level[b], count) + np.bincount(b, level[a], count)) / number
        yield np.argsort(level, kind="stable")


def _prefix(units: Units, order: Numbers, share: float, ends: Numbers | None = None) -> Choice:
    """The first units of an order that come closest to the wanted share; the last one is one of ``ends``."""
    shares = np.cumsum(units.classes[order].sum(axis=1))
    ends = np.arange(len(order) - 1) if ends is None else ends
    last = int(ends[np.argmin(np.abs(shares[ends] / shares[-1] - share))])
    chosen = np.zeros(len(order), np.bool_)
    chosen[order[: last + 1]] = True
    return chosen


def _cost(units: Units, chosen: Choice, share: float) -> float:
    whole = units.classes.sum(axis=0)
    sides = units.classes[chosen].sum(axis=0), units.classes[~chosen].sum(axis=0)
    frequent = (units.classes > 0).sum(axis=0) >= 2
    missing = sum(int((side[frequent] <= 0).sum()) for side in sides)
    off = abs(sides[0].sum() / whole.sum() - share)
    a, b = units.neighbours.reshape(-1, 2).T
    lost = units.between[chosen[a] != chosen[b]].sum() / whole.sum()
    apart = sum(_divergence(side, whole) for side in sides)
    return float(_CLASS_MISSING * missing + _SHARE_OFF * off + _GROUND_LOST * lost + apart)


def _divergence(side: Floats, whole: Floats) -> float:
    """Kullback-Leibler divergence of the class shares of one side from those of the whole, in nats."""
    p, q = side / side.sum(), whole / whole.sum()
    there = p > 0
    return float((p[there] * np.log(p[there] / q[there])).sum())
