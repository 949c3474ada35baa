"""predict_array(): a scene that xarray holds and a model in, a lazy map on the same coordinates out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from geoseg.errors import ParameterError
from geoseg.inference.job import Job, find_models, plan_job
from geoseg.inference.outputs import Outputs
from geoseg.inference.settings import MapChoices, Settings
from geoseg.parts import PartsPlace
from geoseg.rasters import resampled
from geoseg.tiling import Window

if TYPE_CHECKING:
    import xarray as xr

    from geoseg.arrays.plans import ArrayPlan
    from geoseg.arrays.scenes import ArrayScene

REMEDY = "pip install 'geoseg[xarray]'"

# The places of files that a job names, and that nobody looks at here.
_NOWHERE = Outputs(Path("landcover.tif"), None, PartsPlace(Path("landcover.tif.parts")))


class ArrayChoices(MapChoices, total=False):
    """The keyword arguments of :func:`predict_array`, as :class:`~geoseg.inference.Settings` describes them."""


def predict_array(
    array: xr.DataArray | xr.Dataset,
    model: str | Path | Sequence[str | Path] = "unet",
    *,
    bands: Sequence[int | str] | None = None,
    nodata: float | None = None,
    **choices: Unpack[ArrayChoices],
) -> xr.DataArray | xr.Dataset:
    """Map the land cover of a scene that xarray holds: the pixels that :func:`geoseg.predict` gives for it as a file.

    Over Dask arrays the map is lazy: nothing is read and no network loaded before it is computed, with any scheduler.
    Its chunks end where those of the scene end, and each depends on the pixels that its tiles show and no others; the
    tile grid is that of the whole array, whatever the chunks. Arrays in memory are mapped at once.

    Args:
        array: (band, y, x) in any order; rows and columns are ``y`` and ``x``, ``latitude`` and ``longitude``, or
            ``lat`` and ``lon``, bands ``band``, ``bands``, ``channel`` or ``variable``, or none for one band; each step
            along any other dimension, such as ``time``, is a scene of its own. Or a dataset whose variables are bands,
            as ``odc.stac.load`` gives it.
        model: Path of a model file, name of a run in ``./runs``, or name of a built-in model; several are an ensemble,
            whose probabilities are averaged. Other processes and machines read it from the same path.
        bands: Bands in the order that the model wants, by number from 1 or by name; default is all of an array, and of
            a dataset the variables that are named as the model's bands, or all.
        nodata: Value that stands for no data, as do NaN and infinity always; default is what each band's attributes
            say: ``nodata``, ``_FillValue``, ``missing_value`` or ``fill_value``.
        **choices: How, see :class:`~geoseg.inference.Settings`.

    Returns:
        ``landcover``, (…, y, x) uint8 class ids with 0 for no data, its legend in ``flag_values``, ``flag_meanings``
        and ``flag_colors``; coordinates and CRS are the scene's. With ``confidence``, ``probabilities`` or
        ``uncertainty`` a dataset of it and of float32 0..1, in steps of 0.004, NaN for no data: ``confidence``,
        ``entropy``, ``mutual_information``, and ``probabilities`` (…, class, y, x).

    Raises:
        GeosegError: A subclass says what is wrong: the array, the model or a parameter. While blocks are computed: the
            model's file has changed, or its network cannot run.
    """
    _require_toolkits()
    from geoseg.arrays.describing import described
    from geoseg.arrays.plans import ArrayPlan
    from geoseg.arrays.stacks import read_stack

    settings, models = _settings(choices), find_models(model)
    stack = read_stack(array, models[0].spec.bands, bands, nodata)
    samples = stack.array.data if stack.array.chunks is not None else stack.array.values
    scene = stack.scene if stack.array.chunks is not None else _sampled(stack.scene, samples)
    with plan_job(scene, models, _NOWHERE, settings) as planned:
        job = _without_samples(planned, stack.scene)
    planes = _planes(ArrayPlan(job, stack.scene, uuid4().hex), samples)
    return described(planes, job, array, (*stack.extra, *stack.spatial))


def _require_toolkits() -> None:
    """See that what reads arrays is installed.

    Raises:
        ParameterError: It is not.
    """
    for name in ("xarray", "rioxarray", "dask"):
        try:
            __import__(name)
        except ImportError as error:
            raise ParameterError(f"predict_array needs {name}, which is not installed: {REMEDY}") from error


def _settings(choices: Mapping[str, Any]) -> Settings:
    """The settings of a prediction.

    Raises:
        TypeError: One of the keyword arguments is none of :func:`predict_array`.
        ParameterError: A value is out of range, or asks for the whole scene.
    """
    if unknown := sorted(set(choices) - ArrayChoices.__annotations__.keys()):
        raise TypeError(f"predict_array() got an unexpected keyword argument {unknown[0]!r}")
    if choices.get("precision") == "int8":
        raise ParameterError(
            "int8 is calibrated on tiles from all over a scene, and a block of an array knows only its own; "
            "give precision='bf16' or 'fp32', or write the scene to a file for geoseg.predict"
        )
    return Settings(**choices)


def _sampled(scene: ArrayScene, samples: npt.NDArray[Any]) -> ArrayScene:
    """A scene in memory with its samples, the first of several: they are looked at for values unlike the model's."""
    first = samples.reshape(-1, *samples.shape[-3:])
    return scene.holding(first[0], Window(0, 0, *scene.grid.shape)) if len(first) else scene


def _without_samples(planned: Job, scene: ArrayScene) -> Job:
    """A job as tasks are told of it: without samples, and without the steps that parts on a disk would have."""
    if planned.gsd is None:
        return replace(planned, scene=scene, source=scene, steps=())
    with resampled(scene, planned.gsd) as source:
        return replace(planned, scene=scene, source=source, steps=())


def _planes(plan: ArrayPlan, samples: Any) -> Any:
    """(…, P, H, W) uint8 planes, computed or lazy as the samples are."""
    if not isinstance(samples, np.ndarray):
        from geoseg.arrays.graphs import lazily

        return lazily(plan, samples)
    from geoseg.arrays.tasks import compute_block

    outer, shape = samples.shape[:-3], samples.shape[-2:]
    whole = Window(0, 0, *shape)
    planes = np.empty((*outer, len(plan.job.planes), *shape), np.uint8)
    for at in np.ndindex(*outer):
        planes[at] = compute_block(plan, samples[at], whole, whole)
    return planes
