"""Prediction on a cluster: regions are given out, and their parts taken over as they appear."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoseg.distributed import Cluster, Report, open_crew
from geoseg.distributed.agreeing import comparable, digest, introductions, refuse_unlike
from geoseg.distributed.failing import Tally, raised
from geoseg.inference.computing import NetworkFacts, Tell, tell_changed
from geoseg.inference.estimating import estimate_cost
from geoseg.inference.job import Job
from geoseg.inference.orders import MIXABLE, Comparison, Introduction, Order
from geoseg.inference.regions import Regions, plan_regions
from geoseg.inference.settings import Settings
from geoseg.memory import require_memory, used_memory
from geoseg.parts import Run
from geoseg.teamwork import Region, take_parts
from geoseg.threads import Stopwatch

if TYPE_CHECKING:  # Dask comes with it
    from geoseg.distributed.crew import Crew
    from geoseg.distributed.seats import Claim

_log = logging.getLogger("geoseg")

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
class _Shared:
    """What jobs on the same workers have in common.

    Attributes:
        memory: Bytes that were found to be there for one of them.
        acquainted: Whether all workers have been asked what they would compute; no two jobs begin before they were.
    """

    memory: float = 0
    acquainted: bool = False


class Clustered:
    """Computes on the workers of a crew; see :class:`~geoseg.inference.computing.Computing`."""

    def __init__(self, crew: Crew, shared: _Shared | None = None, claim: Claim | None = None, among: int = 1) -> None:
        self.crew = crew
        self._shared, self._claim, self._among = shared or _Shared(), claim, among
        self._posts = ExitStack()
        self._post = self._digest = ""

    def beside(self, claim: Claim, among: int) -> Clustered:
        """Another that computes on the same workers at the same time, in another thread.

        Args:
            claim: Its seats.
            among: How many scenes there are for the workers, itself included: it is cut for its share of them.
        """
        return Clustered(self.crew, self._shared, claim, among)

    def prepare(self, job: Job, scenes: Files) -> NetworkFacts:
        """Let workers open the scene and load the network; where that is new to them, all of them."""
        self._posts.close()
        if self.crew.own:
            self._require_memory(job)
        self._post = self._posts.enter_context(self.crew.posted(Order.of(job, scenes), self._claim))
        found = introductions(self.crew, self._post, Introduction(), all_of_them=not self._shared.acquainted)
        self._shared.acquainted = True
        first = found[min(found)]
        fingerprint = job.fingerprint(first["identity"])
        for worker, value in found.items():
            compared = self._compared(value["fingerprint"]), self._compared(fingerprint)
            refuse_unlike(worker, *compared, MIXABLE, "pixels")
        self._digest = digest(self._compared(fingerprint))
        description = "; ".join(sorted({value["description"] for value in found.values()}))
        _log.info("model %s; %s (%s)", job.name, description, first["reason"])
        return NetworkFacts(first["identity"], description, first["reason"], self._changed(job.settings))

    def check_memory(self, job: Job) -> None:
        """Each worker has looked for itself."""

    def compute(self, job: Job, run: Run, tell: Tell, watch: Stopwatch) -> None:
        """Give out what is missing and take the parts over as they appear."""
        try:
            self._compute(job, run, tell, watch)
        finally:
            self._settle()

    def close(self) -> None:
        """Let the workers forget the job."""
        self._settle()
        self._posts.close()

    def _compute(self, job: Job, run: Run, tell: Tell, watch: Stopwatch) -> None:
        workers = max(1, len(self.crew.workers()))
        plan = self._plan(job, run, workers)
        if self._claim is not None:
            self._claim.plan(len(plan.steps))
        if not plan.steps:
            return
        tally, mixed = Tally(), self.crew.cluster.allow_mixed
        tasks = deque(Region(run.id, steps, self._digest, mixed) for steps in plan.steps)
        for event in self.crew.perform(self._post, tasks):
            if event.told is not None:
                self._take(run, [event.told], tell)
            elif event.report is not None:
                value = event.report.value or {}
                self._take(run, value.get("parts", ()), tell)
                tally.settle(event.item, event.report, run.done, tasks)
                for stage, seconds in value.get("seconds", {}).items():
                    watch.seconds[stage] += seconds / workers
        tally.raise_failed(len(run.done), len(job.steps), run.store)

    @staticmethod
    def _take(run: Run, parts: Iterable[Sequence[Any]], tell: Tell) -> None:
        for window in take_parts(run, parts):
            tell(window.height * window.width)

    def _plan(self, job: Job, run: Run, workers: int) -> Regions:
        """Cut what is missing for the scene's share of the workers."""
        cluster, share = self.crew.cluster, -(-workers // self._among)
        # The only worker of our own stays alone: to it another region is nothing but tiles that are computed twice.
        size = len(job.steps) if self.crew.own and cluster.workers == 1 else None
        plan = plan_regions(job.grid, job.steps, run.done, share, cluster.region_parts or size)
        if plan.steps:
            cut = f"{len(plan.steps)} region{'s' if len(plan.steps) > 1 else ''}"
            whose = f"{share} of {workers}" if share < workers else str(workers)
            twice = 100 * plan.twice / plan.tiles
            _log.info("%s for %s workers; %.1f %% of the tiles are computed twice", cut, whose, twice)
        return plan

    def _settle(self) -> None:
        """Other jobs may have the seat that was kept for this one."""
        if self._claim is not None:
            self._claim.settle()

    def _require_memory(self, job: Job) -> None:
        count = self.crew.cluster.workers or 1
        needed = count * (estimate_cost(job, None).memory - used_memory())
        if needed > self._shared.memory:  # else workers may be using it this moment
            require_memory(needed, f"prediction with {count} workers", "give fewer --workers, or a smaller --tile-size")
            self._shared.memory = needed

    def _compared(self, fingerprint: Mapping[str, object]) -> dict[str, object]:
        return comparable(fingerprint, MIXABLE if self.crew.cluster.allow_mixed else ())

    def _changed(self, settings: Settings) -> float | None:
        if not settings.measures_precision:
            return None
        report: Report = self.crew.once(self._post, Comparison())
        if report.failure is not None:
            raise raised(report.failure.kind, f"worker {report.worker}: {report.failure}")
        return tell_changed(report.value)
