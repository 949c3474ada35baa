"""Predictors made of predictors: test-time augmentation, ensembles, several GPUs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from geoseg.predictors.tiles import Predictor, Tiles, Wait


@dataclass(frozen=True, slots=True)
class View:
    """One of the eight symmetries of the square: transposed first, then turned over.

    Attributes:
        transposed: Rows become columns.
        flips: Axes that are reversed: -2 is top to bottom, -1 left to right.
    """

    transposed: bool = False
    flips: tuple[int, ...] = ()

    def of(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """(..., T, T) as seen in this view, C-contiguous."""
        turned = array.swapaxes(-1, -2) if self.transposed else array
        return np.ascontiguousarray(np.flip(turned, self.flips) if self.flips else turned)

    def undone(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores of the view, (..., T, T), back where they belong; exact."""
        turned = torch.flip(scores, self.flips) if self.flips else scores
        return turned.transpose(-1, -2) if self.transposed else turned


FLIPS = tuple(View(flips=flips) for flips in ((), (-1,), (-2,), (-2, -1)))
"""The tile, left to right, top to bottom, and both."""

VIEWS = {"none": FLIPS[:1], "flips": FLIPS, "d4": (*FLIPS, *(View(transposed=True, flips=v.flips) for v in FLIPS))}
"""Views by the name of the augmentation; the first is the tile as it is."""


class _Combined:
    """What is common: most is as the first member has it."""

    def __init__(self, first: Predictor) -> None:
        self.device = first.device
        self.classes, self.planes = first.classes, first.planes
        self.best_batch, self.in_flight = first.best_batch, first.in_flight
        self.reason, self.description = first.reason, first.description


class Augmented(_Combined):
    """The mean of the scores of several views of a tile.

    Args:
        predictor: Scores of one view.
        tta: Key of ``VIEWS``.
    """

    def __init__(self, predictor: Predictor, tta: str) -> None:
        super().__init__(predictor)
        self._predictor, self._views = predictor, VIEWS[tta]
        self.in_flight = _batches_in_flight(predictor, len(self._views))
        self.description = f"{predictor.description}, mean of {len(self._views)} views ({tta})"
        self.identity: dict[str, object] = {"tta": tta, "of": predictor.identity}

    def submit(self, tiles: Tiles) -> Wait:
        """See :class:`~geoseg.predictors.Predictor`."""
        views = self._views
        waits = [
            self._predictor.submit(Tiles(view.of(tiles.values), view.of(tiles.present), tiles.keys)) for view in views
        ]
        return lambda: _mean(view.undone(wait()) for view, wait in zip(views, waits, strict=True))

    def close(self) -> None:
        """See :class:`~geoseg.predictors.Predictor`."""
        self._predictor.close()


class Ensemble(_Combined):
    """The mean of the scores of several models.

    Args:
        members: Of one legend and one number of planes.
    """

    def __init__(self, members: Sequence[Predictor]) -> None:
        super().__init__(members[0])
        self._members = members
        self.best_batch = min(member.best_batch for member in members)
        self.in_flight = _batches_in_flight(members[0], len(members))
        self.description = f"mean of {len(members)} models: " + "; ".join(member.description for member in members)
        self.identity: dict[str, object] = {"ensemble": [member.identity for member in members]}

    def submit(self, tiles: Tiles) -> Wait:
        """See :class:`~geoseg.predictors.Predictor`."""
        waits = [member.submit(tiles) for member in self._members]
        return lambda: _mean(wait().to(self.device) for wait in waits)

    def close(self) -> None:
        """See :class:`~geoseg.predictors.Predictor`."""
        for member in self._members:
            member.close()


class Replicas(_Combined):
    """One model on several devices that take turns; scores arrive on the first of them, in order.

    Args:
        members: The same network on each device.
    """

    def __init__(self, members: Sequence[Predictor]) -> None:
        super().__init__(members[0])
        self._members, self._turn = members, 0
        self.in_flight = sum(member.in_flight for member in members)
        self.description = f"{members[0].description}, and {len(members) - 1} more"
        self.identity = members[0].identity

    def submit(self, tiles: Tiles) -> Wait:
        """See :class:`~geoseg.predictors.Predictor`."""
        wait = self._members[self._turn].submit(tiles)
        self._turn = (self._turn + 1) % len(self._members)
        return lambda: wait().to(self.device)

    def close(self) -> None:
        """See :class:`~geoseg.predictors.Predictor`."""
        for member in self._members:
            member.close()


def _batches_in_flight(predictor: Predictor, parts: int) -> int:
    """Batches that keep a predictor busy which gets each of them in so many parts, while one is put together."""
    return 1 if predictor.in_flight == 1 else -(-predictor.in_flight // parts) + 1


def _mean(scores: Iterable[torch.Tensor]) -> torch.Tensor:
    """The mean, summed in order, one at a time in memory; the first of the tensors is changed."""
    waiting = iter(scores)
    total, count = next(waiting), 1
    for other in waiting:
        total += other
        count += 1
    return total.div_(count) if count > 1 else total
