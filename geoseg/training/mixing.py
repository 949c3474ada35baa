"""Chips put together from several chips of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from geoseg.training.draws import Draws
from geoseg.training.geometry import ChipBatch

Patch = tuple[int, slice, slice]
"""Which chip of the batch, and its rows and columns."""


def mosaic(chips: ChipBatch, probability: float, draws: Draws) -> ChipBatch:
    """Put each chip, with ``probability``, together from itself and three others, which meet in a random point.

    Every part stays at its place within the chip. The point lies in the middle half of the chip, either way, so that no
    part is a sliver. In a batch of less than four, others come more than once; a single chip stays as it is.
    """
    count, (height, width) = len(chips.pixels), chips.pixels.shape[-2:]
    if count < 2:
        return chips
    chosen = draws.happens(probability, count)
    rows, cols = (draws.numbers(n / 4, 3 * n / 4, count) for n in (height, width))
    others = [_others(chip, count, draws) for chip in range(count)]

    def patches(chip: int) -> Iterator[Patch]:
        row, col = round(rows[chip]), round(cols[chip])
        parts = [
            (slice(0, row), slice(col, None)),
            (slice(row, None), slice(0, col)),
            (slice(row, None), slice(col, None)),
        ]
        for number, (part_rows, part_cols) in enumerate(parts):
            yield others[chip][number % (count - 1)], part_rows, part_cols

    return _paste(chips, chosen, patches)


def cutmix(chips: ChipBatch, probability: float, draws: Draws) -> ChipBatch:
    """Paste, with ``probability``, a rectangle of another chip, labels and all, into each chip.

    Yun et al. 2019, "CutMix", https://arxiv.org/abs/1905.04899, section 3.1: the rectangle's share of the area is
    uniform in 0..1 before it is cut off at the borders, its sides are as the chip's, its centre is anywhere. A single
    chip stays as it is.
    """
    count, (height, width) = len(chips.pixels), chips.pixels.shape[-2:]
    if count < 2:
        return chips
    chosen = draws.happens(probability, count)
    areas, rows, cols = (draws.numbers(0, 1, count) for _ in range(3))
    others = [_others(chip, count, draws)[0] for chip in range(count)]

    def patches(chip: int) -> Iterator[Patch]:
        half = areas[chip] ** 0.5 / 2
        yield others[chip], _cut(rows[chip], half, height), _cut(cols[chip], half, width)

    return _paste(chips, chosen, patches)


def _others(chip: int, count: int, draws: Draws) -> list[int]:
    """The other chips of the batch in random order."""
    order = draws.numbers(0, 1, count)
    return sorted((other for other in range(count) if other != chip), key=order.__getitem__)


def _cut(centre: float, half: float, size: int) -> slice:
    """Pixels of a side between shares of it, cut off at its ends."""
    return slice(max(0, round((centre - half) * size)), min(size, round((centre + half) * size)))


def _paste(chips: ChipBatch, chosen: Sequence[bool], patches: Callable[[int], Iterator[Patch]]) -> ChipBatch:
    """New chips with the patches of those chosen; patches come from the chips as they were."""
    mixed = ChipBatch(*(planes.clone() for planes in chips))
    for chip, is_chosen in enumerate(chosen):
        for other, rows, cols in patches(chip) if is_chosen else ():
            for new, old in zip(mixed, chips, strict=True):
                new[chip, ..., rows, cols] = old[other, ..., rows, cols]
    return mixed
