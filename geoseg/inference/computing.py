"""Where the steps of a job are computed: here, or on a cluster. All else of a prediction is the same."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from geoseg.inference.estimating import require_job_memory
from geoseg.inference.job import Job
from geoseg.inference.network import CHECKED_TILES, Networks, precision_difference
from geoseg.inference.parts_sink import PartSink
from geoseg.inference.pipeline import Pipeline, Refining
from geoseg.inference.seams import SeamCounter
from geoseg.inference.steps import missing_areas
from geoseg.inference.wanted import inside_of, touches_of
from geoseg.parts import Run
from geoseg.threads import Stopwatch
from geoseg.tiling import Window

if TYPE_CHECKING:
    from geoseg.predictors import Predictor

_log = logging.getLogger("geoseg")

Tell = Callable[[int], None]
"""Told how many more pixels are done."""


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """What is to be known of a network that is ready, wherever it is.

    Attributes:
        identity: All that changes pixels, as JSON values.
        description: What runs where.
        reason: Why.
        changed: Share of labels that the precision changes against fp32, where that was measured.
    """

    identity: dict[str, object]
    description: str
    reason: str
    changed: float | None


class Computing(Protocol):
    """Computes the steps of jobs, one job after the other."""

    def prepare(self, job: Job, scenes: Sequence[str | Path]) -> NetworkFacts:
        """Make the network of a job ready.

        Args:
            job: What is to be computed.
            scenes: What it was opened from.

        Raises:
            GeosegError: There is not enough memory, or the model, the backend or the device does not do.
        """

    def check_memory(self, job: Job) -> None:
        """See that there is memory for a job whose network is ready.

        Raises:
            ResourceError: There is not.
        """

    def compute(self, job: Job, run: Run, tell: Tell, watch: Stopwatch) -> None:
        """Make every part that is missing.

        Args:
            job: The one that was prepared last.
            run: Of the job.
            tell: Told of each finished part.
            watch: Told how long the stages of the pipeline were busy.

        Raises:
            GeosegError: The scene cannot be read, the parts not written, or the like.
        """

    def close(self) -> None:
        """Give back threads and memory."""


class Here:
    """In this process; many scenes load a model once."""

    def __init__(self) -> None:
        self._networks = Networks()

    def prepare(self, job: Job, scenes: Sequence[str | Path]) -> NetworkFacts:  # noqa: ARG002 - the job has it open
        """See :class:`Computing`."""
        require_job_memory(job)
        predictor = self._networks.get(job)
        changed = changed_labels(job, predictor)
        return NetworkFacts(predictor.identity, predictor.description, predictor.reason, changed)

    def check_memory(self, job: Job) -> None:
        """See :class:`Computing`."""
        require_job_memory(job)

    def compute(self, job: Job, run: Run, tell: Tell, watch: Stopwatch) -> None:
        """See :class:`Computing`."""
        compute_steps(job, self._networks.get(job), run, job.steps, tell, watch)

    def close(self) -> None:
        """See :class:`Computing`."""
        self._networks.close()


def compute_steps(
    job: Job,
    predictor: Predictor,
    run: Run,
    steps: Sequence[Window],
    tell: Tell,
    watch: Stopwatch,
    *,
    whole: bool = True,
) -> None:
    """Run the network over those steps that have no part yet.

    Args:
        job: What is computed.
        predictor: Its network.
        run: Where the parts go.
        steps: Some of the job's, in its order.
        tell: Told how many more pixels are done.
        watch: Told how long the stages of the pipeline were busy.
        whole: Whether the run knows the parts of all other steps; else seams to them are left to be counted.
    """
    pipeline = pipeline_of(job, predictor, watch)
    counter = SeamCounter(job.grid, job.settings.blend)
    for area, missing in missing_areas(steps, run.done):
        sink = PartSink(
            run, missing, len(job.planes), job.legend, counter, tell, clipped=job.gsd is None,
            open_below=None if whole else job.area.row_off,
        )  # fmt: skip
        pipeline.run(area, sink.write)


def pipeline_of(job: Job, predictor: Predictor, watch: Stopwatch) -> Pipeline:
    """What all areas of a job share.

    Args:
        job: What is computed.
        predictor: Its network.
        watch: Told how long the stages were busy.
    """
    settings = job.settings
    return Pipeline(
        scene=job.source,
        predictor=predictor,
        grid=job.grid,
        blend=settings.blend,
        batch=settings.batch or predictor.best_batch,
        stored=job.stored,
        touches=touches_of(job),
        inside=inside_of(job),
        watch=watch,
        refining=None if job.crf is None else Refining(job.crf, job.stats[0]),
    )


def changed_labels(job: Job, predictor: Predictor) -> float | None:
    """Measure and say what the precision changes, where it was asked for or is coarse."""
    if not job.settings.measures_precision:
        return None
    return tell_changed(precision_difference(job, predictor))


def tell_changed(share: float) -> float:
    """Say what the precision changes."""
    _log.info("%.3f %% of the labels of %d tiles differ from fp32 under torch", 100 * share, CHECKED_TILES)
    return share
