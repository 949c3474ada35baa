"""Many scenes in one go: a map each, the network loaded once, and one bad file does not stop the others."""

from __future__ import annotations

import glob
import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Unpack

from geoseg.distributed import split_choices
from geoseg.errors import LostError, MissingFileError, ParameterError
from geoseg.inference.computing import Computing
from geoseg.inference.job import find_models
from geoseg.inference.outputs import default_output, is_output
from geoseg.inference.prediction import AllChoices, Models, Prediction, open_computing, predict_with
from geoseg.inference.settings import Settings
from geoseg.rasters import CONFIDENCE_SUFFIX, LABELS_SUFFIX
from geoseg.threads import Abandoned
from geoseg.tiling import Progress

_log = logging.getLogger("geoseg")

SCENE_SUFFIXES = (".tif", ".tiff", ".vrt", ".jp2", ".png", ".jpg", ".jpeg", ".img", ".bmp", ".webp")
"""What is taken for a scene in a folder."""

_GLOB = "*?["

_Place = tuple[str, Path]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a scene.

    Attributes:
        scene: Its path or URL.
        prediction: What was written, or None.
        error: Why nothing was, or None.
    """

    scene: str
    prediction: Prediction | None
    error: Exception | None


def find_scenes(names: Sequence[str | Path]) -> list[str]:
    """Scenes by name: files and URLs as they are, folders as the rasters in them, patterns as what they match.

    In folders and patterns geoseg's own outputs are left out. Order is that of the names, then of the alphabet.

    Raises:
        MissingFileError: A folder or pattern has no raster.
        ParameterError: No name.
    """
    if not names:
        raise ParameterError("no scene is named; give files, folders or patterns such as 'images/*.tif'")
    found = [scene for name in names for scene in _found(str(name))]
    return list(dict.fromkeys(found))


def predict_scenes(
    scenes: Sequence[str | Path],
    model: Models = "unet",
    folder: str | Path | None = None,
    *,
    overwrite: bool = False,
    resume: bool = True,
    progress: Callable[[str], AbstractContextManager[Progress | None]] | None = None,
    **choices: Unpack[AllChoices],
) -> Generator[Outcome]:
    """Map many scenes, a map each. A scene that fails is an :class:`Outcome` with its error, and the rest go on.

    Args:
        scenes: What :func:`find_scenes` takes.
        model: As for :func:`geoseg.predict`.
        folder: Where the maps go; default is beside each scene.
        overwrite: Replace existing outputs.
        resume: Go on with what interrupted runs left.
        progress: For a scene a context that is told pixels done and in total. On a cluster several are open at once,
            each in a thread of its own.
        **choices: As for :func:`geoseg.predict`.

    On a cluster as many scenes are under way at once as fill its workers.

    Yields:
        Outcomes in order, as they come about.

    Raises:
        GeosegError: What concerns all scenes: a setting, a model, the folder, two scenes with one output, a cluster
            that is not to be had or is lost.
    """
    cluster, rest = split_choices(choices)
    settings, models = Settings.of(rest), find_models(model)
    places = _places(find_scenes(scenes), folder)

    def outcome(computing: Computing, place: _Place, carry_on: Callable[[], None]) -> Outcome:
        scene, output = place
        with nullcontext() if progress is None else progress(scene) as told:
            made = partial(predict_with, computing, scene, models, output, settings, overwrite, resume, told, carry_on)
            return _outcome(scene, made)

    with open_computing(cluster, settings) as computing:
        if cluster.named and settings.precision != "int8":
            yield from _abreast(computing, places, outcome)
        else:  # a network in int8 is calibrated on a scene, and gives way to that of the next one
            for place in places:
                yield outcome(computing, place, lambda: None)


def _abreast(computing: Computing, places: Sequence[_Place], outcome: Callable[..., Outcome]) -> Iterator[Outcome]:
    """Scenes on a cluster, as many at once as fill its workers."""
    from geoseg.inference.clustered import Clustered  # Dask comes with it
    from geoseg.inference.lanes import abreast

    assert isinstance(computing, Clustered)
    with closing(abreast(computing, [(scene, (scene, output)) for scene, output in places], outcome)) as found:
        yield from found


def _outcome(scene: str, run: Callable[[], Prediction]) -> Outcome:
    try:
        return Outcome(scene, run(), None)
    except (Abandoned, LostError):  # with the cluster goes every other scene
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the other scenes shall have their maps
        return Outcome(scene, None, error)


def _places(scenes: Sequence[str], folder: str | Path | None) -> list[tuple[str, Path]]:
    """Scenes with their outputs.

    Raises:
        MissingFileError: The folder does not exist.
        ParameterError: Two scenes would have one output.
    """
    if folder is not None and not Path(folder).is_dir():
        raise MissingFileError(f"{folder} is no folder, and {len(scenes)} maps need one; create it first")
    places: dict[Path, tuple[str, Path]] = {}
    for scene in scenes:
        beside = default_output(scene)
        output = beside if folder is None else Path(folder) / beside.name
        other, _ = places.setdefault(output.resolve(), (scene, output))
        if other != scene:
            raise ParameterError(
                f"{other} and {scene} would both be written to {output}; name only one of them (a pattern such as "
                "'*.tif'), or rename one"
            )
    return list(places.values())


def _found(name: str) -> list[str]:
    if not name:  # as a path it would be the current folder
        raise ParameterError("a scene has an empty name; give files, folders or patterns such as 'images/*.tif'")
    path = Path(name)
    if path.is_dir():
        inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SCENE_SUFFIXES and p.is_file())
        return _own(name, [str(p) for p in inside], "raster")
    if any(c in name for c in _GLOB) and not path.exists() and "://" not in name and not name.startswith("/vsi"):
        matches = sorted(m for m in glob.glob(name, recursive=True) if Path(m).is_file())  # noqa: PTH207
        return _own(name, [m for m in matches if Path(m).suffix.lower() in SCENE_SUFFIXES], "raster that matches")
    return [name]


def _own(name: str, found: list[str], what: str) -> list[str]:
    scenes = [f for f in found if not is_output(Path(f))]
    if not scenes:
        outputs = f" but {len(found)} of geoseg's own outputs (*{LABELS_SUFFIX}, *{CONFIDENCE_SUFFIX})" if found else ""
        raise MissingFileError(f"{name} has no {what}{outputs}; geoseg reads {', '.join(SCENE_SUFFIXES)}")
    return scenes
