"""Prediction: from scenes and a model to class rasters, strip by strip."""

from geoseg.inference.attention import write_attention
from geoseg.inference.estimating import Estimate
from geoseg.inference.many import Outcome, find_scenes, predict_scenes
from geoseg.inference.prediction import Prediction, estimate_prediction, predict
from geoseg.inference.settings import Settings

__all__ = [
    "Estimate",
    "Outcome",
    "Prediction",
    "Settings",
    "estimate_prediction",
    "find_scenes",
    "predict",
    "predict_scenes",
    "write_attention",
]
