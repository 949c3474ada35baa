"""A prediction as far as it is known before a network is loaded: scene, tiles, steps and outputs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from geoseg import __version__
from geoseg.blending.stored import Stored
from geoseg.config import ModelSpec
from geoseg.errors import ModelError, ParameterError
from geoseg.grids import Grid
from geoseg.inference.checks import check_bands, scaled_stats, warn_if_unlike_training
from geoseg.inference.fitting import tile_grid, wanted_gsd
from geoseg.inference.outputs import Outputs, plan_outputs, stored_planes
from geoseg.inference.parts_sink import LABELS
from geoseg.inference.scaling import scaled
from geoseg.inference.selection import Selection, select
from geoseg.inference.settings import Settings
from geoseg.inference.steps import plan_steps
from geoseg.legend import Legend
from geoseg.models import file_hash, read_spec, resolve_model
from geoseg.normalization import BandStats
from geoseg.rasters import Scene, open_mosaic, open_scene, refuse_inputs, resampled
from geoseg.refinement import Crf, held_rows, read_refinement
from geoseg.tiling import TileGrid, Window


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model that is to run.

    Attributes:
        path: The file.
        spec: What it says of itself.
        sha256: Hash of its bytes.
    """

    path: Path
    spec: ModelSpec
    sha256: str


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be computed.

    Attributes:
        settings: What the user chose.
        models: One, or the members of an ensemble.
        stats: Scaling to the input of each model.
        outputs: Where the result goes.
        scene: The scene on its own grid.
        source: The scene as the network sees it: itself, or resampled to another pixel size.
        gsd: Pixel size of ``source`` in metres where it is resampled, else None.
        selection: What of the scene is wanted.
        grid: Tiles of ``source``.
        area: What of ``source`` is predicted.
        planes: Names of the planes of a part.
        steps: Windows of ``source`` that partition ``area``; a part each.
        valid_share: Share of the pixels that have data, from a sample of ``source``.
        crf: What refines the scores, in pixels of ``source``; None where nothing does.
    """

    settings: Settings
    models: tuple[ModelFile, ...]
    stats: tuple[BandStats, ...]
    outputs: Outputs
    scene: Scene
    source: Scene
    gsd: float | None
    selection: Selection
    grid: TileGrid
    area: Window
    planes: tuple[str, ...]
    steps: tuple[Window, ...]
    valid_share: float
    crf: Crf | None = None

    @property
    def spec(self) -> ModelSpec:
        """Of the first model."""
        return self.models[0].spec

    @property
    def legend(self) -> Legend:
        """Of all models."""
        return self.spec.legend

    @property
    def name(self) -> str:
        """Of the model, or of the ensemble."""
        return " + ".join(m.spec.name for m in self.models)

    @property
    def stored(self) -> Stored:
        """What is kept of the scores."""
        return stored_planes(self.settings)

    @property
    def around(self) -> Window:
        """What of ``source`` is blended: ``area``, and what refining it takes."""
        grid = self.grid
        return self.area if self.crf is None else self.crf.around(self.area, grid.height, grid.width)

    @property
    def output_grid(self) -> Grid:
        """Where the map lies."""
        return self.scene.grid.part(self.selection.window)

    def parameters(self) -> dict[str, object]:
        """What was chosen, as the map tells it."""
        settings, grid = self.settings, self.grid
        refine = {} if self.crf is None else {"refine": self.crf.record()}
        return {
            "tile_size": grid.tile_size,
            "overlap": grid.overlap,
            "blend": settings.blend,
            "bands": list(self.scene.bands),
            "value_range": settings.value_range and list(settings.value_range),
            "tta": settings.tta,
            "scales": list(settings.scales),
            "uncertainty": settings.uncertainty,
            "gsd": self.gsd,
            **refine,
        }

    def fingerprint(self, network: dict[str, object]) -> dict[str, object]:
        """All that changes pixels; parts of another fingerprint are not gone on with.

        Args:
            network: What the predictor says of itself.
        """
        value = {
            "geoseg": __version__,
            "scene": self.scene.identity,
            "models": {
                m.spec.name: " ".join(o.sha256 for o in self.models if o.spec.name == m.spec.name) for m in self.models
            },
            "network": network,
            "parameters": self.parameters(),
            "selection": self.selection.identity,
            "widths": sorted({(s.col_off, s.width) for s in self.steps}),
        }
        plain: dict[str, object] = json.loads(json.dumps(value))
        return plain


def find_models(models: str | Path | Sequence[str | Path]) -> tuple[ModelFile, ...]:
    """The model, or the members of an ensemble.

    Raises:
        GeosegError: There is no such model, or two of them have different classes or bands.
    """
    names = [models] if isinstance(models, str | Path) else list(models)
    if not names:
        raise ParameterError("no model is named; give one of geoseg models, a run or a model file")
    found = []
    for name in names:
        path = resolve_model(str(name))
        found.append(ModelFile(path, read_spec(path), file_hash(path)))
    first = found[0].spec
    for other in (m.spec for m in found[1:]):
        if other.classes != first.classes or other.bands != first.bands:
            raise ModelError(
                f"models {first.name!r} ({_described(first)}) and {other.name!r} ({_described(other)}) cannot be "
                "averaged; an ensemble needs the same classes and bands"
            )
    if len({m.sha256 for m in found}) < len(found):
        raise ParameterError("a model is named twice; an ensemble of a model with itself is that model")
    return tuple(found)


def _described(spec: ModelSpec) -> str:
    return f"bands {', '.join(spec.bands)}; classes {', '.join(c.name for c in spec.classes)}"


@contextmanager
def open_job(
    scenes: Sequence[str | Path], models: tuple[ModelFile, ...], output: str | Path | None, settings: Settings
) -> Iterator[Job]:
    """Open a scene and plan its prediction; nothing is written.

    Args:
        scenes: One scene, or the files of a mosaic.
        models: What :func:`find_models` gave.
        output: The class raster, if the user names it.
        settings: What the user chose.

    Raises:
        GeosegError: The scene, a parameter or the output does not do.
    """
    outputs = plan_outputs(scenes, output, settings)
    with _open(scenes, settings) as scene:
        refuse_inputs(outputs.rasters, [*scene.files, *(m.path for m in models)])
        with plan_job(scene, models, outputs, settings) as job:
            yield job


@contextmanager
def plan_job(scene: Scene, models: tuple[ModelFile, ...], outputs: Outputs, settings: Settings) -> Iterator[Job]:
    """Plan the prediction of a scene that is open.

    Args:
        scene: It must stay open as long as the job.
        models: What :func:`find_models` gave.
        outputs: Where the result goes.
        settings: What the user chose.

    Raises:
        GeosegError: The scene or a parameter does not do.
    """
    spec = models[0].spec
    with ExitStack() as stack:
        check_bands(scene, spec)
        stats = tuple(scaled_stats(m.spec, settings.value_range) for m in models)
        gsd = wanted_gsd(scene, spec, settings)
        source = scene if gsd is None else stack.enter_context(resampled(scene, gsd))
        sample = source.sample()
        warn_if_unlike_training(source, sample, spec, settings.value_range)
        selection = select(
            scene.grid, aoi=settings.aoi, bbox=settings.bbox, bbox_crs=settings.bbox_crs, window=settings.window
        )
        grid = tile_grid(source, [m.spec for m in models], settings)
        area = scaled(selection.window, scene.grid, source.grid)
        planes = len(spec.classes) + (settings.mc_samples > 0)
        refine = settings.refine and read_refinement(settings.refine)
        crf = refine.at(source.grid.ground_sample_distance()) if refine else None
        names = (LABELS, *stored_planes(settings).planes(len(spec.classes))[1:])
        yield Job(
            settings, models, stats, outputs, scene, source, gsd, selection, grid, area, names,
            plan_steps(grid, area, planes, 0 if crf is None else held_rows(crf)), float(sample.valid.mean()), crf,
        )  # fmt: skip


def _open(scenes: Sequence[str | Path], settings: Settings) -> AbstractContextManager[Scene]:
    """One scene, or many files as one."""
    return open_scene(scenes[0], settings.bands) if len(scenes) == 1 else open_mosaic(scenes, settings.bands)
