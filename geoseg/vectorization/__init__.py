"""From a class raster to a layer of land-cover polygons."""

from geoseg.vectorization.companions import CONFIDENCE_TAG, RUN_TAG
from geoseg.vectorization.settings import Choices, Settings
from geoseg.vectorization.workflow import vectorize

__all__ = ["CONFIDENCE_TAG", "RUN_TAG", "Choices", "Settings", "vectorize"]
