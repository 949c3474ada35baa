"""The network of a job: loaded late, kept for the next scene, and measured where its arithmetic is coarse."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import platformdirs

from geoseg.inference.job import Job, ModelFile
from geoseg.inference.streaming import Walk, network_dtype, sample_tiles
from geoseg.inference.wanted import touches_of

if TYPE_CHECKING:  # torch comes with them
    from geoseg.predictors import NetworkOptions, Predictor, Tiles

_log = logging.getLogger("geoseg")

CHECKED_TILES = 16
"""Tiles on which the labels of two precisions are compared."""


@dataclass
class Networks:
    """Networks that are ready, by what they were made from: many scenes load a model once."""

    _ready: dict[object, Predictor] = field(default_factory=dict)

    def get(self, job: Job) -> Predictor:
        """The network of a job; all that is slow about it happens here, and it is told what runs, and why.

        Raises:
            GeosegError: The model, the backend or the device does not do.
        """
        settings, key = job.settings, network_key(job)
        if key not in self._ready:
            if settings.precision == "int8":
                self.close()  # those of other scenes are not needed again
            made = self._ready[key] = load_network(job, network_options(job))
            _log.info("model %s; %s (%s)", job.name, made.description, made.reason)
        return self._ready[key]

    def close(self) -> None:
        """Give back threads and memory."""
        for predictor in self._ready.values():
            predictor.close()
        self._ready.clear()


def network_key(job: Job) -> tuple[object, ...]:
    """What the network of a job is made from: jobs with the same share it."""
    settings = job.settings
    return (
        tuple(m.sha256 for m in job.models), job.stats, network_dtype(job.source), job.grid.input_size,
        settings.backend, settings.precision, settings.device, settings.tta, settings.scales, settings.mc_samples,
        # Calibrated on the tiles of a scene, it is the network of that scene.
        str(job.source.identity) if settings.precision == "int8" else None,
    )  # fmt: skip


def load_network(job: Job, options: NetworkOptions) -> Predictor:
    """Make ready what runs the models of a job."""
    # Here and not above: torch takes seconds to load, and by now it is known that the scene can be read.
    from geoseg.predictors import Loaded, load_predictor

    models = [
        Loaded(_factory(model), model.spec, stats, model.sha256)
        for model, stats in zip(job.models, job.stats, strict=True)
    ]
    dtype: Literal["uint8", "float32"] = "uint8" if network_dtype(job.source) == "uint8" else "float32"
    return load_predictor(
        models,
        options,
        tile_size=job.grid.input_size,
        dtype=dtype,
        sample_tiles=lambda count: tiles_of(job, count),
        cache=cache_folder(),
    )


def tiles_of(job: Job, count: int) -> list[Tiles]:
    """Up to ``count`` tiles of a job's scene, one a batch."""
    from geoseg.predictors import Tiles

    walk = Walk(job.grid, job.area, lambda _: (0, 0), touches_of(job), None)
    return [
        Tiles(tile.values, tile.present, ((tile.row, tile.cols[0]),)) for tile in sample_tiles(job.source, walk, count)
    ]


def precision_difference(job: Job, predictor: Predictor) -> float:
    """Share of the labels of 16 tiles that differ from those of the same network under torch in fp32."""
    from geoseg.predictors import label_difference

    reference = load_network(job, replace(network_options(job), backend="torch", precision="fp32"))
    try:
        return label_difference(predictor, reference, tiles_of(job, CHECKED_TILES))
    finally:
        reference.close()


def cache_folder() -> Path:
    """Where compiled models are kept: ``$GEOSEG_CACHE``, else the user's cache folder."""
    chosen = os.environ.get("GEOSEG_CACHE")
    return Path(chosen) if chosen else platformdirs.user_cache_path("geoseg")


def network_options(job: Job) -> NetworkOptions:
    """How the networks of a job are run."""
    from geoseg.predictors import NetworkOptions

    settings = job.settings
    return NetworkOptions(
        backend=settings.backend,
        precision=settings.precision,
        device=settings.device,
        tta=settings.tta,
        scales=settings.scales,
        mc=settings.mc_samples,
    )


def _factory(model: ModelFile) -> Callable[[], Any]:
    def network() -> Any:
        from geoseg.models import load_model

        return load_model(model.path)[0]

    return network
