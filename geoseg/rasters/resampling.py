"""Scenes on pixels of another size: the same ground, read as larger or smaller pixels, a strip at a time.

Along each axis a new pixel is a weighted sum of old ones: larger pixels average what they cover, by how much of it they
cover; smaller ones are interpolated linearly between the two nearest centres. What is no data has no weight. These are
GDAL's ``average`` and ``bilinear``, but for no data: a warped VRT lets NaN spread, overlooks the validity band or the
nodata value where there are both or an alpha band, and averages -9999 in where other bands have data. Here the
judgement of :mod:`.validity` holds, and mosaics, control points and turned scenes are resampled alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from geoseg.errors import ParameterError, RasterError
from geoseg.rasters.scenes import Scene, refuse_outside
from geoseg.rasters.validity import Pixels, Values, is_valid_repeated
from geoseg.tiling import Window

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Integers = npt.NDArray[np.int64]

_CHUNK_SAMPLES = 2**23
_EXACT_FLOAT32 = 2**24
_MOST_PIXELS = 2**31 - 1


class ResampledScene:
    """A scene on pixels of another size; made by :func:`resampled`. See :class:`geoseg.rasters.Scene`.

    A pixel is valid where any valid pixel of the source has a share in it, and so is each of its samples.

    Attributes:
        source: The scene that is read.
        name: The source's.
        grid: The ground of the source, in other pixels.
        dtype: The source's; whole numbers are rounded, halves upwards.
        bands: The source's.
        band_names: The source's.
        nodata: None for every band: an average that equals a nodata value is data.
        block_shape: Rows and columns that a block of the source becomes.
        files: The source's.
        notices: The source's, and what is done here.
        always_valid: Whether all of the source is.
        identity: The source's, and the new shape.
    """

    def __init__(self, source: Scene, height: int, width: int) -> None:
        self.source = source
        self.name = source.name
        self.grid = source.grid.scaled(height, width)
        self.dtype = source.dtype
        self.bands, self.band_names = source.bands, source.band_names
        self.nodata: tuple[float | None, ...] = (None,) * len(source.bands)
        self.files = source.files
        self._rows = _Axis(source.grid.height, height)
        self._cols = _Axis(source.grid.width, width)
        rows, cols = source.block_shape
        self.block_shape = (self._rows.block(rows), self._cols.block(cols))
        kind = "averaged" if height < source.grid.height else "interpolated"
        self.notices = (
            *source.notices,
            f"its {source.grid.height}×{source.grid.width} pixels are {kind} to {height}×{width}",
        )
        self.always_valid = source.always_valid
        self.identity: dict[str, object] = {**source.identity, "resampled": [height, width]}
        self._total = self._rows.total * self._cols.total
        kind_of = np.dtype(self.dtype)
        largest = math.inf if kind_of.kind == "f" else float(np.iinfo(kind_of).max) + 1
        # Whole samples times whole weights: as long as sums fit, they are exact.
        self._sums: type[np.floating[Any]] = np.float32 if largest * self._total < _EXACT_FLOAT32 else np.float64

    def read(self, window: Window) -> Pixels:
        """Read a window. Windows that partition another give, put together, exactly what it gives.

        Raises:
            ParameterError: The window reaches outside the scene.
            CorruptRasterError: A block cannot be decoded; the message says which.
        """
        refuse_outside(window, self.grid, self.name)
        count, shape = len(self.bands), (window.height, window.width)
        values = np.empty((count, *shape), self.dtype)
        valid = np.empty(shape, np.bool_)
        present: npt.NDArray[np.bool_] | None = None
        for part in self._chunks(window):
            found = self._chunk(part)
            here = (
                slice(part.row_off - window.row_off, part.row_end - window.row_off),
                slice(part.col_off - window.col_off, part.col_end - window.col_off),
            )
            values[(slice(None), *here)], valid[here] = found.values, found.valid
            if present is None and not is_valid_repeated(found):
                present = np.repeat(valid[None], count, axis=0)
            if present is not None:
                present[(slice(None), *here)] = found.present
        return Pixels(values, valid, np.broadcast_to(valid, values.shape) if present is None else present)

    def sample(self, max_side: int = 512) -> Pixels:
        """Pixels of the source from all over it: a sample need not read all that averages are made of."""
        return self.source.sample(max_side)

    def _chunks(self, window: Window) -> Iterator[Window]:
        """Parts of a window that are small enough, as are those of the source, to hold as floating-point numbers."""
        count, down, across = len(self.bands), max(1.0, self._rows.ratio), max(1.0, self._cols.ratio)
        rows = max(1, int(_CHUNK_SAMPLES / (down * across * window.width * count)))
        cols = window.width if rows > 1 else max(1, int(_CHUNK_SAMPLES / (down * across * count)))
        for top in range(window.row_off, window.row_end, rows):
            for left in range(window.col_off, window.col_end, cols):
                yield Window(top, left, min(rows, window.row_end - top), min(cols, window.col_end - left))

    def _chunk(self, window: Window) -> Pixels:
        top, bottom = self._rows.span(window.row_off, window.row_end)
        left, right = self._cols.span(window.col_off, window.col_end)
        pixels = self.source.read(Window(top, left, bottom - top, right - left))
        down = self._rows.weights(window.row_off, window.row_end, self._sums)
        across = self._cols.weights(window.col_off, window.col_end, self._sums)

        def summed(samples: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return _weighted(samples.astype(self._sums), down, across)

        alike = is_valid_repeated(pixels)
        if pixels.valid.all() and (alike or pixels.present.all()):
            values = np.stack([summed(band) for band in pixels.values]) / self._sums(self._total)
            valid = np.ones(values.shape[1:], np.bool_)
            return Pixels(_stored(values, self.dtype), valid, np.broadcast_to(valid, values.shape))
        shares = [summed(present) for present in (pixels.present[:1] if alike else pixels.present)]
        shares *= len(self.bands) if alike else 1
        means = [
            _mean(summed(np.where(present, band, 0)), share)
            for band, present, share in zip(pixels.values, pixels.present, shares, strict=True)
        ]
        valid = np.logical_or.reduce([share > 0 for share in shares])
        present = np.broadcast_to(valid, (len(means), *valid.shape)) if alike else np.stack([s > 0 for s in shares])
        return Pixels(_stored(np.stack(means), self.dtype), valid, present)


@contextmanager
def resampled(scene: Scene, gsd: float) -> Iterator[Scene]:
    """Read a scene as if its pixels were squares of ``gsd`` metres, as nearly as its extent can be cut into them.

    The extent stays exactly the same. Where the pixels are already of that size, the scene itself is given.

    Args:
        scene: An open scene; it must stay open as long as this one.
        gsd: Side of a pixel in metres.

    Raises:
        ParameterError: ``gsd`` is no length, or so small that no raster has as many pixels.
        RasterError: The scene's pixel size is not known, for it has no CRS.
    """
    if not (math.isfinite(gsd) and gsd > 0):
        raise ParameterError(f"gsd {gsd:g} m is no pixel size; give metres above 0")
    sides = scene.grid.pixel_sides()
    if sides is None:
        raise RasterError(
            f"{scene.name} has no CRS, so its pixel size in metres is not known and it cannot be read at {gsd:g} m; "
            "assign one (gdal_edit.py -a_srs)"
        )
    wanted = [size * side / gsd for size, side in zip(scene.grid.shape, sides, strict=True)]
    if max(wanted) > _MOST_PIXELS:
        raise ParameterError(
            f"at {gsd:g} m {scene.name} has {wanted[0]:.3g}×{wanted[1]:.3g} pixels, more than a raster can have; "
            f"its own are {sides[0]:.3g}×{sides[1]:.3g} m"
        )
    height, width = (max(1, round(w)) for w in wanted)
    yield scene if (height, width) == scene.grid.shape else ResampledScene(scene, height, width)


class _Axis:
    """``size`` old pixels along the length of ``count`` new ones. Positions and weights are whole numbers, so exact."""

    def __init__(self, size: int, count: int) -> None:
        self.size = size
        self.count = count
        self._averaged = count <= size
        # New pixels are this many units long where they average; old ones, or half of that, where they interpolate.
        unit = math.gcd(size, count)
        self._old, self._new = count // unit, size // unit
        self.total = self._new if self._averaged else 2 * self._old

    @property
    def ratio(self) -> float:
        """Old pixels in a new one."""
        return self.size / self.count

    def block(self, old: int) -> int:
        """New pixels that a block of old ones becomes."""
        return min(self.count, max(1, round(old / self.ratio)))

    def span(self, first: int, end: int) -> tuple[int, int]:
        """The old pixels that new ones are made of: the first, and the one after the last."""
        if self._averaged:
            return first * self._new // self._old, -(-end * self._new // self._old)
        low, _ = self._before(np.array([first, end - 1]))
        return max(0, int(low[0])), min(self.size, int(low[1]) + 2)

    def weights(self, first: int, end: int, dtype: type[np.floating[Any]]) -> csr_array:
        """(new, old) whole weights of the old pixels of ``span``; each row sums to ``total``."""
        # Here: SciPy takes a while to load, and most scenes are read as they are.
        from scipy.sparse import csr_array

        new = np.arange(first, end)
        start, stop = self.span(first, end)
        owners, olds, shares = self._covered(new) if self._averaged else self._interpolated(new)
        found = csr_array((shares.astype(dtype), (owners - first, olds - start)), shape=(end - first, stop - start))
        found.sort_indices()
        return found

    def _covered(self, new: Integers) -> tuple[Integers, Integers, Integers]:
        """New pixels, the old ones that they cover, and the length that they cover of each."""
        begin, end = new * self._new // self._old, -(-(new + 1) * self._new // self._old)
        lengths = end - begin
        owners = np.repeat(new, lengths)
        olds = np.arange(len(owners)) + np.repeat(begin - (np.cumsum(lengths) - lengths), lengths)
        low = np.maximum(owners * self._new, olds * self._old)
        high = np.minimum((owners + 1) * self._new, (olds + 1) * self._old)
        return owners, olds, high - low

    def _interpolated(self, new: Integers) -> tuple[Integers, Integers, Integers]:
        """New pixels, the old ones on both sides of their centres, and the weights of these."""
        low, beyond = self._before(new)
        owners, shares = np.concatenate([new, new]), np.concatenate([self.total - beyond, beyond])
        # Beyond the outermost centres there is one old pixel only: both weights are its.
        olds = np.clip(np.concatenate([low, low + 1]), 0, self.size - 1)
        kept = shares > 0
        return owners[kept], olds[kept], shares[kept]

    def _before(self, new: Integers) -> tuple[Integers, Integers]:
        """The old pixel whose centre lies before that of a new one or upon it, and how far, in half units."""
        low, beyond = np.divmod((2 * new + 1) * self._new - self._old, 2 * self._old)
        return low, beyond


def _weighted(samples: npt.NDArray[Any], down: csr_array, across: csr_array) -> npt.NDArray[Any]:
    """(h, w) old to new pixels; a sum is always taken in the order of the old pixels, whatever is read with it."""
    rows = down @ samples
    return np.transpose(np.asarray(across @ np.ascontiguousarray(rows.T)))


def _mean(sums: npt.NDArray[Any], shares: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Sums over shares; 0 where there is no share."""
    return np.asarray(np.divide(sums, shares, out=np.zeros_like(sums), where=shares > 0))


def _stored(values: npt.NDArray[Any], dtype: str) -> Values:
    """Round to whole numbers where the type has no other, within its limits."""
    kind = np.dtype(dtype)
    if np.issubdtype(kind, np.floating):
        return np.asarray(values, kind)
    limits = np.iinfo(kind)
    return np.asarray(np.clip(np.floor(values + 0.5), limits.min, limits.max), kind)
