"""Refined maps and networks that eat a border, on Dask: the pixels of the local run, wherever regions cut the scene."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client
from distributing import OVERLAP, TILE, content
from scenes import SmoothNetwork, replace_network, write_scene, write_spec
from test_context import make_model

from geoseg.inference import predict, steps
from geoseg.refinement import strips

REFINE = "crf,iterations=2,radius=3,appearance=2,colour=1.5,smoothness=1.5,appearance_weight=3,smoothness_weight=1"
# Parts of a region, and columns of a panel.
REGIONS = pytest.mark.parametrize(("region_parts", "panel"), [(1, 1000), (2, 24)])


def assert_same(first: Path, second: Path) -> None:
    (ours, seams), (theirs, other) = content(first), content(second)
    for one, two in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, two)
    assert seams == other


def noise(path: Path, bands: int) -> Path:
    """A scene with a hole in it and a border without data."""
    values = np.random.default_rng(3).integers(1, 8, (bands, 52, 47)).astype(np.uint8)
    values[:, 20:33, 12:35] = values[:, :, :2] = values[:, -1:] = 0
    return write_scene(path, values, nodata=0)


@REGIONS
def test_refined_pixels_are_those_of_the_local_run(
    tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch, region_parts: int, panel: int
) -> None:
    """A pixel hears from six around it, and so from beyond its region and its part."""
    monkeypatch.setattr(steps, "STEP_PIXELS", 1)
    monkeypatch.setattr(steps, "PANEL_BYTES", 4 * 7 * (TILE + 128 + 12) * panel)
    monkeypatch.setattr(strips, "SIDE", 16)
    replace_network(monkeypatch, SmoothNetwork())
    scene, model = noise(tmp_path / "s.tif", 1), write_spec(tmp_path / "m.safetensors")
    options: dict[str, Any] = {"tile_size": TILE, "overlap": OVERLAP, "confidence": True, "probabilities": True}
    plain = predict(scene, model, tmp_path / "plain.tif", **options)
    local = predict(scene, model, tmp_path / "local.tif", refine=REFINE, **options)
    there = predict(
        scene, model, tmp_path / "there.tif", refine=REFINE, client=client, region_parts=region_parts, **options
    )
    assert_same(local.labels, there.labels)
    assert (content(plain.labels)[0][0] != content(local.labels)[0][0]).mean() > 0.05


@REGIONS
def test_pixels_of_a_network_without_padding_are_those_of_the_local_run(
    tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch, region_parts: int, panel: int
) -> None:
    """It reads 20 px around a tile, and so from beyond its region and its part."""
    monkeypatch.setattr(steps, "STEP_PIXELS", 1)
    monkeypatch.setattr(steps, "PANEL_BYTES", 4 * 3 * TILE * panel)
    scene, model = noise(tmp_path / "s.tif", 2), make_model(tmp_path)
    options: dict[str, Any] = {
        "tile_size": TILE, "confidence": True, "probabilities": True, "backend": "torch", "precision": "fp32",
        "device": "cpu",
    }  # fmt: skip
    local = predict(scene, model, tmp_path / "local.tif", **options)
    there = predict(scene, model, tmp_path / "there.tif", client=client, region_parts=region_parts, **options)
    assert (local.overlap, local.tile_size) == (0, TILE)
    assert_same(local.labels, there.labels)
