"""Batches of tiles in, class probabilities out, whatever runs the network: torch, OpenVINO or ONNX Runtime.

Example::

    options = NetworkOptions(backend="auto", precision="auto")
    predictor = load_predictor([loaded], options, tile_size=512, dtype="uint8", sample_tiles=cut, cache=None)
    waiting = [predictor.submit(tiles) for tiles in batches]
    scores = [wait() for wait in waiting]
"""

from __future__ import annotations

from geoseg.predictors.loading import load_predictor
from geoseg.predictors.options import Loaded, NetworkOptions
from geoseg.predictors.precision import label_difference
from geoseg.predictors.tiles import Predictor, SampleTiles, Tiles, Wait

__all__ = [
    "Loaded",
    "NetworkOptions",
    "Predictor",
    "SampleTiles",
    "Tiles",
    "Wait",
    "label_difference",
    "load_predictor",
]
