"""The arithmetic of blending on a CPU, compiled by Numba. It runs in one thread and without the interpreter's lock.

One thread on purpose: the network has the other cores, and a sum whose order never changes gives the same bits always.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from geoseg.blending.stored import FULL, NOTHING, Stored

Float = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Place = tuple[int, int]


class HostArithmetic:
    """Score planes as NumPy arrays."""

    def zeros(self, shape: tuple[int, int, int]) -> Float:
        """(planes, rows, columns) float32 of zeros."""
        return np.zeros(shape, np.float32)

    def add(self, sums: Float, at: Place, scores: Float, part: Place, down: Float, across: Float) -> None:
        """Add ``scores · outer(down, across)`` from ``part`` on to ``sums`` from ``at`` on, in place."""
        _add(sums, *at, scores, *part, down, across)

    def carry(self, sums: Float, rows: int) -> None:
        """Drop the first ``rows`` rows, move the others up, and clear what they leave."""
        held = sums.shape[1] - rows
        for plane in sums:  # one at a time: NumPy copies what an overlapping assignment reads
            plane[:held] = plane[rows:]
            plane[held:] = 0

    def store(self, sums: Float, rows: tuple[int, int], classes: int, stored: Stored) -> Bytes:
        """Rows ``rows`` as bytes; see :meth:`geoseg.blending.accumulator.StripAccumulator.finished`."""
        planes = len(stored.planes(classes))
        result = np.empty((planes, rows[1] - rows[0], sums.shape[2]), np.uint8)
        _store(
            sums, rows[0], classes, stored.confidence, stored.entropy, stored.mutual_information, stored.probabilities,
            result,
        )  # fmt: skip
        return result


@njit(cache=True, nogil=True)
def _add(sums: Float, row: int, col: int, scores: Float, top: int, left: int, down: Float, across: Float) -> None:
    width = len(across)
    for k in range(sums.shape[0]):
        for r in range(len(down)):
            weight = down[r]
            # Slices that begin at 0: an index that may be negative keeps the compiler from vector instructions, which
            # make this three times as fast.
            target = sums[k, row + r, col : col + width]
            source = scores[k, top + r, left : left + width]
            for c in range(width):
                target[c] += source[c] * (weight * across[c])


@njit(cache=True, nogil=True)
def _byte(share: np.float32) -> np.uint8:
    """0..1 as 0..250, to the nearest, ties to even."""
    return np.uint8(np.rint(min(max(share, np.float32(0)), np.float32(1)) * np.float32(FULL)))


@njit(cache=True, nogil=True)
def _store(
    sums: Float,
    first: int,
    classes: int,
    confidence: bool,
    entropy: bool,
    mutual_information: bool,
    probabilities: bool,
    result: Bytes,
) -> None:
    scale = np.float32(1 / np.log(classes)) if classes > 1 else np.float32(0)
    best, unsure = np.empty(result.shape[2], np.float32), np.empty(result.shape[2], np.float32)
    for r in range(result.shape[1]):
        _choose(sums, first + r, classes, result[0, r], best)
        band = 1
        if confidence:
            _put(best, result[band, r])
            band += 1
        if entropy or mutual_information:
            _entropy(sums, first + r, classes, unsure)
        if entropy:
            _put(unsure * scale, result[band, r])
            band += 1
        if mutual_information:
            _put((unsure - sums[classes, first + r]) * scale, result[band, r])
            band += 1
        if probabilities:
            for k in range(classes):
                _put(sums[k, first + r], result[band + k, r])


@njit(cache=True, nogil=True)
def _choose(sums: Float, row: int, classes: int, index: Bytes, best: Float) -> None:
    """The first class with the highest score, and that score; NOTHING where the scores do not sum to about 1."""
    total = np.zeros(len(best), np.float32)
    best[:] = -1
    for k in range(classes):
        plane = sums[k, row]
        for c in range(len(best)):
            value = plane[c]
            total[c] += value
            better = value > best[c]
            best[c] = value if better else best[c]
            index[c] = np.uint8(k) if better else index[c]
    for c in range(len(best)):
        if not total[c] > 0.5:  # also where it is NaN
            index[c] = NOTHING


@njit(cache=True, nogil=True)
def _entropy(sums: Float, row: int, classes: int, unsure: Float) -> None:
    """Entropy in nats."""
    unsure[:] = 0
    for k in range(classes):
        plane = sums[k, row]
        for c in range(len(unsure)):
            p = plane[c]
            if p > 0:
                unsure[c] -= p * np.log(p)


@njit(cache=True, nogil=True)
def _put(shares: Float, target: Bytes) -> None:
    for c in range(len(shares)):
        target[c] = _byte(shares[c])
