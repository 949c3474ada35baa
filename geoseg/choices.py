"""What users choose from by name, where more than one part of the house must know the names."""

from __future__ import annotations

from typing import Literal

Backend = Literal["auto", "torch", "openvino", "onnx"]
"""What runs a network."""

Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]
"""The arithmetic of a network."""

Augmentation = Literal["none", "flips", "d4"]
"""Views of a tile that are averaged: itself, its 4 reflections, or its 8 symmetries."""

Simplification = Literal["visvalingam", "douglas-peucker"]
"""Which vertices of a border are left out."""
