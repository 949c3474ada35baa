"""Run reports of random figures, for tests of what is made of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from geoseg.legend import Legend
from geoseg.metrics import BoundaryScore, Calibration, Metrics, boundary_counts, calibration_counts, confusion_matrix
from geoseg.tiling import Window
from geoseg.training.results import ChipPicture, HistoryRow, Judgement, RunReport

Labels = npt.NDArray[np.uint8]


def judgement(truth: Labels, predicted: Labels, legend: Legend, seed: int = 0) -> Judgement:
    """Of labels, with a confidence that says too much at temperature 1."""
    matrix = confusion_matrix(truth, predicted, legend.ids)
    known = truth > 0
    right = (truth == predicted)[known]
    sure = np.random.default_rng(seed).uniform(0.4, 1, right.shape)
    return Judgement(
        metrics=Metrics.from_confusion(matrix),
        confusion=matrix,
        boundary=BoundaryScore.from_counts(boundary_counts(truth, predicted, legend.ids, 2.0), 2.0, 0.3),
        calibration=Calibration.from_counts(calibration_counts(right, sure)),
        uncalibrated=Calibration.from_counts(calibration_counts(right, np.sqrt(sure))),
    )


def history(legend: Legend, epochs: int, every: int = 1, subsets: tuple[str, ...] = ()) -> tuple[HistoryRow, ...]:
    """A loss that falls and figures that rise; the last class is never seen."""
    rng = np.random.default_rng(1)
    rows = []
    for epoch in range(1, epochs + 1):
        risen = 1 - np.exp(-epoch / 8) * 0.8
        figures: dict[str, float | None] = {"loss": 1.3 - risen + rng.normal(0, 0.03), "mean_iou": 0.7 * risen}
        figures |= {"overall_accuracy": 0.85 * risen, "kappa": 0.8 * risen, "mean_f1": 0.75 * risen}
        for i, name in enumerate(legend.names[:-1]):
            figures[f"iou/{name}"] = float(np.clip(risen * (0.95 - 0.08 * (i % 10)) + rng.normal(0, 0.02), 0, 1))
        figures[f"iou/{legend.names[-1]}"] = None
        figures |= {f"{name}/mean_iou": (0.72 - 0.1 * i) * risen for i, name in enumerate(subsets)}
        judged = figures if epoch % every == 0 else {}
        rows.append(HistoryRow(epoch, 100 * epoch, float(1.1 - 0.9 * risen), 1e-3 / epoch, 30.0 * epoch, judged))
    return tuple(rows)


def chip(legend: Legend, seed: int, side: int, name: str) -> ChipPicture:
    """Blocks of classes, some of them wrong, below a noisy image; its first rows have no label."""
    rng = np.random.default_rng(seed)
    cells = -(-side // 16)
    truth = rng.integers(1, len(legend) + 1, (cells, cells)).repeat(16, 0).repeat(16, 1)[:side, :side].astype(np.uint8)
    predicted = np.where(rng.random((side, side)) < 0.1, np.roll(truth, 5, axis=1), truth)
    truth[: side // 8] = 0
    image = np.clip(truth[..., None] * [20, 25, 15] + rng.normal(60, 18, (side, side, 3)), 0, 255).astype(np.uint8)
    known = truth > 0
    wrong, pixels = int((known & (truth != predicted)).sum()), int(known.sum())
    return ChipPicture(
        name, Window(0, side * seed, side, side), image, truth, predicted, wrong, pixels, "x 1, y 2 (UTM)"
    )


def run_report(legend: Legend, *, epochs: int = 12, chips: int = 2, side: int = 64, **changes: Any) -> RunReport:
    """A report of made-up figures; ``changes`` replace fields."""
    pieces = sorted((chip(legend, i, side, f"sheet {i}.tif") for i in range(chips)), key=lambda c: -c.error)
    rng = np.random.default_rng(2)
    truth = rng.integers(0, len(legend), (80, 60)).astype(np.uint8)
    predicted = np.where(rng.random(truth.shape) < 0.7, truth, rng.integers(1, len(legend) + 1, truth.shape))
    judged = judgement(truth, predicted.astype(np.uint8), legend)
    values: dict[str, Any] = {
        "name": "land-cover",
        "purpose": "Land cover of towns & fields",
        "source": "LoveDA",
        "config": "name: land-cover  # of the run\ndata:\n  dataset: loveda  # its name\n  legend: '#ffffff'\n",
        "legend": legend,
        "history": history(legend, epochs),
        "monitor": "mean_iou",
        "best_epoch": epochs,
        "judgement": judged,
        "subsets": {},
        "training_pixels": tuple(int(n) for n in rng.integers(0, 9_000_000, len(legend))),
        "validation_pixels": judged.metrics.support,
        "chips": tuple(pieces),
        "temperature": 1.37,
        "parameters": 24_436_369,
        "device": "NVIDIA H200, bf16",
        "seconds": {"survey": 12.3, "train": 4021.0, "evaluate": 75.0},
        "peak_memory": 3 << 30,
        "peak_device_memory": 200 << 20,
        "architecture": "smp.unet, encoder weights imagenet",
        "chips_per_second": 123.4,
        "notes": ("2 files were left out",),
        "warnings": (),
    }
    return RunReport(**values | changes)
