"""Tiles where the user does not say: as large as a model knows them, overlapping as much as it looks around itself.

Without torch.
"""

from __future__ import annotations

from geoseg.config import ModelSpec

DEFAULT_TILE_SIZE = 512

# Overlaps are whole multiples of a sixteenth of a tile.
_STEPS = 16


def default_tile_size(spec: ModelSpec) -> int:
    """Side of the tiles of a model in pixels: 512, or what it was trained on if that is larger; as its stride asks.

    Args:
        spec: Of the model.
    """
    multiple = spec.stride_multiple
    return -(-max(DEFAULT_TILE_SIZE, spec.tile_size) // multiple) * multiple


def default_overlap(spec: ModelSpec, tile_size: int) -> int:
    """Pixels that neighbouring tiles of a model share.

    Twice the effective radius, rounded up to a sixteenth of the tile: every pixel of a tile's core then sees what it
    hangs on. Not below a quarter, which blending wants, and not above a half, beyond which tiles cost more than they
    give. A quarter where the radius is not known, and nothing for networks without padding, which are given their
    context.

    Args:
        spec: Of the model.
        tile_size: Side of the tiles in pixels.
    """
    if spec.context.pixels:
        return 0
    if spec.effective_radius is None:
        return tile_size // 4
    step = max(1, tile_size // _STEPS)
    wanted = -(-2 * spec.effective_radius // step) * step
    return min(max(wanted, tile_size // 4), tile_size // 2)
