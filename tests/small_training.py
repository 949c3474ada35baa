"""A training that takes a second: sheets in memory, a tiny network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from labelled import MemorySource

from geoseg.config.training import TrainingConfig
from geoseg.legend import Legend

LEGEND = Legend.from_names(["water", "field", "wood"])


def sheet(seed: int, size: int = 96) -> tuple[npt.NDArray[np.uint8], None, npt.NDArray[np.uint8]]:
    """Two bands from which the class of a pixel can be read, with noise, and a corner without label."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 3, (size // 16, size // 16))
    indices = np.kron(coarse, np.ones((16, 16), np.int64)).astype(np.uint8)
    noise = rng.normal(0, 12, (2, size, size))
    pixels = np.clip(60 + 60 * np.stack([indices, 2 - indices]) + noise, 0, 255).astype(np.uint8)
    indices[:5, :9] = 255
    return pixels, None, indices


def write_sheet(path: Path, pixels: npt.NDArray[np.uint8]) -> Path:
    """A sheet's pixels as a scene of 1 m."""
    bands, height, width = pixels.shape
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=bands, dtype="uint8", crs="EPSG:32633",
        transform=rasterio.Affine(1, 0, 500_000, 0, -1, 5_000_000),
    ) as file:  # fmt: skip
        file.write(pixels)
    return path


def source(**more: Any) -> MemorySource:
    """Three sheets, the last of them to judge by."""
    given = {"roles": ["train", "train", "validation"], "names": ["one", "two", "three"], **more}
    return MemorySource(LEGEND, [sheet(seed) for seed in range(3)], **given)


def config(**sections: Any) -> TrainingConfig:
    """Settings of a tiny network; sections take the place of single keys."""
    plain: dict[str, Any] = {
        "name": "small",
        "split": {"by": "auto"},
        "model": {"architecture": "unet", "options": {"width": 4, "depth": 2}},
        "chips": {"size": 32, "batch": 4, "per_epoch": 16, "cache": "ram"},
        "optimizer": {"lr": 0.01},
        "trainer": {"epochs": 3, "accelerator": "cpu"},
        "logging": {"worst_chips": 3},
    }
    for name, values in sections.items():
        plain[name] = {**plain.get(name, {}), **values} if isinstance(values, dict) else values
    return TrainingConfig.model_validate(plain)
