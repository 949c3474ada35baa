"""One map from every backend: how far they may differ from torch in fp32, and what may not change a pixel at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import torch

import geoseg
from geoseg.errors import GeosegError
from geoseg.synthetic import SyntheticScene

BOUNDS = {
    ("torch", "fp32"): 0.0,
    ("torch", "bf16"): 0.02,
    ("openvino", "fp32"): 0.001,
    ("openvino", "bf16"): 0.02,
    ("onnx", "fp32"): 0.001,
    ("openvino", "int8"): 0.06,
}
"""Share of the labels that may differ from torch in fp32."""

OPTIONS: dict[str, Any] = {"tile_size": 128, "overlap": 32, "confidence": True, "device": "cpu"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SyntheticScene:
    return geoseg.make_scene(tmp_path_factory.mktemp("scene"), height=300, width=420)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, made: SyntheticScene) -> Path:
    """A small U-Net that has learned enough for its margins to be real."""
    from geoseg.models import create_model, read_spec, resolve_model, save_model, stride_multiple

    with rasterio.open(made.scene) as scene, rasterio.open(made.truth) as truth:
        pixels, labels = scene.read(), truth.read(1)
    present = sorted(int(i) for i in np.unique(labels) if i)
    legend = geoseg.Legend.from_values(present)
    torch.manual_seed(0)
    network = create_model("unet", bands=3, classes=len(present), width=8, depth=3)
    mean, std = pixels.mean((1, 2)), pixels.std((1, 2))
    x = torch.from_numpy(((pixels - mean[:, None, None]) / std[:, None, None]).astype(np.float32))[None, :, :256, :256]
    index = np.where(labels > 0, np.searchsorted(present, labels), -100)
    y = torch.from_numpy(index)[None, :256, :256].long()
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(network(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    spec = read_spec(resolve_model("unet")).model_copy(
        update={
            "name": "small", "architecture": "unet", "options": {"width": 8, "depth": 3}, "tile_size": 128,
            "classes": tuple(type(read_spec(resolve_model("unet")).classes[0])(**r) for r in legend.to_records()),
            "mean": tuple(mean.tolist()), "std": tuple(std.tolist()), "value_range": (0.0, 255.0), "gsd": None,
            "stride_multiple": stride_multiple(network), "metrics": {},
        }
    )  # fmt: skip
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    save_model(path, network.eval(), spec)
    return path


def read(path: Path | None) -> npt.NDArray[Any]:
    assert path is not None
    with rasterio.open(path) as file:
        found: npt.NDArray[Any] = file.read(1)
    return found


@pytest.fixture(scope="module")
def reference(made: SyntheticScene, model: Path) -> npt.NDArray[Any]:
    done = geoseg.predict(made.scene, model, overwrite=True, backend="torch", precision="fp32", **OPTIONS)
    return read(done.labels)


@pytest.mark.parametrize(("backend", "precision"), BOUNDS)
def test_every_backend_agrees_with_torch_in_fp32(
    tmp_path: Path, made: SyntheticScene, model: Path, reference: npt.NDArray[Any], backend: Any, precision: Any
) -> None:
    if precision == "bf16" and backend == "openvino":
        import openvino

        if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            pytest.skip("this processor does not compute in bfloat16")
    done = geoseg.predict(
        made.scene, model, tmp_path / "o.tif", backend=backend, precision=precision, check_precision=True, **OPTIONS
    )
    labels = read(done.labels)
    np.testing.assert_array_equal(labels == 0, reference == 0)
    assert len(np.unique(reference)) > 3
    share = np.mean((labels != reference)[reference > 0])
    assert share <= BOUNDS[backend, precision]
    assert done.changed_labels is not None
    assert done.changed_labels == pytest.approx(share, abs=0.03)
    assert precision in done.backend
    with rasterio.open(done.labels) as file:
        assert file.tags()["GEOSEG_BACKEND"] == done.backend
        assert file.tags()["GEOSEG_BACKEND_REASON"] == done.reason
        assert float(file.tags()["GEOSEG_CHANGED_LABELS"]) == pytest.approx(done.changed_labels, abs=1e-6)


@pytest.mark.parametrize("backend", ["torch", "openvino"])
@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_batch_and_panels_never_change_a_pixel(
    tmp_path: Path, made: SyntheticScene, model: Path, monkeypatch: pytest.MonkeyPatch, backend: Any, precision: Any
) -> None:
    from geoseg.inference import steps

    found = []
    for number, (batch, panel) in enumerate([(1, 2**30), (3, 2**30), (8, 4 * 7 * 128 * 200)]):
        monkeypatch.setattr(steps, "PANEL_BYTES", panel)
        done = geoseg.predict(
            made.scene, model, tmp_path / f"{number}.tif", backend=backend, precision=precision, batch=batch, **OPTIONS
        )
        found.append((read(done.labels), read(done.confidence)))
    for labels, confidence in found[1:]:
        np.testing.assert_array_equal(labels, found[0][0])
        np.testing.assert_array_equal(confidence, found[0][1])


def test_threads_never_change_a_pixel(
    tmp_path: Path, made: SyntheticScene, model: Path, reference: npt.NDArray[Any]
) -> None:
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            done = geoseg.predict(
                made.scene, model, tmp_path / f"{threads}.tif", backend="torch", precision="fp32", **OPTIONS
            )
            np.testing.assert_array_equal(read(done.labels), reference)
    finally:
        torch.set_num_threads(before)


def test_an_ensemble_of_all_there_is_to_average(tmp_path: Path, made: SyntheticScene, model: Path) -> None:
    """Test-time augmentation, two scales and uncertainty in one go: sane values and every band in its place."""
    done = geoseg.predict(
        made.scene, model, tmp_path / "o.tif", backend="torch", tta="flips", scales=(0.75, 1.0), uncertainty="entropy",
        probabilities=True, **OPTIONS,
    )  # fmt: skip
    labels = read(done.labels)
    assert done.confidence is not None
    with rasterio.open(done.confidence) as file:
        names, bands = file.descriptions, file.read()
    assert names[:2] == ("confidence", "entropy")
    valid = labels > 0
    assert (bands[:, ~valid] == 255).all()
    assert bands[:, valid].max() <= 250
    probabilities = bands[2:, valid].astype(int)
    np.testing.assert_allclose(probabilities.sum(0), 250, atol=len(probabilities))
    np.testing.assert_array_equal(probabilities.max(0), bands[0, valid])


def test_monte_carlo_dropout_needs_dropout(tmp_path: Path, made: SyntheticScene, model: Path) -> None:
    with pytest.raises(GeosegError, match="dropout"):
        geoseg.predict(made.scene, model, tmp_path / "o.tif", uncertainty="mc=3", **OPTIONS)


def test_a_dry_run_writes_nothing(made: SyntheticScene, model: Path, tmp_path: Path) -> None:
    before = sorted(made.scene.parent.iterdir())
    cost = geoseg.estimate_prediction(made.scene, model, tmp_path / "o.tif", backend="torch", **OPTIONS)
    assert sorted(made.scene.parent.iterdir()) == before
    assert not list(tmp_path.iterdir())
    assert cost.tiles == cost.wanted_tiles == 4 * 5
    assert cost.seconds is not None
    assert cost.seconds > 0
    assert cost.memory > 2**27
