"""Each of geoseg's own networks gives the same scores folded, under OpenVINO and ONNX Runtime; dropout is sampled."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_networks import TINY, tiny
from predicting import load, make_spec, plain, tiles
from torch import nn

# The others have much the same graphs: seldom worth the seconds that an export takes.
TELLING = {
    "openvino": {"segnet", "segnet-basic", "residual-unet", "attention-unet", "fcn8s", "enet", "unet unpool"},
    "onnx": {"segnet", "enet", "fcn8s"},
}
UPSAMPLINGS = ("transposed", "unpool", "nearest", "bilinear")
NETWORKS = [
    *((name, name, {}) for name in TINY if name != "unet"),
    *(("unet " + how, "unet", {"upsampling": how}) for how in UPSAMPLINGS),
]
EXPORTED = [
    pytest.param(
        name,
        options,
        backend,
        package,
        id=f"{backend}-{what}",
        marks=() if what in TELLING[backend] else pytest.mark.slow,
    )
    for backend, package in (("openvino", "openvino"), ("onnx", "onnxruntime"))
    for what, name, options in NETWORKS
]


@pytest.mark.parametrize(("name", "options", "backend", "package"), EXPORTED)
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


@pytest.mark.parametrize("name", TINY)
def test_folded_networks_give_the_same_scores(name: str, tmp_path: Path) -> None:
    batch = tiles(2, side=45)
    found = load(make_spec(tmp_path, stride_multiple=1), lambda: tiny(name, 3, 7), side=45).submit(batch)()
    # Residual U-Net's logits reach 100 here: its rounding is that of float32.
    np.testing.assert_allclose(found, plain(batch, tiny(name, 3, 7)), atol=1e-4)


@pytest.mark.parametrize("name", ["bayesian-segnet", "fcn8s", "enet"])
def test_dropout_is_sampled_by_the_predictor(name: str, tmp_path: Path) -> None:
    def sampled(count: int) -> np.ndarray:
        spec = make_spec(tmp_path, stride_multiple=1)
        return load(spec, lambda: tiny(name, 3, 7, dropout=0.5), side=45, mc=count).submit(tiles(1, side=45))().numpy()

    np.testing.assert_array_equal(sampled(3), sampled(3))
    assert sampled(3).shape == (1, 8, 45, 45)
    assert np.abs(sampled(1)[:, :7] - sampled(2)[:, :7]).max() > 1e-4
