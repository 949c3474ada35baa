"""Where first weights of encoders come from, and what is said when they cannot be had. No test reaches the network."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from geoseg.config import ModelSpec
from geoseg.errors import MissingFileError, ModelError
from geoseg.models import create_model, downloads, save_model, vgg16
from geoseg.models.encoders import adapt_bands

LITE0 = "tu-tf_efficientnet_lite0"

State = dict[str, torch.Tensor]


def refuse(*_: object, **__: object) -> None:
    raise OSError("no network")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever asks the network is told that there is none."""
    for place in ("socket.create_connection", "socket.getaddrinfo", "socket.socket.connect"):
        monkeypatch.setattr(place, refuse)


@pytest.fixture(autouse=True)
def _hub_constant_stays() -> Iterator[None]:
    before = huggingface_hub.constants.HF_HUB_OFFLINE
    yield
    assert before == huggingface_hub.constants.HF_HUB_OFFLINE


@pytest.fixture
def _hub_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "hub_answers", lambda: True)


def encoder_state(model: nn.Module) -> State:
    return dict(model.get_submodule("encoder").state_dict())


def random_state(model: nn.Module, seed: int = 0) -> State:
    """Other values under the same names."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(tensor.shape, generator=generator) if tensor.is_floating_point() else tensor.clone()
        for name, tensor in model.state_dict().items()
    }


def equal(first: State, second: State) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# No network.


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("smp.unet", {"encoder": "resnet18"}),
        ("smp.fpn", {"encoder": LITE0}),
        ("smp.dpt", {"encoder": "tu-vit_tiny_patch16_224"}),
    ],
)
def test_without_network_hub_weights_are_an_error_at_once(
    name: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No file is asked for six times, no waiting between: the hub's own patience would be 20 to 50 seconds."""
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    offline, timeout = huggingface_hub.constants.HF_HUB_OFFLINE, socket.getdefaulttimeout()
    with pytest.raises(ModelError, match="does not answer") as caught:
        create_model(name, bands=4, classes=2, encoder_weights="imagenet", **options)
    message = str(caught.value)
    assert message.startswith(f"the imagenet weights of {name}'s encoder cannot be had (huggingface.co does not answer")
    assert "efficientnet-lite0 with encoder tu-tf_efficientnet_lite0 (no network needed), or to none" in message
    assert "\n" not in message
    assert slept == []
    assert (huggingface_hub.constants.HF_HUB_OFFLINE, socket.getdefaulttimeout()) == (offline, timeout)


def test_without_network_vgg16_is_an_error_and_stdout_stays_empty(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ModelError, match=r"segnet's encoder cannot be had \(.*no network.*\); check") as caught:
        create_model("segnet", bands=3, classes=2, encoder_weights="imagenet")
    assert str(caught.value).endswith("the path of torchvision's vgg16_bn-6c64b313.pth, or to none")
    assert capsys.readouterr().out == ""


def test_downloads_have_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[float | None] = []

    def load() -> State:
        limits.append(socket.getdefaulttimeout())
        return {}

    assert downloads.fetch("weights", load, "", from_hub=False) == {}
    assert limits == [10.0]
    assert socket.getdefaulttimeout() is None


def test_whoever_asked_for_no_network_has_none_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(downloads, "get_session", lambda: pytest.fail("the hub was asked"))
    assert not downloads.hub_answers()


@pytest.mark.usefixtures("_hub_answers")
def test_an_answer_of_the_hub_that_is_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors of any kind become one line, not only OSError."""

    class StrangeError(Exception):
        pass

    def fail(*_: object, **__: object) -> None:
        raise StrangeError("504 Gateway Time-out\nfor url ...")

    monkeypatch.setattr("segmentation_models_pytorch.encoders.hf_hub_download", fail)
    with pytest.raises(ModelError, match=r"cannot be had \(504 Gateway Time-out\); check the network"):
        create_model("smp.unet", bands=3, classes=2, encoder="resnet18", encoder_weights="imagenet")


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        ("tu-efficientnet_b8", "No pretrained weights exist for efficientnet_b8"),
        ("resnext101_32x16d", "Wrong pretrained weights `imagenet`"),
    ],
)
def test_encoders_that_nobody_has_trained_on_imagenet(encoder: str, message: str) -> None:
    with torch.device("meta"), pytest.raises(ModelError, match=message):
        create_model("smp.fpn", bands=3, classes=2, encoder=encoder, encoder_weights="imagenet")


# What was downloaded before, or is now.


@pytest.fixture
def hub_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> State:
    """SMP's download gives a file of resnet18's encoder."""
    state = random_state(smp.encoders.get_encoder("resnet18"))
    save_file(state, tmp_path / "model.safetensors")
    monkeypatch.setattr(
        "segmentation_models_pytorch.encoders.hf_hub_download", lambda *_, filename, **__: tmp_path / filename
    )
    return state


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("hub", [True, False])
def test_imagenet_weights_of_smp(bands: int, hub: bool, hub_files: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tensor is there, and SMP's own way to other numbers of bands is ours. Without network, from the cache."""
    monkeypatch.setattr(downloads, "hub_answers", lambda: hub)
    model = create_model("smp.unet", bands=bands, classes=2, encoder="resnet18", encoder_weights="imagenet")
    expected = hub_files | {"conv1.weight": adapt_bands(hub_files["conv1.weight"], bands)}
    assert equal(encoder_state(model), expected)
    theirs = smp.encoders.get_encoder("resnet18", in_channels=bands, weights="imagenet").state_dict()
    assert all(torch.equal(theirs[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 8])
@pytest.mark.usefixtures("_hub_answers")
def test_imagenet_weights_of_timm(bands: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rule as timm's own, to the rounding of its order of operations."""
    published = random_state(timm.create_model("tf_efficientnet_lite0"))
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", lambda *_, **__: dict(published))
    model = create_model("smp.unet", bands=bands, classes=2, encoder=LITE0, encoder_weights="imagenet")
    own = encoder_state(model)
    assert len(own) == 288
    stem = "model.conv_stem.weight"
    assert torch.equal(own[stem], adapt_bands(published["conv_stem.weight"], bands))
    assert all(torch.equal(t, published[n.removeprefix("model.")]) for n, t in own.items() if n != stem)
    theirs = timm.create_model("tf_efficientnet_lite0", in_chans=bands, pretrained=True)
    torch.testing.assert_close(own[stem], theirs.get_parameter("conv_stem.weight").detach())


@pytest.mark.usefixtures("_hub_answers")
def test_imagenet_weights_of_vgg16(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import vgg16_bn

    published = random_state(vgg16_bn())
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: published)
    model = create_model("segnet", bands=4, classes=2, encoder_weights="imagenet")
    own = list(encoder_state(model).values())
    theirs = [tensor for name, tensor in published.items() if name.startswith("features.")]
    assert torch.equal(own[0], adapt_bands(theirs[0], 4))
    assert all(map(torch.equal, own[1:], theirs[1:]))


# VGG16, narrow: its convolutions, and its fully connected layers for images of 224 pixels.


class SmallVgg(nn.Module):
    """What torchvision's has, in the same places, with 2 instead of 64 channels in the first stage."""

    def __init__(self, width: int = 2) -> None:
        from torchvision.models.vgg import cfgs, make_layers

        super().__init__()
        stages: list[Any] = [layer if layer == "M" else layer * width // 64 for layer in cfgs["D"]]
        self.features = make_layers(stages, batch_norm=False)
        full = nn.Linear(8 * width * 49, 64 * width), nn.ReLU(), nn.Dropout(), nn.Linear(64 * width, 64 * width)
        self.classifier = nn.Sequential(*full, nn.ReLU(), nn.Dropout(), nn.Linear(64 * width, 10))


@pytest.fixture(scope="module")
def vgg() -> SmallVgg:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SmallVgg().eval()


def built_twice(name: str, weights: str | None, bands: int = 3) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return create_model(name, bands=bands, classes=2, encoder_weights=weights, width=2).eval()


@pytest.mark.parametrize("name", ["fcn8s", "fcn16s", "fcn32s"])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_vgg16_fills_fcn_its_fully_connected_layers_too(name: str, suffix: str, vgg: SmallVgg, tmp_path: Path) -> None:
    path = tmp_path / f"vgg.{suffix}"
    (torch.save if suffix == "pth" else save_file)(vgg.state_dict(), path)
    model, bare = built_twice(name, str(path)), built_twice(name, None)
    x = torch.randn((1, 3, 224, 224), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        theirs, ours = vgg.features(x), x
        for stage in model.get_submodule("encoder").children():
            ours = nn.functional.max_pool2d(stage(ours), 2)
        assert torch.equal(ours, theirs)
        # In the middle of a map of 7×7, the filters of 7×7 see all that a fully connected layer sees.
        answer = model.get_submodule("head")(ours)[..., 3, 3]
        torch.testing.assert_close(answer, torch.relu(vgg.classifier[:4](theirs.flatten(1))))
    for part in ("score", "skip_scores", "doublings", "enlarging"):
        assert equal(dict(model.get_submodule(part).state_dict()), dict(bare.get_submodule(part).state_dict()))


def test_fcns_filters_are_repeated_over_the_bands(vgg: SmallVgg, tmp_path: Path) -> None:
    torch.save(vgg.state_dict(), tmp_path / "vgg.pth")
    model = built_twice("fcn8s", str(tmp_path / "vgg.pth"), bands=4)
    expected = adapt_bands(vgg.features[0].weight, 4)
    assert torch.equal(model.get_parameter("encoder.0.0.weight"), expected)
    assert torch.equal(model.get_parameter("head.3.weight").flatten(1), vgg.classifier[3].weight)


@pytest.mark.usefixtures("_hub_answers")
def test_imagenet_weights_of_fcn(vgg: SmallVgg, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(url: str, *_: object, **__: object) -> State:
        asked.append(url)
        return dict(vgg.state_dict())

    monkeypatch.setattr(vgg16, "_WIDTH", 2)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", answer)
    model = built_twice("fcn16s", "imagenet")
    assert torch.equal(model.get_parameter("encoder.4.4.bias"), vgg.features[28].bias)
    assert torch.equal(model.get_parameter("head.0.bias"), vgg.classifier[0].bias)
    assert [url.rpartition("/")[2] for url in asked] == ["vgg16-397923af.pth"]


def test_without_network_fcns_weights_are_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with (
        torch.device("meta"),
        pytest.raises(ModelError, match=r"fcn8s's encoder cannot be had \(.*no network") as caught,
    ):
        create_model("fcn8s", bands=3, classes=2, encoder_weights="imagenet")
    assert str(caught.value).endswith("the path of torchvision's vgg16-397923af.pth, or to none")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["fcn8s", "segnet", "bayesian-segnet"])
def test_narrow_networks_ask_for_no_download(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vgg16, "fetch", lambda *_, **__: pytest.fail("weights were fetched"))
    with pytest.raises(ModelError, match=f"64 channels in the first stage, this {name} has 2: leave width out"):
        create_model(name, bands=3, classes=2, encoder_weights="imagenet", width=2)


def test_files_of_another_vgg16_name_the_right_one(vgg: SmallVgg, tmp_path: Path) -> None:
    features = {name: tensor for name, tensor in vgg.state_dict().items() if name.startswith("features")}
    torch.save(features, tmp_path / "features.pth")
    torch.save(built_twice("segnet", None).state_dict(), tmp_path / "segnet.pth")
    torch.save(vgg.state_dict(), tmp_path / "vgg.pth")
    for name, file, message in (
        ("fcn8s", "features", r"does not fit the fully connected layers: 0\.weight is \(128, 16, 7, 7\), in .* absent"),
        (
            "fcn8s",
            "segnet",
            "does not fit the encoder: .*; fcn8s takes torchvision's vgg16-397923af.pth, or a model file",
        ),
        ("segnet", "vgg", "does not fit the encoder: .*; segnet takes torchvision's vgg16_bn-6c64b313.pth, or a model"),
    ):
        with pytest.raises(ModelError, match=message) as caught:
            built_twice(name, str(tmp_path / f"{file}.pth"))
        assert "\n" not in str(caught.value)


def test_a_model_file_of_fcn_starts_another(tmp_path: Path) -> None:
    trained = built_twice("fcn32s", None)
    save_model(tmp_path / "m.safetensors", trained, spec("fcn32s", 3, {"width": 2}))
    model = create_model("fcn8s", bands=3, classes=5, encoder_weights=str(tmp_path / "m.safetensors"), width=2)
    for part in ("encoder", "head"):
        assert equal(dict(model.get_submodule(part).state_dict()), dict(trained.get_submodule(part).state_dict()))


@pytest.mark.parametrize("name", ["unet", "residual-unet", "attention-unet", "enet", "segnet-basic"])
def test_networks_that_nobody_has_published_weights_for_name_those_that_have(name: str, tmp_path: Path) -> None:
    for weights in ("imagenet", "efficientnet-lite0", str(tmp_path / "w.pth")):
        with pytest.raises(
            ModelError, match=f"^{name} has no published encoder weights: set encoder_weights to none, or take .*smp"
        ) as caught:
            create_model(name, bands=3, classes=2, encoder_weights=weights)
        assert str(caught.value).endswith("there are some for segnet, bayesian-segnet, fcn8s, fcn16s, fcn32s")


# Files.


def spec(architecture: str, bands: int, options: dict[str, Any]) -> ModelSpec:
    return ModelSpec(
        name="m", architecture=architecture, options=options, bands=[f"b{n}" for n in range(bands)],
        classes=[{"id": 1, "name": "a", "color": "#000000"}, {"id": 2, "name": "b", "color": "#ffffff"}],
        mean=(0.0,) * bands, std=(1.0,) * bands, value_range=(0, 1),
    )  # fmt: skip


def test_the_encoders_own_file(tmp_path: Path) -> None:
    state = random_state(smp.encoders.get_encoder("resnet18"))
    save_file(state, tmp_path / "encoder.safetensors")
    model = create_model(
        "smp.linknet", bands=3, classes=5, encoder="resnet18", encoder_weights=str(tmp_path / "encoder.safetensors")
    )
    assert equal(encoder_state(model), state)


def test_torchvisions_file_for_smps_resnet_old_and_new(tmp_path: Path) -> None:
    """With its classifier, and without the counters that torch has had since 0.4.1: they stay 0."""
    from torchvision.models import resnet18

    state = random_state(resnet18())
    old = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    for name, given in (("new.pth", state), ("old.pth", old)):
        torch.save(given, tmp_path / name)
        model = create_model("smp.fpn", bands=4, classes=2, encoder="resnet18", encoder_weights=str(tmp_path / name))
        own = encoder_state(model)
        assert torch.equal(own["conv1.weight"], adapt_bands(state["conv1.weight"], 4))
        assert all(torch.equal(own[n], state[n]) for n in own if n != "conv1.weight")


@pytest.mark.parametrize(
    ("architecture", "options"),
    [("smp.unet", {"encoder": "resnet18"}), ("smp.fpn", {"encoder": LITE0}), ("segnet", {})],
)
@pytest.mark.parametrize("half", [False, True])
def test_a_model_file_of_geoseg(architecture: str, options: dict[str, Any], half: bool, tmp_path: Path) -> None:
    """Also into another architecture with the same encoder, other classes and more bands."""
    trained = create_model(architecture, bands=3, classes=2, **options)
    save_model(tmp_path / "m.safetensors", trained, spec(architecture, 3, options), half=half)
    other = "segnet" if architecture == "segnet" else "smp.linknet"
    model = create_model(other, bands=4, classes=7, encoder_weights=str(tmp_path / "m.safetensors"), **options)
    first, *others = encoder_state(model).items()
    expected = encoder_state(trained)
    for name, tensor in others:
        torch.testing.assert_close(tensor, expected[name], atol=1e-4 if half else 0, rtol=1e-3 if half else 0)
    adapted = adapt_bands(expected[first[0]], 4)
    torch.testing.assert_close(first[1], adapted, atol=1e-4 if half else 0, rtol=1e-3 if half else 0)


def test_a_model_file_with_another_encoder(tmp_path: Path) -> None:
    trained = create_model("smp.unet", bands=3, classes=2, encoder="resnet18")
    save_model(tmp_path / "m.safetensors", trained, spec("smp.unet", 3, {"encoder": "resnet18"}))
    for architecture, options in (
        ("smp.unet", {"encoder": "resnet34"}),
        ("smp.unet", {"encoder": LITE0}),
        ("segnet", {}),
    ):
        with pytest.raises(ModelError, match=r"m\.safetensors does not fit the encoder"):
            create_model(architecture, bands=3, classes=2, encoder_weights=str(tmp_path / "m.safetensors"), **options)


def test_other_bands_than_three_are_not_adapted_twice(tmp_path: Path) -> None:
    trained = create_model("smp.unet", bands=4, classes=2, encoder="resnet18")
    save_model(tmp_path / "m.safetensors", trained, spec("smp.unet", 4, {"encoder": "resnet18"}))
    give: dict[str, Any] = {"classes": 3, "encoder": "resnet18", "encoder_weights": str(tmp_path / "m.safetensors")}
    assert equal(encoder_state(create_model("smp.unet", bands=4, **give)), encoder_state(trained))
    with pytest.raises(ModelError, match=r"conv1\.weight is \(64, 5, 7, 7\), in the weights \(64, 4, 7, 7\)"):
        create_model("smp.unet", bands=5, **give)


# Words.


@pytest.mark.parametrize("word", [None, "none", "None", "NONE"])
@pytest.mark.parametrize("name", ["unet", "segnet", "smp.unet"])
def test_none_is_random(word: str | None, name: str) -> None:
    options: dict[str, Any] = {"encoder": "resnet18"} if name.startswith("smp") else {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = create_model(name, bands=2, classes=2, encoder_weights=word, **options)
        torch.manual_seed(0)
        expected = create_model(name, bands=2, classes=2, **options)
    assert equal(dict(model.state_dict()), dict(expected.state_dict()))


def test_an_unknown_word_lists_those_known() -> None:
    for name in ("segnet", "smp.unet"):
        with pytest.raises(
            MissingFileError, match="'imagnet' is neither imagenet, nor efficientnet-lite0, nor none, nor a"
        ):
            create_model(name, bands=3, classes=2, encoder_weights="imagnet")
    with pytest.raises(ModelError, match="unet has no published encoder weights: set encoder_weights to none"):
        create_model("unet", bands=3, classes=2, encoder_weights="imagenet")


def test_the_seed_decides_whatever_the_weights_come_from(hub_files: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """The decoder is random, and the same for the same seed."""
    monkeypatch.setattr(downloads, "hub_answers", lambda: True)

    def built() -> State:
        torch.manual_seed(3)
        return dict(
            create_model("smp.unet", bands=4, classes=2, encoder="resnet18", encoder_weights="imagenet").state_dict()
        )

    with torch.random.fork_rng():
        assert equal(built(), built())
