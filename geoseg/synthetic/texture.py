"""How it looks from above: a texture for each class, shadows, haze and noise.

Colours of different classes overlap on purpose (young crops and meadows, slate roofs and asphalt, woods and deep
water), so that a map needs texture and shape, as in real imagery.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from geoseg.synthetic import landscape as land
from geoseg.synthetic.landscape import Landscape
from geoseg.synthetic.noise import Field, JitteredGrid, fractal_noise, smooth_noise

Color = npt.NDArray[np.float32]
"""(H, W, 3) float32, 0..255."""

CROPS = np.array(
    [[98, 118, 62], [122, 130, 70], [176, 158, 104], [188, 172, 122], [136, 110, 84], [116, 96, 76], [84, 104, 56]],
    np.float32,
)
GRASSES = np.array([[104, 120, 72], [118, 128, 80], [134, 134, 90]], np.float32)
ROOFS = np.array([[158, 92, 72], [140, 80, 64], [114, 100, 112], [88, 82, 84], [182, 176, 168]], np.float32)


def paint(rng: np.random.Generator, plan: Landscape) -> npt.NDArray[np.uint8]:
    """Render a landscape.

    Returns:
        (3, H, W) uint8: red, green, blue, each 1..255; 0 is left for "no data".
    """
    shape = plan.labels.shape
    image = _grass(rng, plan)
    for class_id, texture in (
        (land.CROPLAND, _crops),
        (land.WATER, _water),
        (land.ROAD, _asphalt),
        (land.BUILDING, _roofs),
    ):
        here = plan.labels == class_id
        image[here] = texture(rng, plan)[here]
    image *= _shade(plan.labels)[..., None]
    woods = plan.labels == land.FOREST
    image[woods] = _crowns(rng, shape)[woods]
    image *= (1.14 + 0.04 * smooth_noise(rng, shape, 400))[..., None]
    image += 2 * smooth_noise(rng, shape, 400)[..., None] * np.array([1.0, 0.2, -1.0], np.float32)
    image = ndimage.gaussian_filter(image, (0.6, 0.6, 0))
    image += 3.5 * rng.standard_normal(image.shape, dtype=np.float32)
    return np.ascontiguousarray(np.clip(np.rint(image), 1, 255).astype(np.uint8).transpose(2, 0, 1))


def _tinted(color: npt.NDArray[np.float32], brightness: Field) -> Color:
    """A colour (3,) or (H, W, 3) scaled by a brightness (H, W)."""
    return np.asarray(color * brightness[..., None], np.float32)


def _grass(rng: np.random.Generator, plan: Landscape) -> Color:
    """Mottled without direction."""
    shape = plan.labels.shape
    color = GRASSES[rng.integers(0, len(GRASSES), land.PARCELS)[plan.parcel]]
    color = color + 8 * smooth_noise(rng, shape, 60)[..., None] * np.array([1.0, 0.5, 0.6], np.float32)
    return _tinted(color, 1 + 0.07 * fractal_noise(rng, shape, 16, octaves=4))


def _crops(rng: np.random.Generator, plan: Landscape) -> Color:
    """One crop a field, sown in rows, with the lanes of the tractor."""
    shape = plan.labels.shape
    period = rng.uniform(5.5, 8.5, land.PARCELS).astype(np.float32)[plan.parcel]
    depth = rng.uniform(0.09, 0.15, land.PARCELS).astype(np.float32)[plan.parcel]
    rows = np.sin(2 * np.pi * plan.across / period) * depth
    lanes = np.minimum(np.abs(np.mod(plan.across, 46) - 20), np.abs(np.mod(plan.across, 46) - 26)) < 1.3
    color = CROPS[rng.integers(0, len(CROPS), land.PARCELS)[plan.parcel]]
    return _tinted(color, 1 + rows - 0.14 * lanes + 0.045 * fractal_noise(rng, shape, 120, octaves=3))


def _water(rng: np.random.Generator, plan: Landscape) -> Color:
    """Dark and smooth, paler towards the shore."""
    shore = np.exp(-ndimage.distance_transform_edt(plan.labels == land.WATER).astype(np.float32) / 9)
    color = np.array([46, 70, 74], np.float32) + shore[..., None] * np.array([34, 30, 16], np.float32)
    return _tinted(color, 1 + 0.08 * smooth_noise(rng, plan.labels.shape, 90))


def _asphalt(rng: np.random.Generator, plan: Landscape) -> Color:
    """Grey with patches; a broken white line in the middle of main roads."""
    line = (plan.road < 0.9) & (np.mod(plan.along + plan.across, 22) < 12)
    brightness = 1 + 0.05 * fractal_noise(rng, plan.labels.shape, 40, octaves=3) + 0.5 * line
    return _tinted(np.array([124, 122, 120], np.float32), brightness)


def _roofs(rng: np.random.Generator, plan: Landscape) -> Color:
    """Two slopes, one towards the sun, with a bright ridge and rows of tiles."""
    sun = np.where(plan.roof < 0, 1.16, 0.78) + 0.12 * (np.abs(plan.roof) < 0.09)
    tiles = 0.03 * np.sin(2 * np.pi * plan.along / 4.5)
    color = ROOFS[rng.integers(0, len(ROOFS), land.HOUSES)[plan.house]]
    return _tinted(color, (sun + tiles + 0.03 * smooth_noise(rng, plan.labels.shape, 6)).astype(np.float32))


def _crowns(rng: np.random.Generator, shape: tuple[int, ...]) -> Color:
    """Tree crowns: overlapping domes, lit from the upper left."""
    size = (shape[0], shape[1])
    y, x = np.indices(size, dtype=np.float32)
    trees = JitteredGrid.scatter(rng, size, 12.0, jitter=0.9)
    radius = rng.uniform(6.5, 10.5, trees.y.size).astype(np.float32)
    tone = rng.normal(1.0, 0.13, trees.y.size).astype(np.float32)
    height = np.zeros(size, np.float32)
    light = np.full(size, 0.45, np.float32)
    for tree in trees.neighbours(y, x):
        dy, dx = (y - trees.y[tree]) / radius[tree], (x - trees.x[tree]) / radius[tree]
        dome = (1.02 - dy**2 - dx**2) * radius[tree]
        above = dome > height
        height = np.where(above, dome, height)
        light = np.where(above, tone[tree] * (1.0 - 0.33 * (dx + dy) - 0.18 * (dy**2 + dx**2)), light)
    light *= 1 + 0.1 * smooth_noise(rng, size, 140) + 0.05 * smooth_noise(rng, size, 2.5)
    return _tinted(np.array([58, 80, 48], np.float32), light)


def _shade(labels: npt.NDArray[np.uint8]) -> Field:
    """Brightness of the ground, (H, W): houses and woods throw shadows to the lower right."""
    tall = np.isin(labels, (land.BUILDING, land.FOREST))
    shadow = np.zeros(labels.shape, np.bool_)
    for step in range(1, 8):
        shadow[step:, step:] |= tall[:-step, :-step]
    shadow &= labels != land.BUILDING
    return np.asarray(1 - 0.42 * ndimage.gaussian_filter(shadow.astype(np.float32), 0.8), np.float32)
