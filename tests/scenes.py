"""Tiny scenes and models for tests: what they hold is known to the pixel."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import torch
from affine import Affine
from safetensors.numpy import save_file

from geoseg.config import ModelSpec
from geoseg.legend import Legend

if TYPE_CHECKING:
    from geoseg.inference.job import Job
    from geoseg.predictors import Tiles

UTM = Affine(10, 0, 500_000, 0, -10, 5_000_000)


def write_scene(
    path: Path,
    values: npt.NDArray[Any],
    *,
    crs: str | None = "EPSG:32633",
    transform: Affine = UTM,
    valid: npt.NDArray[np.bool_] | None = None,
    **profile: Any,
) -> Path:
    """Write (C, H, W) or (H, W) ``values`` as a GeoTIFF; ``valid`` becomes an internal mask band."""
    bands = values if values.ndim == 3 else values[None]
    count, height, width = bands.shape
    profile = {"driver": "GTiff", "crs": crs, "transform": transform, **profile}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", height=height, width=width, count=count, dtype=bands.dtype.name, **profile) as file,
    ):
        file.write(bands)
        if valid is not None:
            file.write_mask(valid)
    return path


def write_spec(path: Path, **changes: Any) -> Path:
    """A model file with a spec and no useful tensor: enough wherever the network itself is replaced."""
    legend = Legend.from_names([f"class {i}" for i in range(1, 8)])
    fields: dict[str, Any] = {
        "name": "tiny",
        "architecture": "tiny",
        "bands": ("value",),
        "classes": legend.to_records(),
        "mean": (0.0,),
        "std": (1.0,),
        "value_range": (0.0, 7.0),
        "gsd": 10.0,
        "tile_size": 8,
        "stride_multiple": 1,
    }
    spec = ModelSpec.model_validate(fields | changes)
    save_file({"none": np.zeros(1, np.float32)}, path, metadata={"geoseg": spec.model_dump_json()})
    return path


class IdentityNetwork:
    """Pixel value v of the first band is class v, with certainty; 0 and whatever is no class go to the first."""

    def __init__(self, classes: int = 7) -> None:
        self.classes = classes
        self.tiles = 0

    def __call__(self, tiles: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(B, C, T, T) normalised -> (B, K, T, T) one-hot."""
        assert np.isfinite(tiles).all()
        self.tiles += len(tiles)
        index = np.clip(np.rint(tiles[:, 0]).astype(int) - 1, 0, self.classes - 1)
        return np.eye(self.classes, dtype=np.float32)[index].transpose(0, 3, 1, 2).copy()


class SmoothNetwork(IdentityNetwork):
    """Probabilities from all of a tile, so that every overlap matters.

    Args:
        pause: Seconds that a call takes at least: slow enough to be killed.
    """

    def __init__(self, pause: float = 0.0) -> None:
        super().__init__()
        self.pause = pause

    def __call__(self, tiles: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        time.sleep(self.pause)
        self.tiles += len(tiles)
        near = (np.arange(1, 8)[None, :, None, None] - tiles[:, :1] - tiles.mean((2, 3), keepdims=True) / 3) ** 2
        scores = np.exp(-near / 8)
        return np.asarray(scores / scores.sum(1, keepdims=True), np.float32)


class FakePredictor:
    """A predictor around a function from normalised tiles to probabilities, in NumPy."""

    description, reason = "a fake", "a test"
    device = torch.device("cpu")
    best_batch = in_flight = 1

    def __init__(self, network: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]], job: Job) -> None:
        self._network = network
        self._stats = job.stats[0]
        self.classes = len(job.spec.classes)
        self.planes = self.classes + (job.settings.mc_samples > 0)
        self.identity: dict[str, object] = {"fake": type(network).__name__}

    def submit(self, tiles: Tiles) -> Callable[[], torch.Tensor]:
        """Compute when it is waited for."""

        def wait() -> torch.Tensor:
            pairs = zip(tiles.values, tiles.present, strict=True)
            normalized = np.stack([self._stats.normalize(v, np.broadcast_to(p, v.shape)) for v, p in pairs])
            return torch.from_numpy(np.ascontiguousarray(self._network(normalized)))

        return wait

    def close(self) -> None:
        """Nothing to give back."""


def replace_network(monkeypatch: pytest.MonkeyPatch, network: Any) -> None:
    """Let ``network`` stand for the model of every job."""
    from geoseg.inference import network as home

    monkeypatch.setattr(home, "load_network", lambda job, _: FakePredictor(network, job))
