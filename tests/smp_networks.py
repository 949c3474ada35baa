"""Networks of segmentation_models_pytorch, small, for tests."""

from __future__ import annotations

from typing import Any

from geoseg.models import architectures

# Options that keep an architecture small; the others get resnet18 alone.
SMALL: dict[str, dict[str, Any]] = {
    "smp.deeplabv3": {"decoder_channels": 16},
    "smp.deeplabv3plus": {"decoder_channels": 16},
    "smp.dpt": {
        "encoder": "tu-vit_tiny_patch16_224",
        "decoder_intermediate_channels": [16, 16, 16, 16],
        "decoder_fusion_channels": 16,
    },
    "smp.manet": {"decoder_channels": [32, 16, 16, 16, 16]},
    "smp.segformer": {"decoder_segmentation_channels": 16},
    "smp.unet": {"decoder_channels": [32, 16, 16, 16, 16], "decoder_attention_type": "scse"},
    "smp.unetplusplus": {"decoder_channels": [32, 16, 16, 16, 16]},
    "smp.upernet": {"decoder_channels": 16},
}
SMP = [(n, {"encoder": "resnet18", **SMALL.get(n, {})}) for n in architectures() if n.startswith("smp.")]
