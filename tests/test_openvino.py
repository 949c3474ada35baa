"""OpenVINO gives what torch gives, whatever the batch and what else is under way; compiled models are checked."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from predicting import SIDE, load, make_spec, network, plain, tiles
from torch import nn

from geoseg.config import ModelSpec
from geoseg.errors import ModelError
from geoseg.models import create_model
from geoseg.predictors import Predictor, Tiles, label_difference

pytestmark = pytest.mark.skipif(find_spec("openvino") is None, reason="needs openvino")


def refuse() -> nn.Module:
    raise AssertionError("the network is not needed")


@pytest.fixture
def spec(tmp_path: Path) -> ModelSpec:
    return make_spec(tmp_path)


def run(predictor: Predictor, count: int = 2, dtype: str = "uint8") -> torch.Tensor:
    return predictor.submit(tiles(count, dtype))()


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_scores_are_torchs(spec: ModelSpec, dtype: str) -> None:
    predictor = load(spec, backend="openvino", dtype=dtype)
    scores = run(predictor, dtype=dtype)
    assert scores.dtype == torch.float32
    assert scores.is_contiguous()
    np.testing.assert_allclose(scores, plain(tiles(2), network()), atol=1e-6)
    assert "OpenVINO" in predictor.description
    assert "fp32" in predictor.description
    predictor.close()


def test_each_band_may_have_its_own_absent_samples(spec: ModelSpec) -> None:
    batch = tiles(1)
    batch.values[:, 1, :9] = 0
    object.__setattr__(batch, "present", np.repeat(batch.present, 3, 1))
    batch.present[:, 1, :9] = False
    np.testing.assert_allclose(load(spec, backend="openvino").submit(batch)(), plain(batch, network()), atol=1e-6)


def test_no_bit_depends_on_the_batch_or_on_what_else_is_under_way(spec: ModelSpec) -> None:
    predictor, batch = load(spec, backend="openvino"), tiles(9)
    together = predictor.submit(batch)()
    waits = [predictor.submit(batch.part(i, i + 1)) for i in range(9)]
    assert torch.equal(torch.cat([wait() for wait in waits]), together)
    waits = [predictor.submit(batch.part(i, i + 3)) for i in (0, 3, 6)]
    assert torch.equal(torch.cat([wait() for wait in waits]), together)


def test_memory_is_used_again_only_when_nobody_refers_to_it(spec: ModelSpec) -> None:
    predictor, batch = load(spec, backend="openvino"), tiles(1)
    first = predictor.submit(batch)()
    kept, place = first.clone(), first.data_ptr()
    view = first[:, 2:3]
    del first
    second = predictor.submit(tiles(1, side=SIDE))()
    assert second.data_ptr() != place
    assert torch.equal(view, kept[:, 2:3])
    del view
    assert predictor.submit(batch)().data_ptr() == place


def test_bf16_is_near_and_says_so(spec: ModelSpec) -> None:
    from geoseg.predictors.machine import this_machine

    if not this_machine().bf16:
        pytest.skip("this processor has no bfloat16")
    predictor = load(spec, backend="openvino", precision="bf16")
    np.testing.assert_allclose(run(predictor), plain(tiles(2), network()), atol=0.02)
    assert "bf16" in predictor.description
    assert predictor.identity["precision"] == "bf16"


def test_the_temperature_is_in_the_graph(spec: ModelSpec) -> None:
    scores = run(load(spec.model_copy(update={"temperature": 3.0}), backend="openvino"))
    np.testing.assert_allclose(scores, plain(tiles(2), network(), 3.0), atol=1e-6)


def test_a_compiled_model_needs_no_torch_network(spec: ModelSpec, tmp_path: Path) -> None:
    first = run(load(spec, backend="openvino", cache=tmp_path / "cache"))
    assert torch.equal(run(load(spec, refuse, backend="openvino", cache=tmp_path / "cache")), first)


def test_another_model_or_tile_size_is_compiled_anew(spec: ModelSpec, tmp_path: Path) -> None:
    load(spec, backend="openvino", cache=tmp_path)
    with pytest.raises(AssertionError, match="not needed"):
        load(spec, refuse, backend="openvino", cache=tmp_path, name="1")
    with pytest.raises(AssertionError, match="not needed"):
        load(spec, refuse, backend="openvino", cache=tmp_path, side=SIDE + 8)
    assert len(list(tmp_path.glob("openvino-*"))) == 1
    assert not list(tmp_path.glob(".openvino-*"))


@pytest.mark.parametrize("damage", ["cut", "flip", "no sums"])
def test_a_damaged_entry_is_made_anew_and_said(
    spec: ModelSpec, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    cache = tmp_path / "cache"
    expected = run(load(spec, backend="openvino", cache=cache))
    (entry,) = cache.glob("openvino-*")
    weights = entry / "model.bin"
    content = bytearray(weights.read_bytes())
    if damage == "cut":
        weights.write_bytes(content[:-100])
    elif damage == "flip":
        content[200] ^= 255
        weights.write_bytes(content)
    else:
        (entry / "sums.json").write_text("{}")
    assert torch.equal(run(load(spec, backend="openvino", cache=cache)), expected)
    assert "is damaged: it is made anew" in caplog.text
    assert torch.equal(run(load(spec, refuse, backend="openvino", cache=cache)), expected)


def test_a_cache_that_cannot_be_written_is_said(
    spec: ModelSpec, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    run(load(spec, backend="openvino", cache=tmp_path / "file" / "cache"))
    assert "compiled models are not kept" in caplog.text


def test_a_network_that_shrinks_its_tiles_is_refused(spec: ModelSpec) -> None:
    with pytest.raises(ModelError, match=r"expected \(1, 7, 24, 24\)"):
        load(spec, lambda: nn.Conv2d(3, 7, 3), backend="openvino")


def test_segnet_is_exported_without_scattering(tmp_path: Path) -> None:
    def make() -> nn.Module:
        torch.manual_seed(0)
        return create_model("segnet", bands=3, classes=7)

    spec, cache = make_spec(tmp_path, stride_multiple=1), tmp_path / "cache"
    predictor, reference = load(spec, make, backend="openvino", cache=cache), load(spec, make)
    assert label_difference(predictor, reference, [tiles(2)]) < 0.002
    (graph,) = cache.glob("openvino-*/model.xml")
    assert "Scatter" not in graph.read_text()


def unet() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return create_model("unet", bands=3, classes=7, width=16, depth=4).eval()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_no_bit_depends_on_the_threads(
    spec: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    from geoseg.predictors.machine import this_machine

    if precision == "bf16" and not this_machine().bf16:
        pytest.skip("this processor has no bfloat16")
    batch, found = tiles(3, side=128), []
    for threads in (1, 2, 4):
        monkeypatch.setattr("geoseg.predictors.openvino_backend.cores", lambda threads=threads: threads)
        predictor = load(spec, unet, backend="openvino", precision=precision, side=128, cache=tmp_path / "cache")
        found.append(predictor.submit(batch)())
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


class Unknown(nn.Module):
    """Has an operation that OpenVINO does not know."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(x)


def test_a_network_that_cannot_be_converted_says_why_in_one_line(spec: ModelSpec) -> None:
    with pytest.raises(ModelError, match=r"^OpenVINO cannot take model 'tiny' \(.+\); give --backend torch$") as caught:
        load(spec, Unknown, backend="openvino")
    assert "\n" not in str(caught.value)


class Forked(nn.Module):
    """Decides by its input, which no trace can follow."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        turn = 1 if bool(x.mean() > self.limit) else -1
        return torch.cat([x * turn, x * turn * 2, x[:, :1]], 1)

    limit = -1e9


def test_a_wrong_conversion_is_found(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    # The trace is made with one limit and the comparison with another: as if the converter had made a mistake.
    from geoseg.predictors import conversion

    made = conversion.openvino_files

    def make(source: conversion.Source, folder: Path) -> None:
        made(source, folder)
        monkeypatch.setattr(Forked, "limit", 1e9)

    monkeypatch.setattr("geoseg.predictors.loading.openvino_files", make)
    with pytest.raises(ModelError, match=r"labels of a sample tile differ from torch's.*--backend torch"):
        load(spec, Forked, backend="openvino")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_refused(spec: ModelSpec, value: float) -> None:
    broken = nn.Conv2d(3, 7, 1)
    with torch.no_grad():
        broken.weight[3] = value
    with pytest.raises(ModelError, match="NaN"):
        run(load(spec, lambda: broken, backend="openvino"))


def test_closing_waits_for_what_is_under_way(spec: ModelSpec) -> None:
    predictor = load(spec, backend="openvino")
    predictor.submit(tiles(3))
    predictor.close()


def test_nothing_is_reported_to_anyone() -> None:
    code = (
        "import sys\n"
        "from geoseg.predictors.toolkits import load_toolkit\n"
        "ov = load_toolkit('openvino', '')\n"
        "import openvino.tools.ovc.telemetry_utils as t\n"
        "assert t.tm.__name__.endswith('telemetry_stub'), t.tm\n"
        "assert 'openvino_telemetry' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("scales", [(1.0,), (1.0, 0.5)])
def test_normalization_is_exact_beside_bf16(tmp_path: Path, scales: tuple[float, ...]) -> None:
    """bfloat16 has steps of 16 near 3000: what it would leave of this scene is nothing."""
    from geoseg.predictors.machine import this_machine

    if not this_machine().bf16:
        pytest.skip("this processor has no bfloat16")
    spec = make_spec(tmp_path, mean=(3000.0,) * 3, std=(2.0,) * 3)
    values = np.random.default_rng(0).normal(3000, 2, (1, 3, SIDE, SIDE)).astype(np.float32)
    batch = Tiles(values, np.ones((1, 1, SIDE, SIDE), np.bool_), ((0, 0),))
    exact = load(spec, dtype="float32", scales=scales).submit(batch)()
    found = load(spec, backend="openvino", precision="bf16", dtype="float32", scales=scales).submit(batch)()
    np.testing.assert_allclose(found, exact, atol=0.02)
