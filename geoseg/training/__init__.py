"""Training of a network on labelled imagery, in plain torch.

Example::

    from geoseg.training import Sample, train_on_arrays

    trained = train_on_arrays([Sample(pixels, labels)], legend, "unet", options={"width": 16, "depth": 4}, seconds=100)
    spec = trained.describe(name="demo", bands=("red", "green", "blue"), gsd=0.5)
    save_model(Path("demo.safetensors"), trained.model, spec)
"""

from __future__ import annotations

from geoseg.training.fitting import Trained, TrainingProgress, train_on_arrays
from geoseg.training.losses import segmentation_loss
from geoseg.training.samples import Chips, Sample, band_statistics

__all__ = [
    "Chips",
    "Sample",
    "Trained",
    "TrainingProgress",
    "band_statistics",
    "segmentation_loss",
    "train_on_arrays",
]
