"""Prediction on a cluster: regions are given out, and their parts taken over as they appear."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoseg import errors
from geoseg.distributed import Cluster, Report, open_crew
from geoseg.errors import ClusterError, CorruptRasterError, GeosegError, UnfinishedError
from geoseg.inference.computing import NetworkFacts, Tell, tell_changed
from geoseg.inference.estimating import estimate_cost
from geoseg.inference.job import Job
from geoseg.inference.orders import (
    MIXABLE,
    Comparison,
    Introduction,
    Order,
    Region,
    comparable,
    differences,
    digest,
    told_part,
)
from geoseg.inference.regions import plan_regions
from geoseg.inference.settings import Settings
from geoseg.memory import require_memory, used_memory
from geoseg.parts import Run
from geoseg.threads import Stopwatch
from geoseg.tiling import Window

if TYPE_CHECKING:  # Dask comes with it
    from geoseg.distributed.crew import Crew

_log = logging.getLogger("geoseg")

_LISTED = 5

LOCAL_FAILURES = (CorruptRasterError.__name__, "KilledWorker", "TimeoutError")
"""Kinds of errors on purpose that concern a region alone; others would come up in every one."""


Files = Sequence[str | Path]


@contextmanager
def open_clustered(cluster: Cluster, settings: Settings) -> Iterator[Clustered]:
    """A :class:`~geoseg.inference.computing.Computing` on the workers of a cluster.

    Raises:
        ClusterError: The cluster is not to be had.
    """
    with open_crew(cluster, _gpus(cluster, settings)) as crew:
        clustered = Clustered(crew)
        try:
            yield clustered
        finally:
            clustered.close()


def _gpus(cluster: Cluster, settings: Settings) -> int:
    """GPUs that workers of this machine would use."""
    if cluster.workers is None or settings.device not in ("auto", "cuda"):
        return 0
    from geoseg.predictors.machine import this_machine

    return this_machine().cuda


@dataclass
class _Tally:
    """What came of the regions of a job.

    Attributes:
        failed: Windows without a part, with the reason.
    """

    failed: list[tuple[Window, str]] = field(default_factory=list)

    def raise_failed(self, run: Run, steps: int) -> None:
        if self.failed:
            told = [f"{window} ({why})" for window, why in self.failed[:_LISTED]]
            more = [f"and {len(self.failed) - _LISTED} more"] if len(self.failed) > _LISTED else []
            raise UnfinishedError(
                f"{len(self.failed)} of {steps} parts failed: {'; '.join(told + more)}. The other {len(run.done)} are "
                f"kept in {run.folder}; the same command makes what is missing"
            )


class Clustered:
    """Computes on the workers of a crew; see :class:`~geoseg.inference.computing.Computing`."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._posts = ExitStack()
        self._post = self._digest = ""
        self._acquainted = False

    def prepare(self, job: Job, scenes: Files) -> NetworkFacts:
        """Let workers open the scene and load the network; where that is new to them, all of them."""
        self._posts.close()
        if self._crew.own:
            self._require_memory(job)
        self._post = self._posts.enter_context(self._crew.posted(Order.of(job, scenes)))
        introductions = self._introductions()
        first = introductions[min(introductions)]
        fingerprint = job.fingerprint(first["identity"])
        for worker, value in introductions.items():
            self._compare(worker, value["fingerprint"], fingerprint)
        self._digest = digest(self._compared(fingerprint))
        description = "; ".join(sorted({value["description"] for value in introductions.values()}))
        _log.info("model %s; %s (%s)", job.name, description, first["reason"])
        return NetworkFacts(first["identity"], description, first["reason"], self._changed(job.settings))

    def check_memory(self, job: Job) -> None:
        """Each worker has looked for itself."""

    def compute(self, job: Job, run: Run, tell: Tell, watch: Stopwatch) -> None:
        """Give out what is missing and take the parts over as they appear."""
        workers = max(1, len(self._crew.workers()))
        plan = plan_regions(job.grid, job.steps, run.done, workers, self._crew.cluster.region_parts)
        if not plan.steps:
            return
        _log.info(
            "%d regions for %d workers; %.1f %% of the tiles are computed twice",
            len(plan.steps), workers, 100 * plan.twice / plan.tiles,
        )  # fmt: skip
        tally, mixed = _Tally(), self._crew.cluster.allow_mixed
        tasks = deque(Region(run.id, steps, self._digest, mixed) for steps in plan.steps)
        for event in self._crew.perform(self._post, tasks):
            if event.told is not None:
                _take(run, [event.told], tell)
            elif event.report is not None:
                self._finished(event.item, event.report, run, tasks, tally, tell)
                for stage, seconds in (event.report.value or {}).get("seconds", {}).items():
                    watch.seconds[stage] += seconds / workers
        tally.raise_failed(run, len(job.steps))

    def close(self) -> None:
        """Let the workers forget the job."""
        self._posts.close()

    def _require_memory(self, job: Job) -> None:
        count = self._crew.cluster.workers or 1
        needed = count * (estimate_cost(job, None).memory - used_memory())
        require_memory(needed, f"prediction with {count} workers", "give fewer --workers, or a smaller --tile-size")

    def _introductions(self) -> dict[str, dict[str, Any]]:
        """What workers say that they would compute: all of them at first, later any one."""
        found: dict[str, dict[str, Any]] = {}
        tasks = deque([Introduction()])
        for event in self._crew.perform(self._post, tasks, everywhere=not self._acquainted):
            if event.report is None:
                continue
            failure, worker = event.report.failure, event.report.worker
            if failure is None:
                found[worker] = event.report.value
            elif failure.kind in ("Gone", "TimeoutError"):
                self._crew.leave_out(worker, str(failure))
            else:
                raise raised(failure.kind, f"worker {worker}: {failure}")
        if not found:
            raise ClusterError("no worker could open the scene and load the model; is any of them alive?")
        self._acquainted = True
        return found

    def _compare(self, worker: str, found: Mapping[str, object], wanted: Mapping[str, object]) -> None:
        """See that a worker would compute what this run is to be."""
        names = differences(self._compared(found), self._compared(wanted))
        if names:
            loose = all(name.partition(".")[0] in MIXABLE for name, _ in names)
            remedy = "make them alike, or give --allow-mixed (allow_mixed=True)" if loose else "let all see the same"
            told = "; ".join(what for _, what in names[:_LISTED])
            raise ClusterError(f"worker {worker} would compute other pixels than the others: {told}; {remedy}")

    def _compared(self, fingerprint: Mapping[str, object]) -> dict[str, object]:
        return comparable(fingerprint, mixed=self._crew.cluster.allow_mixed)

    def _changed(self, settings: Settings) -> float | None:
        if not settings.measures_precision:
            return None
        report: Report = self._crew.once(self._post, Comparison())
        if report.failure is not None:
            raise raised(report.failure.kind, f"worker {report.worker}: {report.failure}")
        return tell_changed(report.value)

    def _finished(self, region: Region, report: Report, run: Run, tasks: deque[Any], tally: _Tally, tell: Tell) -> None:
        """Take over what a task made. Of one that met a damaged block every step that is left is tried by itself."""
        value, failure = report.value or {"parts": (), "error": None}, report.failure
        _take(run, value["parts"], tell)
        kind, text = (value["error"] or (None, "")) if failure is None else (failure.kind, str(failure))
        if kind not in (None, *LOCAL_FAILURES) and (failure is None or failure.expected):
            raise raised(kind, f"{text} (worker {report.worker})")
        missing = [step for step in region.steps if step not in run.done]
        if kind == CorruptRasterError.__name__ and len(region.steps) > 1:
            tasks.extend(replace(region, steps=(step,)) for step in missing)
        elif kind is not None:
            tally.failed.extend((step, f"{text}, worker {report.worker}") for step in missing)


def _take(run: Run, parts: Sequence[Sequence[Any]], tell: Tell) -> None:
    """Count parts that a worker told of."""
    for values in parts:
        window, size, notes = told_part(values)
        if window not in run.done:
            run.take(window, size, notes)
            tell(window.height * window.width)


def raised(kind: str, text: str) -> GeosegError:
    """An error of a worker as this process raises it."""
    found = getattr(errors, kind, None)
    return found(text) if isinstance(found, type) and issubclass(found, GeosegError) else ClusterError(text)
