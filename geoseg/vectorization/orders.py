"""What a worker is told of a vectorization, and what it does: paths, settings and windows in, parts on the disk out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from geoseg import teamwork
from geoseg.distributed import Duty, MisfitError, Place, Tell, Wanted
from geoseg.distributed.agreeing import comparable, digest, whole_name
from geoseg.parts import Run, join_run, write_arrays
from geoseg.tiling import Window
from geoseg.vectorization.companions import named_beside
from geoseg.vectorization.job import Job, open_job
from geoseg.vectorization.packing import pack
from geoseg.vectorization.settings import Settings
from geoseg.vectorization.strips import Strip, label_strips, overlapped
from geoseg.vectorization.tracing import trace_strips

MIXABLE = ("geoseg", "proj")
"""What may differ between workers where the user allows it, as it stands in a fingerprint."""

LABELS = "labels"
"""The plane of parts that hold filtered labels."""


@dataclass(frozen=True, slots=True)
class Introduction:
    """A task: say what polygons would be made of."""


@dataclass(frozen=True, slots=True)
class Filtered:
    """Labels that the client has filtered.

    Attributes:
        run: Id of the run that they are parts of.
        sizes: Bytes of each part, by its window: those of a region and the one above it.
    """

    run: str
    sizes: tuple[tuple[Window, int], ...]


@dataclass(frozen=True, slots=True)
class Region(teamwork.Region):
    """A task: trace some neighbouring strips.

    Attributes:
        filtered: What to read instead of the raster; None for the raster.
    """

    filtered: Filtered | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """A vectorization as a worker is told of it. Paths are absolute, and mean the same everywhere.

    Attributes:
        raster: The class raster.
        settings: What the user chose, with the legend and the confidence raster that were found.
        parts: Where the traced strips go, a folder or a URL.
        labels: Where the filtered labels are.
    """

    raster: str
    settings: Settings
    parts: str
    labels: str

    @classmethod
    def of(cls, job: Job, raster: str | Path, parts: str, labels: str) -> Order:
        """From a job that was opened from ``raster``."""
        confidence = job.settings.confidence or named_beside(job.source, raster) if job.companion else None
        found = None if confidence is None else whole_name(confidence)
        settings = replace(job.settings, legend=job.source.legend, confidence=found)
        return cls(whole_name(raster), settings, parts, labels)

    @contextmanager
    def open(self, place: Place) -> Iterator[Duty]:
        """Open the rasters; see :class:`~geoseg.distributed.Opening`."""
        place.settle()
        settings = replace(self.settings, threads=self.settings.threads or place.threads)
        with open_job(self.raster, settings) as job:
            job.require_memory()
            teamwork.look_at_parts(self.parts)
            yield _Worker(job, self.parts, self.labels).do


class _Worker:
    """A job on a worker."""

    def __init__(self, job: Job, parts: str, labels: str) -> None:
        self._job = job
        self._parts = parts
        self._labels = labels
        self._fingerprint = job.fingerprint()

    def do(self, task: Any, tell: Tell, wanted: Wanted) -> Any:
        """One task."""
        return self._region(task, tell, wanted) if isinstance(task, Region) else self._fingerprint

    def _region(self, task: Region, tell: Tell, wanted: Wanted) -> dict[str, Any]:
        if task.digest != digest(comparable(self._fingerprint, MIXABLE if task.mixed else ())):
            raise MisfitError("it would make other polygons than the workers that were there at the start")

        def make(run: Run) -> None:
            for steps in neighbours(step for step in task.steps if step not in run.done):
                self._trace(run, steps, task.filtered)

        return teamwork.make_parts(self._parts, task, tell, wanted, make, noted=False)

    def _trace(self, run: Run, steps: Sequence[Window], filtered: Filtered | None) -> None:
        job = self._job
        strips = self._strips(steps) if filtered is None else self._filtered_strips(steps, filtered)
        for step, strip in zip(steps, trace_strips(strips, job.plan, job.describe), strict=True):
            write_arrays(run, step, pack(strip, confidence=job.companion is not None))

    def _strips(self, steps: Sequence[Window]) -> Iterator[Strip]:
        job, top, width = self._job, steps[0].row_off, steps[0].width
        above = job.source.read(Window(top - 1, 0, 1, width)) if top else None
        strips = label_strips(job.source, top, steps[-1].row_end)
        return overlapped(strips, job.source.grid.height, job.plan.rows, job.companion, top=top, above=above)

    def _filtered_strips(self, steps: Sequence[Window], filtered: Filtered) -> Iterator[Strip]:
        job, top = self._job, steps[0].row_off
        run = join_run(self._labels, filtered.run, (), lambda *_: None)
        for window, size in filtered.sizes:
            run.take(window, size, {})
        before = [window for window, _ in filtered.sizes if window.row_end == top]
        above = run.read(before[0], LABELS, (before[0].height - 1, before[0].height)) if before else None
        return overlapped(
            lambda: (run.read(step, LABELS) for step in steps),
            job.source.grid.height, job.plan.rows, job.companion, top=top, above=above,
        )  # fmt: skip


def neighbours(steps: Iterator[Window]) -> Iterator[tuple[Window, ...]]:
    """Strips in groups without gaps."""
    group: list[Window] = []
    for step in steps:
        if group and group[-1].row_end != step.row_off:
            yield tuple(group)
            group = []
        group.append(step)
    if group:
        yield tuple(group)
