"""Overlap-tile geometry in integers.

A scene of any size is cut into *cores* that partition it; each core is predicted from a larger *tile* that sees
``margin`` more pixels before it and ``overlap - margin`` after it. What a tile covers outside the scene is filled by
mirroring the scene: the overlap-tile strategy of Ronneberger et al. 2015, "U-Net" (https://arxiv.org/abs/1505.04597),
section 2. The grid belongs to the scene: batches, workers and resume points never move a tile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from geoseg.errors import ParameterError

Blend = Literal["hann", "gaussian", "linear", "uniform", "crop"]
"""How overlapping tiles are weighted; see :mod:`geoseg.blending`."""

Progress = Callable[[int, int], None]
"""Told (pixels done, pixels in total) as a job goes on."""


@dataclass(frozen=True, slots=True)
class Window:
    """An integer pixel rectangle. It may reach outside the scene, where pixels are mirrored."""

    row_off: int
    col_off: int
    height: int
    width: int

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ParameterError(f"a window needs at least one pixel, not {self.height}×{self.width}")

    @property
    def row_end(self) -> int:
        """First row below the window."""
        return self.row_off + self.height

    @property
    def col_end(self) -> int:
        """First column right of the window."""
        return self.col_off + self.width

    def __str__(self) -> str:
        return f"rows {self.row_off}..{self.row_end - 1}, columns {self.col_off}..{self.col_end - 1}"


@dataclass(frozen=True, slots=True)
class Axis:
    """Tiles along one axis of ``size`` pixels.

    Tile i starts at ``i·stride − margin`` and is ``tile_size`` long; its core is ``[i·stride, (i+1)·stride)``, clipped
    to the axis. Identities: the cores partition ``[0, size)``; every tile contains its core; ``len(axis)`` is
    ``ceil(size / stride)``.

    Raises:
        ParameterError: ``size`` < 1, ``tile_size`` < 1, or ``overlap`` outside ``0 .. tile_size − 1``.
    """

    size: int
    tile_size: int
    overlap: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ParameterError(f"an axis needs at least one pixel, not {self.size}")
        if self.tile_size < 1:
            raise ParameterError(f"tile size must be at least 1 pixel, not {self.tile_size}")
        if not 0 <= self.overlap < self.tile_size:
            raise ParameterError(
                f"overlap {self.overlap} does not fit tile size {self.tile_size}; give 0..{self.tile_size - 1}"
            )

    @property
    def stride(self) -> int:
        """Distance between the starts of neighbouring tiles."""
        return self.tile_size - self.overlap

    @property
    def margin(self) -> int:
        """Pixels of a tile before its core."""
        return self.overlap // 2

    def __len__(self) -> int:
        return -(-self.size // self.stride)

    def start(self, i: int) -> int:
        """First position of tile ``i``; negative for the first where there is a margin."""
        return i * self.stride - self.margin

    def core(self, i: int) -> tuple[int, int]:
        """First position of the core of tile ``i``, and the position after its last."""
        return i * self.stride, min((i + 1) * self.stride, self.size)

    def covering(self, lo: int, hi: int) -> range:
        """Tiles that hold any position of ``[lo, hi)``."""
        # start(i) < hi  and  start(i) + tile_size > lo
        first = -(-(lo + self.margin - self.tile_size + 1) // self.stride)
        last = (hi + self.margin - 1) // self.stride
        return range(max(0, first), min(len(self), last + 1))

    def final_before(self, i: int) -> int:
        """Position before which nothing changes once tiles ``0 .. i`` are in."""
        return self.size if i == len(self) - 1 else max(0, min(self.start(i + 1), self.size))

    def mirrored(self, i: int) -> list[int]:
        """Positions inside the axis that tile ``i`` shows, mirrored at both ends as often as needed."""
        return [mirror(p, self.size) for p in range(self.start(i), self.start(i) + self.tile_size)]


@dataclass(frozen=True, slots=True)
class Tile:
    """One network input: where it reads (``window``, may leave the scene), what is its own (``core``, never does)."""

    row: int
    col: int
    window: Window
    core: Window


@dataclass(frozen=True, slots=True)
class TileGrid:
    """The overlap-tile grid of a scene of ``height`` × ``width`` pixels; iterates over tiles in row-major order."""

    height: int
    width: int
    tile_size: int
    overlap: int

    def __post_init__(self) -> None:
        Axis(self.height, self.tile_size, self.overlap)
        Axis(self.width, self.tile_size, self.overlap)

    @property
    def rows(self) -> Axis:
        """Tiles from top to bottom."""
        return Axis(self.height, self.tile_size, self.overlap)

    @property
    def cols(self) -> Axis:
        """Tiles from left to right."""
        return Axis(self.width, self.tile_size, self.overlap)

    def __len__(self) -> int:
        return len(self.rows) * len(self.cols)

    def tile(self, row: int, col: int) -> Tile:
        """The tile at grid position ``row``, ``col``."""
        rows, cols, size = self.rows, self.cols, self.tile_size
        (top, bottom), (left, right) = rows.core(row), cols.core(col)
        return Tile(
            row=row,
            col=col,
            window=Window(rows.start(row), cols.start(col), size, size),
            core=Window(top, left, bottom - top, right - left),
        )

    def __iter__(self) -> Iterator[Tile]:
        return (self.tile(r, c) for r in range(len(self.rows)) for c in range(len(self.cols)))

    def panels(self, max_width: int) -> list[tuple[int, int]]:
        """Column ranges ``(lo, hi)`` that partition the width, each at most ``max_width`` wide where a core allows it.

        Ranges end on core borders, so that a panel owns whole cores and the tile grid stays the scene's.
        """
        stride = self.cols.stride
        step = max(1, max_width // stride) * stride
        return [(lo, min(lo + step, self.width)) for lo in range(0, self.width, step)]


def mirror(position: int, size: int) -> int:
    """Reflect ``position`` into ``[0, size)`` without repeating the edge.

    Positions −2 .. 5 of a size of 4 become 2 1 0 1 2 3 2 1. Equal to ``numpy.pad(mode="reflect")``, for any distance
    and for a single pixel too.
    """
    if size == 1:
        return 0
    position %= 2 * (size - 1)
    return min(position, 2 * (size - 1) - position)
