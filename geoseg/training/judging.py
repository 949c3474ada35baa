"""The judgement on the trained model: all figures over all validation ground, each pixel once, and the worst places."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from geoseg.legend import IGNORE_ID, NODATA_ID, Legend
from geoseg.metrics import BoundaryScore, Metrics, boundary_counts, boundary_halo, confusion_matrix
from geoseg.sources.chips import JudgedTile, TileBatch
from geoseg.sources.splits import Split
from geoseg.tiling import Window
from geoseg.training.calibrating import LogitSample, best_temperature, calibration_at
from geoseg.training.results import ChipPicture, Judgement

Labels = npt.NDArray[np.uint8]

TOLERANCE = 2.0
"""Pixels that borders may be off by."""

CALIBRATION_PIXELS = 1 << 20
"""Labelled pixels, drawn from all, that the temperature is fitted to and confidence is judged by."""

# Rows of a window that borders are counted in at a time.
_STRIP = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """What judging found.

    Attributes:
        whole: Of all validation ground; None where none of it has a label.
        subsets: By named area.
        chips: The worst first.
        temperature: Of calibration.
    """

    whole: Judgement | None
    subsets: Mapping[str, Judgement]
    chips: tuple[ChipPicture, ...]
    temperature: float


Picture = Callable[[JudgedTile, Labels, Labels, int, int], ChipPicture]
"""Makes the picture of a tile's core from truth and prediction (class ids), wrong and labelled pixels."""


class Judge:
    """Takes in the logits of tiles, in the order of :class:`~geoseg.sources.chips.ValidationTiles`.

    Args:
        legend: The classes.
        split: Where the validation windows are.
        areas: For each sheet its named area.
        pixels: Labelled pixels of validation ground.
        seed: Of the pixels that confidence is judged by.
        worst: Pictures to keep.
        picture: Makes one.
        pixel_size: Metres; None where unknown.
    """

    def __init__(
        self, legend: Legend, split: Split, areas: Sequence[str], pixels: int, *, seed: int, worst: int,
        picture: Picture, pixel_size: float | None,
    ) -> None:  # fmt: skip
        self._legend, self._split, self._areas = legend, split, tuple(areas)
        self._tallies = {area: _Tally(legend) for area in dict.fromkeys(areas)}
        self._samples = {area: LogitSample(pixels, CALIBRATION_PIXELS, seed) for area in self._tallies}
        self._worst, self._picture, self._pixel_size = worst, picture, pixel_size
        self._chips: list[tuple[int, int, ChipPicture]] = []
        self._seen = 0
        self._map: _WindowMap | None = None
        self._ids = np.full(256, NODATA_ID, np.uint8)
        self._ids[: len(legend)] = legend.ids

    def add(self, batch: TileBatch, logits: torch.Tensor) -> None:
        """Take in a batch and its (B, K, T, T) logits."""
        sheet = batch.tiles[0].sheet
        self._samples[self._areas[sheet]].add(logits, batch.indices)
        predicted = self._ids[logits.argmax(1).to(torch.uint8).cpu().numpy()]
        truth = self._ids[batch.indices.cpu().numpy()]
        for tile, labels, reference in zip(batch.tiles, predicted, truth, strict=True):
            self._add_tile(tile, _core(labels, tile), _core(reference, tile))

    def _add_tile(self, tile: JudgedTile, predicted: Labels, truth: Labels) -> None:
        if self._map is None or self._map.key != (tile.sheet, tile.window):
            self._finish_window()
            self._map = _WindowMap(tile, self._split)
        self._map.put(tile.tile.core, predicted, truth)
        labelled = int((truth != NODATA_ID).sum())
        wrong = int(((truth != predicted) & (truth != NODATA_ID)).sum())
        self._seen += 1
        if labelled and self._worst:
            # By pixels, not by share: of the slivers at the end of a window all may be wrong, and little is.
            # The number breaks ties, so that pictures are never compared; of equals the first stays.
            if len(self._chips) >= self._worst and wrong <= self._chips[0][0]:
                return
            entry = (wrong, -self._seen, self._picture(tile, truth, predicted, wrong, labelled))
            push = heapq.heappush if len(self._chips) < self._worst else heapq.heapreplace
            push(self._chips, entry)

    def _finish_window(self) -> None:
        if self._map is not None:
            self._tallies[self._areas[self._map.key[0]]].add(self._map.truth, self._map.predicted)
        self._map = None

    def verdict(self) -> Verdict:
        """All figures; no tile may come after that."""
        self._finish_window()
        samples = {area: sample.pixels() for area, sample in self._samples.items()}
        logits, truth = (torch.cat(parts) for parts in zip(*_filled(samples.values()), strict=True))
        temperature = best_temperature(logits, truth)

        def judgement(tally: _Tally, pixels: tuple[torch.Tensor, torch.Tensor]) -> Judgement | None:
            return tally.judgement(pixels, temperature, self._pixel_size)

        apart = {a: judgement(t, samples[a]) for a, t in self._tallies.items()} if len(self._tallies) > 1 else {}
        return Verdict(
            judgement(_Tally.total(self._legend, self._tallies.values()), (logits, truth)),
            {area: found for area, found in apart.items() if found is not None},
            tuple(chip for _, _, chip in sorted(self._chips, key=lambda entry: entry[:2], reverse=True)),
            temperature,
        )


class _Tally:
    """Counts of an area, which add up."""

    def __init__(self, legend: Legend) -> None:
        self._legend = legend
        self.confusion = np.zeros((len(legend), len(legend)), np.int64)
        self.borders = np.zeros((4, len(legend)), np.int64)

    @classmethod
    def total(cls, legend: Legend, tallies: Iterable[_Tally]) -> _Tally:
        """All areas together."""
        made = cls(legend)
        for tally in tallies:
            made.confusion += tally.confusion
            made.borders += tally.borders
        return made

    def add(self, truth: Labels, predicted: Labels) -> None:
        """Take in a window of finished class ids."""
        ids, halo = self._legend.ids, boundary_halo(TOLERANCE)
        self.confusion += confusion_matrix(truth, np.where(truth == NODATA_ID, np.uint8(NODATA_ID), predicted), ids)
        for top in range(0, len(truth), _STRIP):
            first, last = max(0, top - halo), min(len(truth), top + _STRIP + halo)
            rows = slice(top - first, min(top + _STRIP, len(truth)) - first)
            self.borders += boundary_counts(truth[first:last], predicted[first:last], ids, TOLERANCE, rows)

    def judgement(
        self, pixels: tuple[torch.Tensor, torch.Tensor], temperature: float, pixel_size: float | None
    ) -> Judgement | None:
        """The figures; None without a labelled pixel."""
        if not self.confusion.any():
            return None
        return Judgement(
            Metrics.from_confusion(self.confusion),
            self.confusion,
            BoundaryScore.from_counts(self.borders, TOLERANCE, pixel_size),
            calibration_at(*pixels, temperature),
            calibration_at(*pixels, 1.0),
        )


class _WindowMap:
    """Prediction and truth of the validation window that is being judged."""

    def __init__(self, tile: JudgedTile, split: Split) -> None:
        window = split.sheets[tile.sheet].validation[tile.window]
        self.key = tile.sheet, tile.window
        self.predicted = np.zeros((window.height, window.width), np.uint8)
        self.truth = np.zeros_like(self.predicted)

    def put(self, core: Window, predicted: Labels, truth: Labels) -> None:
        here = slice(core.row_off, core.row_end), slice(core.col_off, core.col_end)
        self.predicted[here], self.truth[here] = predicted, truth


def inside(tile: JudgedTile) -> tuple[slice, slice]:
    """The core of a tile, in pixels of the tile."""
    core, window = tile.tile.core, tile.tile.window
    top, left = core.row_off - window.row_off, core.col_off - window.col_off
    return slice(top, top + core.height), slice(left, left + core.width)


def _core(labels: Labels, tile: JudgedTile) -> Labels:
    return labels[inside(tile)]


def _filled(samples: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Those with a pixel; one without where there is no other."""
    found = list(samples)
    return [s for s in found if len(s[1])] or found[:1]


def labelled_pixels(indices: Iterable[npt.NDArray[np.uint8]], classes: int) -> npt.NDArray[np.int64]:
    """(K,) pixels of each class in pieces of class indices, 255 = not counted."""
    counts = np.zeros(256, np.int64)
    for piece in indices:
        counts += np.bincount(piece.ravel(), minlength=256)
    counts[IGNORE_ID] = 0
    return counts[:classes]
