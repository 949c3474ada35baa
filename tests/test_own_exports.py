"""Each of geoseg's own networks under OpenVINO and ONNX Runtime gives what torch gives."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_networks import TINY, tiny
from predicting import load, make_spec, tiles
from torch import nn

# Much the same graphs as others: seldom worth the seconds.
ALIKE = ("bayesian-segnet", "fcn16s", "fcn32s")
EXPORTED = [
    *(pytest.param(name, {}, marks=pytest.mark.slow if name in ALIKE else ()) for name in TINY),
    pytest.param("unet", {"upsampling": "unpool"}),
    pytest.param("unet", {"upsampling": "nearest"}, marks=pytest.mark.slow),
    pytest.param("unet", {"upsampling": "bilinear"}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "options"), EXPORTED)
@pytest.mark.parametrize(("backend", "package"), [("openvino", "openvino"), ("onnx", "onnxruntime")])
@pytest.mark.parametrize("side", [33, pytest.param(40, marks=pytest.mark.slow)])
def test_exported_networks_give_the_same_scores(
    name: str, options: dict[str, Any], backend: str, package: str, side: int, tmp_path: Path
) -> None:
    if find_spec(package) is None:
        pytest.skip(f"needs {package}")

    def make() -> nn.Module:
        return tiny(name, 3, 7, **options)

    spec, batch = make_spec(tmp_path, stride_multiple=1), tiles(1, side=side)
    predictor = load(spec, make, backend=backend, side=side, cache=tmp_path / "cache")
    found, expected = predictor.submit(batch)(), load(spec, make, side=side).submit(batch)()
    predictor.close()
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert float(expected.std()) > 1e-3  # a map of one value would agree with anything
    for graph in tmp_path.glob("cache/openvino-*/model.xml"):
        assert "Scatter" not in graph.read_text()
