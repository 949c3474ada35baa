"""TorchPredictor: probabilities of the right shape, the same for every batch, and refusals that name the figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scenes import write_spec
from torch import nn

from geoseg.config import ModelSpec
from geoseg.errors import ModelError, ParameterError
from geoseg.models import read_spec
from geoseg.predictors import TorchPredictor


@pytest.fixture
def spec(tmp_path: Path) -> ModelSpec:
    return read_spec(write_spec(tmp_path / "m.safetensors"))


def network(classes: int = 7) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, classes, 1))


def tiles(count: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, 1, 24, 24)).astype(np.float32)


def test_scores_are_probabilities_of_the_logits(spec: ModelSpec) -> None:
    batch = tiles(2)
    scores = TorchPredictor(network(), spec, "cpu")(batch)
    with torch.inference_mode():
        expected = torch.softmax(network().eval()(torch.from_numpy(batch)), 1).numpy()
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    np.testing.assert_allclose(scores.sum(1), 1, atol=1e-6)


def test_no_bit_depends_on_the_batch(spec: ModelSpec) -> None:
    predictor, batch = TorchPredictor(network(), spec, "cpu"), tiles(5)
    together = predictor(batch)
    np.testing.assert_array_equal(together, np.concatenate([predictor(batch[i : i + 1]) for i in range(5)]))


def test_the_temperature_divides_the_logits(spec: ModelSpec) -> None:
    hot = TorchPredictor(network(), spec.model_copy(update={"temperature": 3.0}), "cpu")(tiles(1))
    cold = TorchPredictor(network(), spec, "cpu")(tiles(1))
    np.testing.assert_allclose(np.log(hot[:, 0] / hot[:, 1]) * 3, np.log(cold[:, 0] / cold[:, 1]), rtol=1e-3, atol=1e-4)


def test_another_number_of_classes_is_refused(spec: ModelSpec) -> None:
    with pytest.raises(ModelError, match=r"shape \(1, 5, 24, 24\).*expected \(1, 7, 24, 24\)"):
        TorchPredictor(network(5), spec, "cpu")(tiles(1))


def test_a_network_that_shrinks_its_tiles_is_refused(spec: ModelSpec) -> None:
    with pytest.raises(ModelError, match=r"expected \(1, 7, 24, 24\)"):
        TorchPredictor(nn.Conv2d(1, 7, 3), spec, "cpu")(tiles(1))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_refused(spec: ModelSpec, value: float) -> None:
    broken = nn.Conv2d(1, 7, 1)
    with torch.no_grad():
        broken.weight[3] = value
    with pytest.raises(ModelError, match="NaN"):
        TorchPredictor(broken, spec, "cpu")(tiles(1))


@pytest.mark.parametrize("device", ["cuda:17", "quantum", "meta"])
def test_an_absent_device_is_refused(spec: ModelSpec, device: str) -> None:
    with pytest.raises(ParameterError, match=device):
        TorchPredictor(network(), spec, device)
