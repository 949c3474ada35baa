"""The data of a training, looked at, kept and divided."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from lightning.fabric.utilities.rank_zero import rank_zero_only

from geoseg.config.training import TrainingConfig
from geoseg.normalization import BandStats
from geoseg.sources.chips import Store, band_statistics_of
from geoseg.sources.splits import Split, make_split, read_split
from geoseg.sources.surveys import Survey, check, survey
from geoseg.sources.values import Source, ground_sample_distance, told_apart
from geoseg.tiling import Window
from geoseg.training.preparing import areas_of, ground_pixels
from geoseg.training.results import TrainingReporter, TrainingStatus
from geoseg.training.runs import RunFolder
from geoseg.training.stopwatch import Stopwatch
from geoseg.wording import listed

log = logging.getLogger("geoseg")

# How many chips of a batch, or classes, a message names.
_NAMED = 8


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """What there is to learn from and to judge by.

    Attributes:
        source: The imagery.
        store: Its sheets, decoded.
        survey: What is in them.
        split: What is learned and what is judged.
        stats: The scaling.
        value_range: 1st and 99th percentile of training ground.
        learned: (N, K) labelled pixels of training ground, by sheet.
        judged: (N, K) of validation ground.
        areas: For each sheet the named area that it is judged in.
        notes: What was matched and assumed.
        warnings: What was left out or looks wrong.
    """

    source: Source
    store: Store
    survey: Survey
    split: Split
    stats: BandStats
    value_range: tuple[float, float]
    learned: npt.NDArray[np.int64]
    judged: npt.NDArray[np.int64]
    areas: tuple[str, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def judges(self) -> bool:
        """Whether there is labelled validation ground."""
        return bool(self.judged.any())

    @property
    def gsd(self) -> float | None:
        """Metres of a pixel; None where unknown."""
        return ground_sample_distance(self.source)

    def describe(self, where: Sequence[tuple[int, Window]]) -> str:
        """Sheets and windows of a batch, for messages."""
        told = "; ".join(f"{self.source.sheets[sheet].name}, {window}" for sheet, window in where[:_NAMED])
        return told + (f"; and {len(where) - _NAMED} more" if len(where) > _NAMED else "")


@contextmanager
def survey_ground(
    source: Source,
    config: TrainingConfig,
    folder: RunFolder,
    resume: bool,
    progress: TrainingReporter | None,
    watch: Stopwatch,
) -> Iterator[Ground]:
    """Read all imagery once, refuse what cannot be trained on, divide the ground, and keep the sheets meanwhile.

    Raises:
        GeosegError: The data cannot be used; says what is wrong where.
    """

    def told(done: int, total: int) -> None:
        if progress is not None:
            progress(TrainingStatus("survey", done, max(total, 1)))

    processes = (
        int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if config.trainer.devices is None else config.trainer.devices
    )
    with Store(source, config.chips.cache, processes=processes) as store:
        _log(*told_apart(source.notes))
        with watch("reading"):
            seen = survey(source, store.write, told)
            checked = check(source, seen)
            _log((), [text for text in checked.warnings if text not in source.notes])
            checked.raise_for_errors()
            if resume and folder.split.is_file():
                split = read_split(folder.split, source)
            else:
                split = make_split(source, seen, config.split, config.chips.size)
            stats, value_range = band_statistics_of(store, split)
            learned, judged = ground_pixels(store, split)
        areas = areas_of(source, split)
        doubts = (
            *_one_sided(source.legend.names, np.asarray(learned.any(axis=0)), np.asarray(judged.any(axis=0))),
            *_too_small(source, split, config.chips.size),
        )
        _log((), doubts)
        yield Ground(
            source, store, seen, split, stats, value_range, learned, judged, areas, checked.notes,
            (*checked.warnings, *doubts),
        )  # fmt: skip


def _one_sided(names: Sequence[str], learned: npt.NDArray[np.bool_], judged: npt.NDArray[np.bool_]) -> Iterator[str]:
    """Classes that cannot be learned, or not be judged."""
    if not judged.any():
        return
    for what, here, there in (
        ("occur on validation ground alone and cannot be learned", judged, learned),
        ("do not occur on validation ground and are not judged", learned, judged),
    ):
        found = [name for name, a, b in zip(names, here, there, strict=True) if a and not b]
        if found:
            yield (
                f"{len(found)} of {len(names)} classes {what}: {listed(found, _NAMED)}; try another split.seed or a "
                "smaller split.block, or label more"
            )


def _too_small(source: Source, split: Split, size: int) -> Iterator[str]:
    """Sheets that do not fill a chip."""
    learned = [sheet for sheet, own in zip(source.sheets, split.sheets, strict=True) if own.trains]
    small = [sheet for sheet in learned if min(sheet.height, sheet.width) < size]
    if small:
        first = small[0]
        yield (
            f"{len(small)} of {len(learned)} images to train on are smaller than chips of {size} px (the first: "
            f"{first.name}, {first.height}×{first.width}): the rest of a chip is without data; a smaller --chip-size "
            "fills them"
        )


@rank_zero_only
def _log(notes: Sequence[str], warnings: Sequence[str]) -> None:
    """Once, of several processes that train together."""
    for level, texts in ((logging.INFO, notes), (logging.WARNING, warnings)):
        for text in texts:
            log.log(level, "%s", text)
