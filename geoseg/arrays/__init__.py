"""Prediction for xarray: the same pixels as those of a file, lazily, block by block."""

from geoseg.arrays.predicting import ArrayChoices, predict_array

__all__ = ["ArrayChoices", "predict_array"]
