"""predict(): a scene and a model in, a georeferenced class raster out."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from geoseg import __version__
from geoseg.disk import require_disk
from geoseg.inference.assembly import assemble, check_outputs
from geoseg.inference.estimating import Estimate, estimate_cost, require_job_memory
from geoseg.inference.job import Job, find_models, open_job, touches_of
from geoseg.inference.network import CHECKED_TILES, Networks, precision_difference
from geoseg.inference.parts_sink import PartSink
from geoseg.inference.pipeline import STAGES, Pipeline
from geoseg.inference.seams import SeamCounter, SeamCounts
from geoseg.inference.settings import Choices, Settings
from geoseg.inference.steps import missing_areas
from geoseg.parts import Run, open_run
from geoseg.threads import Stopwatch
from geoseg.tiling import Progress

if TYPE_CHECKING:
    from geoseg.predictors import Predictor

_log = logging.getLogger("geoseg")

_MIB, _GIB = 2**20, 2**30

Models = str | Path | Sequence[str | Path]
"""A model file, a run or a built-in model; several are an ensemble."""

Files = str | Path | Sequence[str | Path]
"""A scene; several files are read as one mosaic."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What predict() wrote.

    Attributes:
        labels: The class raster.
        confidence: The confidence raster, if it was asked for.
        model: Name of the model, or names of the ensemble's.
        tile_size: Side of a tile in pixels.
        overlap: Pixels that neighbouring tiles share.
        backend: What ran the network.
        reason: Why.
        seam_score: Rate of label changes across tile borders over the rate elsewhere; 1 is seamless, None where no
            label changes.
        seam_changes: How many label changes across tile borders that is told from; few tell little.
        changed_labels: Share of labels that the precision changed against fp32, where that was measured.
        seconds: Time from the first tile to the finished outputs.
        shares: Share of that time in which each stage was busy; they overlap.
        resumed: Share of the pixels that an interrupted run had left finished.
    """

    labels: Path
    confidence: Path | None
    model: str
    tile_size: int
    overlap: int
    backend: str
    reason: str
    seam_score: float | None
    seam_changes: int
    changed_labels: float | None
    seconds: float
    shares: dict[str, float]
    resumed: float


def predict(
    scene: Files,
    model: Models = "unet",
    output: str | Path | None = None,
    *,
    overwrite: bool = False,
    resume: bool = True,
    progress: Progress | None = None,
    **choices: Unpack[Choices],
) -> Prediction:
    """Map the land cover of a scene.

    The class raster has exactly the scene's grid; pixels without data in the scene are 0 there. Memory depends on the
    scene's width, never on its height. Nothing stands under the final names before all is written; what is finished of
    an interrupted run lies in ``<output>.parts``, and the same call goes on from there.

    Args:
        scene: Any raster that GDAL reads: GeoTIFF, VRT, ``/vsi…``, ``https://…``, ``s3://…``; several are a mosaic.
        model: Path of a model file, name of a run in ``./runs``, or name of a built-in model; several are an ensemble,
            whose probabilities are averaged.
        output: Class raster to write, or a folder for it; default is ``<scene>_landcover.tif`` beside the scene.
        overwrite: Replace existing outputs, once the new ones are complete.
        resume: Go on with what an interrupted run left; else start over.
        progress: Told pixels done and in total.
        **choices: How; see :class:`~geoseg.inference.Settings`.

    Returns:
        Where everything is.

    Raises:
        GeosegError: A subclass says what is wrong: the scene, the model, a parameter or the output.
    """
    settings, networks = Settings.of(choices), Networks()
    try:
        return predict_with(networks, scene, model, output, settings, overwrite, resume, progress)
    finally:
        networks.close()


def estimate_prediction(
    scene: Files, model: Models = "unet", output: str | Path | None = None, **choices: Unpack[Choices]
) -> Estimate:
    """What :func:`predict` would cost; runs a few tiles and writes nothing.

    Raises:
        GeosegError: As :func:`predict`, but for outputs that exist.
    """
    networks = Networks()
    try:
        with open_job(_files(scene), find_models(model), output, Settings.of(choices)) as job:
            require_job_memory(job)
            return estimate_cost(job, networks.get(job), measure=True)
    finally:
        networks.close()


def predict_with(
    networks: Networks,
    scene: Files,
    model: Models,
    output: str | Path | None,
    settings: Settings,
    overwrite: bool,
    resume: bool,
    progress: Progress | None,
) -> Prediction:
    """:func:`predict` with networks that other scenes use too."""
    with open_job(_files(scene), find_models(model), output, settings) as job:
        if not resume or not job.outputs.parts.exists():  # before older parts go
            check_outputs(job, None, overwrite)
        require_job_memory(job)
        predictor = networks.get(job)
        changed = _changed_labels(job, predictor)
        fingerprint = job.fingerprint(predictor.identity)
        with open_run(job.outputs.parts, fingerprint, job.planes, resume=resume) as run, _interruptible(run):
            check_outputs(job, run, overwrite)
            work = _Work(job, run, predictor, progress)
            work.check_resources()
            work.predict_missing()
            with work.watch.running("write"):
                assemble(job, run, _provenance(job, predictor, changed, work.seams()), overwrite)
            result = work.result(changed)
            run.finish()
    return result


@contextmanager
def _interruptible(run: Run) -> Iterator[None]:
    """Say what an interrupted run keeps."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if run.done:
            _log.info("%d finished parts stay in %s; the same parameters go on from there", len(run.done), run.folder)
        raise


def _files(scene: Files) -> list[str | Path]:
    return [scene] if isinstance(scene, str | Path) else list(scene)


class _Work:
    """The steps of a job that are not done yet, and what is to be told of them."""

    def __init__(self, job: Job, run: Run, predictor: Predictor, progress: Progress | None) -> None:
        self.watch = Stopwatch(STAGES)
        self._job = job
        self._run = run
        self._predictor = predictor
        self._progress = progress
        self._begin = time.perf_counter()
        self._total = job.area.height * job.area.width
        done = run.done
        self._done = sum(step.height * step.width for step in job.steps if step in done)
        self._resumed = self._done / self._total

    def check_resources(self) -> None:
        """See that memory and disk suffice, and say what they will be.

        Raises:
            ResourceError: They do not.
        """
        cost = estimate_cost(self._job, self._predictor)
        _log.info(
            "%d tiles of %d px, overlap %d; about %.1f GiB of memory and %.0f MiB of disk",
            cost.wanted_tiles, self._job.grid.tile_size, self._job.grid.overlap, cost.memory / _GIB, cost.disk / _MIB,
        )  # fmt: skip
        require_job_memory(self._job)
        require_disk(self._job.outputs.parts, cost.disk)
        if self._resumed:
            _log.info("going on from %d %% in %s", 100 * self._resumed, self._run.folder)

    def predict_missing(self) -> None:
        """Run the network over every step that has no part yet."""
        job, predictor, settings = self._job, self._predictor, self._job.settings
        pipeline = Pipeline(
            scene=job.source,
            predictor=predictor,
            grid=job.grid,
            blend=settings.blend,
            batch=settings.batch or predictor.best_batch,
            stored=job.stored,
            touches=touches_of(job),
            # At another pixel size what is wanted is cut out at the end, on the scene's own grid.
            inside=job.selection.inside if job.selection.has_aoi and job.gsd is None else None,
            watch=self.watch,
        )
        counter = SeamCounter(job.grid, settings.blend)
        self._tell(0)
        for area, steps in missing_areas(job.steps, self._run.done):
            sink = PartSink(self._run, steps, len(job.planes), job.legend, counter, self._tell, clipped=job.gsd is None)
            pipeline.run(area, sink.write)

    def seams(self) -> SeamCounts:
        """Label changes at tile borders and elsewhere, of all parts."""
        total = SeamCounts()
        for step in self._job.steps:
            counts = self._run.notes(step)["seams"]
            assert isinstance(counts, list)
            total = total + SeamCounts(*counts)
        return total

    def result(self, changed: float | None) -> Prediction:
        """What is there now."""
        job, seconds, seams = self._job, time.perf_counter() - self._begin, self.seams()
        return Prediction(
            labels=job.outputs.labels,
            confidence=job.outputs.confidence,
            model=job.name,
            tile_size=job.grid.tile_size,
            overlap=job.grid.overlap,
            backend=self._predictor.description,
            reason=self._predictor.reason,
            seam_score=seams.score,
            seam_changes=seams.seam_changes,
            changed_labels=changed,
            seconds=seconds,
            shares={stage: busy / seconds for stage, busy in self.watch.seconds.items()},
            resumed=self._resumed,
        )

    def _tell(self, pixels: int) -> None:
        self._done += pixels
        if self._progress is not None:
            self._progress(self._done, self._total)


def _changed_labels(job: Job, predictor: Predictor) -> float | None:
    """Measure and say what the precision changes, where it was asked for or is coarse."""
    settings = job.settings
    if not settings.check_precision and settings.precision != "int8":
        return None
    share = precision_difference(job, predictor)
    _log.info("%.3f %% of the labels of %d tiles differ from fp32 under torch", 100 * share, CHECKED_TILES)
    return share


def _provenance(job: Job, predictor: Predictor, changed: float | None, seams: SeamCounts) -> Mapping[str, str]:
    """Tags that say how the map was made. The date stands here and nowhere else."""
    tags = {
        "GEOSEG_VERSION": __version__,
        "GEOSEG_DATE": datetime.now(UTC).isoformat(timespec="seconds"),
        "GEOSEG_SCENE": Path(job.scene.name).name,
        "GEOSEG_MODEL": job.name,
        "GEOSEG_MODEL_SHA256": " ".join(m.sha256 for m in job.models),
        "GEOSEG_MODEL_LICENSE": " ".join(dict.fromkeys(m.spec.license for m in job.models)),
        "GEOSEG_BACKEND": predictor.description,
        "GEOSEG_BACKEND_REASON": predictor.reason,
        "GEOSEG_PARAMETERS": json.dumps(job.parameters()),
        "GEOSEG_SEAMS": json.dumps(astuple(seams)),
    }
    if changed is not None:
        tags["GEOSEG_CHANGED_LABELS"] = f"{changed:.6f}"
    if job.outputs.confidence is not None:
        tags["GEOSEG_CONFIDENCE"] = job.outputs.confidence.name
    return tags
