"""What is this file, and which models are there? Reads headers; torch is imported late, for models alone."""

from geoseg.inspection.files import info
from geoseg.inspection.listing import ListedModel, ModelList, list_models
from geoseg.inspection.records import BandInfo, ClassRasterInfo, ClassShare, LayerInfo, ModelInfo, SceneInfo, VectorInfo

__all__ = [
    "BandInfo",
    "ClassRasterInfo",
    "ClassShare",
    "LayerInfo",
    "ListedModel",
    "ModelInfo",
    "ModelList",
    "SceneInfo",
    "VectorInfo",
    "info",
    "list_models",
]
