"""How far a training is: a line that is drawn anew on a terminal, now and then a line elsewhere, and one per epoch."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from geoseg.cli.console import CLEAR_LINE, log, state
from geoseg.cli.progress import duration

if TYPE_CHECKING:
    from geoseg.training.results import TrainingStatus

_BAR_WIDTH = 20
_REDRAW_SECONDS = 0.1
_LINE_SECONDS = 30.0
_STAGES = {"survey": "reading data", "validate": "validating", "evaluate": "judging the best epoch"}


class TrainingDisplay:
    """Takes a :class:`~geoseg.training.results.TrainingStatus` and shows epoch, rate, loss, mean IoU and time left.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._shown = -_LINE_SECONDS
        self._before: TrainingStatus | None = None

    def __call__(self, status: TrainingStatus) -> None:
        """Note how far it is."""
        before, self._before = self._before, status
        if before is not None and _epoch_is_over(before, status):
            log.info("%s", _epoch_line(before, status))
        now = self._clock()
        terminal = sys.stderr.isatty()
        new_stage = before is None or before.stage != status.stage
        if now - self._shown < (_REDRAW_SECONDS if terminal else _LINE_SECONDS) and not (new_stage and terminal):
            return
        self._shown = now
        if terminal:
            sys.stderr.write(f"{CLEAR_LINE}{_line(status, bar=True)}")
            sys.stderr.flush()
            state.line_open = True
        else:
            log.info("%s", _line(status, bar=False))

    def close(self) -> None:
        """Leave the terminal clean."""
        if state.line_open:
            sys.stderr.write(CLEAR_LINE)
            sys.stderr.flush()
            state.line_open = False


@contextmanager
def training_display() -> Iterator[TrainingDisplay]:
    """A :class:`TrainingDisplay` that leaves the terminal clean, whatever happens."""
    display = TrainingDisplay()
    try:
        yield display
    finally:
        display.close()


def _epoch_is_over(before: TrainingStatus, status: TrainingStatus) -> bool:
    """Whether between the two an epoch ended, and with it its validation if it had one."""
    learned = before.stage in ("train", "validate") and before.epoch > 0
    return learned and (status.epoch > before.epoch or status.stage == "evaluate")


def _epoch_line(before: TrainingStatus, status: TrainingStatus) -> str:
    figures = [f"epoch {before.epoch}/{before.epochs}"]
    if before.loss is not None:
        figures.append(f"loss {before.loss:.4f}")
    if status.last is not None:
        figures.append(f"{_words(status.monitor)} {status.last:.4f}, best {status.best or 0:.4f}")
    return ", ".join(figures)


def _line(status: TrainingStatus, *, bar: bool) -> str:
    """One line: what it is at, how far, and the figures that are known."""
    share = min(1.0, status.done / status.total)
    filled = int(_BAR_WIDTH * share)
    of = f"epoch {status.epoch}/{status.epochs}" if status.epoch else ""
    parts = [" ".join(filter(None, (of, _STAGES.get(status.stage, ""))))]
    parts += [f"[{'#' * filled}{'-' * (_BAR_WIDTH - filled)}]"] if bar else [f"{share:.0%}"]
    if status.rate is not None:
        parts.append(f"{status.rate:.3g} chips/s")
    if status.loss is not None:
        parts.append(f"loss {status.loss:.3f}")
    if status.last is not None:
        parts.append(f"{_words(status.monitor)} {status.last:.3f} (best {status.best or 0:.3f})")
    if status.seconds_left is not None:
        parts.append(f"{duration(status.seconds_left)} left")
    return "  ".join(parts)


def _words(monitor: str) -> str:
    return monitor.replace("_", " ").replace("iou", "IoU").replace("f1", "F1")
