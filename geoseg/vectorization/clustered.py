"""Vectorizing on a cluster: workers trace strips into parts on the disk, and this process joins them as they appear."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geoseg.distributed import Cluster, open_crew
from geoseg.distributed.agreeing import comparable, digest, introductions, refuse_unlike
from geoseg.distributed.failing import Tally
from geoseg.errors import ParameterError
from geoseg.parts import PartsPlace, Run, is_begun, open_run, read_arrays
from geoseg.polygons.survey_bands import restrip
from geoseg.teamwork import interruptible, take_parts
from geoseg.tiling import Progress, Window
from geoseg.vectorization.job import Job
from geoseg.vectorization.orders import LABELS, MIXABLE, Filtered, Introduction, Order, Region, neighbours
from geoseg.vectorization.packing import unpack
from geoseg.vectorization.passes import Passes
from geoseg.vectorization.places import parts_places
from geoseg.vectorization.tracing import TracedStrip

if TYPE_CHECKING:  # Dask comes with it
    from geoseg.distributed.crew import Crew

_log = logging.getLogger("geoseg")

# A region costs a task and the decoding of a few rows twice; as many for each worker keep all busy until the end.
_REGIONS_PER_WORKER = 4
_MOST_STRIPS = 8

_LIGHTER = "fewer --threads, a smaller strip_height (in Python)"

# Strips that are joined after each word of a worker: more than come with it, so that what an earlier run left is used
# up, and few enough not to let workers wait for tasks.
_AT_ONCE = 2


def _refuse_unshared(*names: str | Path | None) -> None:
    """See that no raster lies in this process's memory.

    Raises:
        ParameterError: One does.
    """
    for name in names:
        if name is not None and ("/vsimem/" in str(name) or str(name).startswith("MEM:")):
            raise ParameterError(
                f"{name} lies in the memory of this process, where no worker sees it; write it to a file"
            )


@contextmanager
def open_clustered(
    cluster: Cluster, job: Job, raster: str | Path, target: Path, resume: bool, progress: Progress | None
) -> Iterator[Iterable[TracedStrip]]:
    """The traced strips of a raster, from top to bottom, as workers make them.

    What is made stays in folders beside the output until the block ends without an error.

    Raises:
        ClusterError: The cluster is not to be had, is lost, or its workers do not do.
        ParameterError: The folders hold what was made with other parameters.
        OutputError: Another run holds the folders.
    """
    _refuse_unshared(raster, job.settings.confidence)
    parts, labels = parts_places(target, job.settings.parts_folder)
    with ExitStack() as stack:
        crew = stack.enter_context(open_crew(cluster))
        if crew.own:
            job.require_memory(cluster.workers or 1)
        order = Order.of(job, raster, parts.shared, labels.shared)
        post = stack.enter_context(crew.posted(order, lighter=_LIGHTER))
        fingerprint = job.fingerprint()
        agreed = _agree(crew, post, fingerprint)
        strips = open_run(parts.folder, fingerprint, (), resume=resume, elsewhere=parts.elsewhere)
        run = stack.enter_context(strips)
        runs = [run]
        if job.surveys:
            runs.append(stack.enter_context(_open_labels(job, labels, resume)))
        else:
            _clear_labels(job, labels, resume)
        stack.enter_context(interruptible(run, "traced strips"))
        yield _Tracing(crew, post, agreed, job, runs, progress)
        for done in reversed(runs):
            done.finish()


def _open_labels(job: Job, place: PartsPlace, resume: bool) -> AbstractContextManager[Run]:
    """The run of the filtered labels."""
    wanted = job.labels_fingerprint()
    return open_run(place.folder, wanted, (LABELS,), resume=resume, elsewhere=place.elsewhere)


def _clear_labels(job: Job, place: PartsPlace, resume: bool) -> None:
    """Remove, or tell of, labels that an older run has filtered and that this one does not need."""
    if not any(is_begun(where) for where in {str(place.folder.absolute()), place.shared}):
        return
    if resume:
        _log.warning(
            "%s holds labels that a run with --min-area or --fill-holes left, and this one does not use them; "
            "--no-resume (resume=False) removes them",
            place.shared,
        )
    else:
        with _open_labels(job, place, resume):
            pass  # it starts over, and leaves nothing where no part was made


def _agree(crew: Crew, post: str, fingerprint: dict[str, object]) -> str:
    """See that all workers would make the same polygons; gives a few characters for what they are made of."""
    mixable = MIXABLE if crew.cluster.allow_mixed else ()
    wanted = comparable(fingerprint, mixable)
    for worker, found in introductions(crew, post, Introduction(), all_of_them=True).items():
        refuse_unlike(worker, comparable(found, mixable), wanted, MIXABLE, "polygons")
    return digest(wanted)


class _Upcoming(deque[Region]):
    """Regions that are made ready when somebody asks for them: filtering goes on while others are traced.

    Args:
        ready: Makes them ready.
    """

    def __init__(self, ready: Iterator[Region]) -> None:
        super().__init__()
        self._ready = ready

    def __bool__(self) -> bool:
        if not len(self):
            self.extend(islice(self._ready, 1))
        return len(self) > 0


class _Tracing:
    """The strips of a job, traced by a crew.

    Args:
        crew: The workers.
        post: The job as they know it.
        agreed: What all of them agree on.
        job: What is traced.
        runs: That of the traced strips, and where labels are filtered that of the labels.
        progress: Told pixels done and in total.
    """

    def __init__(
        self, crew: Crew, post: str, agreed: str, job: Job, runs: Sequence[Run], progress: Progress | None
    ) -> None:
        self._crew = crew
        self._post = post
        self._agreed = agreed
        self._job = job
        self._run = runs[0]
        self._labels = runs[1] if len(runs) > 1 else None
        missing = [step for step in job.steps if step not in self._run.done]
        self._regions = list(_cut(missing, max(1, len(crew.workers())), crew.cluster.region_parts))
        filtering = self._labels is not None and not self._needed_labels() <= self._labels.done
        self._passes = Passes(progress, *job.source.grid.shape, surveys=job.surveys if filtering else 0)
        self._traced = sum(step.height for step in job.steps if step in self._run.done)

    def __iter__(self) -> Iterator[TracedStrip]:
        """All of them once, from top to bottom.

        Raises:
            GeosegError: Some cannot be traced; the others are kept.
        """
        steps, tally = self._job.steps, Tally()
        _log.info("%d strips in %d regions", sum(map(len, self._regions)), len(self._regions))
        if self._traced:
            _log.info("going on from %d of %d strips in %s", len(self._run.done), len(steps), self._run.store)
            self._passes.traced(self._traced)
        ready = self._ready(steps)
        tasks = _Upcoming(self._tasks())
        for event in self._crew.perform(self._post, tasks):
            if event.told is not None:
                self._take([event.told])
            elif event.report is not None:
                self._take((event.report.value or {}).get("parts", ()))
                tally.settle(event.item, event.report, self._run.done, tasks)
            yield from islice(ready(), _AT_ONCE)
        tally.raise_failed(len(self._run.done), len(steps), self._run.store)
        yield from ready()

    def _ready(self, steps: Sequence[Window]) -> Callable[[], Iterator[TracedStrip]]:
        """Gives the next strips as long as they are there."""
        waiting, coming = deque(steps), deque[Window]()

        def ready() -> Iterator[TracedStrip]:
            while waiting and waiting[0] in self._run.done:
                if not coming:  # what is under way is forgotten when more is foreseen
                    coming.extend(takewhile(lambda step: step in self._run.done, waiting))
                    self._run.foresee(coming)
                coming.popleft()
                yield unpack(read_arrays(self._run, waiting.popleft()))

        return ready

    def _take(self, parts: Iterable[Sequence[Any]]) -> None:
        """Count parts that a worker told of."""
        for window in take_parts(self._run, parts):
            self._traced += window.height
            self._passes.traced(self._traced)

    def _tasks(self) -> Iterator[Region]:
        """Regions, each as soon as its labels are there."""
        mixed = self._crew.cluster.allow_mixed
        filtered = self._filtered()
        for steps in self._regions:
            yield Region(self._run.id, steps, self._agreed, mixed, filtered(steps))

    def _filtered(self) -> Callable[[Sequence[Window]], Filtered | None]:
        """Makes the filtered labels of regions, one after the other, those that are there already included."""
        labels = self._labels
        if labels is None:
            return lambda _: None
        strips = zip(self._job.steps, restrip(self._job.filtered(self._passes), self._job.plan.rows)(), strict=True)

        def filtered(steps: Sequence[Window]) -> Filtered:
            wanted = [*_above(self._job, steps), *steps]
            while not set(wanted) <= labels.done:
                step, pixels = next(strips)
                if step not in labels.done:
                    labels.write(step, np.ascontiguousarray(pixels)[None])
            return Filtered(labels.id, tuple((step, labels.size(step)) for step in wanted))

        return filtered

    def _needed_labels(self) -> set[Window]:
        """Strips whose labels workers read."""
        return {step for steps in self._regions for step in (*_above(self._job, steps), *steps)}


def _above(job: Job, steps: Sequence[Window]) -> list[Window]:
    """The strip above some neighbouring strips, if there is any."""
    top, rows = steps[0].row_off, job.plan.rows
    return [Window(top - rows, 0, rows, steps[0].width)] if top else []


def _cut(missing: Sequence[Window], workers: int, size: int | None) -> Iterator[tuple[Window, ...]]:
    """Neighbouring strips in regions of ``size`` strips, or of a few that suit the number of workers."""
    most = size or min(_MOST_STRIPS, -(-len(missing) // (_REGIONS_PER_WORKER * workers)) or 1)
    for group in neighbours(iter(missing)):
        for first in range(0, len(group), most):
            yield group[first : first + most]
