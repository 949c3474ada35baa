"""Training of a network on labelled imagery, in plain torch.

Example::

    from geoseg.training import Sample, train_on_arrays

    trained = train_on_arrays([Sample(pixels, labels)], legend, "unet", options={"width": 16, "depth": 4}, seconds=100)
    spec = trained.describe(name="demo", bands=("red", "green", "blue"), gsd=0.5)
    save_model(Path("demo.safetensors"), trained.model, spec)
"""

from __future__ import annotations

from geoseg.training.expressions import LossTerm, parse_losses
from geoseg.training.fitting import Trained, TrainingProgress, train_on_arrays
from geoseg.training.losses import SegmentationLoss, build_loss, segmentation_loss
from geoseg.training.optimizers import OptimizerSettings, build_optimizer, encoder_of, freeze_encoder, train_mode
from geoseg.training.samples import Chips, Sample, band_statistics
from geoseg.training.schedules import Schedule, build_scheduler
from geoseg.training.weights import class_weights, count_pixels

__all__ = [
    "Chips",
    "LossTerm",
    "OptimizerSettings",
    "Sample",
    "Schedule",
    "SegmentationLoss",
    "Trained",
    "TrainingProgress",
    "band_statistics",
    "build_loss",
    "build_optimizer",
    "build_scheduler",
    "class_weights",
    "count_pixels",
    "encoder_of",
    "freeze_encoder",
    "parse_losses",
    "segmentation_loss",
    "train_mode",
    "train_on_arrays",
]
