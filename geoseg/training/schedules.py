"""Learning rates over the steps of a training, as shares of the highest one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from geoseg.errors import ParameterError

ScheduleKind = Literal["constant", "poly", "cosine", "one-cycle"]
"""How the learning rate goes over the steps."""

# One-cycle starts at 1/25 of the highest rate and ends at 1e-4 of that, as in fastai and in torch's OneCycleLR.
_START = 1 / 25
_END = _START * 1e-4


@dataclass(frozen=True, slots=True)
class Schedule:
    """The share of the highest learning rate at every step.

    ``poly`` is (1 − t) ** power (Chen et al. 2018, "DeepLab", https://arxiv.org/abs/1606.00915), ``cosine`` is
    (1 + cos πt) / 2 (Loshchilov & Hutter 2017, https://arxiv.org/abs/1608.03983), for t from 0 at the end of the
    warm-up to 1 at the end of the training. ``one-cycle`` rises from 1/25 and falls to 4e-6 on two half cosines
    (Smith & Topin 2018, https://arxiv.org/abs/1708.07120; the momentum stays). The others rise in a straight line
    during the warm-up.

    Attributes:
        kind: Which curve.
        steps: Optimizer steps of the whole training, at least 1.
        warm_up: Steps in which the rate rises, 0 <= warm_up < steps; with ``one-cycle`` at least 1.
        power: Of ``poly``, above 0.
        floor: The share that ``poly`` and ``cosine`` fall to, 0 <= floor <= 1.

    Raises:
        ParameterError: An attribute is out of range.
    """

    kind: ScheduleKind
    steps: int
    warm_up: int = 0
    power: float = 0.9
    floor: float = 0.0

    def __post_init__(self) -> None:
        kinds = get_args(ScheduleKind)
        if self.kind not in kinds:
            raise ParameterError(f"there is no schedule {self.kind!r}; there are: {', '.join(kinds)}")
        if self.steps < 1 or not 0 <= self.warm_up < self.steps:
            raise ParameterError(
                f"a schedule of {self.steps} steps and {self.warm_up} of warm-up: give at least 1, and fewer to warm up"
            )
        if self.kind == "one-cycle" and self.warm_up < 1:
            raise ParameterError("one-cycle without warm-up only falls; give a warm_up, or take cosine")
        if not (math.isfinite(self.power) and self.power > 0 and 0 <= self.floor <= 1):
            raise ParameterError(f"power {self.power}, floor {self.floor}: give a power above 0 and a floor in 0..1")

    def factor(self, step: int) -> float:
        """The share for the step of that number, counted from 0; after the last step it stays where it ended."""
        step = min(step, self.steps)
        if self.kind == "one-cycle":
            return self._one_cycle(step)
        if step < self.warm_up:
            return (step + 1) / (self.warm_up + 1)
        return self.floor + (1 - self.floor) * self._fall((step - self.warm_up) / (self.steps - self.warm_up))

    def _fall(self, done: float) -> float:
        """From 1 to 0, but for ``constant``."""
        if self.kind == "constant":
            return 1.0
        return float((1 - done) ** self.power) if self.kind == "poly" else (1 + math.cos(math.pi * done)) / 2

    def _one_cycle(self, step: int) -> float:
        if step < self.warm_up:
            return _half_cosine(_START, 1.0, step / self.warm_up)
        # The last step has the lowest rate; a fall of no step at all stays at the top.
        fall = self.steps - 1 - self.warm_up
        return _half_cosine(1.0, _END, min(1.0, (step - self.warm_up) / fall)) if fall else 1.0


def build_scheduler(optimizer: Optimizer, schedule: Schedule) -> LambdaLR:
    """What sets the learning rate of every parameter group, each relative to its own; call ``step()`` after every step.

    Its state is the number of the step, so that a training that is resumed goes on exactly.
    """
    return LambdaLR(optimizer, schedule.factor)


def _half_cosine(first: float, last: float, done: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * done)) / 2
