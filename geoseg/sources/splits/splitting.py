"""Dividing labelled ground into what is trained on and what is kept to judge the model, so that neither sees the other.

Neighbouring pixels resemble each other: a model that is judged on ground right beside its chips looks better than it is
(Roberts et al. 2017, "Cross-validation strategies for data with temporal, spatial, hierarchical, or phylogenetic
structure", Ecography 40). So validation ground comes in blocks with a buffer around, or as whole sheets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from geoseg.config.training import SplitConfig
from geoseg.errors import ParameterError
from geoseg.sources.footprints import Footprints
from geoseg.sources.ground import Positions, free_rectangles, grown
from geoseg.sources.splits.blocks import ClassGround, block_neighbours, block_windows
from geoseg.sources.splits.choosing import Choice, Units, draw_choices
from geoseg.sources.splits.records import SheetSplit, Split, Way
from geoseg.sources.surveys import Survey
from geoseg.sources.values import Source
from geoseg.tiling import Window

__all__ = ["SheetSplit", "Split", "make_split"]

# Blocks of the default size become smaller where sheets are too small for them, but not than this part of a chip.
_SMALLEST_BLOCK = 0.25

# How far the share of the validation ground may be off before smaller blocks are tried, as a part of the share.
_TOLERANCE = 0.4

Judged = Mapping[int, Sequence[Window]]
"""Validation windows by the number of their sheet."""


def make_split(source: Source, survey: Survey, config: SplitConfig, chip_size: int) -> Split:
    """Divide the labelled ground of a source.

    Identity: no chip that the result allows shares ground with a validation window of any sheet, as far as the places
    of the sheets are known. The same arguments give the same result.

    Args:
        source: Labelled imagery.
        survey: What was seen in it.
        config: How to divide it.
        chip_size: Side of the chips in pixels.

    Raises:
        ParameterError: No sheet has labels; one side is left without ground; or no chip fits beside the validation
            ground: names sizes and remedy.
    """
    job = _Job(source, survey, config, chip_size)
    if not job.usable:
        raise ParameterError(f"none of the {len(source.sheets)} sheets of {source.name} has a labelled pixel")
    way = _choose_way(job)
    return _WAYS[way](job, way)


class _Job:
    """What all ways of dividing need to know."""

    def __init__(self, source: Source, survey: Survey, config: SplitConfig, chip_size: int) -> None:
        self.source, self.survey, self.config, self.chip = source, survey, config, chip_size
        self.usable = [i for i in survey.readable if survey.sheets[i].labelled]
        self.footprints = Footprints(source)
        self.buffer = chip_size // 2 if config.buffer is None else config.buffer

    def split(self, way: Way, judged: Judged, train: Iterable[int], block: int | None = None) -> Split | None:
        """The split with this validation ground; None where no chip is left of the training sheets."""
        wanted = set(train)
        sheets = tuple(self._sheet(i, judged, i in wanted) for i in range(len(self.source.sheets)))
        if not any(sheet.trains for sheet in sheets):
            return None
        return Split(way, sheets, block, self.buffer)

    def _sheet(self, number: int, judged: Judged, wanted: bool) -> SheetSplit:
        sheet = self.source.sheets[number]
        validation = tuple(judged.get(number, ()))
        windows = [*validation, *self._covered(number, judged)]
        closed = tuple(dict.fromkeys(grown(w, self.buffer, sheet.height, sheet.width) for w in windows))
        if wanted and self._has_chips(number, closed):
            return SheetSplit("train", validation, closed)
        return SheetSplit("validation" if validation else None, validation, (sheet.window,))

    def _covered(self, number: int, judged: Judged) -> Iterator[Window]:
        """Where a sheet shows validation ground of others."""
        for other in self.footprints.overlapping(number):
            for window in judged.get(other, ()):
                shown = self.footprints.shown(window, other, number)
                if shown is not None:
                    yield shown

    def _has_chips(self, number: int, closed: Sequence[Window]) -> bool:
        sheet = self.source.sheets[number]
        if not closed:
            return True
        if not Positions(sheet.height, sheet.width, closed, self.chip).count:
            return False
        free = free_rectangles(sheet.height, sheet.width, closed)
        ground = ClassGround(sheet.height, sheet.width, self.survey.sheets[number])
        return bool(ground.pixels(free).sum() > 0)


def _choose_way(job: _Job) -> Way:
    """What ``auto`` stands for."""
    if job.config.by != "auto":
        return job.config.by
    sheets = [job.source.sheets[i] for i in job.usable]
    if {"train", "validation"} <= {sheet.role for sheet in sheets}:
        return "dataset"
    block = job.config.block or 2 * job.chip
    several = [
        sheet.height * sheet.width for sheet in sheets if len(block_windows(sheet.height, sheet.width, block)) > 3
    ]
    if 2 * sum(several) >= sum(sheet.height * sheet.width for sheet in sheets):
        return "blocks"
    return "file" if len(sheets) * job.config.validation >= 1 and len(sheets) > 1 else "blocks"


def _by_none(job: _Job, way: Way) -> Split:
    windows = {i: job.source.sheets[i].window for i in job.usable}
    sheets = (SheetSplit("train", (windows[i],)) if i in windows else None for i in range(len(job.source.sheets)))
    whole = [sheet.window for sheet in job.source.sheets]
    return Split(way, tuple(s or SheetSplit(None, (), (w,)) for s, w in zip(sheets, whole, strict=True)))


def _by_role(job: _Job, way: Way) -> Split:
    sides = {role: [i for i in job.usable if job.source.sheets[i].role == role] for role in ("train", "validation")}
    for role, numbers in sides.items():
        if not numbers:
            raise ParameterError(
                f"split.by {way}: no sheet of {job.source.name} with labels is meant for {role}; "
                "name its folder, or divide by blocks or file"
            )
    judged = {i: (job.source.sheets[i].window,) for i in sides["validation"]}
    split = job.split(way, judged, sides["train"])
    if split is None:
        raise ParameterError(
            f"split.by {way}: the {len(judged)} validation sheets show the same ground as all of the training sheets, "
            f"or what is left of them is smaller than chips of {job.chip} px; divide by blocks"
        )
    return split


def _by_file(job: _Job, way: Way) -> Split:
    if len(job.usable) < 2:
        (only,) = (job.source.sheets[i].name for i in job.usable)
        raise ParameterError(f"split.by file needs two sheets with labels, but {only} is the only one; use blocks")
    number = {sheet: unit for unit, sheet in enumerate(job.usable)}
    pairs = [(number[a], number[b], px) for a, b, px in job.footprints.pairs if a in number and b in number]
    units = Units(
        np.array([job.survey.sheets[i].class_pixels for i in job.usable], np.float64),
        np.array([pair[:2] for pair in pairs], np.int64).reshape(-1, 2),
        np.array([pair[2] for pair in pairs], np.float64),
        np.zeros((len(job.usable), 2)),
    )
    for choice in draw_choices(units, job.config.validation, np.random.default_rng(job.config.seed)):
        chosen = [sheet for sheet, taken in zip(job.usable, choice, strict=True) if taken]
        judged = {i: (job.source.sheets[i].window,) for i in chosen}
        split = job.split(way, judged, set(job.usable) - set(chosen))
        if split is not None:
            return split
    raise ParameterError(
        f"split.by file: the {len(job.usable)} sheets with labels show the same ground, so that none is left to train "
        "on once others are kept for validation; use blocks, or sheets of other ground"
    )


def _by_blocks(job: _Job, way: Way) -> Split:
    found: list[tuple[float, Split]] = []
    for block in _block_sizes(job):
        best = _best_blocks(job, way, block)
        if best is None:
            continue
        found.append(best)
        if best[0] <= _TOLERANCE * job.config.validation:
            break
    if not found:
        raise ParameterError(_no_room(job))
    return min(found, key=lambda each: each[0])[1]


def _block_sizes(job: _Job) -> list[int]:
    if job.config.block is not None:
        return [job.config.block]
    sizes = [2 * job.chip]
    while sizes[-1] // 2 >= max(1, _SMALLEST_BLOCK * job.chip):
        sizes.append(sizes[-1] // 2)
    return sizes


@dataclass(frozen=True, slots=True, eq=False)
class _Blocks:
    """Blocks with labels: where they are, and what is chosen from."""

    places: list[tuple[int, Window]]
    units: Units


def _best_blocks(job: _Job, way: Way, block: int) -> tuple[float, Split] | None:
    """The best split by blocks of a size, with how far its share is off the wanted one; None where there is none."""
    blocks = _cut(job, block)
    if len(blocks.places) < 2:
        return None
    rng = np.random.default_rng(job.config.seed)
    for choice in draw_choices(blocks.units, job.config.validation, rng):
        split = job.split(way, _judged(blocks, choice), job.usable, block)
        if split is not None:
            classes = blocks.units.classes
            return abs(float(classes[choice].sum() / classes.sum()) - job.config.validation), split
    return None


def _cut(job: _Job, block: int) -> _Blocks:
    places: list[tuple[int, Window]] = []
    classes, pairs, between = [], [], []
    for i in job.usable:
        sheet = job.source.sheets[i]
        windows = block_windows(sheet.height, sheet.width, block)
        corners = np.array([(w.row_off, w.col_off, w.row_end, w.col_end) for w in windows], np.int64)
        pixels = ClassGround(sheet.height, sheet.width, job.survey.sheets[i]).pixels(corners)
        labelled = pixels.sum(axis=1) > 0
        number = np.cumsum(labelled) - 1 + len(places)
        beside, lengths = block_neighbours(sheet.height, sheet.width, block)
        both = labelled[beside].all(axis=1)
        places += [(i, w) for w, there in zip(windows, labelled, strict=True) if there]
        classes.append(pixels[labelled])
        pairs.append(number[beside[both]])
        between.append(lengths[both] * job.buffer)
    positions = np.array([(w.row_off, w.col_off) for _, w in places], np.float64).reshape(-1, 2)
    units = Units(np.concatenate(classes), np.concatenate(pairs), np.concatenate(between), positions)
    return _Blocks(places, units)


def _judged(blocks: _Blocks, choice: Choice) -> Judged:
    judged: dict[int, list[Window]] = {}
    for (sheet, window), chosen in zip(blocks.places, choice, strict=True):
        if chosen:
            judged.setdefault(sheet, []).append(window)
    return judged


def _no_room(job: _Job) -> str:
    largest = max((job.source.sheets[i] for i in job.usable), key=lambda sheet: min(sheet.height, sheet.width))
    block = job.config.block or _block_sizes(job)[-1]
    others = ", or split.by file" if len(job.usable) > 1 else ""
    return (
        f"split.by blocks: no chip of {job.chip} px fits beside validation ground: the largest sheet, {largest.name}, "
        f"has {largest.height}×{largest.width} px, blocks have {block} px and a buffer of {job.buffer} px; "
        f"give a smaller chips.size, split.buffer or split.block{others}"
    )


_WAYS: dict[Way, Callable[[_Job, Way], Split]] = {
    "blocks": _by_blocks,
    "file": _by_file,
    "folder": _by_role,
    "dataset": _by_role,
    "none": _by_none,
}
