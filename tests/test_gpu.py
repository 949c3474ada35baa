"""Predictors on a CUDA device; run with -m gpu on a machine that has one."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from predicting import SIDE, load, make_spec, network, plain, tiles
from torch import nn

from geoseg.config import ModelSpec
from geoseg.errors import ModelError, ResourceError
from geoseg.predictors import label_difference
from geoseg.predictors.torch_backend import TorchBackend

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture
def spec(tmp_path: Path) -> ModelSpec:
    return make_spec(tmp_path)


def test_scores_are_those_of_the_cpu_and_stay_on_the_device(spec: ModelSpec) -> None:
    predictor, batch = load(spec, device="cuda"), tiles(5)
    scores = predictor.submit(batch)()
    assert scores.device.type == predictor.device.type == "cuda"
    assert scores.is_contiguous()
    np.testing.assert_allclose(scores.cpu(), plain(batch, network()), atol=2e-3)  # TF32 has 10 bits
    assert label_difference(predictor, load(spec), [batch]) < 0.01


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_near(spec: ModelSpec, precision: str) -> None:
    scores = load(spec, device="cuda", precision=precision).submit(tiles(3))()
    assert scores.dtype == torch.float32
    np.testing.assert_allclose(scores.cpu(), plain(tiles(3), network()), atol=0.02)


def test_batches_under_way_come_in_order(spec: ModelSpec) -> None:
    predictor, batch = load(spec, device="cuda"), tiles(12)
    alone = [predictor.submit(batch.part(i, i + 3))().clone() for i in (0, 3, 6, 9)]
    waits = [predictor.submit(batch.part(i, i + 3)) for i in (0, 3, 6, 9)]
    assert torch.equal(torch.cat([wait() for wait in waits]), torch.cat(alone))


def test_damaged_weights_are_found(spec: ModelSpec) -> None:
    def broken() -> nn.Module:
        layer = nn.Conv2d(3, 7, 1)
        with torch.no_grad():
            layer.weight[3] = torch.nan
        return layer

    with pytest.raises(ModelError, match="NaN"):
        load(spec, broken, device="cuda").submit(tiles(1))()


class Hungry(nn.Module):
    """Runs out of memory with more than so many tiles."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit, self.layer = limit, network()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.is_cuda and len(x) > self.limit:
            raise torch.OutOfMemoryError(f"{len(x)} tiles")
        result: torch.Tensor = self.layer(x)
        return result


def test_a_batch_that_does_not_fit_is_split_and_said_once(spec: ModelSpec, caplog: pytest.LogCaptureFixture) -> None:
    predictor, batch = load(spec, lambda: Hungry(2), device="cuda"), tiles(7)
    with caplog.at_level(logging.WARNING, "geoseg"):
        scores = predictor.submit(batch)()
        predictor.submit(batch)()
    np.testing.assert_allclose(scores.cpu(), plain(batch, network()), atol=2e-3)
    assert caplog.text.count("do not fit into the memory") == 1


def test_a_tile_that_does_not_fit_is_an_error(spec: ModelSpec) -> None:
    with pytest.raises(ResourceError, match=f"{SIDE} px"):
        load(spec, lambda: Hungry(0), device="cuda").submit(tiles(1))


def test_the_batch_grows_to_what_helps_and_fits(spec: ModelSpec) -> None:
    predictor = load(spec, lambda: Hungry(8), device="cuda", sample_tiles=lambda _: [tiles(1)])
    assert predictor.best_batch in (1, 2, 4, 8)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_devices_take_turns(spec: ModelSpec) -> None:
    both, batch = load(spec, device="cuda:0,1"), tiles(6)
    waits = [both.submit(batch.part(i, i + 1)) for i in range(6)]
    scores = [wait() for wait in waits]
    assert {s.device for s in scores} == {torch.device("cuda:0")}
    np.testing.assert_allclose(torch.cat(scores).cpu(), plain(batch, network()), atol=2e-3)


def test_submitting_does_not_wait_for_the_device(spec: ModelSpec) -> None:
    predictor, batch = load(spec, device="cuda", side=512), tiles(16, side=512)
    assert isinstance(predictor, TorchBackend)
    predictor.submit(batch)()
    done = torch.cuda.Event()
    torch.cuda._sleep(200_000_000)  # keeps the device busy
    wait = predictor.submit(batch)
    done.record()
    assert not done.query()
    wait()
    assert done.query()
