"""Labelled imagery in memory, and the chips that training cuts from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from geoseg.errors import ParameterError
from geoseg.legend import IGNORE_ID, NODATA_ID, Legend
from geoseg.normalization import BandStats
from geoseg.training.weights import Counts, count_pixels

Float = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]

# How often a window without any label is drawn again before it is taken as it is.
_DRAWS = 10

# Pixels of all samples together that percentiles are taken of.
_PERCENTILE_PIXELS = 1 << 20

# Index of a class id that must not occur: a legend has at most 254 classes, indices 0..253.
_UNKNOWN = 254


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One labelled scene.

    Attributes:
        pixels: (C, H, W), any real dtype, as stored.
        labels: (H, W) uint8 class ids; 0 = no data, 255 = not to be learned.
        present: (H, W) or (C, H, W) bool, False where a pixel or a single band's sample is no data; None = all is data.
        name: For messages.

    Raises:
        ParameterError: Shapes or types do not fit each other.
    """

    pixels: npt.NDArray[Any]
    labels: Bytes
    present: Bool | None = None
    name: str = "sample"

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.labels.ndim != 2 or self.pixels.shape[1:] != self.labels.shape:
            raise ParameterError(
                f"{self.name}: pixels {self.pixels.shape} and labels {self.labels.shape} are not one scene; "
                "give (bands, height, width) and (height, width)"
            )
        if self.labels.dtype != np.uint8:
            raise ParameterError(f"{self.name}: labels are {self.labels.dtype}; give class ids as uint8")
        if self.present is not None and self.present.shape not in (self.labels.shape, self.pixels.shape):
            raise ParameterError(f"{self.name}: present {self.present.shape} fits neither pixels nor labels")

    def present_samples(self) -> Bool:
        """(C, H, W) bool: where each band holds a number."""
        shown = np.ones(self.pixels.shape, np.bool_) if self.present is None else self.present
        finite: Bool = np.broadcast_to(shown, self.pixels.shape) & np.isfinite(self.pixels)
        return finite


def band_statistics(samples: Sequence[Sample]) -> tuple[BandStats, tuple[float, float]]:
    """Mean and standard deviation of each band, and the range of values, over the pixels that are data.

    Args:
        samples: Scenes with one number of bands.

    Returns:
        The scaling, and the 1st and 99th percentile over all bands (of at most about a million pixels, evenly spread).

    Raises:
        ParameterError: A band holds no data, or one value only.
    """
    bands = len(samples[0].pixels)
    count, total, squares = np.zeros(bands), np.zeros(bands), np.zeros(bands)
    drawn = []
    step = max(1, sum(s.pixels.size for s in samples) // _PERCENTILE_PIXELS)
    for sample in samples:
        present = sample.present_samples()
        values = np.where(present, sample.pixels, 0).astype(np.float64)
        count += present.sum(axis=(1, 2))
        total += values.sum(axis=(1, 2))
        squares += np.square(values).sum(axis=(1, 2))
        drawn.append(sample.pixels[present][::step])
    if not count.all():
        raise ParameterError(f"bands {_listed(count == 0)} hold no data in any of the {len(samples)} training scenes")
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    if not std.all():
        raise ParameterError(f"bands {_listed(std == 0)} hold one value only; leave them out")
    low, high = np.percentile(np.concatenate(drawn).astype(np.float64), [1, 99])
    return BandStats(tuple(mean), tuple(std)), (float(low), float(high) if high > low else float(low) + 1.0)


def _listed(flags: npt.NDArray[np.bool_]) -> str:
    return ", ".join(str(i + 1) for i in np.flatnonzero(flags))


class Chips:
    """Random chips of one size, normalised as prediction normalises, labels as indices.

    Class ids become indices 0..K-1 in the legend's order; no data, 255 and pixels without any band become 255, which
    the loss ignores. Labels are moved, never interpolated.

    Args:
        samples: Scenes with one number of bands.
        legend: The classes.
        stats: The scaling.
        chip_size: Side in pixels. Where a scene is smaller, the rest of the chip is no data.
        augment: Flip and turn by right angles at random, and vary brightness and contrast a little.

    Raises:
        ParameterError: No scenes, no labels, unequal numbers of bands, or labels that are not in the legend.
    """

    def __init__(
        self, samples: Sequence[Sample], legend: Legend, stats: BandStats, chip_size: int, augment: bool = True
    ) -> None:
        if chip_size < 1:
            raise ParameterError(f"chip size must be at least 1 pixel, not {chip_size}")
        self._samples = tuple(samples)
        self._stats = stats
        self._size = chip_size
        self._augment = augment
        table = _index_table(legend)
        self._present = [s.present_samples() for s in self._samples]
        self._indices = [_indices(s, p, table, legend) for s, p in zip(self._samples, self._present, strict=True)]
        labelled = np.array([float((i != IGNORE_ID).sum()) for i in self._indices])
        if not labelled.sum():
            raise ParameterError(f"none of the {len(samples)} training scenes holds a labelled pixel")
        self._weights = labelled / labelled.sum()
        self._classes = len(legend)

    def pixel_counts(self) -> Counts:
        """(N, K) pixels of each class in each scene, those to be ignored left out."""
        return count_pixels(self._indices, self._classes)

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Float, npt.NDArray[np.int64]]:
        """A batch: (B, C, S, S) float32 pixels and (B, S, S) int64 indices with 255 = ignore."""
        pixels, indices = zip(*(self._chip(rng) for _ in range(count)), strict=True)
        return np.stack(pixels), np.stack(indices).astype(np.int64)

    def _chip(self, rng: np.random.Generator) -> tuple[Float, Bytes]:
        which = int(rng.choice(len(self._samples), p=self._weights))
        rows, cols = self._window(which, rng)
        present = self._present[which][:, rows, cols]
        pixels = self._stats.normalize(np.where(present, self._samples[which].pixels[:, rows, cols], 0), present)
        if self._augment:
            pixels = _vary_light(pixels, present, rng)
        indices = _pad(self._indices[which][rows, cols], self._size, IGNORE_ID)
        return self._turn(_pad(pixels, self._size, 0.0), indices, rng)

    def _window(self, which: int, rng: np.random.Generator) -> tuple[slice, slice]:
        """A random place, drawn again while it has no label."""
        indices = self._indices[which]
        for _ in range(_DRAWS):
            row, col = (int(rng.integers(max(1, n - self._size + 1))) for n in indices.shape)
            window = slice(row, row + self._size), slice(col, col + self._size)
            if (indices[window] != IGNORE_ID).any():
                break
        return window

    def _turn(self, pixels: Float, indices: Bytes, rng: np.random.Generator) -> tuple[Float, Bytes]:
        """One of the eight ways to lay a square."""
        if not self._augment:
            return pixels, indices
        turns, flip = int(rng.integers(4)), bool(rng.integers(2))
        pixels, indices = np.rot90(pixels, turns, (1, 2)), np.rot90(indices, turns)
        return (pixels[:, :, ::-1], indices[:, ::-1]) if flip else (pixels, indices)


def _vary_light(pixels: Float, present: Bool, rng: np.random.Generator) -> Float:
    """Brightness and contrast of the whole chip, and a little of each band; what is absent stays 0."""
    bands = (len(pixels), 1, 1)
    gain = rng.normal(1.0, 0.15) * rng.normal(1.0, 0.05, bands)
    shift = rng.normal(0.0, 0.2) + rng.normal(0.0, 0.05, bands)
    return np.where(present, pixels * gain.astype(np.float32) + shift.astype(np.float32), np.float32(0))


def _pad(values: npt.NDArray[Any], size: int, fill: float) -> npt.NDArray[Any]:
    """Fill up the last two axes to ``size``."""
    missing = [(0, 0)] * (values.ndim - 2) + [(0, size - n) for n in values.shape[-2:]]
    return np.pad(values, missing, constant_values=fill)


def _index_table(legend: Legend) -> Bytes:
    """(256,) class id -> index; 255 for ignore, 254 for ids that must not occur."""
    table = np.full(256, _UNKNOWN, np.uint8)
    table[list(legend.ids)] = np.arange(len(legend), dtype=np.uint8)
    table[[NODATA_ID, IGNORE_ID]] = IGNORE_ID
    return table


def _indices(sample: Sample, present: Bool, table: Bytes, legend: Legend) -> Bytes:
    indices = table[sample.labels]
    if (indices == _UNKNOWN).any():
        found = ", ".join(map(str, np.unique(sample.labels[indices == _UNKNOWN])))
        raise ParameterError(
            f"{sample.name}: labels hold class ids {found}; the legend has {', '.join(map(str, legend.ids))}"
        )
    indices[~present.any(axis=0)] = IGNORE_ID
    return indices
