"""Labelled datasets by name: what they are, and their samples through torchgeo's own classes.

The table (:func:`list_datasets`, :func:`dataset_info`) comes without torch; :func:`open_dataset` imports torchgeo.

Example::

    from geoseg.datasets import open_dataset

    chips = open_dataset("loveda", "data/loveda", "train", subset="rural")
    pixels, indices = chips[0].pixels, chips[0].indices
"""

from __future__ import annotations

from geoseg.datasets.catalogue import dataset_info, list_datasets
from geoseg.datasets.opening import LabelledImage, LabelledImages, open_dataset
from geoseg.datasets.records import DatasetInfo, DatasetList, Split
from geoseg.datasets.submission import write_label_images

__all__ = [
    "DatasetInfo",
    "DatasetList",
    "LabelledImage",
    "LabelledImages",
    "Split",
    "dataset_info",
    "list_datasets",
    "open_dataset",
    "write_label_images",
]
