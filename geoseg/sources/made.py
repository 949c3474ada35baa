"""Synthetic scenes as a source: made when read, with exact labels."""

from __future__ import annotations

from geoseg.config.training import DataConfig
from geoseg.errors import ParameterError
from geoseg.sources.held import Kept
from geoseg.sources.values import LabelledPixels, Sheet
from geoseg.synthetic import LEGEND, RenderedScene, render_scene, scene_grid
from geoseg.tiling import Window

# Bytes of scenes that are kept.
_KEPT_BYTES = 256 * 2**20


class SyntheticSource:
    """Synthetic scenes, side by side on the ground; made by :func:`open_synthetic`.

    Attributes:
        name: ``synthetic``.
        legend: Its classes.
        band_names: Red, green, blue.
        dtype: 8-bit.
        sheets: The scenes; each of another seed.
        license: Free.
        notes: None.
    """

    name = "synthetic"
    legend = LEGEND
    band_names = ("red", "green", "blue")
    dtype = "uint8"
    license = "CC0-1.0"

    def __init__(self, count: int, size: int) -> None:
        self.notes = (f"{count} synthetic scenes of {size}×{size} pixels",)
        self._size = size
        self._kept: Kept[RenderedScene] = Kept(_KEPT_BYTES, lambda scene: float(scene.pixels.nbytes * 4 / 3))
        grids = [scene_grid(size, size, seed) for seed in range(count)]
        self.sheets = tuple(Sheet(f"scene {seed}", size, size, grid) for seed, grid in enumerate(grids))

    def read(self, sheet: int, window: Window) -> LabelledPixels:
        """Read a window that lies inside the sheet; safe to call from several threads."""
        scene = self._kept.get(sheet, lambda: render_scene(sheet, self._size, self._size))
        rows, cols = slice(window.row_off, window.row_end), slice(window.col_off, window.col_end)
        labels = scene.labels[rows, cols]
        present = labels != 0
        indices = labels - 1  # ids are 1, 2, ...; 0, the collar without data, becomes 255
        return LabelledPixels(scene.pixels[:, rows, cols], present, indices)


def open_synthetic(data: DataConfig) -> SyntheticSource:
    """Synthetic scenes as the settings ask for.

    Raises:
        ParameterError: A setting belongs to own images.
    """
    assert data.synthetic is not None
    for option in ("legend", "label_values", "class_field", "aoi", "bands", "subset"):
        if getattr(data, option) is not None:
            raise ParameterError(f"{option} says nothing about synthetic scenes; leave it out")
    return SyntheticSource(data.synthetic, data.synthetic_size)
