"""Statistics of batch normalisation over all GPUs that train together, and normalisations as they were afterwards."""

from __future__ import annotations

import logging

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.plugins.layer_sync import LayerSync
from timm.layers.norm_act import BatchNormAct2d, convert_sync_batchnorm
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

_log = logging.getLogger("geoseg")

# All that these do beside normalising is known, and done by what takes their place.
_KNOWN = (_BatchNorm.forward, BatchNormAct2d.forward)


class KeptSync(LayerSync):
    """Normalises by the statistics of all devices in training; afterwards each normalisation is the module it was.

    Lightning's own (``sync_batchnorm``) makes a bare normalisation of timm's ``BatchNormAct2d``, which is one and an
    activation: encoders would learn without activations, and their weights not fit the network that is saved. It gives
    back modules of a class of its own, too.
    """

    def __init__(self) -> None:
        self._kept: dict[str, _BatchNorm] = {}

    def apply(self, model: nn.Module) -> nn.Module:
        """Put normalisations over all devices in the place of those of one; they share parameters and statistics.

        Args:
            model: Changed in place; no normalisation itself.
        """
        # A module that stands in two places is replaced in both.
        norms = {n: m for n, m in model.named_modules(remove_duplicate=False) if isinstance(m, _BatchNorm)}
        self._kept = {name: norm for name, norm in norms.items() if type(norm).forward in _KNOWN}
        synced = {norm: _synced(norm) for norm in self._kept.values()}
        for name, norm in self._kept.items():
            model.set_submodule(name, synced[norm])
        others = {type(norm) for name, norm in norms.items() if name not in self._kept} - {nn.SyncBatchNorm}
        if others:
            _tell(sorted(kind.__qualname__ for kind in others))
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Put the normalisations back, with what was learned meanwhile.

        Args:
            model: Changed in place.
        """
        for name, norm in self._kept.items():
            synced = model.get_submodule(name)
            for key, learned in synced.named_parameters(recurse=False):
                setattr(norm, key, learned)
            for key, gathered in synced.named_buffers(recurse=False):
                setattr(norm, key, gathered)
            norm.training = synced.training
            model.set_submodule(name, norm)
        self._kept = {}
        return model


def _synced(norm: _BatchNorm) -> nn.Module:
    """The same over all devices, activation included."""
    made: nn.Module = convert_sync_batchnorm(norm)  # type: ignore[no-untyped-call]
    return made


@rank_zero_only
def _tell(kinds: list[str]) -> None:
    """Say once which normalisations stay those of one device."""
    _log.warning(
        "%s normalises by the chips of each GPU alone: it is no plain batch normalisation, and nothing that spans GPUs "
        "can take its place; make it nn.BatchNorm2d and a module for the rest",
        ", ".join(kinds),
    )
