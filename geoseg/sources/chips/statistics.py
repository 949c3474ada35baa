"""Mean and spread of the bands over training ground."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from geoseg.errors import ParameterError
from geoseg.normalization import BandStats
from geoseg.sources.ground import free_rectangles
from geoseg.tiling import Window

if TYPE_CHECKING:
    from geoseg.sources.chips.storing import Store
    from geoseg.sources.splits import Split

Floats = npt.NDArray[np.float64]

_log = logging.getLogger("geoseg")

# Side of the pieces that the ground is read in, and pixels beyond which not all pieces are.
_SIDE = 512
_MOST_PIXELS = 100_000_000

# Samples that percentiles are taken of.
_PERCENTILE_SAMPLES = 1 << 20


def band_statistics_of(
    store: Store, split: Split, *, most: int = _MOST_PIXELS
) -> tuple[BandStats, tuple[float, float]]:
    """Mean and standard deviation of each band, and the range of values, over data on training ground.

    Args:
        store: Holds all sheets that train.
        split: What is trained on: closed windows are left out.
        most: Pixels that are looked at; of larger ground evenly spread pieces are taken.

    Returns:
        The scaling, and the 1st and 99th percentile over all bands (of at most about a million samples, evenly spread).

    Raises:
        ParameterError: There is no training ground, or a band holds no data on it, or one value only.
    """
    pieces = _pieces(store, split)
    if not pieces:
        raise ParameterError(
            f"none of the {len(split.sheets)} images has ground to train on; see split.validation and split.buffer"
        )
    total = sum(window.height * window.width for _, window in pieces)
    share = min(1.0, most / total)
    if share < 1:
        _log.info("band statistics are of %.0f %% of %.0f Mpx of training ground", 100 * share, total / 1e6)
    moments = _Moments(len(store.source.band_names))
    samples = total * share * len(store.source.band_names)
    drawn = _Drawn(max(1, int(samples) // _PERCENTILE_SAMPLES))
    for sheet, window in _spread(pieces, share):
        found = store.read(sheet, window)
        for band, values in enumerate(found.pixels):
            data = values[found.present if found.present.ndim == 2 else found.present[band]]
            if np.issubdtype(data.dtype, np.floating):
                data = data[np.isfinite(data)]
            moments.add(band, data)
            drawn.add(data)
    stats = moments.stats(store.source.band_names)
    low, high = np.percentile(drawn.samples(), [1, 99])
    return stats, (float(low), float(high) if high > low else float(low) + 1.0)


def _pieces(store: Store, split: Split) -> list[tuple[int, Window]]:
    """Training ground cut into windows of bounded size, each pixel in one."""
    pieces = list[tuple[int, Window]]()
    for number, (sheet, part) in enumerate(zip(store.source.sheets, split.sheets, strict=True)):
        if part.trains:
            for top, left, bottom, right in free_rectangles(sheet.height, sheet.width, part.closed).tolist():
                pieces.extend(
                    (number, Window(row, col, min(_SIDE, bottom - row), min(_SIDE, right - col)))
                    for row in range(top, bottom, _SIDE)
                    for col in range(left, right, _SIDE)
                )
    return pieces


def _spread(pieces: list[tuple[int, Window]], share: float) -> Iterator[tuple[int, Window]]:
    """Pieces in their order, of which a share is kept that is even in pixels."""
    seen = kept = 0
    for piece in pieces:
        size = piece[1].height * piece[1].width
        seen += size
        if kept < share * (seen - size / 2):
            kept += size
            yield piece


class _Moments:
    """Mean and sum of squared deviations of each band, merged piece by piece (Chan, Golub & LeVeque 1983).

    Sums of squares would lose all digits where values are large beside their spread, as temperatures in kelvin or
    heights above the sea are.
    """

    def __init__(self, bands: int) -> None:
        self._count, self._mean, self._squares = np.zeros(bands), np.zeros(bands), np.zeros(bands)

    def add(self, band: int, values: npt.NDArray[Any]) -> None:
        if not values.size:
            return
        exact = values.astype(np.float64)
        mean = float(exact.mean())
        exact -= mean
        before = self._count[band]
        self._count[band] = after = before + exact.size
        step = mean - self._mean[band]
        self._mean[band] += step * exact.size / after
        self._squares[band] += float(np.dot(exact, exact)) + step**2 * before * exact.size / after

    def stats(self, names: tuple[str, ...]) -> BandStats:
        empty = _listed(names, self._count == 0)
        if empty:
            raise ParameterError(f"{empty} hold no data on the training ground; leave them out with data.bands")
        std: Floats = np.sqrt(self._squares / self._count)
        # One value in all pixels still differs from its mean by rounding.
        flat = _listed(names, std <= 1e-12 * np.abs(self._mean))
        if flat:
            raise ParameterError(f"{flat} hold one value only on the training ground; leave them out with data.bands")
        return BandStats(tuple(self._mean), tuple(std))


class _Drawn:
    """Every so-manieth sample, counted through all pieces."""

    def __init__(self, step: int) -> None:
        self._step, self._skip = step, 0
        self._parts: list[Floats] = []

    def add(self, values: npt.NDArray[Any]) -> None:
        self._parts.append(values[self._skip :: self._step].astype(np.float64))
        self._skip = (self._skip - values.size) % self._step

    def samples(self) -> Floats:
        return np.concatenate(self._parts)


def _listed(names: tuple[str, ...], flags: npt.NDArray[np.bool_]) -> str:
    return ", ".join(f"band {i + 1} ({names[i]})" for i in np.flatnonzero(flags))
