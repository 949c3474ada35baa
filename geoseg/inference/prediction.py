"""predict(): a scene and a model in, a georeferenced class raster out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Unpack

from geoseg import __version__
from geoseg.distributed import Cluster, ClusterChoices, split_choices
from geoseg.inference.assembly import assemble, check_outputs
from geoseg.inference.computing import Computing, Here, NetworkFacts
from geoseg.inference.estimating import Estimate, estimate_cost, require_job_memory
from geoseg.inference.job import Job, ModelFile, find_models, open_job
from geoseg.inference.network import Networks
from geoseg.inference.seams import SeamCounts
from geoseg.inference.settings import Choices, Settings
from geoseg.inference.work import Work
from geoseg.parts import open_run
from geoseg.teamwork import interruptible
from geoseg.tiling import Progress

Models = str | Path | Sequence[str | Path]
"""A model file, a run or a built-in model; several are an ensemble."""

Files = str | Path | Sequence[str | Path]
"""A scene; several files are read as one mosaic."""


class AllChoices(Choices, ClusterChoices, total=False):
    """How a scene is predicted, and where."""


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
    **choices: Unpack[AllChoices],
) -> Prediction:
    """Map the land cover of a scene.

    The class raster has exactly the scene's grid; pixels without data in the scene are 0 there. Memory depends on the
    scene's width, never on its height. Nothing stands under the final names before all is written; what is finished of
    an interrupted run lies in ``<output>.parts``, or in ``parts_folder``, and the same call goes on from there.

    Args:
        scene: Any raster that GDAL reads: GeoTIFF, VRT, ``/vsi…``, ``https://…``, ``s3://…``; several are a mosaic.
        model: Path of a model file, name of a run in ``./runs``, or name of a built-in model; several are an ensemble,
            whose probabilities are averaged.
        output: Class raster to write, or a folder for it; default is ``<scene>_landcover.tif`` beside the scene.
        overwrite: Replace existing outputs, once the new ones are complete.
        resume: Go on with what an interrupted run left; else start over.
        progress: Told pixels done and in total.
        **choices: How, see :class:`~geoseg.inference.Settings`; and where, if not in this process: ``workers``,
            ``scheduler``, ``scheduler_file`` or ``client``, see :class:`~geoseg.distributed.Cluster`.

    Returns:
        Where everything is.

    Raises:
        GeosegError: A subclass says what is wrong: the scene, the model, a parameter, the output or the cluster.
    """
    cluster, rest = split_choices(choices)
    settings = Settings.of(rest)
    models = find_models(model)
    with open_computing(cluster, settings) as computing:
        return predict_with(computing, scene, models, output, settings, overwrite, resume, progress)


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
    computing: Computing,
    scene: Files,
    models: tuple[ModelFile, ...],
    output: str | Path | None,
    settings: Settings,
    overwrite: bool,
    resume: bool,
    progress: Progress | None,
    carry_on: Callable[[], None] = lambda: None,
) -> Prediction:
    """:func:`predict` where other scenes are computed too; ``carry_on`` raises where they all are to end."""
    with open_job(_files(scene), models, output, settings) as job:
        if not resume or not job.outputs.parts.begun:  # before older parts go
            check_outputs(job, None, overwrite)
        network = computing.prepare(job, _files(scene))
        fingerprint = job.fingerprint(network.identity)
        parts = job.outputs.parts
        with (
            open_run(parts.folder, fingerprint, job.planes, resume=resume, elsewhere=parts.elsewhere) as run,
            interruptible(run, "finished parts"),
        ):
            check_outputs(job, run, overwrite)
            work = Work(job, run, progress)
            work.check_disk()
            computing.check_memory(job)
            computing.compute(job, run, work.tell, work.watch)
            with work.watch.running("write"):
                seams = work.seams()
                assemble(job, run, _provenance(job, network, seams), overwrite, carry_on)
            result = _result(job, network, work, seams)
            run.finish()
    return result


@contextmanager
def open_computing(cluster: Cluster, settings: Settings) -> Iterator[Computing]:
    """Where scenes are computed, while the block runs.

    Raises:
        ClusterError: The cluster is not to be had.
    """
    if cluster.named:
        from geoseg.inference.clustered import open_clustered

        with open_clustered(cluster, settings) as clustered:
            yield clustered
    else:
        with closing(Here()) as here:
            yield here


def _files(scene: Files) -> list[str | Path]:
    return [scene] if isinstance(scene, str | Path) else list(scene)


def _result(job: Job, network: NetworkFacts, work: Work, seams: SeamCounts) -> Prediction:
    """What is there now."""
    seconds = work.seconds()
    return Prediction(
        labels=job.outputs.labels,
        confidence=job.outputs.confidence,
        model=job.name,
        tile_size=job.grid.tile_size,
        overlap=job.grid.overlap,
        backend=network.description,
        reason=network.reason,
        seam_score=seams.score,
        seam_changes=seams.seam_changes,
        changed_labels=network.changed,
        seconds=seconds,
        shares={stage: busy / seconds for stage, busy in work.watch.seconds.items()},
        resumed=work.resumed,
    )


def _provenance(job: Job, network: NetworkFacts, seams: SeamCounts) -> Mapping[str, str]:
    """Tags that say how the map was made. The date stands here and nowhere else."""
    tags = {
        "GEOSEG_VERSION": __version__,
        "GEOSEG_DATE": datetime.now(UTC).isoformat(timespec="seconds"),
        "GEOSEG_SCENE": Path(job.scene.name).name,
        "GEOSEG_MODEL": job.name,
        "GEOSEG_MODEL_SHA256": " ".join(m.sha256 for m in job.models),
        "GEOSEG_MODEL_LICENSE": " ".join(dict.fromkeys(m.spec.license for m in job.models)),
        "GEOSEG_BACKEND": network.description,
        "GEOSEG_BACKEND_REASON": network.reason,
        "GEOSEG_PARAMETERS": json.dumps(job.parameters()),
        "GEOSEG_SEAMS": json.dumps(astuple(seams)),
    }
    if network.changed is not None:
        tags["GEOSEG_CHANGED_LABELS"] = f"{network.changed:.6f}"
    if job.outputs.confidence is not None:
        tags["GEOSEG_CONFIDENCE"] = job.outputs.confidence.name
    return tags
