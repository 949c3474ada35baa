"""Arithmetic that repeats bit for bit, and chance that is a function of where the training is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils import deterministic


@contextmanager
def repeatable(seed: int, strict: bool = True) -> Iterator[None]:
    """Seed torch, and refuse operations that do not repeat; afterwards everything is as it was.

    Args:
        seed: Of torch's own random numbers.
        strict: Whether anything is refused.
    """
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = deterministic  # has no type information
    fill = memory.fill_uninitialized_memory
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(strict)
        # Nothing here reads memory before writing it, and filling it first takes a quarter of the time.
        memory.fill_uninitialized_memory = False
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before, warn_only=warn_only)
            memory.fill_uninitialized_memory = fill


def seed_step(seed: int, epoch: int, step: int, rank: int) -> torch.Generator:
    """Seed torch for one step of a training, and make the generator of its augmentation.

    No random number is carried from one step to the next: a training that is resumed draws what it would have drawn.

    Args:
        seed: Of the training.
        epoch: From 0.
        step: Batch of the epoch, from 0.
        rank: Of the process among those that train together.
    """
    own, augmentation = np.random.SeedSequence([seed, epoch, step, rank]).generate_state(2, np.uint64)
    torch.manual_seed(int(own) >> 1)
    return torch.Generator().manual_seed(int(augmentation) >> 1)
