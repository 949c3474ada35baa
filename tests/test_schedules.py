"""Schedules: against torch's own and in closed form, with warm-up, groups and resuming."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR, PolynomialLR

from geoseg.errors import ParameterError
from geoseg.training import Schedule, build_scheduler
from geoseg.training.schedules import ScheduleKind


def optimizer(*rates: float) -> Optimizer:
    return SGD([{"params": [torch.zeros(1, requires_grad=True)], "lr": rate} for rate in rates], lr=1.0)


def rates(of: Optimizer, scheduler: LRScheduler, steps: int) -> list[list[float]]:
    """The learning rates of the groups that each step is made with."""
    used = []
    for _ in range(steps):
        used.append([group["lr"] for group in of.param_groups])
        of.step()
        scheduler.step()
    return used


def factors(schedule: Schedule) -> list[float]:
    of = optimizer(1.0)
    return [rate for (rate,) in rates(of, build_scheduler(of, schedule), schedule.steps)]


@pytest.mark.parametrize(
    ("schedule", "theirs"),
    [
        (Schedule("poly", 20), lambda o: PolynomialLR(o, total_iters=20, power=0.9)),
        (Schedule("poly", 20, power=2.0), lambda o: PolynomialLR(o, total_iters=20, power=2.0)),
        (Schedule("cosine", 20), lambda o: CosineAnnealingLR(o, T_max=20)),
        (Schedule("cosine", 20, floor=0.1), lambda o: CosineAnnealingLR(o, T_max=20, eta_min=0.1)),
        (
            Schedule("one-cycle", 20, warm_up=5),
            lambda o: OneCycleLR(o, max_lr=1.0, total_steps=20, pct_start=6 / 20, cycle_momentum=False),
        ),
    ],
)
def test_schedules_are_torchs(schedule: Schedule, theirs: Callable[[Optimizer], LRScheduler]) -> None:
    of = optimizer(1.0)
    expected = [rate for (rate,) in rates(of, theirs(of), 20)]
    assert factors(schedule) == pytest.approx(expected, rel=1e-9)


def test_shapes_in_closed_form() -> None:
    n, w = 30, 6
    for step in range(n):
        t = (step - w) / (n - w)
        rise = (step + 1) / (w + 1)
        for kind, fall in (
            ("constant", 1.0),
            ("poly", max(1 - t, 0) ** 0.9),
            ("cosine", (1 + math.cos(math.pi * t)) / 2),
        ):
            assert Schedule(kind, n, w).factor(step) == pytest.approx(rise if step < w else fall)  # type: ignore[arg-type]
    cycle = Schedule("one-cycle", n, w)
    assert cycle.factor(0) == pytest.approx(1 / 25)
    assert cycle.factor(w // 2) == pytest.approx((1 / 25 + 1) / 2)
    assert cycle.factor(w) == 1
    assert cycle.factor(n - 1) == pytest.approx(4e-6)


@settings(deadline=None)
@given(
    kind=st.sampled_from(get_args(ScheduleKind)),
    steps=st.integers(2, 60),
    floor=st.sampled_from([0.0, 0.2]),
    data=st.data(),
)
def test_what_schedules_promise(kind: ScheduleKind, steps: int, floor: float, data: Any) -> None:
    warm_up = data.draw(st.integers(1, steps - 1))
    schedule = Schedule(kind, steps, warm_up, floor=floor)
    values = factors(schedule)
    assert all(0 < value <= 1 for value in values)
    assert values[warm_up] == 1
    assert values[: warm_up + 1] == sorted(set(values[: warm_up + 1]))  # rises at every step
    assert values[warm_up:] == sorted(values[warm_up:], reverse=True)
    assert values == [schedule.factor(step) for step in range(steps)]
    assert schedule.factor(steps) == schedule.factor(10 * steps)


def test_without_warm_up_the_first_step_is_the_highest() -> None:
    for kind in ("constant", "poly", "cosine"):
        assert Schedule(kind, 10).factor(0) == 1  # type: ignore[arg-type]
    assert factors(Schedule("constant", 5)) == [1] * 5
    assert factors(Schedule("cosine", 1)) == [1]


def test_groups_keep_their_proportion() -> None:
    of = optimizer(1.0, 0.1)
    for first, second in rates(of, build_scheduler(of, Schedule("poly", 10, warm_up=3)), 10):
        assert second == pytest.approx(first / 10)


@pytest.mark.parametrize("kind", get_args(ScheduleKind))
def test_a_resumed_training_goes_on_exactly(kind: ScheduleKind) -> None:
    schedule = Schedule(kind, 12, warm_up=3)
    of = optimizer(0.3)
    whole = rates(of, build_scheduler(of, schedule), 12)
    first = optimizer(0.3)
    scheduler = build_scheduler(first, schedule)
    before = rates(first, scheduler, 5)
    second = optimizer(0.3)
    resumed = build_scheduler(second, schedule)
    second.load_state_dict(first.state_dict())
    resumed.load_state_dict(scheduler.state_dict())
    assert before + rates(second, resumed, 7) == whole


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"kind": "linear"}, "there is no schedule 'linear'; there are: constant, poly, cosine, one-cycle"),
        ({"steps": 0}, "a schedule of 0 steps"),
        ({"warm_up": 10}, "a schedule of 10 steps and 10 of warm-up"),
        ({"warm_up": -1}, "and -1 of warm-up"),
        ({"kind": "one-cycle"}, "one-cycle without warm-up only falls"),
        ({"power": 0.0}, r"power 0\.0"),
        ({"power": float("nan")}, "power nan"),
        ({"floor": 1.5}, r"floor 1\.5"),
    ],
)
def test_parameters_out_of_range(settings_: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        Schedule(**{"kind": "poly", "steps": 10, **settings_})
