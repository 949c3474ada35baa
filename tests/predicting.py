"""Tiny networks, tiles and models for the tests of predictors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scenes import write_spec
from torch import nn

from geoseg.config import ModelSpec
from geoseg.models import read_spec
from geoseg.normalization import BandStats
from geoseg.predictors import Loaded, NetworkOptions, Predictor, Tiles, load_predictor

SIDE = 24
STATS = BandStats((101.7, 80.3, 60.1), (33.3, 21.7, 12.9))


def make_spec(folder: Path, **changes: Any) -> ModelSpec:
    """A spec of three bands and seven classes."""
    fields: dict[str, Any] = {"bands": ("r", "g", "b"), "mean": STATS.mean, "std": STATS.std}
    return read_spec(write_spec(folder / "m.safetensors", **fields | changes))


def network(classes: int = 7) -> nn.Module:
    """Two convolutions; always the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, classes, 1)
        return nn.Sequential(*layers).eval()


def tiles(count: int, dtype: str = "uint8", side: int = SIDE) -> Tiles:
    """Noise; a fifth of the pixels is absent."""
    generator = np.random.default_rng(0)
    present = generator.random((count, 1, side, side)) > 0.2
    values = np.where(present, generator.integers(0, 256, (count, 3, side, side)), 0).astype(dtype)
    return Tiles(values, present, tuple((0, i) for i in range(count)))


def no_samples(count: int) -> Sequence[Tiles]:
    return []


def load(
    spec: ModelSpec,
    make: Callable[[], nn.Module] = network,
    *,
    side: int = SIDE,
    dtype: Any = "uint8",
    cache: Path | None = None,
    sample_tiles: Any = no_samples,
    name: str = "0",
    **options: Any,
) -> Predictor:
    """A predictor of one model: under torch in fp32 on the CPU unless options say otherwise."""
    chosen = NetworkOptions(**{"backend": "torch", "precision": "fp32", "device": "cpu"} | options)
    loaded = Loaded(make, spec, spec.stats, name * 64)
    return load_predictor([loaded], chosen, tile_size=side, dtype=dtype, sample_tiles=sample_tiles, cache=cache)


def plain(batch: Tiles, model: nn.Module, temperature: float = 1.0) -> np.ndarray:
    """Scores the long way: BandStats, the network as it is, softmax."""
    present = np.broadcast_to(batch.present, batch.values.shape)
    x = np.stack([STATS.normalize(v, p) for v, p in zip(batch.values, present, strict=True)])
    with torch.inference_mode():
        return torch.softmax(model(torch.from_numpy(x)) / temperature, 1).numpy()
