"""An auxiliary head of an SMP network: which classes a chip holds, told by the encoder's last features alone.

It is there for the loss of a training and for nothing else. Networks give logits of pixels with it as without it, and
what is left after the training has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from geoseg.errors import ModelError
from geoseg.models.options import check_choice, check_options, check_share

OPTION = "aux_params"
"""SMP's name of the option."""

_NAME, _SMPS_NAME = "auxiliary", "classification_head"

# SMP's. Beside them it knows ``classes``, of which there are as many as in the map, and ``activation``; but it is the
# logits that the loss needs.
_PARAMETERS = {"pooling": "avg", "dropout": 0.2}


def checked_head(architecture: str, parameters: object, classes: int) -> dict[str, Any]:
    """What SMP is to make the head of.

    Args:
        architecture: Name, for messages.
        parameters: The option: ``pooling`` (``avg`` or ``max``) and ``dropout`` (a share), or an empty mapping.
        classes: Of the map.

    Raises:
        ModelError: No mapping, or of other names.
        ParameterError: A value out of range.
    """
    if not isinstance(parameters, Mapping):
        raise ModelError(
            f"{architecture}: {OPTION} {parameters!r}; give the parameters of the auxiliary head, such as {_PARAMETERS}"
        )
    what = f"{architecture}'s {OPTION}"
    check_options(what, parameters, tuple(_PARAMETERS))
    chosen = {**_PARAMETERS, **parameters}
    check_choice(what, "pooling", chosen["pooling"], ("avg", "max"))
    check_share(what, "dropout", chosen["dropout"])
    return {**chosen, "classes": classes}


def set_aside(model: nn.Module) -> None:
    """Let an SMP network that was made with the head answer with the logits of pixels alone."""
    head = model.get_submodule(_SMPS_NAME)
    setattr(model, _SMPS_NAME, None)
    setattr(model, _NAME, head)


def has_auxiliary(model: nn.Module) -> bool:
    """Whether a network has the head."""
    return isinstance(getattr(model, _NAME, None), nn.Module)


def with_presence(model: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, C, H, W) normalised pixels to (B, K, H, W) logits of pixels and (B, K) logits of what is there at all.

    Args:
        model: One that :func:`has_auxiliary`.
        x: As for the network itself.
    """
    features: list[torch.Tensor] = []

    def note(_module: nn.Module, _given: object, output: Any) -> None:
        # Of all stages; encoders of transformers give their tokens beside them.
        stages = output if isinstance(output[-1], torch.Tensor) else output[0]
        features.append(stages[-1])

    handle = model.get_submodule("encoder").register_forward_hook(note)
    try:
        logits = model(x)
    finally:
        handle.remove()
    return logits, model.get_submodule(_NAME)(features[0])


def drop_auxiliary(model: nn.Module) -> nn.Module:
    """Take the head away where there is one; the same network, changed in place."""
    if has_auxiliary(model):
        delattr(model, _NAME)
    return model


def lasting_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the network that is left when the head is gone."""
    return {name: value for name, value in options.items() if name != OPTION}


def lasting_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """The network's tensors but for the head's."""
    return {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(f"{_NAME}.")}
