"""Monte Carlo dropout from a model file to a map, against a loop of its own; which networks have dropout."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import torch
from own_networks import tiny
from scenes import write_scene
from torch import nn

import geoseg
from geoseg.choices import WITH_DROPOUT
from geoseg.config import ModelSpec
from geoseg.errors import ModelError
from geoseg.legend import Legend
from geoseg.models import architectures, create_model, save_model
from geoseg.normalization import BandStats

CLASSES, SAMPLES = 4, 5
STATS = BandStats((110.0, 120.0, 130.0), (40.0, 50.0, 60.0))
OPTIONS: dict[str, Any] = {"backend": "torch", "precision": "fp32", "device": "cpu", "probabilities": True}
DROPOUT = (nn.Dropout, nn.Dropout2d)


def save(folder: Path, network: nn.Module, architecture: str, options: dict[str, Any], multiple: int) -> Path:
    spec = ModelSpec.model_validate(
        {
            "name": "unsure", "architecture": architecture, "options": options, "bands": ("r", "g", "b"),
            "classes": Legend.from_names([f"class {i}" for i in range(CLASSES)]).to_records(), "mean": STATS.mean,
            "std": STATS.std, "value_range": (0.0, 255.0), "gsd": 10.0, "tile_size": 64, "stride_multiple": multiple,
        }
    )  # fmt: skip
    path = folder / "unsure.safetensors"
    save_model(path, network.eval(), spec)
    return path


def noisy(folder: Path, height: int, width: int) -> tuple[Path, npt.NDArray[np.uint8]]:
    values = np.random.default_rng(4).integers(1, 256, (3, height, width)).astype(np.uint8)
    values[:, :7, 20:] = 0
    return write_scene(folder / "s.tif", values, nodata=0), values


def read(path: Path | None) -> npt.NDArray[Any]:
    assert path is not None
    with rasterio.open(path) as file:
        return np.asarray(file.read())


@contextmanager
def dropping(network: nn.Module, key: str) -> Iterator[None]:
    """Dropout whose random numbers come from a tile and a sample alone; nothing else of the network is random."""
    seed = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) >> 1
    generator = torch.Generator().manual_seed(seed)

    def drop(module: nn.Module, given: tuple[torch.Tensor, ...], _: torch.Tensor) -> torch.Tensor:
        [x] = given
        p = float(module.p)  # type: ignore[arg-type]
        shape = (*x.shape[:2], 1, 1) if isinstance(module, nn.Dropout2d) else x.shape
        return x * (torch.rand(shape, generator=generator) >= p) / (1 - p)

    hooks = [m.register_forward_hook(drop) for m in network.modules() if isinstance(m, DROPOUT)]
    yield
    for hook in hooks:
        hook.remove()


def entropy(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(-(p * np.log(p)).sum(0) / np.log(CLASSES))


@pytest.mark.parametrize(
    ("architecture", "options", "multiple"),
    [
        ("bayesian-segnet", {"width": 2, "dropout": 0.5}, 1),
        ("smp.fpn", {"encoder": "resnet18", "decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32}, 32),
    ],
)
def test_a_map_is_the_mean_of_passes_in_which_dropout_alone_is_random(
    tmp_path: Path, architecture: str, options: dict[str, Any], multiple: int
) -> None:
    if architecture == "bayesian-segnet":
        network: nn.Module = tiny(architecture, 3, CLASSES, **options)
        with torch.no_grad():  # so narrow and untrained, it is unsure of everything by itself
            network.get_submodule("classifier").get_parameter("weight").mul_(20)
    else:
        torch.manual_seed(0)
        network = create_model(architecture, bands=3, classes=CLASSES, **options).eval()
    scene, values = noisy(tmp_path, 40, 50)
    model = save(tmp_path, network, architecture, options, multiple)
    done = geoseg.predict(
        scene, model, tmp_path / "o.tif", tile_size=64, overlap=0, uncertainty=f"mc={SAMPLES}", **OPTIONS
    )

    valid = values.any(0)
    x = np.pad(STATS.normalize(values, valid), ((0, 0), (0, 24), (0, 14)), mode="reflect")
    samples = []
    for sample in range(SAMPLES):
        with dropping(network, f"0 0 {sample}"), torch.no_grad():
            samples.append(torch.softmax(network(torch.from_numpy(x)[None]), 1)[0, :, :40, :50].double().numpy())
    mean = np.mean(samples, axis=0)
    information = entropy(mean) - np.mean([entropy(p) for p in samples], axis=0)
    assert information[valid].max() > 0.02

    bands = read(done.confidence)
    expected = np.stack([mean.max(0), entropy(mean), information, *mean])
    np.testing.assert_allclose(bands[:, valid], 250 * expected[:, valid], atol=0.52)
    assert (bands[:, ~valid] == 255).all()
    sure = valid & (np.diff(np.sort(mean, 0)[-2:], axis=0)[0] > 1e-4)
    np.testing.assert_array_equal(read(done.labels)[0, sure], mean.argmax(0)[sure] + 1)


def test_draws_do_not_depend_on_the_batch_nor_on_what_is_mapped(tmp_path: Path) -> None:
    options = {"width": 2, "dropout": 0.5}
    network = tiny("bayesian-segnet", 3, CLASSES, **options)
    scene, _ = noisy(tmp_path, 70, 90)
    model = save(tmp_path, network, "bayesian-segnet", options, 1)

    def mapped(**changes: Any) -> npt.NDArray[Any]:
        done = geoseg.predict(
            scene, model, tmp_path / "o.tif", tile_size=32, overlap=8, overwrite=True,
            **OPTIONS | {"uncertainty": "mc=2"} | changes,
        )  # fmt: skip
        return read(done.confidence)

    one = mapped(batch=1)
    np.testing.assert_array_equal(mapped(batch=3), one)
    np.testing.assert_array_equal(mapped(window=(30, 40, 20, 30)), one[:, 30:50, 40:70])
    assert (mapped(uncertainty="mc=3") != one).any()


@pytest.mark.slow
def test_the_networks_that_are_said_to_have_dropout_have_it() -> None:
    found = []
    for name in architectures():
        with torch.device("meta"):
            network = create_model(name, bands=3, classes=2, **({"width": 8} if "." not in name else {}))
        if any(isinstance(m, DROPOUT) and m.p > 0 for m in network.modules()):
            found.append(name)
    assert tuple(found) == WITH_DROPOUT


def test_a_network_without_dropout_is_refused_by_those_that_have_it(tmp_path: Path) -> None:
    scene, _ = noisy(tmp_path, 40, 50)
    model = save(tmp_path, tiny("segnet", 3, CLASSES), "segnet", {"width": 2}, 1)
    with pytest.raises(ModelError, match=r"'unsure' has no dropout.* 5 equal maps.*: bayesian-segnet, fcn8s.*smp\.fpn"):
        geoseg.predict(scene, model, tmp_path / "o.tif", uncertainty="mc=5", **OPTIONS)
    assert not (tmp_path / "o.tif").exists()
