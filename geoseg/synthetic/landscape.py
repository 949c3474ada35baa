"""What lies where: districts, fields, villages, woods, a river and lakes, as exact class ids.

All sizes are in pixels of 0.5 m: a field is about 75 m wide, a road 6 m, a house 12 m.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geoseg.legend import Legend
from geoseg.synthetic.noise import Cells, Field, JitteredGrid, fractal_noise, smooth_noise

LEGEND = Legend.from_names(
    ["water", "forest", "cropland", "grassland", "building", "road"],
    ["#5599cc", "#0f6b33", "#f2e3a8", "#8fb550", "#dd6677", "#3f3f3f"],
)
WATER, FOREST, CROPLAND, GRASSLAND, BUILDING, ROAD = LEGEND.ids

Flags = npt.NDArray[np.bool_]

DISTRICT = 470.0
"""Mean width of a district; main roads run between districts."""

ROAD_HALF_WIDTH = 6.5
STREET_EVERY, CROSS_STREET_EVERY, STREET_HALF_WIDTH = 144.0, 420.0, 5.0
PARCELS, HOUSES = 1009, 16381
"""Size of the tables of random properties that fields and houses are looked up in; primes, so that numbers spread."""

FIELDS, VILLAGE, MEADOWS = 0, 1, 2
_USES = np.array([FIELDS, VILLAGE, FIELDS, MEADOWS], np.int32)


@dataclass(frozen=True, slots=True)
class Landscape:
    """A ground plan, all (H, W).

    Attributes:
        labels: uint8 class ids of :data:`LEGEND`, everywhere.
        parcel: int32 number of the field, unrelated between neighbours.
        house: int32 number of the house plot, where there is a building.
        along: float32 position along the rows of the field, pixels.
        across: float32 position across them.
        roof: float32, −1..1 across the roof with the ridge at 0.
        road: float32 distance to the middle of the main road, pixels.
    """

    labels: npt.NDArray[np.uint8]
    parcel: Cells
    house: Cells
    along: Field
    across: Field
    roof: Field
    road: Field


def plan_landscape(rng: np.random.Generator, shape: tuple[int, int]) -> Landscape:
    """Lay out a landscape of ``shape`` (H, W) pixels."""
    y, x = _warped(rng, shape)
    districts = JitteredGrid.scatter(rng, shape, DISTRICT, jitter=0.7)
    district = districts.nearest(y, x)
    road = districts.border_distance(y, x, district)
    use = _uses(rng, districts.shape)[district]
    angle = rng.uniform(0, np.pi, districts.y.size).astype(np.float32)[district]
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)

    parcel = _parcels(rng, along, across, district)
    labels = _open_land(rng, use, parcel)
    labels[_woods(rng, shape, use)] = FOREST
    labels[_water(rng, shape, road)] = WATER
    street = (use == VILLAGE) & _streets(along, across)
    labels[(road < ROAD_HALF_WIDTH) | (street & (labels != WATER))] = ROAD
    free = (labels == GRASSLAND) & (road > 18)
    house, roof = _houses(rng, along, across, district, use == VILLAGE, free)
    labels[house > 0] = BUILDING
    return Landscape(labels, parcel, house, along, across, roof, road)


def _warped(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Field, Field]:
    """Pixel coordinates, gently bent so that no road or hedge is quite straight."""
    y, x = np.indices(shape, dtype=np.float32)
    y += 22 * smooth_noise(rng, shape, 380)
    x += 22 * smooth_noise(rng, shape, 380)
    return y, x


def _uses(rng: np.random.Generator, shape: tuple[int, int]) -> Cells:
    """Land use by district. Each column of districts has every use, so that any side of the scene shows every class."""
    row, col = np.indices(shape)
    return np.asarray(_USES[(row + 2 * col + rng.integers(len(_USES))) % len(_USES)].ravel(), np.int32)


def _parcels(rng: np.random.Generator, along: Field, across: Field, district: Cells) -> Cells:
    """Numbers of the fields: rows of bricks, each row with its own field length."""
    row = np.floor(across / 130).astype(np.int32)
    shuffle = (row + 7 * district) % 64
    length = rng.uniform(110, 330, 64).astype(np.float32)[shuffle]
    start = rng.uniform(0, 330, 64).astype(np.float32)[shuffle]
    col = np.floor((along + start) / length).astype(np.int32)
    return np.asarray((row * 31 + col * 17 + district * 101) % PARCELS, np.int32)


def _open_land(rng: np.random.Generator, use: Cells, parcel: Cells) -> npt.NDArray[np.uint8]:
    """Fields with a few pastures among them, meadows with a few fields, and gardens around the houses."""
    chance = rng.random(PARCELS, dtype=np.float32)[parcel]
    share = np.array([0.86, 0.0, 0.12], np.float32)[use]
    return np.where(chance < share, CROPLAND, GRASSLAND).astype(np.uint8)


def _woods(rng: np.random.Generator, shape: tuple[int, int], use: Cells) -> Flags:
    """Woods with ragged edges; groups of trees among the houses."""
    ragged = fractal_noise(rng, shape, 300, octaves=3) + 0.12 * smooth_noise(rng, shape, 9)
    groves = smooth_noise(rng, shape, 42) + 0.25 * smooth_noise(rng, shape, 8)
    return np.where(use == VILLAGE, groves > 1.4, ragged > np.array([0.85, 9, 0.35], np.float32)[use])


def _water(rng: np.random.Generator, shape: tuple[int, int], road: Field) -> Flags:
    """A river from the left edge to the right, and lakes between the roads."""
    height, width = shape
    middle = height * rng.uniform(0.42, 0.58)
    bends = (
        smooth_noise(rng, (1, width), 330)[0] * 0.11 * min(height, 2048) + smooth_noise(rng, (1, width), 110)[0] * 16
    )
    half_width = 30 + 7 * smooth_noise(rng, (1, width), 150)[0]
    slope = np.gradient(bends) if width > 1 else np.zeros(1, np.float32)
    rows = np.arange(height, dtype=np.float32)[:, None]
    river = np.abs(rows - middle - bends) / np.sqrt(1 + slope**2) < half_width
    lakes = fractal_noise(rng, shape, 190, octaves=3) - 2.5 * np.exp(-road / 30) > 1.6
    return np.asarray(river | lakes)


def _streets(along: Field, across: Field) -> Flags:
    """A street every second row of plots, and cross streets."""
    return (_offset(across, STREET_EVERY) < STREET_HALF_WIDTH) | (
        _offset(along, CROSS_STREET_EVERY) < STREET_HALF_WIDTH
    )


def _offset(position: Field, period: float) -> Field:
    """Distance to the nearest multiple of ``period``."""
    return np.asarray(np.abs(np.mod(position + period / 2, period) - period / 2), np.float32)


def _houses(
    rng: np.random.Generator, along: Field, across: Field, district: Cells, village: Flags, free: Flags
) -> tuple[Cells, Field]:
    """Number of the house (0 = none) and position across its roof; a house stands on free ground or is left out."""
    plot = np.array([48.0, 56.0, 76.0], np.float32)[district % 3]
    row, col = np.floor(across / (STREET_EVERY / 2)).astype(np.int32), np.floor(along / plot).astype(np.int32)
    number = (row * 37 + col * 1009 + district * 211) % (HOUSES - 1) + 1
    draw = rng.random((4, HOUSES), dtype=np.float32)
    length = (0.25 + 0.11 * draw[0])[number] * plot
    depth = (10 + 7 * draw[1])[number]
    set_back = np.where(row % 2 == 0, -6, 6) + (4 * draw[2] - 2)[number]
    u = np.mod(along, plot) - plot / 2
    v = np.mod(across, STREET_EVERY / 2) - STREET_EVERY / 4 + set_back
    inside = village & (np.abs(u) < length) & (np.abs(v) < depth) & (draw[3] < 0.9)[number]
    blocked = np.zeros(HOUSES, np.bool_)
    blocked[number[inside & ~free]] = True
    house = np.where(inside & ~blocked[number], number, 0)
    return house.astype(np.int32), np.where(house > 0, v / depth, 0).astype(np.float32)
