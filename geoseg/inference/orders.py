"""What a worker is told of a prediction, and what it does: paths, settings and windows in, parts on the disk out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from geoseg.distributed import Duty, MisfitError, Place, Tell, Wanted
from geoseg.distributed.agreeing import comparable, digest, whole_name
from geoseg.inference.computing import changed_labels, compute_steps
from geoseg.inference.estimating import require_job_memory
from geoseg.inference.job import Job, find_models, open_job
from geoseg.inference.network import Networks
from geoseg.inference.pipeline import STAGES
from geoseg.inference.settings import Settings
from geoseg.parts import Run, is_url
from geoseg.processors import cores
from geoseg.teamwork import Region, look_at_parts, make_parts
from geoseg.threads import Stopwatch

MIXABLE = ("geoseg", "network")
"""What may differ between workers where the user allows it, as it stands in a fingerprint."""


@dataclass(frozen=True, slots=True)
class Introduction:
    """A task: say what would be computed, and how."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A task: measure what the precision changes."""


@dataclass(frozen=True, slots=True)
class Order:
    """A prediction as a worker is told of it. Paths are absolute, and mean the same everywhere.

    Attributes:
        scenes: One, or the files of a mosaic.
        models: (path, SHA-256) of each.
        output: The class raster.
        settings: What the user chose.
    """

    scenes: tuple[str, ...]
    models: tuple[tuple[str, str], ...]
    output: str
    settings: Settings

    @classmethod
    def of(cls, job: Job, scenes: Sequence[str | Path]) -> Order:
        """From a job that was opened from ``scenes``."""
        aoi, parts = job.settings.aoi, job.settings.parts_folder
        return cls(
            tuple(whole_name(scene) for scene in scenes),
            tuple((str(model.path.absolute()), model.sha256) for model in job.models),
            str(job.outputs.labels.absolute()),
            replace(
                job.settings,
                aoi=None if aoi is None else whole_name(aoi),
                parts_folder=str(Path(parts).absolute()) if parts is not None and not is_url(parts) else parts,
            ),
        )

    @contextmanager
    def open(self, place: Place) -> Iterator[Duty]:
        """Open the scene and load the network; see :class:`~geoseg.distributed.Opening`."""
        _settle(place)
        models = find_models([path for path, _ in self.models])
        for model, (path, sha256) in zip(models, self.models, strict=True):
            if model.sha256 != sha256:
                raise MisfitError(
                    f"{path} there is another file (SHA-256 {model.sha256[:12]}) than where the job was begun "
                    f"({sha256[:12]}); copy it anew"
                )
        with open_job(self.scenes, models, self.output, self.settings) as job:
            require_job_memory(job)
            look_at_parts(job.outputs.parts.shared)
            yield _Worker(job, place.keep("networks", Networks, Networks.close)).do


class _Worker:
    """A job on a worker."""

    def __init__(self, job: Job, networks: Networks) -> None:
        self._job = job
        self._predictor = networks.get(job)
        self._fingerprint = job.fingerprint(self._predictor.identity)

    def do(self, task: Any, tell: Tell, wanted: Wanted) -> Any:
        """One task."""
        if isinstance(task, Region):
            return self._region(task, tell, wanted)
        if isinstance(task, Comparison):
            return changed_labels(self._job, self._predictor)
        predictor = self._predictor
        return {
            "fingerprint": self._fingerprint,
            "identity": predictor.identity,
            "description": predictor.description,
            "reason": predictor.reason,
        }

    def _region(self, task: Region, tell: Tell, wanted: Wanted) -> dict[str, Any]:
        if task.digest != digest(comparable(self._fingerprint, MIXABLE if task.mixed else ())):
            raise MisfitError("it would compute other pixels than the workers that were there at the start")
        watch = Stopwatch(STAGES)

        def make(run: Run) -> None:
            compute_steps(self._job, self._predictor, run, task.steps, lambda _: None, watch, whole=False)

        made = make_parts(self._job.outputs.parts.shared, task, tell, wanted, make, noted=True)
        return made | {"seconds": watch.seconds}


def _settle(place: Place) -> None:
    place.settle()
    if place.alone:
        from geoseg.predictors.machine import use_threads

        use_threads(cores())
