"""Finished rows of a scene, refined block by block: seamless, and with no more memory than some rows take.

Blocks lie on a grid of the scene. Each is computed from itself and a halo, in which all that can change it lies: so no
pixel depends on where strips, panels, areas or interrupted runs end.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from geoseg.errors import ResourceError
from geoseg.processors import cores
from geoseg.refinement.mean_field import refined_block
from geoseg.refinement.options import GPU_SIDE, SIDE, Crf
from geoseg.tiling import Window


@dataclass(frozen=True, slots=True)
class Rows:
    """Blended rows that are to be refined, over the width of what is around the area.

    Attributes:
        scores: (planes, h, w) float32, the classes first.
        colours: (C, h, w) float32, in standard deviations.
        valid: (h, w) bool.
    """

    scores: torch.Tensor
    colours: torch.Tensor
    valid: torch.Tensor

    @classmethod
    def of(cls, scores: Any, colours: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_], device: Any) -> Rows:
        """From what blending and reading give; a copy."""
        return cls(
            torch.as_tensor(scores, device=device).clone(),
            torch.from_numpy(colours).to(device),
            torch.from_numpy(valid).to(device),
        )

    @classmethod
    def empty(cls, planes: int, bands: int, shape: tuple[int, int], device: Any) -> Rows:
        """Rows without data."""
        return cls(
            torch.zeros((planes, *shape), device=device),
            torch.zeros((bands, *shape), device=device),
            torch.zeros(shape, dtype=torch.bool, device=device),
        )

    def joined(self, below: Rows, skip: int) -> Rows:
        """These less the first ``skip``, and those below."""
        pairs = ((self.scores, below.scores), (self.colours, below.colours), (self.valid, below.valid))
        return Rows(*(torch.cat([ours[..., skip:, :], theirs], dim=-2) for ours, theirs in pairs))


def block_side(device: torch.device) -> int:
    """Side of a block, in pixels."""
    return SIDE if device.type == "cpu" else GPU_SIDE


def workers(device: torch.device) -> AbstractContextManager[Executor | None]:
    """What refines several blocks at once, where one does not keep the device busy."""
    return ThreadPoolExecutor(cores(), "geoseg-refine") if device.type == "cpu" else nullcontext()


class StripRefiner:
    """Takes the rows around an area from top to bottom, and gives back its own rows, refined.

    Args:
        area: What is wanted.
        around: ``area`` and a halo, as far as the scene goes: what rows come for.
        classes: The first planes of the scores; a further one is the mean entropy of the samples in nats.
        crf: How.
        device: Where the rows are.
        executor: See :func:`workers`.
    """

    def __init__(
        self, area: Window, around: Window, classes: int, crf: Crf, device: torch.device, executor: Executor | None
    ) -> None:
        self._area, self._around = area, around
        self._classes, self._crf = classes, crf
        self._device, self._executor = device, executor
        self._side = block_side(device)
        self._top = around.row_off
        self._held: Rows | None = None
        self._next = area.row_off // self._side

    def add(self, rows: Rows) -> Iterator[tuple[Window, torch.Tensor, torch.Tensor]]:
        """Take the next rows.

        Yields:
            Rows of the area without gaps: where they are, (planes, h, w) float32, and (h, w) bool where there is data.
        """
        if self._held is None:
            self._held = rows
        else:
            skip = max(0, self._next * self._side - self._crf.halo - self._top)
            self._held, self._top = self._held.joined(rows, skip), self._top + skip
        while self._next * self._side < self._area.row_end:
            bottom = (self._next + 1) * self._side
            if self._top + self._held.valid.shape[0] < min(bottom + self._crf.halo, self._around.row_end):
                return
            yield self._refined(self._next, self._held)
            self._next += 1

    def _refined(self, block_row: int, held: Rows) -> tuple[Window, torch.Tensor, torch.Tensor]:
        """Rows of the area in a row of blocks."""
        side, area = self._side, self._area
        first, end = max(block_row * side, area.row_off), min((block_row + 1) * side, area.row_end)
        result = torch.zeros((len(held.scores), end - first, area.width), device=self._device)

        def refine(column: int) -> None:
            block = Window(block_row * side, column * side, side, side)
            left, right = max(block.col_off, area.col_off), min(block.col_end, area.col_end)
            target = result[:, :, left - area.col_off : right - area.col_off]
            part = Window(first, left, end - first, right - left)
            self._refine_into(target, block, part, held)

        columns = range(area.col_off // side, -(-area.col_end // side))
        if self._executor is None:
            for column in columns:
                refine(column)
        else:
            list(self._executor.map(refine, columns))
        window = Window(first, area.col_off, end - first, area.width)
        return window, result, self._cut(window, held).valid

    def _refine_into(self, target: torch.Tensor, block: Window, part: Window, held: Rows) -> None:
        """Put the part of a block that lies in the area where it belongs."""
        here = self._cut(part, held)
        if not bool(here.valid.any()):
            return
        halo = self._crf.halo
        seen = Window(block.row_off - halo, block.col_off - halo, block.height + 2 * halo, block.width + 2 * halo)
        scores, colours, valid = self._placed(seen, held)
        valid &= scores[: self._classes].sum(0) > 0.5
        found = self._found(scores[: self._classes], colours, valid)
        top, left = part.row_off - block.row_off, part.col_off - block.col_off
        target[: self._classes] = found[:, top : top + part.height, left : left + part.width]
        if len(target) > self._classes:
            # Mutual information is the samples', and stays: entropy less this plane before, and after.
            known = (_entropy(here.scores[: self._classes]) - here.scores[self._classes]).clamp_min(0)
            target[self._classes] = _entropy(target[: self._classes]) - known

    def _found(self, scores: torch.Tensor, colours: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """The refined block.

        Raises:
            ResourceError: It does not fit beside what the network takes.
        """
        try:
            return refined_block(scores, colours, valid, self._crf)
        except torch.OutOfMemoryError as error:
            need = self._crf.block_bytes(len(scores), len(colours), self._side) / 2**20
            raise ResourceError(
                f"a crf of {self._crf.iterations} iterations of {self._crf.radius} px needs about {need:.0f} MiB, more "
                f"than is free in the memory of {self._device}; give a smaller radius or --batch, or --device cpu"
            ) from error

    def _cut(self, window: Window, held: Rows) -> Rows:
        """A part of the rows that are held."""
        down = slice(window.row_off - self._top, window.row_end - self._top)
        across = slice(window.col_off - self._around.col_off, window.col_end - self._around.col_off)
        return Rows(*(planes[..., down, across] for planes in (held.scores, held.colours, held.valid)))

    def _placed(self, seen: Window, held: Rows) -> list[torch.Tensor]:
        """Scores, colours and validity of a window that may reach beyond what is there: no data is there."""
        around = self._around
        top, bottom = max(seen.row_off, self._top), min(seen.row_end, self._top + held.valid.shape[0])
        left, right = max(seen.col_off, around.col_off), min(seen.col_end, around.col_end)
        there = self._cut(Window(top, left, bottom - top, right - left), held)
        placed = []
        for planes in (there.scores, there.colours, there.valid):
            whole = planes.new_zeros((*planes.shape[:-2], seen.height, seen.width))
            whole[..., top - seen.row_off : bottom - seen.row_off, left - seen.col_off : right - seen.col_off] = planes
            placed.append(whole)
        return placed


def seconds_per_pixel(crf: Crf, classes: int, bands: int, device: torch.device) -> float:
    """What refining takes here, measured on a block for each worker after one to warm up."""
    side = block_side(device)
    shape = (side + 2 * crf.halo,) * 2
    scores, colours = (
        torch.full((classes, *shape), 1 / classes, device=device),
        torch.zeros(bands, *shape, device=device),
    )
    valid = torch.ones(shape, dtype=torch.bool, device=device)

    def run(_: Any = None) -> float:
        return float(refined_block(scores, colours, valid, crf).max())  # waits for a GPU

    run()
    with workers(device) as executor:
        count = cores() if executor is not None else 1
        begin = perf_counter()
        _ = list(executor.map(run, range(count))) if executor is not None else run()
    return (perf_counter() - begin) / (count * side * side)


def _entropy(shares: torch.Tensor) -> torch.Tensor:
    """(h, w) in nats."""
    entropy: torch.Tensor = torch.special.entr(shares.clamp_min(0)).sum(0)
    return entropy
