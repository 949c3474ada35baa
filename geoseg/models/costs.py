"""What networks cost, counted without computing: on torch's ``meta`` device, which has shapes and no values."""

from __future__ import annotations

import inspect
import re
from functools import cache

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from geoseg.models.reach import OwnNetwork, receptive_radius
from geoseg.models.registry import architectures, create_model, stride_multiple
from geoseg.models.table import EFFECTIVE_RADII, PAPERS, PURPOSES, RECEPTIVE_RADII, Architecture

# A common kind of task; both hardly matter to the figures.
_BANDS, _CLASSES = 3, 8

# Large enough that what is done once a tile, and padding to a stride multiple, hardly count.
_SIDE = 512


def describe_architectures() -> tuple[Architecture, ...]:
    """Every architecture of :func:`geoseg.models.architectures`, for 3 bands and 8 classes; takes a few seconds."""
    return tuple(describe_architecture(name) for name in architectures())


@cache
def describe_architecture(name: str) -> Architecture:
    """What one costs, and what it is for.

    Args:
        name: One of :func:`geoseg.models.architectures`.

    Raises:
        ModelError: An unknown name.
    """
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        model = create_model(name, bands=_BANDS, classes=_CLASSES).eval()
    library = type(model) if not isinstance(model, OwnNetwork) else None
    return Architecture(
        name=name,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        stride_multiple=stride_multiple(model),
        macs_per_megapixel=macs_per_megapixel(model, _BANDS),
        receptive_radius=receptive_radius(model) if isinstance(model, OwnNetwork) else RECEPTIVE_RADII.get(name),
        depends_on_tile=name in RECEPTIVE_RADII and RECEPTIVE_RADII[name] is None,
        effective_radius=EFFECTIVE_RADII.get(name),
        encoder=None if library is None else _encoder(library),
        purpose=PURPOSES.get(name) or _first_sentence(type(model)),
        paper=PAPERS[name] if library is None else _link(library),
    )


def macs_per_megapixel(model: nn.Module, bands: int) -> int:
    """Multiplications with addition for 10⁶ pixels, in convolutions and matrix products; a tile of 512² is counted.

    Args:
        model: A network of :func:`geoseg.models.create_model`, on the ``meta`` device or, at the price of running it,
            another.
        bands: Its input channels.
    """
    multiple = stride_multiple(model)
    side = -(-_SIDE // multiple) * multiple
    device = next(model.parameters()).device
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(torch.empty(1, bands, side, side, device=device))
    operations = int(counter.get_total_flops())  # each multiplication and each addition is one
    return round(operations / 2 / side**2 * 1e6)


def _encoder(architecture: type[nn.Module]) -> str:
    return str(inspect.signature(architecture).parameters["encoder_name"].default)


def _link(architecture: type[nn.Module]) -> str:
    """The paper that the class of a library refers to: its last link, for those before it are of parts."""
    links: list[str] = re.findall(r"https?://[^\s)>`]+", architecture.__doc__ or "")
    return links[-1] if links else ""


def _first_sentence(architecture: type[nn.Module]) -> str:
    """What the class says of itself, without the marks of its links."""
    text = re.sub(r"`([^`]*)`_*", r"\1", inspect.cleandoc(architecture.__doc__ or ""))
    return " ".join(text.split("\n\n")[0].split()).partition(". ")[0]
