"""What goes into a predictor and what comes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch

from geoseg.config import ModelSpec
from geoseg.errors import ModelError

TileType = Literal["uint8", "float32"]
"""NumPy name of the type that a scene's tiles have."""

Wait = Callable[[], torch.Tensor]
"""Waits for a batch and gives its scores."""


@dataclass(frozen=True, slots=True)
class Tiles:
    """A batch of tiles as the scene stores them.

    Attributes:
        values: (B, C, S, S) uint8 or float32, C-contiguous; absent samples are 0. With what the network eats.
        present: (B, 1 or C, S, S) bool; False where a sample is no data.
        keys: (tile row, tile column) of each tile: what seeds whatever is random.
    """

    values: npt.NDArray[np.uint8] | npt.NDArray[np.float32]
    present: npt.NDArray[np.bool_]
    keys: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.values)

    def part(self, first: int, last: int) -> Tiles:
        """Tiles ``first`` up to, not including, ``last``; views, no copies."""
        return Tiles(self.values[first:last], self.present[first:last], self.keys[first:last])


SampleTiles = Callable[[int], Sequence[Tiles]]
"""Gives up to so many tiles, spread over the scene, in one or more batches."""


class Predictor(Protocol):
    """What prediction needs of a network, whatever runs it."""

    @property
    def description(self) -> str:
        """What runs where, for the log and the output's metadata."""

    @property
    def reason(self) -> str:
        """Why this and nothing else runs."""

    @property
    def device(self) -> torch.device:
        """Where the scores are."""

    @property
    def classes(self) -> int:
        """Classes of the legend: the first score planes."""

    @property
    def planes(self) -> int:
        """Score planes of a tile: the classes, and with Monte Carlo dropout the expected entropy (natural log)."""

    @property
    def best_batch(self) -> int:
        """Tiles per batch where the user does not say."""

    @property
    def in_flight(self) -> int:
        """Batches that are worth having under way at once."""

    @property
    def identity(self) -> dict[str, object]:
        """All that changes pixels, as JSON values."""

    def submit(self, tiles: Tiles) -> Wait:
        """Begin a batch.

        Args:
            tiles: Not to be changed until the scores are there.

        Returns:
            A function to be called once, in the order of the submits. It waits and gives (B, planes, T, T) float32,
            contiguous, on ``device``; the first ``classes`` planes sum to 1. T is S less what the network eats at both
            sides. The tensor is the caller's to keep or to change: its memory is used again only when nobody refers to
            it any more.

        Raises:
            ModelError: The network gives scores of another shape, or NaN; raised here or by the returned function.
            ResourceError: A single tile does not fit into the device's memory.
        """

    def close(self) -> None:
        """Give back threads and memory; nothing may be under way."""


def check_shape(found: Sequence[int], tiles: Tiles, planes: int, spec: ModelSpec) -> None:
    """A network must give one plane a class, of the tile's size less what it eats.

    Raises:
        ModelError: It does not.
    """
    name, eaten = spec.name, 2 * spec.context.pixels
    expected = (len(tiles), planes, *(side - eaten for side in tiles.values.shape[2:]))
    if tuple(found) != expected:
        raise ModelError(
            f"model {name!r} gave scores of shape {tuple(found)} for tiles of {tiles.values.shape}, expected {expected}"
        )


def damaged(name: str) -> ModelError:
    """The error for scores that are no numbers."""
    return ModelError(f"model {name!r} gave NaN or infinite scores; its weights are damaged")
