"""First weights for the networks that begin as VGG16: Simonyan & Zisserman 2015, https://arxiv.org/abs/1409.1556."""

from __future__ import annotations

import torch

from geoseg.errors import ModelError
from geoseg.models.downloads import fetch
from geoseg.models.encoders import State, load_encoder, read_weights
from geoseg.models.fcn import FCN32s
from geoseg.models.segnet import SegNet

VGG16_NETWORKS = (SegNet, FCN32s)
"""The networks, with those that come from them, that :func:`load_vgg16` fills."""

# Torchvision's file for networks with batch normalisation, and without.
_FILES = {True: "vgg16_bn-6c64b313.pth", False: "vgg16-397923af.pth"}

# Channels of the first stage that the published weights have.
_WIDTH = 64


def load_vgg16(model: SegNet | FCN32s, weights: str, name: str) -> None:
    """Fill what a network has of VGG16; its decoder, skips and classifier keep the start that they have.

    SegNet has the thirteen convolutions, with batch normalisation. FCN has them without, and after them the two layers
    that were fully connected, whose weights become filters of 7×7 and of 1×1 (Shelhamer et al. 2017, section 4.1).

    Args:
        model: Filled in place.
        weights: ``imagenet`` from torchvision, or the path of its file, or of a model file of such a network.
        name: Of the architecture, for messages.

    Raises:
        ModelError: The weights cannot be downloaded, or do not fit.
        MissingFileError: The file does not exist.
    """
    normalised = isinstance(model, SegNet)
    if weights == "imagenet":
        _check_width(model, name)
        state = _download(normalised, name)
    else:
        state = read_weights(weights)
    try:
        load_encoder(model.encoder, state | _renamed(state, model), weights)
        if isinstance(model, FCN32s):
            load_encoder(model.head, _head(state, model), weights, part="fully connected layers")
    except ModelError as error:
        raise ModelError(
            f"{error}; {name} takes torchvision's {_FILES[normalised]}, or a model file of geoseg with the same encoder"
        ) from error


def _renamed(state: State, model: SegNet | FCN32s) -> State:
    """From torchvision's names to those of the network's encoder."""
    # torchvision numbers the layers of all stages through, the poolings among them.
    number, renamed = 0, {}
    for stage, layers in enumerate(model.encoder):
        for layer in range(len(list(layers.children()))):
            for kind in layers.get_submodule(str(layer)).state_dict():
                if f"features.{number}.{kind}" in state:
                    renamed[f"{stage}.{layer}.{kind}"] = state[f"features.{number}.{kind}"]
            number += 1
        number += 1
    return renamed


def _head(state: State, model: FCN32s) -> State:
    """The fully connected layers as convolutions: each of their inputs was a place of a 7×7 map, bands first."""
    found = {name.removeprefix("head."): tensor for name, tensor in state.items() if name.startswith("head.")}
    for name, own in model.head.state_dict().items():
        given = state.get(f"classifier.{name}")
        if given is not None:
            found[name] = given.reshape(own.shape) if given.numel() == own.numel() else given
    return found


def _check_width(model: SegNet | FCN32s, name: str) -> None:
    """Before 0.5 GB are downloaded in vain."""
    width = int(next(iter(model.encoder.parameters())).shape[0])
    if width != _WIDTH:
        raise ModelError(
            f"the imagenet weights have {_WIDTH} channels in the first stage, this {name} has {width}: leave width "
            "out, or set encoder_weights to none"
        )


def _download(normalised: bool, name: str) -> dict[str, torch.Tensor]:
    from torchvision.models import VGG16_BN_Weights, VGG16_Weights  # late: a second, and only this needs it

    weights = VGG16_BN_Weights if normalised else VGG16_Weights
    return fetch(
        f"the imagenet weights of {name}'s encoder",
        lambda: dict(weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)),
        f"check the network, or set encoder_weights to the path of torchvision's {_FILES[normalised]}, or to none",
        from_hub=False,
    )
