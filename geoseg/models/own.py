"""geoseg's own networks by name; without the libraries that other networks come from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from geoseg.models.attention_unet import AttentionUNet
from geoseg.models.enet import ENet
from geoseg.models.fcn import FCN8s, FCN16s, FCN32s
from geoseg.models.options import check_options, keywords
from geoseg.models.reach import OwnNetwork, receptive_radius
from geoseg.models.residual_unet import ResidualUNet
from geoseg.models.segnet import BayesianSegNet, SegNet, SegNetBasic
from geoseg.models.unet import UNet

OWN: Mapping[str, type[OwnNetwork]] = {
    "segnet": SegNet,
    "segnet-basic": SegNetBasic,
    "bayesian-segnet": BayesianSegNet,
    "unet": UNet,
    "residual-unet": ResidualUNet,
    "attention-unet": AttentionUNet,
    "fcn8s": FCN8s,
    "fcn16s": FCN16s,
    "fcn32s": FCN32s,
    "enet": ENet,
}


def create_own(name: str, bands: int, classes: int, options: Mapping[str, Any]) -> OwnNetwork:
    """One of them, with random weights.

    Raises:
        ModelError: An unknown option.
        ParameterError: Bands, classes or an option out of range.
    """
    network = OWN[name]
    check_options(name, options, keywords(network, leave_out=("bands", "classes")))
    return network(bands, classes, **options)


def radius_of_options(name: str, options: Mapping[str, Any]) -> int:
    """:func:`geoseg.models.receptive_radius` of a network that is not there: neither weights nor memory are needed.

    Args:
        name: A key of :data:`OWN`.
        options: Of the architecture; bands and classes have no say.

    Raises:
        ModelError: An unknown option.
        ParameterError: An option out of range.
    """
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        return receptive_radius(create_own(name, 1, 1, options))
