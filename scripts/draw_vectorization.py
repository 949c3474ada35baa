"""The picture of docs/vectorization.md: one map as pixels, with borders simplified, and cleaned and smoothed.

usage: python scripts/draw_vectorization.py OUTPUT.png
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pyogrio
from matplotlib.axes import Axes
from scipy import ndimage

import geoseg
from geoseg.rasters import open_class_raster, write_class_raster
from geoseg.tiling import Window

SIZE, PIXEL = 160, 0.5
PART = Window(360, 560, SIZE, SIZE)
PANELS: dict[str, dict[str, Any]] = {
    "geoseg vectorize": {},
    "--simplify 1": {"simplify": 2 * PIXEL},
    "--min-area 6 --fill-holes 12 --simplify 1 --smooth 3": {
        "min_area": 6.0,
        "fill_holes": 12.0,
        "simplify": 2 * PIXEL,
        "smooth": 3,
    },
}


def main() -> None:
    """Draw it."""
    figure, axes = plt.subplots(1, len(PANELS), figsize=(4 * len(PANELS), 4.3), layout="constrained")
    with tempfile.TemporaryDirectory() as folder:
        scene = geoseg.make_scene(folder, height=1024, width=1024, seed=11)
        with open_class_raster(scene.truth) as truth:
            labels, grid = _with_noise(truth.read(PART)), truth.grid.part(PART)
        raster = Path(folder) / "map.tif"
        with write_class_raster(raster, grid, scene.legend) as writer:
            writer.write(Window(0, 0, *labels.shape), labels)
        for ax, (title, options) in zip(axes, PANELS.items(), strict=True):
            _draw(ax, title, geoseg.vectorize(raster, overwrite=True, **options), scene.legend)
    figure.savefig(sys.argv[1], dpi=90)


def _with_noise(labels: Any) -> Any:
    """The labels as a network would give them: borders frayed, single pixels wrong."""
    rng = np.random.default_rng(3)
    down, across = (ndimage.gaussian_filter(rng.standard_normal(labels.shape), 1.5) * 6 for _ in range(2))
    rows, cols = np.indices(labels.shape)
    moved = labels[
        np.clip(rows + np.rint(down).astype(int), 0, SIZE - 1), np.clip(cols + np.rint(across).astype(int), 0, SIZE - 1)
    ]
    wrong = rng.random(labels.shape) < 0.01
    return np.where(wrong, rng.permutation(moved.ravel()).reshape(moved.shape), moved)


def _draw(ax: Axes, title: str, path: Path, legend: geoseg.Legend) -> None:
    found = pyogrio.read_dataframe(path, layer=path.stem)
    colors = {c.id: c.color for c in legend}
    found.plot(ax=ax, color=found["class_id"].map(colors), edgecolor="black", linewidth=0.4)
    ax.set_title(f"{title}\n{len(found)} polygons", fontsize=9)
    ax.set_axis_off()


if __name__ == "__main__":
    main()
