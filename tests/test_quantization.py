"""int8: near fp32 where it is allowed, the same from the same tiles, refused where it breaks networks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest
import timm
import torch
from predicting import load, make_spec, network, tiles
from torch import nn

from geoseg.config import ModelSpec
from geoseg.errors import ModelError, ParameterError
from geoseg.models import create_model
from geoseg.predictors import Tiles, label_difference
from geoseg.predictors.quantization import check_quantizable

pytestmark = pytest.mark.skipif(find_spec("nncf") is None, reason="needs nncf")


@pytest.fixture
def spec(tmp_path: Path) -> ModelSpec:
    return make_spec(tmp_path)


def samples(count: int) -> Sequence[Tiles]:
    return [tiles(2), tiles(3).part(2, 3)]


def other_samples(count: int) -> Sequence[Tiles]:
    return [tiles(4).part(3, 4)]


def refuse() -> nn.Module:
    raise AssertionError("the network is not needed")


def test_labels_stay_near_and_calibration_is_repeatable(
    spec: ModelSpec, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    int8 = {"backend": "openvino", "precision": "int8", "sample_tiles": samples}
    first = load(spec, cache=tmp_path / "a", **int8)
    assert label_difference(first, load(spec), [tiles(4)]) < 0.1
    assert "int8" in first.description
    again = load(spec, cache=tmp_path / "b", **int8)
    assert torch.equal(again.submit(tiles(2))(), first.submit(tiles(2))())
    kept = load(spec, refuse, cache=tmp_path / "a", **int8)
    assert torch.equal(kept.submit(tiles(2))(), first.submit(tiles(2))())
    with pytest.raises(AssertionError, match="not needed"):
        load(spec, refuse, cache=tmp_path / "a", **int8 | {"sample_tiles": other_samples})
    said = capfd.readouterr()
    assert said.out == said.err == ""
    assert logging.getLoggerClass() is logging.Logger


def test_a_scene_without_tiles_calibrates_nothing(spec: ModelSpec) -> None:
    with pytest.raises(ParameterError, match="no tile has data"):
        load(spec, backend="openvino", precision="int8")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: create_model("segnet", bands=3, classes=2), "max-unpooling"),
        (lambda: create_model("smp.segformer", bands=3, classes=2, encoder="mit_b0"), "transformer"),
        (lambda: timm.create_model("swin_tiny_patch4_window7_224"), "transformer"),
        (lambda: nn.TransformerEncoderLayer(8, 2), "transformer"),
    ],
)
def test_networks_that_int8_breaks_are_refused(make: Callable[[], nn.Module], reason: str) -> None:
    with pytest.raises(ModelError, match=rf"'m' holds .*{reason}.*--precision bf16"):
        check_quantizable(make(), "m")


@pytest.mark.parametrize(
    ("architecture", "options"),
    [("unet", {"width": 4}), ("smp.unet", {"encoder": "resnet18", "decoder_attention_type": "scse"})],
)
def test_plain_convolutions_are_not_refused(architecture: str, options: dict[str, object]) -> None:
    check_quantizable(create_model(architecture, bands=3, classes=2, **options), "m")


def test_labels_that_differ_are_counted_where_there_is_data(spec: ModelSpec) -> None:
    batch, reference = tiles(1), load(spec)
    assert label_difference(reference, reference, [batch]) == 0
    assert label_difference(reference, reference, []) == 0

    def turned() -> nn.Module:
        model = network()
        last = model.get_submodule("3")
        assert isinstance(last, nn.Conv2d)
        with torch.no_grad():
            last.weight.neg_()
            last.bias.neg_()  # type: ignore[union-attr]
        return model

    theirs, ours = (load(spec, make).submit(batch)().argmax(1) for make in (network, turned))
    data = torch.from_numpy(batch.present[:, 0])
    expected = ((theirs != ours) & data).sum() / data.sum()
    assert label_difference(load(spec, turned), reference, [batch]) == pytest.approx(float(expected))
    assert expected > 0.5
