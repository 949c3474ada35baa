"""Torch predictors: the input's bits, probabilities of the right shape, the same for every batch, clear refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from predicting import SIDE, STATS, load, make_spec, network, plain, tiles
from torch import nn

from geoseg.config import ModelSpec
from geoseg.errors import ModelError, ParameterError
from geoseg.predictors import Loaded
from geoseg.predictors.networks import TileNetwork


@pytest.fixture
def spec(tmp_path: Path) -> ModelSpec:
    return make_spec(tmp_path)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_the_network_sees_the_bits_of_band_stats(spec: ModelSpec, dtype: str) -> None:
    batch = tiles(2, dtype)
    graph = TileNetwork(Loaded(network, spec, STATS, ""), network(), SIDE, (SIDE,))
    seen = graph.normalized(torch.from_numpy(batch.values), torch.from_numpy(batch.present)).numpy()
    for ours, values, present in zip(seen, batch.values, batch.present, strict=True):
        assert ours.tobytes() == STATS.normalize(values, np.broadcast_to(present, values.shape)).tobytes()


def test_absent_samples_may_hold_anything(spec: ModelSpec) -> None:
    batch = tiles(1, "float32")
    expected = load(spec).submit(batch)()
    batch.values[~np.broadcast_to(batch.present, batch.values.shape)] = np.nan
    assert torch.equal(load(spec).submit(batch)(), expected)


def test_scores_are_probabilities_of_the_logits(spec: ModelSpec) -> None:
    batch = tiles(2)
    scores = load(spec).submit(batch)()
    assert scores.dtype == torch.float32
    assert scores.is_contiguous()
    np.testing.assert_allclose(scores, plain(batch, network()), atol=1e-6)
    np.testing.assert_allclose(scores.sum(1), 1, atol=1e-6)


def test_no_bit_depends_on_the_batch(spec: ModelSpec) -> None:
    predictor, batch = load(spec), tiles(5)
    alone = torch.cat([predictor.submit(batch.part(i, i + 1))() for i in range(5)])
    assert torch.equal(predictor.submit(batch)(), alone)


def test_threads_are_told_because_torchs_bits_depend_on_them(spec: ModelSpec) -> None:
    threads, batch, found = torch.get_num_threads(), tiles(1, side=128), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            predictor = load(spec, side=128)
            assert predictor.identity["threads"] == count
            found.append(predictor.submit(batch)())
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


def test_the_callers_tensor_stays_and_may_be_changed(spec: ModelSpec) -> None:
    predictor, batch = load(spec), tiles(1)
    first = predictor.submit(batch)()
    kept = first.clone()
    predictor.submit(tiles(3))()
    assert torch.equal(first, kept)
    first.zero_()
    assert torch.equal(predictor.submit(batch)(), kept)


def test_the_temperature_divides_the_logits(spec: ModelSpec) -> None:
    scores = load(spec.model_copy(update={"temperature": 3.0})).submit(tiles(1))()
    np.testing.assert_allclose(scores, plain(tiles(1), network(), 3.0), atol=1e-6)


def test_bf16_scores_are_float32_and_near(spec: ModelSpec) -> None:
    scores = load(spec, precision="bf16").submit(tiles(2))()
    assert scores.dtype == torch.float32
    np.testing.assert_allclose(scores, plain(tiles(2), network()), atol=0.02)
    np.testing.assert_allclose(scores.sum(1), 1, atol=1e-6)


def test_another_number_of_classes_is_refused(spec: ModelSpec) -> None:
    with pytest.raises(ModelError, match=r"shape \(1, 5, 24, 24\).*expected \(1, 7, 24, 24\)"):
        load(spec, lambda: network(5)).submit(tiles(1))()


def test_a_network_that_shrinks_its_tiles_is_refused(spec: ModelSpec) -> None:
    with pytest.raises(ModelError, match=r"expected \(1, 7, 24, 24\)"):
        load(spec, lambda: nn.Conv2d(3, 7, 3)).submit(tiles(1))()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_refused(spec: ModelSpec, value: float) -> None:
    broken = nn.Conv2d(3, 7, 1)
    with torch.no_grad():
        broken.weight[3] = value
    with pytest.raises(ModelError, match="NaN"):
        load(spec, lambda: broken).submit(tiles(1))()


@pytest.mark.parametrize("device", ["cuda:17", "quantum", "meta"])
def test_an_absent_device_is_refused(spec: ModelSpec, device: str) -> None:
    with pytest.raises(ParameterError, match=device):
        load(spec, device=device)


def test_what_ran_and_why_is_told(spec: ModelSpec) -> None:
    predictor = load(spec)
    assert f"torch {torch.__version__}, fp32 on " in predictor.description
    assert predictor.reason == "as asked for"
    assert predictor.identity["precision"] == "fp32"
    assert (predictor.classes, predictor.planes, predictor.best_batch, predictor.in_flight) == (7, 7, 1, 1)
