"""How far a job is: what is done, how long it took, and how its seams came out."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from geoseg.disk import require_disk
from geoseg.inference.estimating import estimate_cost
from geoseg.inference.job import Job
from geoseg.inference.parts_sink import LABELS
from geoseg.inference.pipeline import STAGES
from geoseg.inference.seams import SeamCounter, SeamCounts
from geoseg.parts import Run, is_url
from geoseg.threads import Stopwatch
from geoseg.tiling import Progress, Window

_log = logging.getLogger("geoseg")

_MIB, _GIB = 2**20, 2**30


class Work:
    """The steps of a job that are not done yet, and what is to be told of them.

    Attributes:
        watch: How long each stage was busy.
        resumed: Share of the pixels that an earlier run left.

    Args:
        job: What is computed.
        run: Its parts.
        progress: Told pixels done and in total.
    """

    def __init__(self, job: Job, run: Run, progress: Progress | None) -> None:
        self.watch = Stopwatch(STAGES)
        self._job = job
        self._run = run
        self._progress = progress
        self._begin = time.perf_counter()
        self._total = job.area.height * job.area.width
        done = run.done
        self._done = sum(step.height * step.width for step in job.steps if step in done)
        self.resumed = self._done / self._total

    def check_disk(self) -> None:
        """See that the disk suffices, and say what it will cost.

        Raises:
            ResourceError: It does not.
        """
        cost = estimate_cost(self._job, None)
        _log.info(
            "%d tiles of %d px, overlap %d; about %.1f GiB of memory and %.0f MiB of disk",
            cost.wanted_tiles, self._job.grid.tile_size, self._job.grid.overlap, cost.memory / _GIB, cost.disk / _MIB,
        )  # fmt: skip
        require_disk(self._job.outputs.parts.folder, cost.disk)
        elsewhere = self._job.outputs.parts.elsewhere
        if elsewhere is not None and not is_url(elsewhere):
            require_disk(Path(elsewhere), cost.disk)
        if self.resumed:
            _log.info("going on from %d %% in %s", 100 * self.resumed, self._run.store)
        self.tell(0)

    def tell(self, pixels: int) -> None:
        """So many more pixels are done."""
        self._done += pixels
        if self._progress is not None:
            self._progress(self._done, self._total)

    def seconds(self) -> float:
        """Since it began."""
        return time.perf_counter() - self._begin

    def seams(self) -> SeamCounts:
        """Label changes at tile borders and elsewhere, of all parts."""
        counter = SeamCounter(self._job.grid, self._job.settings.blend)
        above = {(step.row_end, step.col_off): step for step in self._job.steps}
        total = SeamCounts()
        self._run.foresee(self._run.unnoted(self._job.steps))
        for step in self._job.steps:
            notes = self._run.notes(step)
            counts = notes["seams"]
            assert isinstance(counts, list | tuple)
            total = total + SeamCounts(*counts)
            if notes.get("open"):
                total = total + self._between(counter, above[step.row_off, step.col_off], step)
        return total

    def _between(self, counter: SeamCounter, above: Window, below: Window) -> SeamCounts:
        """The seam of two parts that knew nothing of each other."""
        [last] = self._run.read(above, LABELS, rows=(above.height - 1, above.height))
        [first] = self._run.read(below, LABELS, rows=(0, 1))
        return counter.count_between(below.row_off, last, first)
