"""Probabilities made to follow what the imagery shows: a conditional random field over finished rows.

:mod:`geoseg.refinement.strips` holds the arithmetic, in torch; it is imported only where a network runs.
"""

from geoseg.refinement.options import GPU_SIDE, SIDE, Crf, Wanted, held_rows, read_refinement

__all__ = ["GPU_SIDE", "SIDE", "Crf", "Wanted", "held_rows", "read_refinement"]
