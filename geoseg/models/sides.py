"""Which sides of images a network takes whose library does not say: it is asked, on torch's ``meta`` device."""

from __future__ import annotations

import copy

import torch
from torch import nn

from geoseg.errors import ModelError

# By which a stride is multiplied where windows of 7, 8, 12 or 16 must fit into the coarsest map or the one before.
_TIMES = (1, 2, 3, 4, 6, 7, 8, 12, 14, 16)


def multiple_of_sides(model: nn.Module, stride: int) -> int:
    """The smallest multiple of a stride all of whose multiples the network takes as sides.

    Transformers with windows of a fixed count need more than the stride; others take images of one size only.

    Args:
        model: With an ``encoder`` whose first filters see the bands; not changed, and nothing is computed.
        stride: Of the network.

    Raises:
        ModelError: There is none.
    """
    network = copy.deepcopy(model).to("meta").eval()
    bands = next(filters.shape[1] for filters in network.get_submodule("encoder").parameters() if filters.ndim == 4)
    for times in _TIMES:
        # Whatever fits once and doubled fits three times too; a size that was wired in does not double.
        if all(_takes(network, bands, stride * times * n) for n in (1, 2)):
            return stride * times
    raise ModelError(
        f"{type(model).__name__} with this encoder takes images of few sizes only, not of any multiple of {stride} to "
        f"{stride * _TIMES[-1]}: take another encoder, such as resnet34, mit_b0 or tu-swin_tiny_patch4_window7_224"
    )


def _takes(network: nn.Module, bands: int, side: int) -> bool:
    try:
        with torch.inference_mode():
            found: torch.Tensor = network(torch.empty(1, bands, side, side, device="meta"))
    except Exception:  # noqa: BLE001 - each family of networks refuses in its own way
        return False
    return found.shape[-2:] == (side, side)
