"""geoseg: from imagery to land-cover map.

Everything here is loaded on first use, so that ``import geoseg`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from geoseg.arrays import predict_array
    from geoseg.config.loading import dump_config, load_config
    from geoseg.config.training import TrainingConfig
    from geoseg.datasets import DatasetInfo, DatasetList, list_datasets, open_dataset
    from geoseg.doctor import Diagnosis, diagnose
    from geoseg.errors import GeosegError
    from geoseg.evaluation import Evaluation, evaluate, write_submission
    from geoseg.inference import (
        Estimate,
        Outcome,
        Prediction,
        estimate_prediction,
        find_scenes,
        predict,
        predict_scenes,
        write_attention,
    )
    from geoseg.inspection import info, list_models
    from geoseg.legend import ClassDef, Legend
    from geoseg.sources.surveys import DataCheck, check_data
    from geoseg.synthetic import SyntheticScene, make_scene
    from geoseg.training.results import TrainingRun
    from geoseg.training.workflow import train
    from geoseg.vectorization import vectorize

__version__ = "0.1.0"

__all__ = [
    "ClassDef",
    "DataCheck",
    "DatasetInfo",
    "DatasetList",
    "Diagnosis",
    "Estimate",
    "Evaluation",
    "GeosegError",
    "Legend",
    "Outcome",
    "Prediction",
    "SyntheticScene",
    "TrainingConfig",
    "TrainingRun",
    "__version__",
    "check_data",
    "diagnose",
    "dump_config",
    "estimate_prediction",
    "evaluate",
    "find_scenes",
    "info",
    "list_datasets",
    "list_models",
    "load_config",
    "make_scene",
    "open_dataset",
    "predict",
    "predict_array",
    "predict_scenes",
    "train",
    "vectorize",
    "write_attention",
    "write_submission",
]

_HOME = {
    "ClassDef": "geoseg.legend",
    "DataCheck": "geoseg.sources.surveys",
    "DatasetInfo": "geoseg.datasets",
    "DatasetList": "geoseg.datasets",
    "Diagnosis": "geoseg.doctor",
    "Estimate": "geoseg.inference",
    "Evaluation": "geoseg.evaluation",
    "GeosegError": "geoseg.errors",
    "Legend": "geoseg.legend",
    "Outcome": "geoseg.inference",
    "Prediction": "geoseg.inference",
    "SyntheticScene": "geoseg.synthetic",
    "TrainingConfig": "geoseg.config.training",
    "TrainingRun": "geoseg.training.results",
    "check_data": "geoseg.sources.surveys",
    "diagnose": "geoseg.doctor",
    "dump_config": "geoseg.config.loading",
    "estimate_prediction": "geoseg.inference",
    "evaluate": "geoseg.evaluation",
    "find_scenes": "geoseg.inference",
    "info": "geoseg.inspection",
    "list_datasets": "geoseg.datasets",
    "list_models": "geoseg.inspection",
    "load_config": "geoseg.config.loading",
    "make_scene": "geoseg.synthetic",
    "open_dataset": "geoseg.datasets",
    "predict": "geoseg.inference",
    "predict_array": "geoseg.arrays",
    "predict_scenes": "geoseg.inference",
    "train": "geoseg.training.workflow",
    "vectorize": "geoseg.vectorization",
    "write_attention": "geoseg.inference",
    "write_submission": "geoseg.evaluation",
}


def __getattr__(name: str) -> object:
    """Load a public name from the module it lives in (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
