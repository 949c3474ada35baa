"""Raster Vision: a sliding-window dataset, a learner and smooth labels, as its tutorial on prediction has it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

PACKAGES = ("rastervision_pytorch_learner", "rastervision_core")
CASES = ("smooth labels",)


def edges(size: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin and end along an axis; the last may reach beyond it."""
    starts = set(range(0, size - overlap, tile - overlap))
    return sorted(starts | {start + tile for start in starts})


def prepare(job: Any, network: Any) -> Callable[[], None]:
    """See harness.py."""
    from rastervision.core.data import ClassConfig, SemanticSegmentationLabels
    from rastervision.pytorch_learner import (
        SemanticSegmentationGeoDataConfig,
        SemanticSegmentationLearner,
        SemanticSegmentationLearnerConfig,
        SemanticSegmentationSlidingWindowGeoDataset,
        SolverConfig,
    )

    # It wants to know what to write where there is no data, although there is none of that here.
    classes = ClassConfig(names=[f"class {k}" for k in range(7)], null_class="class 0")
    data = SemanticSegmentationGeoDataConfig(class_config=classes, num_workers=0)
    config = SemanticSegmentationLearnerConfig(data=data, solver=SolverConfig(batch_sz=job.batch))
    learner = SemanticSegmentationLearner(config, model=network, training=False)

    def run() -> None:
        tiles = SemanticSegmentationSlidingWindowGeoDataset.from_uris(
            image_uri=job.scene, size=job.tile, stride=job.tile - job.overlap, normalize=False
        )
        scores = learner.predict_dataset(tiles, raw_out=True, numpy_out=True, progress_bar=False)
        labels = SemanticSegmentationLabels.from_predictions(
            tiles.windows, scores, extent=tiles.scene.extent, num_classes=7, smooth=True
        )
        labels.save(
            uri=job.work, crs_transformer=tiles.scene.raster_source.crs_transformer, class_config=classes,
            smooth_output=False,
        )  # fmt: skip
        shutil.move(Path(job.work) / "labels.tif", job.output)

    return run
