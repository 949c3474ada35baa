"""What users choose from by name, where more than one part of the house must know the names."""

from __future__ import annotations

from typing import Literal

Backend = Literal["auto", "torch", "openvino", "onnx"]
"""What runs a network."""

Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]
"""The arithmetic of a network."""

Augmentation = Literal["none", "flips", "d4"]
"""Views of a tile that are averaged: itself, its 4 reflections, or its 8 symmetries."""

WITH_DROPOUT = (
    "bayesian-segnet", "fcn8s", "fcn16s", "fcn32s", "enet", "smp.deeplabv3", "smp.deeplabv3plus", "smp.dpt", "smp.fpn",
    "smp.pspnet",
)  # fmt: skip
"""Networks that have dropout unless it is set to 0: what Monte Carlo dropout can be had of."""

Simplification = Literal["visvalingam", "douglas-peucker"]
"""Which vertices of a border are left out."""
