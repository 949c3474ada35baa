"""How far a job is: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from geoseg.cli.console import CLEAR_LINE, log, state
from geoseg.tiling import Progress

_BAR_WIDTH = 30
_REDRAW_SECONDS = 0.1
_LINE_SECONDS = 10.0
_MEGA = 1e6


class ProgressBar:
    """Takes (pixels done, pixels in total) and shows share, rate and time left on stderr.

    Attributes:
        label: What is going on.

    Args:
        label: At first.
        clock: Seconds, monotonic.
    """

    def __init__(self, label: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.label = label
        self._clock = clock
        self._begin = self._shown = clock()
        self._first: tuple[float, int] | None = None
        self._done = 0

    def __call__(self, done: int, total: int) -> None:
        """Note that ``done`` of ``total`` pixels are finished."""
        now = self.note(done)
        terminal = sys.stderr.isatty()
        if now - self._shown < (_REDRAW_SECONDS if terminal else _LINE_SECONDS):
            return
        self._shown = now
        if terminal:
            filled = _BAR_WIDTH * done // max(total, 1)
            bar = "#" * filled + "-" * (_BAR_WIDTH - filled)
            sys.stderr.write(f"{CLEAR_LINE}{self.label} [{bar}] {self._figures(now, done, total)}")
            sys.stderr.flush()
            state.line_open = True
        else:
            log.info("%s %s", self.label, self._figures(now, done, total))

    def found(self, pixels: int) -> None:
        """Some of the pixels that are told of from now on were finished before: they say nothing about the rate."""
        if self._first is not None:
            self._first = (self._first[0], self._first[1] + pixels)

    def note(self, done: int) -> float:
        """Show nothing yet; gives the time."""
        now = self._clock()
        self._first = self._first or (now, done)
        self._done = done
        return now

    def _figures(self, now: float, done: int, total: int) -> str:
        text = f"{100 * done // max(total, 1)} %"
        rate = self._rate(now, done)
        return text if rate is None else f"{text}  {rate / _MEGA:.2f} Mpx/s  {duration((total - done) / rate)} left"

    def _rate(self, now: float, done: int) -> float | None:
        """Pixels a second since the first report: loading a model says nothing about the time left."""
        then, before = self._first or (self._begin, 0)
        return (done - before) / (now - then) if now > then and done > before else None

    def close(self, *, finished: bool) -> None:
        """Remove the bar and, where the job is ``finished``, say how long it took."""
        if state.line_open:
            sys.stderr.write(CLEAR_LINE)
            sys.stderr.flush()
            state.line_open = False
        if finished and self._done:
            now = self._clock()
            rate = self._rate(now, self._done)
            told = "" if rate is None else f", {rate / _MEGA:.2f} Mpx/s"
            log.info("%s: %.2f Mpx in %s%s", self.label, self._done / _MEGA, duration(now - self._begin), told)


@contextmanager
def progress_bar(label: str) -> Iterator[ProgressBar]:
    """A :class:`ProgressBar` that leaves the terminal clean, whatever happens."""
    bar = ProgressBar(label)
    try:
        yield bar
    except BaseException:
        bar.close(finished=False)
        raise
    bar.close(finished=True)


class ProgressBars:
    """Of scenes, several of which may be under way at once: then one bar tells of all that were begun.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._far: dict[object, tuple[int, int]] = {}
        self._under_way = 0
        self._all: ProgressBar | None = None

    @contextmanager
    def open(self, label: str) -> Iterator[Progress]:
        """A bar for a scene; may be used from several threads, for a scene each."""
        bar, key = ProgressBar(label, self._clock), object()

        def tell(done: int, total: int) -> None:
            with self._lock:
                if self._all is not None and key not in self._far:
                    self._all.found(done)
                self._far[key] = (done, total)
                self._show(bar, done, total)

        with self._lock:
            self._under_way += 1
        finished = False
        try:
            yield tell
            finished = True
        finally:
            with self._lock:
                self._under_way -= 1
                if not finished and key in self._far:  # the rest of it will never be done
                    self._far[key] = (self._far[key][0],) * 2
                bar.close(finished=finished)

    def _show(self, bar: ProgressBar, done: int, total: int) -> None:
        if self._under_way == 1 and self._all is None:
            bar(done, total)
            return
        bar.note(done)
        self._all = self._all or ProgressBar("", self._clock)
        self._all.label = f"{self._under_way} scene{'s' if self._under_way > 1 else ''}"
        self._all(sum(done for done, _ in self._far.values()), sum(total for _, total in self._far.values()))


def duration(seconds: float) -> str:
    """``h:mm:ss`` or ``m:ss``; below a minute with one decimal."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
