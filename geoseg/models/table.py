"""What architectures there are to choose from, as a table; without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network as ``create_model`` builds it with no option given.

    Attributes:
        name: For ``create_model``.
        parameters: Weights that are learned.
        stride_multiple: Sides of its input must be a multiple of this.
        macs_per_megapixel: Multiplications with addition that convolutions and matrix products take for 10⁶ pixels.
        receptive_radius: Pixels beyond which nothing can change an output pixel; None where it is not known, and where
            there is none.
        depends_on_tile: Whether all of a tile can change an output pixel, or its size can.
        effective_radius: Pixels that hold 95 % of what an output pixel hangs on, of a new network, as
            ``geoseg.models.effective_radius`` measures it; None where it has not been measured.
        encoder: The encoder that is taken where none is asked for; None where there is no choice.
        purpose: What it is for.
        paper: Where it is described; empty where the library does not say.
    """

    name: str
    parameters: int
    stride_multiple: int
    macs_per_megapixel: int
    receptive_radius: int | None
    depends_on_tile: bool
    effective_radius: int | None
    encoder: str | None
    purpose: str
    paper: str


PURPOSES: Mapping[str, str] = {
    "segnet": "sharp borders at little memory: keeps places of maxima instead of features",
    "segnet-basic": "small and shallow; smooth labels from wide filters",
    "bayesian-segnet": "SegNet that says where it is unsure, by sampling dropout",
    "unet": "the first choice with few labels and from scratch; fine detail",
    "residual-unet": "thin and long things such as roads; deep, yet light to train",
    "attention-unet": "small things in much background; shows where it looks",
    "fcn8s": "the classic baseline, its finest form; large",
    "fcn16s": "the classic baseline, middling",
    "fcn32s": "the classic baseline, coarse borders",
    "enet": "fast and tiny: for weak machines and drones",
    "smp.deeplabv3": "large things and much context; costly",
    "smp.deeplabv3plus": "much context and good borders; a strong all-rounder",
    "smp.dpt": "a vision transformer; global context, many labels",
    "smp.fpn": "things of very different sizes; light",
    "smp.linknet": "fast; sums its skips instead of stacking them",
    "smp.manet": "U-Net with attention over places and channels",
    "smp.pan": "attention over a pyramid; light",
    "smp.pspnet": "context from pooling over the whole tile; coarse borders, fast",
    "smp.segformer": "a light transformer decoder; pair it with a mit_b0..b5 encoder",
    "smp.unet": "U-Net on a pre-trained encoder: the first choice with pre-trained weights",
    "smp.unetplusplus": "U-Net with nested skips; a little finer, costlier",
    "smp.upernet": "a pyramid on top of a strong encoder; for transformers as encoders too",
}
"""What networks are for, in a few words, by name. SMP may have others."""

PAPERS: Mapping[str, str] = {
    "segnet": "https://arxiv.org/abs/1511.00561",
    "segnet-basic": "https://arxiv.org/abs/1511.00561",
    "bayesian-segnet": "https://arxiv.org/abs/1511.02680",
    "unet": "https://arxiv.org/abs/1505.04597",
    "residual-unet": "https://arxiv.org/abs/1711.10684",
    "attention-unet": "https://arxiv.org/abs/1804.03999",
    "fcn8s": "https://arxiv.org/abs/1605.06211",
    "fcn16s": "https://arxiv.org/abs/1605.06211",
    "fcn32s": "https://arxiv.org/abs/1605.06211",
    "enet": "https://arxiv.org/abs/1606.02147",
}
"""Papers of geoseg's own networks, by name."""

EFFECTIVE_RADII: Mapping[str, int] = {
    "segnet": 82,
    "segnet-basic": 56,
    "bayesian-segnet": 82,
    "unet": 50,
    "residual-unet": 18,
    "attention-unet": 56,
    "fcn8s": 116,
    "fcn16s": 116,
    "fcn32s": 116,
    "enet": 113,
    "smp.deeplabv3": 116,
    "smp.deeplabv3plus": 116,
    "smp.dpt": 118,
    "smp.fpn": 106,
    "smp.linknet": 97,
    "smp.manet": 112,
    "smp.pan": 116,
    "smp.pspnet": 44,
    "smp.segformer": 101,
    "smp.unet": 105,
    "smp.unetplusplus": 95,
    "smp.upernet": 117,
}
"""Effective radii by name: what ``python benchmarks/radii.py effective`` printed. SMP may have others."""

RECEPTIVE_RADII: Mapping[str, int | None] = {
    "smp.deeplabv3": None,
    "smp.deeplabv3plus": None,
    "smp.dpt": None,
    "smp.fpn": None,
    "smp.linknet": 511,
    "smp.manet": None,
    "smp.pan": None,
    "smp.pspnet": None,
    "smp.segformer": None,
    "smp.unet": 543,
    "smp.unetplusplus": 543,
    "smp.upernet": None,
}
"""Theoretical radii of SMP's networks by name, None where there is none: what ``python benchmarks/radii.py
receptive`` printed. SMP may have others."""

_HEAD = ("architecture", "parameters", "GMAC/Mpx", "multiple", "radius", "effective", "for", "paper")

_LEGEND = (
    "multiple: sides of tiles are padded to a multiple of it. radius: pixels beyond which nothing can change a label, "
    "in theory; tile where all of a tile can, or its size; effective: those that hold 95 % of what it hangs on, "
    "measured on new networks up to 128 px; - where it is not known."
)


def table_text(rows: Sequence[Architecture]) -> str:
    """The table in columns, and below it what the columns say."""
    cells = [_HEAD, *map(_cells, rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(_HEAD))]
    lines = [
        "  ".join(
            text.rjust(width) if 0 < column < 6 else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    encoders = sorted({f"{row.encoder} in {row.name}" for row in rows if row.encoder not in (None, "resnet34")})
    others = f" ({'; '.join(encoders)})" if encoders else ""
    return "\n".join([*lines, "", _LEGEND, f"smp: with encoder resnet34 where none is asked for{others}."])


def _cells(row: Architecture) -> tuple[str, ...]:
    return (
        row.name,
        f"{row.parameters / 1e6:.2f} M",
        f"{row.macs_per_megapixel / 1e9:.4g}",
        str(row.stride_multiple),
        "tile" if row.depends_on_tile else "-" if row.receptive_radius is None else str(row.receptive_radius),
        "-" if row.effective_radius is None else str(row.effective_radius),
        row.purpose,
        row.paper,
    )
