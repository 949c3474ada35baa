"""What is done with one network, each in a process of its own: training it, timing it, looking at its memory."""

from __future__ import annotations

import contextlib
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from common import DATA, RunError, run_predict, say
from pipeline import cut, load, run
from scenes import profile

Job = dict[str, Any]

FOREST = DATA / "amazon_forest"
LEGEND = {1: {"name": "forest", "color": "#117733"}, 2: {"name": "non-forest", "color": "#ddcc77"}}
CHIP, OVERLAP = 256, 128

BACKENDS = {
    "torch fp32": ("torch", "fp32"), "ONNX Runtime fp32": ("onnx", "fp32"), "OpenVINO fp32": ("openvino", "fp32"),
    "OpenVINO bf16": ("openvino", "bf16"),
}  # fmt: skip

# Share of the time that the rate is measured for, beyond the first step, and the fewest steps for that.
_TRIAL, _TRIAL_STEPS = 0.1, 3

# Each gets so many turns.
_ROUNDS = 3

# From which statistics are computed anew.
_BATCHES = 40


def backends_here() -> dict[str, tuple[str, str]]:
    """Backend and precision by name: those that this processor is made for."""
    from geoseg.predictors.machine import this_machine

    return {name: how for name, how in BACKENDS.items() if how[1] != "bf16" or this_machine().bf16}


# --- training -------------------------------------------------------------------------------------------------------


class TrialOverError(Exception):
    """The rate is known."""


class Clock:
    """When steps ended; with a limit in seconds it ends the training once the rate is known."""

    def __init__(self, limit: float | None = None) -> None:
        self._limit = limit
        self.ends: list[float] = []

    def __call__(self, status: Any) -> None:
        """See ``geoseg.training.results.TrainingReporter``."""
        if status.stage != "train":
            return
        self.ends.append(time.perf_counter())
        enough = len(self.ends) >= _TRIAL_STEPS and self._limit is not None
        if enough and self.ends[-1] - self.ends[0] >= self._limit:
            raise TrialOverError

    @property
    def step(self) -> float:
        """Seconds a step, the first not counted."""
        return (self.ends[-1] - self.ends[0]) / (len(self.ends) - 1)


def train(job: Job) -> dict[str, Any]:
    """A trial for the rate, then the training, as a user would run it."""
    import geoseg
    from geoseg.models import load_model

    trial, clock = Clock(_TRIAL * job["seconds"]), Clock()
    with contextlib.suppress(TrialOverError):
        geoseg.train(_config(job, 10_000), runs=job["runs"], overwrite=True, progress=trial)
    steps = max(2, int(job["seconds"] / trial.step))
    say(f"{trial.step:.2f} s a step: {steps} steps")
    ran = geoseg.train(_config(job, steps), runs=job["runs"], overwrite=True, progress=clock)
    return {
        "model": str(ran.model),
        "parameters": sum(p.numel() for p in load_model(ran.model)[0].parameters()),
        "steps": steps,
        "seconds": clock.step * steps,
        **_judged(ran),
    }


def statistics_anew(job: Job) -> dict[str, Any]:
    """The trained network once more, with statistics of batch normalisation that are computed of its last weights.

    A step that changes nothing to speak of goes before, because statistics belong to a training.
    """
    import geoseg
    from geoseg.errors import ParameterError

    settings: dict[str, Any] = {
        "model": {**job["network"], "encoder_weights": "none", "init": job["model"]},
        "optimizer": {"lr": 1e-12}, "trainer": {"precise_bn": _BATCHES},
    }  # fmt: skip
    try:
        ran = geoseg.train(_config(job, 1, settings), runs=job["runs"] + "-statistics", overwrite=True)
    except ParameterError as error:
        if "no batch normalisation" not in str(error):
            raise
        return {"why": str(error)}
    return _judged(ran)


def _judged(ran: Any) -> dict[str, Any]:
    found = ran.judgement
    if found is None:
        raise RuntimeError("the validation images have no labels")
    return {
        "mean_iou": found.metrics.mean_iou, "iou": list(found.metrics.iou),
        "boundary_f1": found.boundary.mean_f1, "tolerance": found.boundary.tolerance,
    }  # fmt: skip


def _config(job: Job, steps: int, other: dict[str, Any] | None = None) -> Any:
    """One epoch of so many steps: it is judged at its end and nowhere before."""
    from geoseg import TrainingConfig

    other = other or {}
    learned, judged = (_pairs(part, job["images"]) for part in ("training", "validation"))
    return TrainingConfig.model_validate({
        "name": job["name"],
        "data": {
            "images": learned[0], "labels": learned[1], "validation_images": judged[0], "validation_labels": judged[1],
            "legend": LEGEND,
        },
        "model": other.get("model", job["network"]),
        "optimizer": other.get("optimizer", {}),
        "chips": {"size": CHIP, "batch": job["batch"], "per_epoch": steps * job["batch"]},
        "trainer": {"epochs": 1, "accelerator": "cpu", "precision": job["precision"], **other.get("trainer", {})},
        "logging": {"worst_chips": 0},
    })  # fmt: skip


def _pairs(part: str, limit: int | None) -> tuple[list[str], list[str]]:
    """Images and labels: the first of them, or all."""
    images = sorted((FOREST / part / "images").iterdir())[:limit]
    return [str(p) for p in images], [str(FOREST / part / "masks" / f"{p.stem}.png") for p in images]


# --- speed ----------------------------------------------------------------------------------------------------------


def speed(job: Job) -> dict[str, Any]:
    """Mapped Mpx/s of tiles by backend: medians of rounds in which the backends take turns."""
    from geoseg.errors import GeosegError
    from geoseg.models import read_spec

    # A network without padding is given more than it maps.
    side = read_spec(Path(job["model"])).surroundings.input_size(job["tile"])
    tiles = cut(job["scene"], side, OVERLAP)
    predictors: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for name, (backend, precision) in job["backends"].items():
        try:
            predictors[name] = load(
                {**job, "tile": side, "overlap": OVERLAP, "backend": backend, "precision": precision}
            )
        except GeosegError as error:  # a backend may refuse a network, and says why
            failed[name] = str(error)
    counts = {name: _tiles_a_second(predictor, tiles[0]) for name, predictor in predictors.items()}
    rates: dict[str, list[float]] = {name: [] for name in predictors}
    for _ in range(_ROUNDS):
        for name, predictor in predictors.items():
            chosen = [tiles[n % len(tiles)] for n in range(counts[name])]
            seconds = _seconds(predictor, chosen)
            rates[name].append(len(chosen) * job["tile"] ** 2 / 1e6 / seconds)
    return {
        "mpx_s": {name: statistics.median(found) for name, found in rates.items()},
        "ran": {name: predictor.description for name, predictor in predictors.items()},
        "failed": failed,
    }


def _tiles_a_second(predictor: Any, tile: Any) -> int:
    _seconds(predictor, [tile])
    return min(32, max(2, round(1 / _seconds(predictor, [tile]))))


def _seconds(predictor: Any, tiles: list[Any]) -> float:
    begin = time.perf_counter()
    run(predictor, tiles)
    return time.perf_counter() - begin


# --- memory ---------------------------------------------------------------------------------------------------------


def memory(job: Job) -> dict[str, Any]:
    """Peak bytes of ``geoseg.predict`` under the first and the last backend, each in a fresh process.

    What they convert is there by now.
    """
    peaks, failed = {}, {}
    names = list(job["backends"])
    for name in (names[0], names[-1]):
        backend, precision = job["backends"][name]
        output = Path(job["folder"]) / "models-memory.tif"
        try:
            found = run_predict(
                scene=job["scene"], model=job["model"], output=output, tile_size=job["tile"],
                backend=backend, precision=precision, overwrite=True,
            )  # fmt: skip
            peaks[name] = found["peak"]
        except RunError as error:
            failed[name] = str(error)
        finally:
            for path in output.parent.glob(f"{output.stem}*"):
                path.unlink()
    return {"peak": peaks, "failed": failed}


def join_images(folder: Path, limit: int | None) -> Path:
    """The first of the eight validation images, or all as one scene, four in a row: 1024×2048."""
    path = folder / "amazon-validation.tif"
    if not path.exists():
        images = []
        for image in _pairs("validation", limit)[0]:
            with rasterio.open(image) as file:
                images.append(file.read())
        rows = [np.concatenate(images[k : k + 4], axis=2) for k in range(0, len(images), 4)]
        pixels = np.concatenate(rows, axis=1)
        temporary = path.with_name(f"partial-{path.name}")
        with rasterio.open(temporary, "w", **profile(*pixels.shape[1:], 3)) as file:
            file.write(pixels)
        temporary.replace(path)
    return path
