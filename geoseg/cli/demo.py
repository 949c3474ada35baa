"""``geoseg demo``: the whole path on a synthetic scene, from pixels to styled polygons."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geoseg.cli import console
from geoseg.cli.options import Debug, Json
from geoseg.cli.progress import progress_bar
from geoseg.errors import GeosegError, OutputError, OutputExistsError, ParameterError
from geoseg.tiling import Progress, Window

if TYPE_CHECKING:
    from geoseg.evaluation import Evaluation
    from geoseg.synthetic import SyntheticScene

_log = logging.getLogger("geoseg")

STEPS = 200
"""Training batches: a minute and a half on two cores."""

GOAL = 0.80
"""Mean IoU that the map must reach on ground that was not trained on."""

_SIZE = 2048
_SMALLEST = 512
_CHIP, _BATCH, _RATE = 128, 12, 3e-3
_OPTIONS = {"width": 16, "depth": 4}
_TRAINED_SHARE, _BUFFER = 0.6, 128

_README = "README.txt"
_README_TEXT = """\
Written by geoseg demo, which may write over all of it at its next run.

scene.tif          synthetic aerial image, 0.5 m
truth.tif          its true land cover, a class raster
model.safetensors  U-Net trained on the left part of the scene
landcover.tif      land cover as predicted for the whole scene, styled for QGIS
landcover_confidence.tif  how sure the model is, 0..1
landcover.gpkg     the same as polygons with names, areas and style
demo.png           all of it in one picture
"""


@dataclass(frozen=True, slots=True)
class Demo:
    """What the demo made.

    Attributes:
        folder: Where everything lies.
        scene: The scene.
        truth: Its true classes.
        model: The trained model.
        labels: The map.
        confidence: How sure the model is.
        polygons: The map as polygons.
        picture: Overview.
        mean_iou: Mean IoU on ground that was not trained on.
        overall_accuracy: Share of that ground that is right.
        seconds: Time of each step.
    """

    folder: Path
    scene: Path
    truth: Path
    model: Path
    labels: Path
    confidence: Path
    polygons: Path
    picture: Path
    mean_iou: float
    overall_accuracy: float
    seconds: dict[str, float]


def demo(
    *,
    folder: Annotated[Path, typer.Option("--folder", help="Where to write.", metavar="DIR")] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Another number is another landscape.", min=0)] = 0,
    steps: Annotated[int, typer.Option(help="Training batches; fewer is faster and worse.", min=1)] = STEPS,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Write into a folder that another program filled.")
    ] = False,
    json: Json = False,
    _debug: Debug = False,
) -> None:
    """Try everything on a synthetic scene.

    Makes a scene, trains a small network on a part of it, maps it, draws polygons, and checks the map on ground that
    was not trained on. Takes about two minutes and prints the paths of the results.
    """
    done = run_demo(folder, seed=seed, steps=steps, overwrite=overwrite, bar=progress_bar)
    if json:
        console.print_json(asdict(done))
        return
    for path in (done.labels, done.confidence, done.polygons, done.model, done.picture):
        console.print_result(str(path))
    _log.info(
        "open %s in QGIS, or go on with your own imagery:\n  geoseg predict SCENE.tif\n  geoseg vectorize "
        "SCENE_landcover.tif\n  geoseg --help",
        done.polygons,
    )


Bar = Callable[[str], AbstractContextManager[Progress]]


def run_demo(
    folder: Path,
    *,
    seed: int = 0,
    size: int = _SIZE,
    steps: int = STEPS,
    goal: float = GOAL,
    overwrite: bool = False,
    bar: Bar = lambda _: nullcontext(lambda _done, _total: None),
) -> Demo:
    """Scene, training, map, polygons, check, picture. The same seed gives the same pixels on one machine.

    Args:
        folder: Where to write; made if need be. What an earlier demo wrote there is replaced.
        seed: Of the landscape and of the training.
        size: Side of the scene in pixels, at least 512.
        steps: Training batches.
        goal: Mean IoU to reach on ground that was not trained on.
        overwrite: Write into a folder with files of others too.
        bar: Makes a progress bar for a step with a name.

    Raises:
        OutputExistsError: The folder holds files that no demo wrote.
        ParameterError: ``size`` is too small.
        GeosegError: The map misses the goal; everything is there to look at.
    """
    if size < _SMALLEST:
        raise ParameterError(
            f"a demo scene of {size} pixels has no room to train and to test; give {_SMALLEST} or more"
        )
    import geoseg

    clock = _Clock()
    folder = Path(folder)
    _claim(folder, overwrite)
    with clock("scene"):
        made = geoseg.make_scene(folder, height=size, width=size, seed=seed, overwrite=True)
    trained_to = round(size * _TRAINED_SHARE)
    held_out = Window(0, trained_to + _BUFFER, size, size - trained_to - _BUFFER)
    with clock("training"), bar("train") as progress:
        model = _train(made, folder / "model.safetensors", trained_to, seed, steps, progress)
    with clock("prediction"), bar("predict") as progress:
        found = geoseg.predict(
            made.scene,
            model,
            folder / "landcover.tif",
            confidence=True,
            device="cpu",
            overwrite=True,
            progress=progress,
        )
    assert found.confidence is not None
    with clock("polygons"), bar("vectorize") as progress:
        polygons = geoseg.vectorize(found.labels, confidence=found.confidence, overwrite=True, progress=progress)
    with clock("evaluation"):
        score = geoseg.evaluate(found.labels, made.truth, window=held_out)
    with clock("picture"):
        picture = _draw(folder / "demo.png", made, found.labels, found.confidence, score, trained_to / size)
    _judge(score, goal, size, held_out, clock)
    iou, accuracy = score.metrics.mean_iou, score.metrics.overall_accuracy
    assert iou is not None
    assert accuracy is not None
    return Demo(
        folder, made.scene, made.truth, model, found.labels, found.confidence, polygons, picture,
        iou, accuracy, clock.seconds,
    )  # fmt: skip


class _Clock:
    """Seconds by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.seconds[step] = round(time.monotonic() - start, 2)


def _claim(folder: Path, overwrite: bool) -> None:
    """Make the folder, and mark it as the demo's.

    Raises:
        OutputExistsError: It holds files but no demo's mark.
        OutputError: It cannot be made.
    """
    note = folder / _README
    try:
        folder.mkdir(parents=True, exist_ok=True)
        ours = note.is_file() and note.read_text(encoding="utf-8", errors="replace") == _README_TEXT
        others = [] if ours else sorted(p.name for p in folder.iterdir())
        if others and not overwrite:
            raise OutputExistsError(
                f"{folder} holds files that no demo wrote ({others[0]}{', …' if others[1:] else ''}); "
                "give another --folder, or --overwrite"
            )
        note.write_text(_README_TEXT, encoding="utf-8")
    except OutputExistsError:
        raise
    except OSError as error:
        raise OutputError(f"{folder} cannot be written ({error.strerror}); give another --folder") from error


def _train(made: SyntheticScene, path: Path, columns: int, seed: int, steps: int, progress: Progress) -> Path:
    """Train on the first ``columns`` columns and write the model file."""
    from geoseg.models import save_model
    from geoseg.rasters import open_class_raster, open_scene
    from geoseg.training import Sample, train_on_arrays

    with open_scene(made.scene) as scene, open_class_raster(made.truth) as truth:
        left = Window(0, 0, scene.grid.height, columns)
        pixels = scene.read(left)
        sample = Sample(pixels.values, truth.read(left), pixels.present, made.scene.name)
        bands, gsd = scene.band_names, scene.grid.ground_sample_distance()
    batch_pixels = _BATCH * _CHIP**2
    trained = train_on_arrays(
        [sample],
        made.legend,
        "unet",
        options=_OPTIONS,
        steps=steps,
        batch=_BATCH,
        chip_size=_CHIP,
        lr=_RATE,
        seed=seed,
        progress=lambda done, total, _loss: progress(done * batch_pixels, total * batch_pixels),
    )
    spec = trained.describe(
        name="demo",
        bands=bands,
        gsd=gsd,
        purpose="Shows geoseg on its own synthetic scenes; of no use on real imagery.",
        training_data=f"geoseg synthetic scene, seed {seed}",
        license="MIT",
        geoseg_version=_version(),
    )
    save_model(path, trained.model, spec, overwrite=True)
    return path


def _version() -> str:
    from geoseg import __version__

    return __version__


def _draw(
    path: Path, made: SyntheticScene, labels: Path, confidence: Path, score: Evaluation, trained_share: float
) -> Path:
    from geoseg.pictures import (
        CONFIDENCE_COLORS,
        Panel,
        draw_overview,
        picture_confidence,
        picture_labels,
        picture_scene,
    )

    panels = [
        Panel("Scene", picture_scene(made.scene)),
        Panel("Land cover", picture_labels(labels)),
        Panel("Confidence", picture_confidence(confidence), CONFIDENCE_COLORS),
    ]
    iou = score.metrics.mean_iou
    figure = draw_overview(
        panels,
        made.legend,
        title="From imagery to land-cover map",
        note=f"trained left of the dashed line; mean IoU {iou:.2f} on the ground right of it",
        divide_at=trained_share,
    )
    figure.savefig(path, dpi=130)
    return path


def _judge(score: Evaluation, goal: float, size: int, held_out: Window, clock: _Clock) -> None:
    """Report, and fail where the map is not good enough."""
    times = ", ".join(f"{step} {seconds:.0f} s" for step, seconds in clock.seconds.items())
    _log.info("%s; %.0f s in all", times, sum(clock.seconds.values()))
    _log.info("on ground that was not trained on (columns %d to %d of %d):", held_out.col_off, size - 1, size)
    for line in str(score).splitlines():
        _log.info("%s", line)
    iou = score.metrics.mean_iou or 0.0
    if iou < goal:
        raise GeosegError(
            f"the demo's map reaches a mean IoU of {iou:.3f} on ground that was not trained on, below {goal:.2f}: "
            "run it with more --steps, and if that does not help, check the installation with geoseg doctor"
        )
