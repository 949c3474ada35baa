"""Pictures of validation ground for the report."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from geoseg.reports import place_of
from geoseg.sources.chips import JudgedTile
from geoseg.sources.previews import Previewer
from geoseg.training.ground import Ground
from geoseg.training.results import ChipPicture

Labels = npt.NDArray[np.uint8]


class ChipPainter:
    """Makes the picture of a tile's core.

    Args:
        ground: What the tiles are of.
    """

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._preview = Previewer(ground.stats, ground.value_range, ground.source.band_names)

    def __call__(self, tile: JudgedTile, truth: Labels, predicted: Labels, wrong: int, pixels: int) -> ChipPicture:
        """See :data:`~geoseg.training.judging.Picture`."""
        sheet = self._ground.source.sheets[tile.sheet]
        found = self._ground.store.read(tile.sheet, tile.core)
        anywhere = found.present.any(axis=0) if found.present.ndim == 3 else found.present
        return ChipPicture(
            sheet.name,
            tile.core,
            self._preview.picture(found.pixels, found.present),
            truth.copy(),
            np.where(anywhere, predicted, np.uint8(0)),
            wrong,
            pixels,
            place_of(sheet.grid, tile.core),
        )
