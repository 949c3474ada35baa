"""Overlap-tile geometry in integers.

A scene of any size is cut into *cores* that partition it; each core is predicted from a larger *tile* that sees
``margin`` more pixels before it and ``overlap - margin`` after it. What a tile covers outside the scene is filled by
mirroring the scene: the overlap-tile strategy of Ronneberger et al. 2015, "U-Net" (https://arxiv.org/abs/1505.04597),
section 2. The grid belongs to the scene: batches, workers and resume points never move a tile.
"""

from __future__ import annotations

import math
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
class Context:
    """What a network reads around what it maps; none, for most networks give a map as large as the image.

    One without padding eats a border, and pools from the corner of its image on. Images that begin at multiples of
    ``multiple`` and cut no pooling window in two give the same map wherever they overlap.

    Attributes:
        pixels: Rows and columns at each side that the map lacks.
        multiple: Distance of places where an image may begin.
        remainder: Sides of an image are a multiple of ``multiple`` plus this.

    Raises:
        ParameterError: A number is out of range.
    """

    pixels: int = 0
    multiple: int = 1
    remainder: int = 0

    def __post_init__(self) -> None:
        if self.pixels < 0 or not 0 <= self.remainder < self.multiple:
            raise ParameterError(
                f"a context of {self.pixels} px with sides of n·{self.multiple} + {self.remainder} px does not exist; "
                "give 0 px or more, and a remainder below the multiple"
            )

    def input_size(self, side: int) -> int:
        """The smallest side of an image whose map has at least ``side`` pixels."""
        least = side + 2 * self.pixels
        return least + (self.remainder - least) % self.multiple

    def shift(self, start: int) -> int:
        """Position, in the map of what is read, of a tile that begins at ``start``."""
        return start % self.multiple

    def input_start(self, start: int) -> int:
        """First position that is read for a tile that begins at ``start``."""
        return start - self.shift(start) - self.pixels


NO_CONTEXT = Context()
"""Of networks whose map is as large as the image."""


@dataclass(frozen=True, slots=True)
class Axis:
    """Tiles along one axis of ``size`` pixels.

    Tile i starts at ``i·stride − margin`` and is ``tile_size`` long; its core is ``[i·stride, (i+1)·stride)``, clipped
    to the axis. Identities: the cores partition ``[0, size)``; every tile contains its core; ``len(axis)`` is
    ``ceil(size / stride)``. With a ``context`` the network reads more than the tile: ``input_size`` pixels from
    ``input_start(i)`` on, of whose map the tile begins at ``shift(i)``.

    Raises:
        ParameterError: ``size`` < 1, ``tile_size`` < 1, or ``overlap`` outside ``0 .. tile_size − 1``.
    """

    size: int
    tile_size: int
    overlap: int
    context: Context = NO_CONTEXT

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

    @property
    def input_size(self) -> int:
        """Side of what the network reads for a tile; the tile's own without context."""
        # Tiles begin at -margin + n·stride: so far beyond a multiple at most.
        step = math.gcd(self.stride, self.context.multiple)
        farthest = -self.margin % step + self.context.multiple - step
        return self.context.input_size(self.tile_size + farthest)

    def shift(self, i: int) -> int:
        """Position of tile ``i`` in the map of what the network reads for it."""
        return self.context.shift(self.start(i))

    def input_start(self, i: int) -> int:
        """First position that the network reads for tile ``i``."""
        return self.context.input_start(self.start(i))

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
        """Positions inside the axis that are read for tile ``i``, mirrored at both ends as often as needed."""
        start = self.input_start(i)
        return [mirror(p, self.size) for p in range(start, start + self.input_size)]


@dataclass(frozen=True, slots=True)
class Tile:
    """What is mapped at once (``window``, may leave the scene), and what of it is its own (``core``, never does)."""

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
    context: Context = NO_CONTEXT

    def __post_init__(self) -> None:
        Axis(self.height, self.tile_size, self.overlap)
        Axis(self.width, self.tile_size, self.overlap)

    @property
    def rows(self) -> Axis:
        """Tiles from top to bottom."""
        return Axis(self.height, self.tile_size, self.overlap, self.context)

    @property
    def cols(self) -> Axis:
        """Tiles from left to right."""
        return Axis(self.width, self.tile_size, self.overlap, self.context)

    @property
    def input_size(self) -> int:
        """Side of what the network reads for a tile; the tile's own without context."""
        return self.rows.input_size

    def input_window(self, row: int, col: int) -> Window:
        """What the network reads for the tile at grid position ``row``, ``col``; may leave the scene."""
        return Window(self.rows.input_start(row), self.cols.input_start(col), self.input_size, self.input_size)

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
