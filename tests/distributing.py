"""What the tests of prediction on Dask share: jobs, and maps to compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import torch
from scenes import SmoothNetwork, replace_network, write_scene, write_spec

from geoseg.config import ModelSpec
from geoseg.inference import predict, steps
from geoseg.models import create_model, read_spec, save_model

TILE, OVERLAP = 16, 6

REAL_CHOICES: dict[str, Any] = {
    "tile_size": 64, "overlap": 16, "confidence": True, "backend": "torch", "precision": "fp32", "device": "cpu",
}  # fmt: skip


def small_job(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, Path]:
    """Scene, model and folder: a part for each row of tiles, a hole in the scene, and a network of our own."""
    monkeypatch.setattr(steps, "STEP_PIXELS", 1)
    replace_network(monkeypatch, SmoothNetwork())
    values = np.random.default_rng(1).integers(0, 8, (90, 70)).astype(np.uint8)
    values[30:60, 20:50] = 0
    scene = write_scene(folder / "s.tif", values, nodata=0)
    return scene, write_spec(folder / "m.safetensors"), folder


def run(job: tuple[Path, Path, Path], name: str, **options: Any) -> Path:
    """The labels of a small job."""
    scene, model, folder = job
    options = {"tile_size": TILE, "overlap": OVERLAP, "confidence": True} | options
    return predict(scene, model, folder / name, **options).labels


def real_job(folder: Path, shape: tuple[int, int], hole: tuple[slice, slice]) -> tuple[Path, Path]:
    """A scene with a hole, and a real network, for other processes to load."""
    values = np.random.default_rng(2).integers(0, 256, (3, *shape)).astype(np.uint8)
    values[:, *hole] = 0
    fields: dict[str, Any] = {
        "bands": ("red", "green", "blue"), "mean": (99.0,) * 3, "std": (50.0,) * 3, "value_range": (0.0, 255.0),
        "architecture": "unet", "tile_size": 64, "stride_multiple": 16, "options": {"width": 8},
    }  # fmt: skip
    spec: ModelSpec = read_spec(write_spec(folder / "spec.safetensors", **fields))
    torch.manual_seed(0)
    save_model(folder / "m.safetensors", create_model("unet", bands=3, classes=7, width=8), spec)
    return write_scene(folder / "s.tif", values, nodata=0), folder / "m.safetensors"


def content(labels: Path) -> tuple[list[npt.NDArray[Any]], str]:
    """Pixels of labels and confidence, and the seams."""
    pixels = []
    for path in (labels, labels.with_name(f"{labels.stem.removesuffix('_landcover')}_confidence.tif")):
        with rasterio.open(path) as file:
            pixels.append(file.read())
            seams = file.tags()["GEOSEG_SEAMS"]
    return pixels, seams


def same(first: Path, second: Path) -> bool:
    """Whether two maps have the same pixels and seams."""
    (ours, seams), (theirs, other) = content(first), content(second)
    return seams == other and all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
