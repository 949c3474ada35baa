"""evaluate(): a map against a reference, pixel by pixel, each pixel once; write_submission(): for others to judge."""

from geoseg.evaluation.comparing import evaluate
from geoseg.evaluation.result import Evaluation
from geoseg.evaluation.submission import write_submission

__all__ = ["Evaluation", "evaluate", "write_submission"]
