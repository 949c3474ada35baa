"""ONNX Runtime gives what torch gives, from a file that is kept; what is missing is named."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from predicting import load, make_spec, network, plain, tiles
from torch import nn

from geoseg.config import ModelSpec
from geoseg.errors import ParameterError


@pytest.fixture
def spec(tmp_path: Path) -> ModelSpec:
    return make_spec(tmp_path)


def refuse() -> nn.Module:
    raise AssertionError("the network is not needed")


@pytest.mark.skipif(find_spec("onnxruntime") is None, reason="needs onnxruntime")
def test_scores_are_torchs_and_the_file_is_kept(
    spec: ModelSpec, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    batch, cache = tiles(3), tmp_path / "cache"
    predictor = load(spec, backend="onnx", cache=cache)
    scores = predictor.submit(batch)()
    np.testing.assert_allclose(scores, plain(batch, network()), atol=1e-6)
    assert predictor.description.startswith("ONNX Runtime")
    assert torch.equal(predictor.submit(batch.part(1, 2))(), scores[1:2])
    predictor.close()
    assert torch.equal(load(spec, refuse, backend="onnx", cache=cache).submit(batch)(), scores)
    said = capfd.readouterr()
    assert said.out == said.err == ""


def test_a_missing_package_is_named(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ParameterError, match=r"onnxruntime cannot be loaded.*pip install onnx onnxscript onnxruntime"):
        load(spec, backend="onnx")


@pytest.mark.parametrize("precision", ["bf16", "fp16", "int8"])
def test_only_fp32(spec: ModelSpec, precision: str) -> None:
    with pytest.raises(ParameterError, match=precision):
        load(spec, backend="onnx", precision=precision)
