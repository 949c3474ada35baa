"""Does a scene look like what the model was trained on? Errors where it cannot work, warnings where it is far."""

from __future__ import annotations

import logging

import numpy as np

from geoseg.config import ModelSpec
from geoseg.errors import ParameterError, RasterError
from geoseg.normalization import BandStats
from geoseg.rasters import Pixels, Scene

_log = logging.getLogger("geoseg")

# Names that mean a colour: where two of them differ, a band is in another's place.
_COLORS = {"coastal", "blue", "green", "yellow", "red", "rededge", "nir", "swir", "swir1", "swir2", "pan"}

# Beyond this ratio of pixel sizes objects no longer have the size that the network learned.
_GSD_RATIO = 2.0


def check_bands(scene: Scene, spec: ModelSpec) -> None:
    """The scene must give the bands that the model wants.

    Raises:
        RasterError: Another number of bands; names both sides and how to choose.
    """
    found, wanted = scene.band_names, spec.bands
    if len(found) != len(wanted):
        raise RasterError(
            f"{scene.name} gives {len(found)} band{'s' * (len(found) != 1)} ({', '.join(found)}) but model "
            f"{spec.name!r} expects {len(wanted)} ({', '.join(wanted)}); choose them in that order with --bands"
            f"{_suggestion(scene, spec)}"
        )
    if any({a, b} <= _COLORS and a != b for a, b in zip(_lower(found), _lower(wanted), strict=True)):
        _log.warning(
            "%s gives the bands %s but model %r expects %s: expect a wrong map; choose them with --bands%s",
            scene.name, ", ".join(found), spec.name, ", ".join(wanted), _suggestion(scene, spec),
        )  # fmt: skip


def _lower(names: tuple[str, ...]) -> list[str]:
    return [n.lower() for n in names]


def _suggestion(scene: Scene, spec: ModelSpec) -> str:
    """``, e.g. --bands 3,2,1`` where the names tell, else an example of the right length where bands suffice."""
    by_name = dict(zip(_lower(scene.band_names), scene.bands, strict=True))
    if all(name in by_name for name in _lower(spec.bands)):
        chosen = [by_name[name] for name in _lower(spec.bands)]
    elif len(scene.bands) > len(spec.bands):
        chosen = list(scene.bands[: len(spec.bands)])
    else:
        return ""
    return f", e.g. --bands {','.join(map(str, chosen))}"


def scaled_stats(spec: ModelSpec, value_range: tuple[float, float] | None) -> BandStats:
    """The model's scaling, for scenes whose values ``value_range`` stand for the model's own range.

    Mapping x linearly onto the model's range and then normalising equals normalising with shifted statistics.

    Raises:
        ParameterError: The range is empty.
    """
    if value_range is None:
        return spec.stats
    low, high = value_range
    if not np.isfinite([low, high]).all() or not low < high:
        raise ParameterError(
            f"value range {low},{high} is empty; give the lower value first, e.g. --value-range 0,3000"
        )
    own_low, own_high = _full_range(spec)
    gain = (own_high - own_low) / (high - low)
    mean = tuple((m - own_low) / gain + low for m in spec.mean)
    return BandStats(mean, tuple(s / gain for s in spec.std))


def _full_range(spec: ModelSpec) -> tuple[float, float]:
    """What a full stretch of the model's imagery is: the whole type where it is 8 bit, else what training saw."""
    return (0.0, 255.0) if spec.dtype == "uint8" else spec.value_range


def warn_if_unlike_training(
    scene: Scene, sample: Pixels, spec: ModelSpec, value_range: tuple[float, float] | None
) -> None:
    """Log a warning for a pixel size or values far from the model's training data; each names both figures.

    Args:
        scene: What the network sees.
        sample: Pixels from all over it.
        spec: What the model was trained on.
        value_range: Scene values that stand for the model's full range.
    """
    _warn_gsd(scene, spec)
    warn_of_values(scene, sample, spec, value_range)


def _warn_gsd(scene: Scene, spec: ModelSpec) -> None:
    if spec.gsd is None:
        return
    gsd = scene.grid.ground_sample_distance()
    if gsd is None:
        _log.warning(
            "%s has no known pixel size; model %r was trained at %.3g m and is only right near that",
            scene.name, spec.name, spec.gsd,
        )  # fmt: skip
    elif not 1 / _GSD_RATIO <= gsd / spec.gsd <= _GSD_RATIO:
        _log.warning(
            "%s has pixels of %.3g m but model %r was trained at %.3g m: expect a wrong map; use a model trained near "
            "%.3g m, or resample the scene (gdalwarp -tr)",
            scene.name, gsd, spec.name, spec.gsd, gsd,
        )  # fmt: skip


def warn_of_values(scene: Scene, sample: Pixels, spec: ModelSpec, value_range: tuple[float, float] | None) -> None:
    """Log a warning for values far from the model's training data; see :func:`warn_if_unlike_training`."""
    values = sample.values[sample.present].astype(np.float64)
    if not values.size:
        return
    low, high = np.percentile(values, [1, 99])
    mapped_low, mapped_high = low, high
    if value_range is not None:
        own_low, own_high = _full_range(spec)
        gain = (own_high - own_low) / (value_range[1] - value_range[0])
        mapped_low, mapped_high = ((v - value_range[0]) * gain + own_low for v in (low, high))
    first, last = spec.value_range
    span = last - first
    too_bright, too_dark = mapped_high > last + span, mapped_high < first + 0.1 * span
    if too_bright or too_dark or mapped_low < first - span:
        _log.warning(
            "%s (%s) has values %.6g..%.6g but model %r was trained on %s values %.6g..%.6g: expect a wrong map; give "
            "the scene's own range, e.g. --value-range %.6g,%.6g",
            scene.name, scene.dtype, low, high, spec.name, spec.dtype, first, last, min(0, low), high,
        )  # fmt: skip
