"""evaluate(): a map against a reference, pixel by pixel, each pixel once."""

from geoseg.evaluation.comparing import evaluate
from geoseg.evaluation.result import Evaluation

__all__ = ["Evaluation", "evaluate"]
