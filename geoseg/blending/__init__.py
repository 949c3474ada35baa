"""Overlapping tiles made one: windows that sum to 1 everywhere, and the accumulator that carries only a strip.

Each 1-D window is sampled at pixel centres and divided by the sum of all windows that cover a position, over the tiles
that really exist. A tile's 2-D weight is the outer product of two such vectors. So the weights of the tiles that cover
a pixel sum to 1, also at the borders of the scene, scores need no division afterwards, and no weight buffer exists.

:mod:`geoseg.blending.accumulator` holds the arithmetic, on a CPU compiled by Numba, on a GPU by torch; it is imported
only where a network runs.
"""

from geoseg.blending.windows import tile_weights, window_1d

__all__ = ["tile_weights", "window_1d"]
