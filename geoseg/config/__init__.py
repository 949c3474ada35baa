"""What files say, parsed and checked: model specs and legends; a training's settings in ``geoseg.config.training``."""

from geoseg.config.legends import parse_legend
from geoseg.config.model_spec import ClassRecord, ContextRecord, ModelSpec, parse_model_spec

__all__ = ["ClassRecord", "ContextRecord", "ModelSpec", "parse_legend", "parse_model_spec"]
