"""The images of a training, kept decoded, as batches of chips to learn from and tiles to judge by."""

from geoseg.sources.chips.batches import Batch, JudgedTile, TileBatch, TrainingBatches, ValidationTiles
from geoseg.sources.chips.sampling import Chip, ChipSampler
from geoseg.sources.chips.statistics import band_statistics_of
from geoseg.sources.chips.storing import Store

__all__ = [
    "Batch",
    "Chip",
    "ChipSampler",
    "JudgedTile",
    "Store",
    "TileBatch",
    "TrainingBatches",
    "ValidationTiles",
    "band_statistics_of",
]
