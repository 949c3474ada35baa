"""Views, scales, ensembles, Monte Carlo dropout: exact inverses, means of what they are means of, repeatable draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from predicting import SIDE, STATS, load, make_spec, network, no_samples, tiles
from torch import nn

from geoseg.config import ModelSpec
from geoseg.errors import ModelError, ParameterError
from geoseg.legend import Legend
from geoseg.predictors import Loaded, NetworkOptions, Predictor, Tiles, load_predictor
from geoseg.predictors.combining import VIEWS, Augmented, Replicas
from geoseg.predictors.dropout import SeededDropout
from geoseg.predictors.networks import network_sides


@pytest.fixture
def spec(tmp_path: Path) -> ModelSpec:
    return make_spec(tmp_path)


def run(predictor: Predictor, batch: Tiles | None = None) -> torch.Tensor:
    return predictor.submit(tiles(2) if batch is None else batch)()


@pytest.mark.parametrize("tta", ["flips", "d4"])
def test_every_view_is_another_and_comes_back_exactly(tta: str) -> None:
    batch = tiles(1).values
    seen = [view.of(batch) for view in VIEWS[tta]]
    assert len({array.tobytes() for array in seen}) == len(seen) == {"flips": 4, "d4": 8}[tta]
    for view, array in zip(VIEWS[tta], seen, strict=True):
        assert array.flags.c_contiguous
        assert torch.equal(view.undone(torch.from_numpy(array)), torch.from_numpy(batch))


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_views_are_averaged(spec: ModelSpec, backend: str) -> None:
    single, batch = load(spec, backend=backend), tiles(2)
    scores = run(load(spec, backend=backend, tta="d4"), batch)
    expected = []
    for turns in range(4):
        for transposed in (False, True):

            def seen(array: np.ndarray, turns: int = turns, transposed: bool = transposed) -> np.ndarray:
                turned = np.rot90(array, turns, (-2, -1))
                return np.ascontiguousarray(turned.swapaxes(-1, -2) if transposed else turned)

            one = run(single, Tiles(seen(batch.values), seen(batch.present), batch.keys)).numpy()
            expected.append(np.rot90(one.swapaxes(-1, -2) if transposed else one, -turns, (-2, -1)))
    np.testing.assert_allclose(scores, np.mean(expected, axis=0), atol=1e-6)
    np.testing.assert_allclose(scores.sum(1), 1, atol=1e-6)
    assert scores.is_contiguous()


def test_a_network_without_directions_gains_nothing_from_views(spec: ModelSpec) -> None:
    def make() -> nn.Module:
        torch.manual_seed(0)
        return nn.Conv2d(3, 7, 1)

    assert torch.allclose(run(load(spec, make, tta="d4")), run(load(spec, make)), atol=1e-6)


def test_several_batches_of_views_may_be_under_way(spec: ModelSpec) -> None:
    predictor, batch = load(spec, backend="openvino", tta="flips"), tiles(6)
    waits = [predictor.submit(batch.part(i, i + 1)) for i in range(6)]
    assert torch.equal(torch.cat([wait() for wait in waits]), run(predictor, batch))
    assert predictor.in_flight >= 2


def test_scales_are_sides_that_the_network_takes() -> None:
    assert network_sides(512, (1.0, 0.75, 1.5), 32) == (512, 384, 768)
    assert network_sides(512, (0.8, 1.1, 0.01), 32) == (416, 576, 32)
    assert network_sides(100, (1.25,), 1) == (125,)


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_scales_are_averaged(spec: ModelSpec, backend: str) -> None:
    batch = tiles(1, "float32")
    scores = run(load(spec, backend=backend, dtype="float32", scales=(1, 0.5, 1.5)), batch)
    model, x = network(), torch.from_numpy(STATS.normalize(batch.values[0], batch.present[0]))[None]
    expected = []
    with torch.inference_mode():
        for side in (24, 12, 36):
            resized = nn.functional.interpolate(x, size=(side, side), mode="bilinear", antialias=True)
            own = model(resized).softmax(1)
            expected.append(nn.functional.interpolate(own, size=(24, 24), mode="bilinear", antialias=True))
    np.testing.assert_allclose(scores, torch.stack(expected).mean(0), atol=1e-5)
    np.testing.assert_allclose(scores.sum(1), 1, atol=1e-5)


def member(spec: ModelSpec, make: type[nn.Module] | object, name: str) -> Loaded:
    return Loaded(make, spec, spec.stats, name * 64)  # type: ignore[arg-type]


def ensemble(*models: Loaded, **options: object) -> Predictor:
    chosen = NetworkOptions(backend="torch", precision="fp32", device="cpu", **options)  # type: ignore[arg-type]
    return load_predictor(models, chosen, tile_size=SIDE, dtype="uint8", sample_tiles=no_samples, cache=None)


def other() -> nn.Module:
    torch.manual_seed(1)
    return nn.Conv2d(3, 7, 3, padding=1)


def test_an_ensemble_is_the_mean_of_its_models(spec: ModelSpec) -> None:
    both = ensemble(member(spec, network, "0"), member(spec, other, "1"))
    expected = (run(load(spec)) + run(load(spec, other))) / 2
    assert torch.allclose(run(both), expected, atol=1e-6)
    assert both.description.startswith("mean of 2 models")
    identity = both.identity["ensemble"]
    assert isinstance(identity, list)
    assert identity[0] != identity[1]
    both.close()


def test_an_ensemble_needs_one_legend(spec: ModelSpec) -> None:
    legend = Legend.from_names([f"sort {i}" for i in range(1, 8)])
    stranger = spec.model_validate({**spec.model_dump(), "name": "stranger", "classes": legend.to_records()})
    with pytest.raises(ModelError, match=r"'tiny' and 'stranger'.*1 class 1.*1 sort 1"):
        ensemble(member(spec, network, "0"), member(stranger, network, "1"))


def dropping(p: float = 0.5) -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.Dropout(p), nn.Dropout2d(p), nn.Conv2d(16, 7, 1)
    return nn.Sequential(*layers).eval()


def test_samples_depend_on_the_tile_alone(spec: ModelSpec) -> None:
    predictor, batch = load(spec, dropping, mc=3), tiles(4)
    together = run(predictor, batch)
    torch.manual_seed(99)
    torch.rand(7)
    backwards = [run(predictor, batch.part(i, i + 1)) for i in reversed(range(4))]
    assert torch.equal(torch.cat(backwards[::-1]), together)
    same_pixels = Tiles(batch.values[:1], batch.present[:1], ((5, 5),))
    assert not torch.equal(run(predictor, same_pixels), together[:1])


def test_expected_entropy_lies_below_the_entropy_of_the_mean(spec: ModelSpec) -> None:
    predictor = load(spec, dropping, mc=8)
    scores = run(predictor)
    assert (predictor.classes, predictor.planes, scores.shape[1]) == (7, 8, 8)
    np.testing.assert_allclose(scores[:, :7].sum(1), 1, atol=1e-5)
    of_the_mean = torch.special.entr(scores[:, :7]).sum(1)
    assert (scores[:, 7] <= of_the_mean + 1e-6).all()
    assert (scores[:, 7] > 0).all()
    assert (of_the_mean - scores[:, 7]).mean() > 0.01


def test_the_global_random_numbers_are_left_alone(spec: ModelSpec) -> None:
    predictor = load(spec, dropping, mc=2)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    run(predictor)
    assert torch.equal(torch.rand(4), expected)


def test_many_samples_have_the_mean_of_dropout() -> None:
    layer, x = SeededDropout(0.3, channels=False), torch.ones(2, 4, 50, 50)
    layer.generators = [torch.Generator().manual_seed(i) for i in (1, 2)]
    dropped = layer(x)
    assert set(dropped.unique().tolist()) == {0.0, torch.tensor(1 / 0.7).item()}
    assert abs(dropped.mean().item() - 1) < 0.02
    by_channel = SeededDropout(0.5, channels=True)
    by_channel.generators = layer.generators
    assert (by_channel(x).flatten(2).std(2) == 0).all()


@pytest.mark.parametrize("p", [None, 0.0])
def test_a_network_that_drops_nothing_is_refused(spec: ModelSpec, p: float | None) -> None:
    with pytest.raises(ModelError, match="no dropout"):
        load(spec, network if p is None else lambda: dropping(p), mc=5)


@pytest.mark.parametrize("backend", ["openvino", "onnx"])
def test_dropout_runs_under_torch_only(spec: ModelSpec, backend: str) -> None:
    with pytest.raises(ParameterError, match="under torch only"):
        load(spec, dropping, mc=5, backend=backend)
    assert "Monte Carlo" in load(spec, dropping, mc=5, backend="auto", precision="auto").reason


def test_replicas_take_turns_and_keep_the_order(spec: ModelSpec) -> None:
    # Two networks on one CPU stand for two GPUs: what is tested is the turns, not the devices.
    members = [load(spec), load(spec)]
    both, batch = Replicas(members), tiles(5)
    waits = [both.submit(batch.part(i, i + 1)) for i in range(5)]
    assert torch.equal(torch.cat([wait() for wait in waits]), run(members[0], batch))
    assert both.in_flight == 2


def test_views_of_views_are_told(spec: ModelSpec) -> None:
    predictor = Augmented(load(spec), "flips")
    assert predictor.description.endswith("mean of 4 views (flips)")
    assert predictor.identity["tta"] == "flips"
