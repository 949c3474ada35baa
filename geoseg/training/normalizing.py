"""The scaling of :class:`~geoseg.normalization.BandStats`, for batches on any device."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from geoseg.errors import ParameterError
from geoseg.normalization import BandStats


def normalize_batch(pixels: torch.Tensor, present: torch.Tensor | None, stats: BandStats) -> torch.Tensor:
    """Scale to zero mean and unit variance; what is absent becomes 0, the mean.

    Identity: on a CPU the same bits as :meth:`BandStats.normalize`, image by image.

    Args:
        pixels: (B, C, H, W), any real dtype, as stored; left as they are.
        present: (B, 1 or C, H, W) bool, False where a sample is no data; None where all is data.
        stats: One mean and standard deviation a band.

    Returns:
        (B, C, H, W) float32 on the device of ``pixels``.

    Raises:
        ParameterError: ``stats`` are for another number of bands.
    """
    if pixels.shape[1] != len(stats.mean):
        raise ParameterError(f"{pixels.shape[1]} bands given, statistics are for {len(stats.mean)}")
    mean, scale = _on_device(stats, pixels.device)
    scaled = pixels.to(torch.float32)
    if present is not None:
        scaled = torch.where(present, scaled, mean)
    return (scaled - mean).mul_(scale)


# A copy from pageable memory makes the GPU wait, so that it is made once and not for each batch.
@lru_cache(maxsize=16)
def _on_device(stats: BandStats, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and factor of the bands, (1, C, 1, 1) float32 each."""
    mean = np.asarray(stats.mean, np.float32)
    scale = (1.0 / np.asarray(stats.std, np.float64)).astype(np.float32)
    with torch.inference_mode(mode=False):  # validation may come first, and what it makes training could not use
        return _bands(mean, device), _bands(scale, device)


def _bands(values: np.ndarray[tuple[int], np.dtype[np.float32]], device: torch.device) -> torch.Tensor:
    """(1, C, 1, 1)."""
    return torch.from_numpy(values).to(device).view(1, -1, 1, 1)
