"""Dropout at prediction: Gal & Ghahramani 2016, "Dropout as a Bayesian Approximation: Representing Model Uncertainty in
Deep Learning", https://arxiv.org/abs/1506.02142.
"""  # noqa: D205

from __future__ import annotations

from torch import nn

from geoseg.choices import WITH_DROPOUT
from geoseg.errors import ModelError

_KINDS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


def sample_dropout(network: nn.Module) -> nn.Module:
    """Let dropout, and nothing else, be random: batch normalisation keeps the statistics that it learned.

    ``network.eval()`` ends it.

    Args:
        network: Changed in place.

    Returns:
        The same network.

    Raises:
        ModelError: It has no dropout that drops anything: every sample would be the same.
    """
    layers = [module for module in network.modules() if isinstance(module, _KINDS) and module.p > 0]
    if not layers:
        raise ModelError(
            f"{type(network).__name__} has no dropout to sample; take one that has: {', '.join(WITH_DROPOUT)}"
        )
    network.eval()
    for layer in layers:
        layer.train()
    return network
