"""Batches for training, cut in threads while the step runs, and tiles to judge by, cut as prediction cuts them."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import torch

from geoseg.errors import ParameterError
from geoseg.sources.chips.frames import Frame, in_order, named
from geoseg.tiling import NO_CONTEXT, Context, Tile, TileGrid, Window

if TYPE_CHECKING:
    from geoseg.sources.chips.sampling import Chip, ChipSampler
    from geoseg.sources.chips.storing import Store
    from geoseg.sources.splits import Split


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Training samples.

    Attributes:
        pixels: (B, C, S, S), as stored, or float32 where torch has no such type; anything where not present.
        present: (B, 1 or C, S, S) bool; None where all is there.
        indices: (B, S, S) uint8 class indices, 255 = ignore, and around the chip where a network eats a border.
        where: Number of the sheet and window of each chip; chips smaller than S stand in the upper left corner, or as
            far from it as the network eats.
    """

    pixels: torch.Tensor
    present: torch.Tensor | None
    indices: torch.Tensor
    where: tuple[tuple[int, Window], ...]

    def to(self, device: torch.device | str) -> Batch:
        """The same on a device; pinned memory is copied while the GPU computes."""
        return _sent(self, device)

    def pin_memory(self) -> Batch:
        """The same in memory that a GPU copies from by itself."""
        return _pinned(self)


@dataclass(frozen=True, slots=True)
class JudgedTile:
    """A tile of validation ground.

    Attributes:
        sheet: Number in the source.
        window: Number of the validation window among those of the sheet.
        tile: In the tile grid of this window.
        core: What the tile is judged on, in pixels of the sheet.
    """

    sheet: int
    window: int
    tile: Tile
    core: Window


@dataclass(frozen=True, slots=True, eq=False)
class TileBatch:
    """Tiles to judge a network by.

    Attributes:
        pixels: (B, C, S, S), as :class:`Batch` has them; S is T, or more where a network eats a border.
        present: (B, 1 or C, S, S) bool; None where all is there.
        indices: (B, T, T) uint8, 255 = ignore and all that is not the tile's core: counted over whole tiles, each
            pixel of validation ground counts once.
        tiles: Which these are.
        context: What is read around each.
    """

    pixels: torch.Tensor
    present: torch.Tensor | None
    indices: torch.Tensor
    tiles: tuple[JudgedTile, ...]
    context: Context = NO_CONTEXT

    def of_tiles(self, maps: torch.Tensor) -> torch.Tensor:
        """(B, K, T, T) of the tiles from the network's maps of all that is read for them."""
        return _cut(maps, self.tiles, self.context, self.indices.shape[-1], eaten=self.context.pixels)

    def to(self, device: torch.device | str) -> TileBatch:
        """The same on a device; pinned memory is copied while the GPU computes."""
        return _sent(self, device)

    def pin_memory(self) -> TileBatch:
        """The same in memory that a GPU copies from by itself."""
        return _pinned(self)


class TrainingBatches:
    """The batches of an epoch, again and again.

    The chips of a batch depend on the sampler's seed, the epoch, the step and the rank, and on nothing else.

    Args:
        store: Holds all sheets that train.
        sampler: Which chips.
        batch: Chips in a batch.
        per_epoch: Chips in an epoch, over all processes; None = as many as cover the training ground once.
        threads: That cut chips.
        rank: Of this process among those that train together.
        world: How many these are.
        pin: Put batches where a GPU copies them from by itself.
        context: What is read around each chip: a network that eats it gives a map of the chip. It is mirrored at the
            sheet's borders, and nothing of it is learned.

    Raises:
        ParameterError: A number is out of range.
    """

    def __init__(
        self, store: Store, sampler: ChipSampler, *, batch: int, per_epoch: int | None = None, threads: int = 2,
        rank: int = 0, world: int = 1, pin: bool = False, context: Context = NO_CONTEXT,
    ) -> None:  # fmt: skip
        chips = sampler.per_epoch if per_epoch is None else per_epoch
        _check_numbers(batch, threads, rank, world, chips)
        self._store, self._sampler, self._batch, self._threads = store, sampler, batch, threads
        self._rank, self._pin, self._context = rank, pin, context
        self._steps = math.ceil(chips / (batch * world))
        self._epoch = 0

    def __len__(self) -> int:
        return self._steps

    def set_epoch(self, epoch: int) -> None:
        """Choose the chips of the iterations that begin from now on."""
        self._epoch = epoch

    def __iter__(self) -> Generator[Batch]:
        return self.batches(self._epoch)

    def batches(self, epoch: int, first: int = 0) -> Generator[Batch]:
        """The batches of an epoch from a step on: what a training that was interrupted goes on with."""
        return in_order(lambda step: self.batch(epoch, first + step), self._steps - first, self._threads)

    def batch(self, epoch: int, step: int) -> Batch:
        """One batch.

        Raises:
            GeosegError: A chip cannot be read; names the sheet.
        """
        chips = self._sampler.draw(epoch, step, self._rank, self._batch)
        side = self._context.input_size(self._sampler.size)
        frame = Frame(self._store, len(chips), side)
        for number, chip in enumerate(chips):
            with named(self._store, chip.sheet, chip.window):
                self._put(frame, number, chip)
        made = Batch(*frame.tensors(), tuple((chip.sheet, chip.window) for chip in chips))
        return made.pin_memory() if self._pin else made

    def _put(self, frame: Frame, number: int, chip: Chip) -> None:
        """A chip, with what is around it where a network eats that."""
        eaten, window = self._context.pixels, chip.window
        if not eaten:
            frame.put(number, self._store.read(chip.sheet, window))
            return
        side = self._context.input_size(self._sampler.size)
        around = Window(window.row_off - eaten, window.col_off - eaten, side, side)
        frame.put(number, self._store.read_mirrored(chip.sheet, around))
        frame.keep_labels(number, replace(window, row_off=eaten, col_off=eaten))


class ValidationTiles:
    """The tiles of all validation ground, in a fixed order, each once.

    Each validation window has the tile grid that prediction would give a scene of its size. What a tile shows around
    the window comes from the sheet, and beyond the sheet's border is mirrored as in prediction; for a window that is
    the whole sheet the tiles are those of prediction. Batches are of one window.

    Args:
        store: Holds all sheets that are validated on.
        split: What these are.
        tile_size: Side of a tile in pixels.
        overlap: Pixels that neighbouring tiles share.
        batch: Tiles in a batch, at most.
        threads: That cut tiles.
        rank: Of this process among those that train together; it gets every ``world``-th batch.
        world: How many these are.
        pin: Put batches where a GPU copies them from by itself.
        context: What is read around each tile, as prediction reads it.

    Raises:
        ParameterError: There is no validation ground, or a number is out of range.
    """

    def __init__(
        self, store: Store, split: Split, *, tile_size: int, overlap: int, batch: int, threads: int = 2, rank: int = 0,
        world: int = 1, pin: bool = False, context: Context = NO_CONTEXT,
    ) -> None:  # fmt: skip
        _check_numbers(batch, threads, rank, world)
        self._store, self._threads, self._pin, self._context = store, threads, pin, context
        tiles = [
            [JudgedTile(sheet, number, tile, _within(tile.core, window)) for tile in grid]
            for sheet, part in enumerate(split.sheets)
            for number, window in enumerate(part.validation)
            for grid in [TileGrid(window.height, window.width, tile_size, overlap)]
        ]
        if not tiles:
            raise ParameterError(f"none of the {len(split.sheets)} images has validation ground; see split.validation")
        groups = [tuple(some[i : i + batch]) for some in tiles for i in range(0, len(some), batch)]
        self._side = TileGrid(1, 1, tile_size, overlap, context).input_size
        self._size, self._groups = tile_size, groups[rank::world]

    def __len__(self) -> int:
        return len(self._groups)

    def __iter__(self) -> Generator[TileBatch]:
        return in_order(lambda number: self._batch(self._groups[number]), len(self._groups), self._threads)

    def _batch(self, tiles: tuple[JudgedTile, ...]) -> TileBatch:
        frame, around = Frame(self._store, len(tiles), self._side), self._context
        for number, judged in enumerate(tiles):
            core, own, window = judged.core, judged.tile.core, judged.tile.window
            # The window's upper left corner in the sheet, from where the tile counts.
            corner = Window(core.row_off - own.row_off, core.col_off - own.col_off, 1, 1)
            top, left = around.input_start(window.row_off), around.input_start(window.col_off)
            place = _within(Window(top, left, self._side, self._side), corner)
            with named(self._store, judged.sheet, place):
                found = self._store.read_mirrored(judged.sheet, place)
            frame.put(number, found)
            frame.keep_labels(number, _within(core, Window(-place.row_off, -place.col_off, 1, 1)))
        pixels, present, indices = frame.tensors()
        made = TileBatch(pixels, present, _cut(indices, tiles, around, self._size, eaten=0), tiles, around)
        return made.pin_memory() if self._pin else made


def _cut(planes: torch.Tensor, tiles: Sequence[JudgedTile], around: Context, side: int, *, eaten: int) -> torch.Tensor:
    """(B, ..., T, T) of tiles from what was read for them, or from the network's map of it.

    Args:
        planes: (B, ..., S, S), less ``eaten`` at each side.
        tiles: B of them.
        around: What was read.
        side: T.
        eaten: Pixels that a network has taken away.
    """
    if planes.shape[-1] == side:
        return planes
    inside = around.pixels - eaten
    windows = [judged.tile.window for judged in tiles]
    corners = [(inside + around.shift(w.row_off), inside + around.shift(w.col_off)) for w in windows]
    own = [plane[..., r : r + side, c : c + side] for plane, (r, c) in zip(planes, corners, strict=True)]
    return torch.stack(own)


def _within(window: Window, outer: Window) -> Window:
    """A window that counts from the corner of another, counted as that one is."""
    return replace(window, row_off=outer.row_off + window.row_off, col_off=outer.col_off + window.col_off)


_Tensors = TypeVar("_Tensors", Batch, TileBatch)


def _sent(batch: _Tensors, device: torch.device | str) -> _Tensors:
    present = None if batch.present is None else batch.present.to(device, non_blocking=True)
    pixels, indices = (tensor.to(device, non_blocking=True) for tensor in (batch.pixels, batch.indices))
    return replace(batch, pixels=pixels, present=present, indices=indices)


def _pinned(batch: _Tensors) -> _Tensors:
    present = None if batch.present is None else batch.present.pin_memory()
    return replace(batch, pixels=batch.pixels.pin_memory(), present=present, indices=batch.indices.pin_memory())


def _check_numbers(batch: int, threads: int, rank: int, world: int, chips: int = 1) -> None:
    if min(batch, threads, world, chips) < 1 or not 0 <= rank < world:
        raise ParameterError(
            f"{chips} chips in batches of {batch} by {threads} threads, rank {rank} of {world}; give at least 1 of "
            "each, and ranks from 0"
        )
