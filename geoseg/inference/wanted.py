"""What of a job's source is wanted, where that is less than all of its area."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from geoseg.inference.job import Job
from geoseg.inference.scaling import outwards
from geoseg.tiling import Window

Bools = npt.NDArray[np.bool_]


def touches_of(job: Job) -> Callable[[Window], bool] | None:
    """Whether anything of a window of ``job.source`` is wanted; None where all of the area is."""
    if not job.selection.has_aoi:
        return None
    own, seen, touches, crf = job.scene.grid, job.source.grid, job.selection.touches, job.crf

    def touched(window: Window) -> bool:
        window = window if crf is None else crf.around(window, seen.height, seen.width)
        return touches(window if job.gsd is None else outwards(window, seen, own))

    return touched


def inside_of(job: Job) -> Callable[[Window], Bools] | None:
    """(h, w) bool, which pixels of a window of ``job.source`` are wanted; None where all of the area are."""
    # At another pixel size what is wanted is cut out at the end, on the scene's own grid.
    return job.selection.inside if job.selection.has_aoi and job.gsd is None else None
