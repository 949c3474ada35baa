"""Prediction: from a scene and a model to a class raster, strip by strip."""

from geoseg.inference.prediction import Prediction, predict

__all__ = ["Prediction", "predict"]
