"""What a batch is put together in, and the threads that do it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from geoseg.errors import GeosegError, RasterError
from geoseg.legend import IGNORE_ID
from geoseg.tiling import Window

if TYPE_CHECKING:
    from geoseg.sources.chips.storing import Store
    from geoseg.sources.values import LabelledPixels

T = TypeVar("T")

# Types that torch computes with as they are; others travel as float32, which is what normalisation makes of them.
_TORCH_TYPES = ("uint8", "int8", "int16", "int32", "uint16", "float16", "float32")

# Batches that are ready or under way, for each thread that makes them.
_AHEAD = 2


class Frame:
    """Squares of pixels, labels, and what of them is there.

    Args:
        store: Whose bands and type.
        count: How many squares.
        size: Their side.
    """

    def __init__(self, store: Store, count: int, size: int) -> None:
        kind = store.source.dtype if store.source.dtype in _TORCH_TYPES else "float32"
        self._pixels = np.empty((count, len(store.source.band_names), size, size), kind)
        self._indices = np.empty((count, size, size), np.uint8)
        self._present: npt.NDArray[np.bool_] | None = None
        self._size = size

    def put(self, number: int, found: LabelledPixels) -> None:
        """Fill a square; what is smaller stands in the upper left corner, and the rest is absent."""
        height, width = found.indices.shape
        whole = (height, width) == (self._size, self._size)
        if not whole:
            self._pixels[number], self._indices[number] = 0, IGNORE_ID
        with np.errstate(over="ignore", invalid="ignore"):  # absent samples may hold anything, 1e300 and NaN included
            self._pixels[number, :, :height, :width] = found.pixels
        self._indices[number, :height, :width] = found.indices
        if whole and found.present.all():
            return
        present = self._planes(found.present.ndim)
        present[number] = False
        present[number, :, :height, :width] = found.present

    def keep_labels(self, number: int, window: Window) -> None:
        """Ignore all labels of a square that are not in a window of it."""
        place = slice(window.row_off, window.row_end), slice(window.col_off, window.col_end)
        kept = self._indices[number][place].copy()
        self._indices[number] = IGNORE_ID
        self._indices[number][place] = kept

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """Pixels (B, C, S, S), present (B, 1 or C, S, S) or None where all is, indices (B, S, S)."""
        present = None if self._present is None else torch.from_numpy(self._present)
        return torch.from_numpy(self._pixels), present, torch.from_numpy(self._indices)

    def _planes(self, axes: int) -> npt.NDArray[np.bool_]:
        """(B, 1, S, S), or (B, C, S, S) where a square tells its bands apart; True where none said otherwise."""
        bands = self._pixels.shape[1] if axes == 3 else 1
        if self._present is None:
            self._present = np.ones((len(self._pixels), bands, self._size, self._size), np.bool_)
        elif self._present.shape[1] < bands:
            self._present = self._present.repeat(bands, axis=1)
        return self._present


@contextmanager
def named(store: Store, sheet: int, window: Window) -> Iterator[None]:
    """Say of any error which sheet it was."""
    name = store.source.sheets[sheet].name
    try:
        yield
    except GeosegError as error:
        if name in str(error):
            raise
        raise type(error)(f"{name}: {error}") from error
    except Exception as error:
        raise RasterError(f"{name}, {window}, cannot be read ({type(error).__name__}: {error})") from error


def in_order(make: Callable[[int], T], count: int, threads: int) -> Generator[T]:
    """``make(0)``, ``make(1)``, ..., made by threads a few ahead. An error comes at its place in the order.

    Leaving the loop early waits for what is under way and makes no more.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="geoseg-chips")
    waiting: deque[Future[T]] = deque()
    try:
        for number in range(min(count, threads * _AHEAD)):
            waiting.append(pool.submit(make, number))
        for number in range(len(waiting), count + len(waiting)):
            made = waiting.popleft().result()
            if number < count:
                waiting.append(pool.submit(make, number))
            yield made
            del made  # not held while waiting for the next one
    finally:
        pool.shutdown(cancel_futures=True)
