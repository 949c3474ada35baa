"""Maps made on a GPU: those of a CPU, blended on the device. Run with ``pytest -m gpu``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from refining import made_scene, refined
from test_backends import OPTIONS, made, model, read, reference  # noqa: F401 - fixtures

import geoseg
from geoseg.blending.device import DeviceArithmetic
from geoseg.blending.host import HostArithmetic
from geoseg.blending.stored import Stored
from geoseg.refinement import GPU_SIDE, Crf
from geoseg.tiling import Window

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

EVERYTHING = Stored(confidence=True, entropy=True, mutual_information=True, probabilities=True)


def test_the_device_stores_what_the_host_stores() -> None:
    sums = np.random.default_rng(1).random((8, 600, 700), np.float32)
    sums[:7] /= sums[:7].sum(0)
    scores = np.random.default_rng(2).random((8, 512, 512), np.float32)
    down = across = np.hanning(512).astype(np.float32)
    host, device = HostArithmetic(), DeviceArithmetic(torch.device("cuda"))
    on_device = torch.from_numpy(sums.copy()).cuda()
    host.add(sums, (30, 40), scores, (0, 0), down, across)
    device.add(on_device, (30, 40), torch.from_numpy(scores).cuda(), (0, 0), down, across)
    host.carry(sums, 100)
    device.carry(on_device, 100)
    np.testing.assert_allclose(on_device.cpu().numpy(), sums, rtol=1e-6, atol=1e-6)
    found, expected = device.store(on_device, (10, 500), 7, EVERYTHING), host.store(sums, (10, 500), 7, EVERYTHING)
    assert np.abs(found.astype(int) - expected)[1:].max() <= 1
    assert np.mean(found[0] != expected[0]) < 1e-5


@pytest.mark.parametrize(("precision", "bound"), [("fp32", 0.001), ("bf16", 0.02), ("fp16", 0.02), ("auto", 0.02)])
def test_a_gpu_gives_the_map_of_a_cpu(
    tmp_path: Path,
    made: Any,  # noqa: F811
    model: Path,  # noqa: F811
    reference: Any,  # noqa: F811
    precision: Any,
    bound: float,
) -> None:
    options = OPTIONS | {"device": "cuda"}
    done = geoseg.predict(made.scene, model, tmp_path / "o.tif", precision=precision, check_precision=True, **options)
    labels = read(done.labels)
    np.testing.assert_array_equal(labels == 0, reference == 0)
    assert np.mean((labels != reference)[reference > 0]) <= bound
    assert "torch" in done.backend
    assert done.changed_labels is not None


def test_one_batch_size_gives_the_same_bits_again(tmp_path: Path, made: Any, model: Path) -> None:  # noqa: F811
    options = OPTIONS | {"device": "cuda", "batch": 4}
    first, second = (read(geoseg.predict(made.scene, model, tmp_path / f"{n}.tif", **options).confidence) for n in "ab")
    np.testing.assert_array_equal(first, second)


def test_a_gpu_refines_as_a_cpu() -> None:
    """Over several blocks of a GPU and many more of a CPU; with holes, and a plane of uncertainty."""
    scene = made_scene(600, 530, classes=5, planes=6)
    host, device = (refined(scene, Crf(), step=256, classes=5, device=name) for name in ("cpu", "cuda"))
    np.testing.assert_allclose(device, host, atol=1e-4)
    assert (device[:5, ~scene[2]] == 0).all()


def test_no_bit_of_a_gpu_depends_on_where_refining_is_cut() -> None:
    scene = made_scene(700, 560)
    whole = refined(scene, Crf(), device="cuda")
    area = Window(100, GPU_SIDE - 3, 500, 40)
    part = refined(scene, Crf(), area, step=77, device="cuda")
    np.testing.assert_array_equal(part, whole[:, 100:600, GPU_SIDE - 3 : GPU_SIDE + 37])


@pytest.mark.parametrize(("precision", "bound"), [("fp32", 0.001), ("bf16", 0.02), ("fp16", 0.02)])
def test_a_gpu_gives_the_refined_map_of_a_cpu(
    tmp_path: Path,
    made: Any,  # noqa: F811
    model: Path,  # noqa: F811
    reference: Any,  # noqa: F811
    precision: Any,
    bound: float,
) -> None:
    options = OPTIONS | {"backend": "torch", "refine": "crf"}
    host, device = (
        geoseg.predict(made.scene, model, tmp_path / f"{where}.tif", **options | {"device": where, "precision": how})
        for where, how in (("cpu", "fp32"), ("cuda", precision))
    )
    expected, found = read(host.labels), read(device.labels)
    assert np.mean(expected != reference) > 0.002  # it does something
    np.testing.assert_array_equal(found == 0, expected == 0)
    assert np.mean((found != expected)[expected > 0]) <= bound


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one CUDA device")
def test_two_gpus_give_the_map_of_one(tmp_path: Path, made: Any, model: Path) -> None:  # noqa: F811
    one, two = (
        read(geoseg.predict(made.scene, model, tmp_path / f"{i}.tif", **(OPTIONS | {"device": d})).labels)
        for i, d in enumerate(("cuda:0", "cuda:0,1"))
    )
    assert np.mean(one != two) < 1e-4
