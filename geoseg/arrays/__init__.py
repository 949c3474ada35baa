"""Prediction for xarray: the same pixels as those of a file, lazily, block by block."""

from geoseg.arrays.predicting import ArrayChoices, predict_array
from geoseg.arrays.tasks import forget

__all__ = ["ArrayChoices", "forget", "predict_array"]
