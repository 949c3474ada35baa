"""Every architecture of the installed segmentation_models_pytorch (https://github.com/qubvel-org/segmentation_models.pytorch)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import segmentation_models_pytorch
import timm
from segmentation_models_pytorch.base.initialization import initialize_decoder
from segmentation_models_pytorch.base.modules import Conv2dReLU
from segmentation_models_pytorch.decoders.pspnet.decoder import PSPModule
from segmentation_models_pytorch.encoders import TimmUniversalEncoder, get_encoder_names
from segmentation_models_pytorch.encoders.timm_vit import TimmViTEncoder
from torch import nn

from geoseg.errors import ModelError, ParameterError
from geoseg.models import auxiliary
from geoseg.models.downloads import fetch, first_line
from geoseg.models.encoders import State, load_encoder, read_weights
from geoseg.models.files import nearest
from geoseg.models.options import check_integer, check_options, keywords
from geoseg.models.sides import multiple_of_sides

_ARCHITECTURES: Mapping[str, type[nn.Module]] = segmentation_models_pytorch.MODEL_ARCHITECTURES_MAPPING

# What create_model says itself, and what would make the output something else than logits.
_NOT_OPTIONS = ("self", "in_channels", "classes", "encoder_name", "encoder_weights", "activation")

# PSPNet's pyramid, which SMP has in its decoder but not among the network's options.
_PSP_SIZES = "psp_sizes"

_MOST_PSP_SIZES = 8

# PAN pools the encoder's last map three times more, DPT halves it once.
_MORE_POOLING = {"dpt": 2, "pan": 8}

# Encoders that may be any network of timm; SMP states a stride for them which is not all that some need.
_OF_TIMM = (TimmUniversalEncoder, TimmViTEncoder)

# "tu-" stands for any network of timm. No colons or slashes: "hf-hub:..." and "local-dir:..." would load foreign code's
# configuration.
_TIMM_NAME = re.compile(r"tu-(?P<name>[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?)")


# What SMP and timm raise for options that they cannot build.
_REFUSALS = (ValueError, TypeError, LookupError, AttributeError, AssertionError, RuntimeError, ArithmeticError)


def names() -> tuple[str, ...]:
    """SMP's names, such as ``unet`` and ``deeplabv3plus``."""
    return tuple(sorted(_ARCHITECTURES))


def encoder_names() -> tuple[str, ...]:
    """SMP's own encoders, such as ``resnet34``, which most of its networks take; they take timm's ``tu-<name>`` too."""
    return tuple(sorted(get_encoder_names()))


def create(name: str, bands: int, classes: int, encoder_weights: str | None, options: Mapping[str, Any]) -> nn.Module:
    """Build an SMP network; see :func:`geoseg.models.create_model`.

    Raises:
        ModelError: Options or weights that do not fit.
    """
    architecture = _ARCHITECTURES[name]
    own = ("encoder", _PSP_SIZES) if name == "pspnet" else ("encoder",)
    check_options(f"smp.{name}", options, (*own, *keywords(architecture, leave_out=_NOT_OPTIONS)))
    arguments = {**options, "in_channels": bands, "classes": classes}
    if options.get(auxiliary.OPTION) is not None:
        arguments[auxiliary.OPTION] = auxiliary.checked_head(f"smp.{name}", options[auxiliary.OPTION], classes)
    psp_sizes = arguments.pop(_PSP_SIZES, None)
    if "encoder" in options:
        arguments["encoder_name"] = _checked_encoder(arguments.pop("encoder"))
    if name == "dpt":
        arguments["dynamic_img_size"] = True  # or a ViT takes images of its training size only
    elif str(options.get("encoder")).startswith("tu-swin"):
        arguments["strict_img_size"] = False  # the same for Swin transformers
    model = _build(name, arguments)
    if psp_sizes is not None:
        _set_psp_sizes(model, psp_sizes, arguments)
    if arguments.get(auxiliary.OPTION) is not None:
        auxiliary.set_aside(model)
    if encoder_weights is not None:
        from_imagenet = encoder_weights == "imagenet"
        state = _imagenet(name, arguments) if from_imagenet else read_weights(encoder_weights)
        load_encoder(model.get_submodule("encoder"), state, encoder_weights)
    return model


def _checked_encoder(name: object) -> str:
    """A network that SMP or timm knows by this name; never a place to load one from."""
    known = get_encoder_names()
    if isinstance(name, str):
        match = _TIMM_NAME.fullmatch(name)
        if name in known or (match and timm.is_model(match["name"])):
            return name
    raise ModelError(
        f"there is no encoder {name!r}{nearest(str(name), known)}; there are {len(known)} of SMP, such as resnet34 and "
        "mobilenet_v2, and tu-<name> for each network of timm"
    )


def _build(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """The network with random weights."""
    try:
        return _ARCHITECTURES[name](**arguments, encoder_weights=None)
    except _REFUSALS as error:
        raise ModelError(f"smp.{name} cannot be built with {dict(arguments)}: {first_line(error)}") from error


def _set_psp_sizes(model: nn.Module, sizes: object, arguments: Mapping[str, Any]) -> None:
    """Pool to other sides than 1, 2, 3 and 6.

    Raises:
        ParameterError: No sides.
    """
    if not isinstance(sizes, list | tuple) or not 1 <= len(sizes) <= _MOST_PSP_SIZES:
        raise ParameterError(
            f"smp.pspnet: {_PSP_SIZES} {sizes!r}; give 1 to {_MOST_PSP_SIZES} sides, such as [1, 2, 3, 6]"
        )
    for side in sizes:
        check_integer("smp.pspnet", _PSP_SIZES, side, 1, 64)
    decoder, channels = model.get_submodule("decoder"), model.get_submodule("encoder").out_channels[-1]  # type: ignore[index]
    norm = arguments.get("decoder_use_norm", "batchnorm")
    decoder.psp = PSPModule(channels, sizes=tuple(sizes), use_norm=norm)
    # The pyramid's maps are the encoder's, shared out among the sides, and stand beside those of the encoder.
    together = channels + channels // len(sizes) * len(sizes)
    out = decoder.get_submodule("conv.0").out_channels
    decoder.conv = Conv2dReLU(together, out, kernel_size=1, use_norm=norm)
    initialize_decoder(decoder)  # as SMP does for every decoder


def _imagenet(name: str, arguments: Mapping[str, Any]) -> State:
    """The encoder's published weights, for three bands.

    SMP and timm could adapt them to other bands themselves. That would be two rules of other projects that may change;
    so they are fetched as they are, and the one rule is :func:`geoseg.models.encoders.adapt_bands`.

    Raises:
        ModelError: There are none, or they cannot be downloaded.
    """
    # timm wants True where SMP's own encoders want the name of the weights.
    encoder = str(arguments.get("encoder_name", "tu-" if name == "dpt" else ""))
    weights = True if encoder.startswith("tu-") else "imagenet"
    model = fetch(
        f"the imagenet weights of smp.{name}'s encoder",
        lambda: _ARCHITECTURES[name](**{**arguments, "in_channels": 3}, encoder_weights=weights),
        "check the network, or set encoder_weights to the path of a file, to efficientnet-lite0 with encoder "
        "tu-tf_efficientnet_lite0 (no network needed), or to none",
        from_hub=True,
    )
    return model.get_submodule("encoder").state_dict()


def stride_multiple(model: nn.Module) -> int:
    """The sides of the input must be a multiple of this.

    Raises:
        ModelError: Not an SMP network, or one that takes images of one size only.
    """
    by_class = {architecture: name for name, architecture in _ARCHITECTURES.items()}
    if type(model) not in by_class:
        raise ModelError(f"{type(model).__name__} is not a network of geoseg.models.create_model")
    encoder: Any = model.get_submodule("encoder")
    stride = int(encoder.output_stride) * _MORE_POOLING.get(by_class[type(model)], 1)
    return multiple_of_sides(model, stride) if isinstance(encoder, _OF_TIMM) else stride
