"""Parts into rasters: on the scene's own grid, with the scene's own validity."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

import numpy as np
import numpy.typing as npt

from geoseg.errors import ModelError
from geoseg.inference.job import Job
from geoseg.inference.outputs import confidence_bands
from geoseg.inference.parts_sink import LABELS
from geoseg.inference.scaling import first_showing, nearest
from geoseg.legend import NODATA_ID
from geoseg.parts import Run
from geoseg.rasters import (
    CONFIDENCE_NODATA,
    RasterWriter,
    check_output,
    run_of,
    write_class_raster,
    write_confidence_raster,
)
from geoseg.tiling import Window

# Pixels of the scene that are put together at a time where it was seen at another pixel size.
CHUNK_PIXELS = 4 * 2**20

Bytes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]
Put = Callable[[Window, Bools | None, Window], None]


def check_outputs(job: Job, run: Run | None, overwrite: bool) -> None:
    """See before any work whether the outputs can be written.

    Args:
        job: Names them.
        run: What was gone on with: its own outputs may stand there, if it was killed between them.
        overwrite: Whether older outputs may be replaced.

    Raises:
        OutputExistsError: One exists.
        OutputError: One cannot be written.
    """
    goes_on = run is not None and not run.created
    for path in job.outputs.rasters:
        own = run is not None and goes_on and run_of(path) == run.id
        # Killed while it put its files in place, a run has left sidecars that are its own.
        check_output(path, overwrite or own, sidecars=not goes_on)


def assemble(job: Job, run: Run, tags: Mapping[str, str], overwrite: bool, carry_on: Callable[[], None]) -> None:
    """Write the outputs that are not there yet, each under its name only when it is complete; the labels last.

    Args:
        job: Names them.
        run: Its parts, all of them.
        tags: What the outputs say of themselves.
        overwrite: Whether older outputs may be replaced.
        carry_on: Called now and then; may raise, and nothing half is left.

    Raises:
        OutputError: The disk does not take them, or a part is damaged.
        OutputExistsError: An output has come up meanwhile.
    """
    tags = {**tags, "GEOSEG_RUN": run.id}
    with ExitStack() as stack:
        targets: list[Put] = []
        for path in job.outputs.rasters:
            if run_of(path) == run.id:
                continue
            if path == job.outputs.labels:
                writer = stack.enter_context(
                    write_class_raster(
                        path, job.output_grid, job.legend, tags=tags, overwrite=overwrite, folder=run.folder
                    )
                )
                targets.append(_labels_into(writer, job, run))
            else:
                bands = confidence_bands(job.stored, job.legend)
                writer = stack.enter_context(
                    write_confidence_raster(
                        path, job.output_grid, bands=bands, tags=tags, overwrite=overwrite, folder=run.folder
                    )
                )
                targets.append(_confidence_into(writer, job, run))
        run.foresee(job.steps if targets else ())
        for step, window in _windows(job) if targets else ():
            carry_on()
            valid = _final_validity(job, window)
            for put in targets:
                put(step, valid, window)


def _windows(job: Job) -> Iterator[tuple[Window, Window]]:
    """Steps, and the windows of the scene whose pixels they hold; those partition what is mapped."""
    area, own, seen = job.selection.window, job.scene.grid, job.source.grid
    for step in job.steps:
        rows = (first_showing(edge, own.height, seen.height) for edge in (step.row_off, step.row_end))
        cols = (first_showing(edge, own.width, seen.width) for edge in (step.col_off, step.col_end))
        top, bottom = (min(max(row, area.row_off), area.row_end) for row in rows)
        left, right = (min(max(col, area.col_off), area.col_end) for col in cols)
        if top == bottom or left == right:
            continue
        # A step of a coarse view is many times as large in the scene.
        count = bottom - top if job.gsd is None else max(1, CHUNK_PIXELS // (right - left))
        for row in range(top, bottom, count):
            yield step, Window(row, left, min(count, bottom - row), right - left)


def _final_validity(job: Job, window: Window) -> Bools | None:
    """(h, w) bool, what has data and is wanted; None where the parts know it already."""
    if job.gsd is None:
        return None
    valid = job.selection.inside(window)
    return valid if job.scene.always_valid or not valid.any() else valid & job.scene.read(window).valid


def _labels_into(writer: RasterWriter, job: Job, run: Run) -> Put:
    def put(step: Window, valid: Bools | None, window: Window) -> None:
        labels = _shown(run, LABELS, job, step, window)
        if valid is not None:
            if (lost := valid & (labels == NODATA_ID)).any():
                raise ModelError(
                    f"{np.count_nonzero(lost)} pixels with data have no pixel at {job.gsd} m; please report this"
                )
            labels = np.where(valid, labels, np.uint8(NODATA_ID))
        writer.write(_placed(window, job), labels)

    return put


def _confidence_into(writer: RasterWriter, job: Job, run: Run) -> Put:
    def put(step: Window, valid: Bools | None, window: Window) -> None:
        planes = np.stack([_shown(run, name, job, step, window) for name in job.planes[1:]])
        if valid is not None:
            planes = np.where(valid, planes, np.uint8(CONFIDENCE_NODATA))
        writer.write(_placed(window, job), planes)

    return put


def _shown(run: Run, name: str, job: Job, step: Window, window: Window) -> Bytes:
    """(h, w) of a window of the scene, from a plane of the step that holds it."""
    if job.gsd is None:
        return run.read(step, name)
    own, seen = job.scene.grid, job.source.grid
    rows = nearest(np.arange(window.row_off, window.row_end), own.height, seen.height) - step.row_off
    cols = nearest(np.arange(window.col_off, window.col_end), own.width, seen.width) - step.col_off
    plane = run.read(step, name, (int(rows[0]), int(rows[-1]) + 1))
    return np.ascontiguousarray(plane[rows - rows[0]][:, cols])


def _placed(window: Window, job: Job) -> Window:
    """A window of the scene on the grid of the output."""
    area = job.selection.window
    return Window(window.row_off - area.row_off, window.col_off - area.col_off, window.height, window.width)
