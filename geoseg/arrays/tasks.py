"""What computes a block of a map, wherever that is: a description and samples in, planes of bytes out.

A process loads each network once, for all blocks, and computes one block at a time: its network takes all cores.
"""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from geoseg import __version__
from geoseg.arrays.agreeing import Arithmetic, arithmetic_of, refuse_unlike
from geoseg.arrays.blocks import area_of
from geoseg.arrays.plans import ArrayPlan
from geoseg.arrays.scenes import ArrayScene
from geoseg.errors import ClusterError, ModelError
from geoseg.inference.checks import warn_of_values
from geoseg.inference.computing import pipeline_of
from geoseg.inference.job import Job
from geoseg.inference.network import Networks, network_key
from geoseg.inference.pipeline import STAGES, FinishedRows
from geoseg.inference.scaling import nearest
from geoseg.inference.storing import Storing, clear, no_data
from geoseg.memory import keep_freed_memory
from geoseg.models import file_hash
from geoseg.processors import cores, limit_cores
from geoseg.rasters import resampled
from geoseg.threads import Stopwatch
from geoseg.tiling import Window

Bytes = npt.NDArray[np.uint8]

KEPT = 4
"""Networks that a process keeps ready: blocks of several maps may take turns."""

REMEMBERED = 256
"""Maps of which a process remembers that it has warned of their values."""

_LOCK = threading.Lock()
_READY: OrderedDict[tuple[object, ...], Networks] = OrderedDict()
_TOLD: OrderedDict[str, None] = OrderedDict()


def agree(plan: ArrayPlan) -> Arithmetic:
    """What all blocks of a map are to be computed with: what this process computes with.

    Raises:
        GeosegError: It has another version of geoseg, or what is asked for cannot run here.
    """
    _refuse_other_version(plan)
    return arithmetic_of(plan.job)


def compute_block(
    plan: ArrayPlan, samples: npt.NDArray[Any], held: Window, window: Window, agreed: Arithmetic | None = None
) -> Bytes:
    """A block of a map.

    Args:
        plan: What is computed, described for the whole scene.
        samples: (C, h, w).
        held: Where they are in the scene.
        window: The pixels of the scene that are wanted.
        agreed: What all blocks are computed with; None where this process computes all of them.

    Returns:
        (P, h, w) class ids first, then the other planes of the job, 0..250 for 0..1 and 255 without data.

    Raises:
        GeosegError: geoseg, its backend or the model is another one here, or cannot run.
    """
    _refuse_other_version(plan)
    here = _holding(plan.job, plan.scene.holding(samples, held), window)
    valid = here.scene.read(window).valid
    if not valid.any():
        return no_data(len(plan.job.planes), window.height, window.width)
    with _LOCK:
        if agreed is not None:
            refuse_unlike(arithmetic_of(here), agreed)
        _tell_of_values(plan, here)
        planes = _computed(here)
    if here.gsd is None:
        return planes
    shown = _on_the_scene(here, planes, window)
    clear(shown, ~valid)
    return shown


def forget() -> None:
    """Give back the networks that this process keeps for the next map.

    On each worker of a cluster: ``client.run(geoseg.arrays.forget)``.
    """
    with _LOCK:
        _TOLD.clear()
        while _READY:
            _READY.popitem()[1].close()


def _refuse_other_version(plan: ArrayPlan) -> None:
    """Blocks of two versions are not put together.

    Raises:
        ClusterError: Another one planned the map.
    """
    if plan.version != __version__:
        raise ClusterError(
            f"this process has geoseg {__version__}, but the map was planned with {plan.version}; install the same "
            "everywhere, or plan the map again"
        )


def _tell_of_values(plan: ArrayPlan, here: Job) -> None:
    """Warn of values with the first block that has any: a lazy scene has no pixel to look at before."""
    if plan.name in _TOLD:
        return
    _TOLD[plan.name] = None
    if len(_TOLD) > REMEMBERED:
        _TOLD.popitem(last=False)
    warn_of_values(here.source, here.scene.sample(), here.spec, here.settings.value_range)


def _holding(job: Job, scene: ArrayScene, window: Window) -> Job:
    """The job with the samples of a block, and the block as all that is wanted."""
    area = area_of(job, window)
    if job.gsd is None:
        return replace(job, scene=scene, source=scene, area=area)
    with resampled(scene, job.gsd) as source:
        return replace(job, scene=scene, source=source, area=area)


def _computed(job: Job) -> Bytes:
    """(P, h, w) of the job's area, at the pixel size of its source."""
    predictor = _networks(job).get(job)
    area = job.area
    planes, storing = no_data(len(job.planes), area.height, area.width), Storing(job.legend, clipped=job.gsd is None)

    def put(rows: FinishedRows) -> None:
        if rows.planes is not None and rows.valid is not None:
            top = rows.window.row_off - area.row_off
            storing.put(rows.planes, rows.valid, planes[:, top : top + rows.window.height])

    pipeline_of(job, predictor, Stopwatch(STAGES)).run(area, put)
    return planes


def _networks(job: Job) -> Networks:
    """Where the job's network is kept; made ready here for the first block that needs it."""
    key = network_key(job)
    if key not in _READY:
        _settle()
        for model in job.models:
            if (found := file_hash(model.path)) != model.sha256:
                raise ModelError(
                    f"{model.path} is another file (SHA-256 {found[:12]}) than when the map was planned "
                    f"({model.sha256[:12]}); copy it anew, or plan the map again"
                )
        while len(_READY) >= KEPT:
            _READY.popitem(last=False)[1].close()
        _READY[key] = Networks()
    _READY.move_to_end(key)
    return _READY[key]


def _settle() -> None:
    """Take no more cores than the Dask worker that this process is, if it is one."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return
    try:
        worker = distributed.get_worker()
    except ValueError:  # the threads or processes of dask itself
        return
    if not worker.address.startswith("inproc"):
        from geoseg.predictors.machine import use_threads

        limit_cores(worker.state.nthreads)
        keep_freed_memory()
        use_threads(cores())


def _on_the_scene(job: Job, planes: Bytes, window: Window) -> Bytes:
    """(P, h, w) of a window of the scene, from planes of the job's area at another pixel size."""
    own, seen, area = job.scene.grid, job.source.grid, job.area
    rows = nearest(np.arange(window.row_off, window.row_end), own.height, seen.height) - area.row_off
    cols = nearest(np.arange(window.col_off, window.col_end), own.width, seen.width) - area.col_off
    return np.ascontiguousarray(planes[:, rows][:, :, cols])
