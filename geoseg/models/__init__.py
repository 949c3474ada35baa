"""Networks by name, and model files.

Names are looked up on first use: reading a spec or finding a model file needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from geoseg.models.files import builtin_models, file_hash, read_spec, resolve_model

if TYPE_CHECKING:
    from geoseg.models.costs import describe_architecture, describe_architectures, macs_per_megapixel
    from geoseg.models.dropout import sample_dropout
    from geoseg.models.effective import effective_radius
    from geoseg.models.probing import probed_radius
    from geoseg.models.reach import context, receptive_radius, surroundings
    from geoseg.models.registry import architectures, create_model, stride_multiple
    from geoseg.models.weights import load_model, save_model

__all__ = [
    "architectures",
    "builtin_models",
    "context",
    "create_model",
    "describe_architecture",
    "describe_architectures",
    "effective_radius",
    "file_hash",
    "load_model",
    "macs_per_megapixel",
    "probed_radius",
    "read_spec",
    "receptive_radius",
    "resolve_model",
    "sample_dropout",
    "save_model",
    "stride_multiple",
    "surroundings",
]

_LAZY = {
    "architectures": "registry",
    "context": "reach",
    "create_model": "registry",
    "describe_architecture": "costs",
    "describe_architectures": "costs",
    "effective_radius": "effective",
    "macs_per_megapixel": "costs",
    "probed_radius": "probing",
    "receptive_radius": "reach",
    "sample_dropout": "dropout",
    "stride_multiple": "registry",
    "surroundings": "reach",
    "load_model": "weights",
    "save_model": "weights",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return __all__
