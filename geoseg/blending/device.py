"""The arithmetic of blending where the network runs: torch on a GPU. Only bytes leave the device."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

from geoseg.blending.stored import FULL, NOTHING, Stored

Float = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Place = tuple[int, int]


class DeviceArithmetic:
    """Score planes as torch tensors on ``device``; see :class:`geoseg.blending.host.HostArithmetic`."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def zeros(self, shape: tuple[int, int, int]) -> torch.Tensor:
        """(planes, rows, columns) float32 of zeros."""
        return torch.zeros(shape, dtype=torch.float32, device=self._device)

    @torch.inference_mode()
    def add(self, sums: torch.Tensor, at: Place, scores: torch.Tensor, part: Place, down: Float, across: Float) -> None:
        """Add ``scores · outer(down, across)`` from ``part`` on to ``sums`` from ``at`` on, in place."""
        rows, cols = (torch.from_numpy(w).to(self._device, non_blocking=True) for w in (down, across))
        target = sums[:, at[0] : at[0] + len(down), at[1] : at[1] + len(across)]
        source = scores[:, part[0] : part[0] + len(down), part[1] : part[1] + len(across)]
        target.addcmul_(source, torch.outer(rows, cols))

    @torch.inference_mode()
    def carry(self, sums: torch.Tensor, rows: int) -> None:
        """Drop the first ``rows`` rows, move the others up, and clear what they leave."""
        held = sums.shape[1] - rows
        sums[:, :held] = sums[:, rows:].clone()
        sums[:, held:] = 0

    @torch.inference_mode()
    def store(self, sums: torch.Tensor, rows: tuple[int, int], classes: int, stored: Stored) -> Bytes:
        """Rows ``rows`` as bytes; see :meth:`geoseg.blending.accumulator.StripAccumulator.finished`."""
        sums = sums[:, rows[0] : rows[1]]
        best, index = sums[0].clone(), torch.zeros_like(sums[0], dtype=torch.uint8)
        for k in range(1, classes):  # not argmax: which of equal classes it takes is not defined on a GPU
            better = sums[k] > best
            index.masked_fill_(better, k)
            torch.maximum(best, sums[k], out=best)
        total = sums[:classes].sum(0)
        index.masked_fill_(~(total > 0.5), NOTHING)
        planes = [index]
        if stored.confidence:
            planes.append(_bytes(best))
        if stored.entropy or stored.mutual_information:
            scale = 1 / math.log(classes) if classes > 1 else 0.0
            unsure = torch.special.entr(sums[:classes].clamp_min(0)).sum(0)
            if stored.entropy:
                planes.append(_bytes(unsure * scale))
            if stored.mutual_information:
                planes.append(_bytes((unsure - sums[classes]) * scale))
        if stored.probabilities:
            planes.extend(_bytes(sums[k]) for k in range(classes))
        result: Bytes = torch.stack(planes).cpu().numpy()
        return result


def _bytes(share: torch.Tensor) -> torch.Tensor:
    """0..1 as 0..250, to the nearest, ties to even."""
    return (share.clamp(0, 1) * FULL).round().to(torch.uint8)
