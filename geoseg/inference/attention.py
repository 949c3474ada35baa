"""write_attention(): where the gates of a network look in a scene, as a raster on its grid."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from geoseg import __version__
from geoseg.blending.stored import Stored
from geoseg.inference.estimating import require_job_memory
from geoseg.inference.job import Job, find_models, open_job
from geoseg.inference.outputs import ATTENTION_SUFFIX
from geoseg.inference.pipeline import STAGES, FinishedRows, Pipeline
from geoseg.inference.settings import Settings
from geoseg.inference.wanted import inside_of, touches_of
from geoseg.rasters import (
    CONFIDENCE_NODATA,
    LABELS_SUFFIX,
    RasterWriter,
    check_output,
    refuse_inputs,
    write_share_raster,
)
from geoseg.threads import Stopwatch
from geoseg.tiling import Blend, Progress, Window

if TYPE_CHECKING:
    from geoseg.predictors.attention import AttentionMaps


def write_attention(
    scene: str | Path,
    model: str | Path,
    output: str | Path | None = None,
    *,
    bands: tuple[int, ...] | None = None,
    value_range: tuple[float, float] | None = None,
    aoi: str | Path | None = None,
    window: tuple[int, int, int, int] | None = None,
    tile_size: int | None = None,
    overlap: int | None = None,
    blend: Blend = "hann",
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write where the attention gates of a model look in a scene.

    A band for each gate, the finest first: the weights that it gives the pixels of its skip, 0 where it shuts them out
    and 1 where it lets them through, in steps of 0.004 with 255 where the scene has no data. Tiles are those of
    :func:`geoseg.predict`, and blended alike; memory does not depend on the scene's height. What is interrupted starts
    over.

    Args:
        scene: Any raster that GDAL reads.
        model: A model of ``attention-unet``: a file, a run or a name.
        output: Raster to write; default is ``<scene>_attention.tif`` beside the scene.
        bands: As for :func:`geoseg.predict`, like all others but ``device``.
        value_range: Scene values that stand for the model's full range.
        aoi: Outside of these polygons is no data.
        window: Only this part.
        tile_size: Side of a tile in pixels.
        overlap: Pixels that neighbouring tiles share.
        blend: How they are weighted.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``; torch computes in fp32.
        overwrite: Replace an older output.
        progress: Told pixels done and in total.

    Returns:
        The raster.

    Raises:
        GeosegError: The scene, the model, a parameter or the output does not do.
    """
    settings = Settings(
        bands=bands, value_range=value_range, aoi=aoi, window=window, tile_size=tile_size, overlap=overlap,
        blend=blend, device=device,
    )  # fmt: skip
    models = find_models(model)
    with open_job([scene], models, output, settings) as job:
        path = _place(job, output)
        check_output(path, overwrite)
        require_job_memory(job)
        with _maps(job) as maps:
            names = tuple(f"attention 1:{1 << level}" for level in range(maps.gates))
            with write_share_raster(path, job.output_grid, names, tags=_tags(job, maps), overwrite=overwrite) as writer:
                _compute(job, maps, _into(writer, job, maps.gates, progress))
    return path


def _place(job: Job, output: str | Path | None) -> Path:
    """Where the raster goes.

    Raises:
        ParameterError: It is the scene or the model.
    """
    labels = job.outputs.labels
    if output is not None and not Path(output).is_dir():
        return labels
    path = labels.with_name(f"{labels.stem.removesuffix(LABELS_SUFFIX)}{ATTENTION_SUFFIX}{labels.suffix}")
    refuse_inputs([path], [*job.scene.files, *(m.path for m in job.models)])  # the place of a map was looked at before
    return path


@contextmanager
def _maps(job: Job) -> Iterator[AttentionMaps]:
    from geoseg.models import load_model
    from geoseg.predictors import Loaded
    from geoseg.predictors.attention import AttentionMaps

    [model], [stats] = job.models, job.stats
    loaded = Loaded(lambda: load_model(model.path)[0], model.spec, stats, model.sha256)
    maps = AttentionMaps(loaded, job.settings.device, job.grid.input_size)
    try:
        yield maps
    finally:
        maps.close()


def _compute(job: Job, maps: AttentionMaps, write: Callable[[FinishedRows], None]) -> None:
    pipeline = Pipeline(
        scene=job.source,
        predictor=maps,
        grid=job.grid,
        blend=job.settings.blend,
        batch=1,
        stored=Stored(probabilities=True),
        touches=touches_of(job),
        inside=inside_of(job),
        watch=Stopwatch(STAGES),
    )
    pipeline.run(job.area, write)


def _into(writer: RasterWriter, job: Job, gates: int, progress: Progress | None) -> Callable[[FinishedRows], None]:
    area, done = job.area, 0

    def write(rows: FinishedRows) -> None:
        nonlocal done
        window = rows.window
        planes = np.full((gates, window.height, window.width), CONFIDENCE_NODATA, np.uint8)
        if rows.planes is not None and rows.valid is not None:
            np.copyto(planes, rows.planes[1:], where=rows.valid)
        top, left = window.row_off - area.row_off, window.col_off - area.col_off
        writer.write(Window(top, left, window.height, window.width), planes)
        done += window.height * window.width
        if progress is not None:
            progress(done, area.height * area.width)

    return write


def _tags(job: Job, maps: AttentionMaps) -> dict[str, str]:
    return {
        "GEOSEG_VERSION": __version__,
        "GEOSEG_MODEL": job.name,
        "GEOSEG_MODEL_SHA256": job.models[0].sha256,
        "GEOSEG_BACKEND": maps.description,
        "GEOSEG_PARAMETERS": json.dumps(job.parameters()),
    }
