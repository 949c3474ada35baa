"""How many processors there are for this process."""

from __future__ import annotations

import os


class _Share:
    cores: int | None = None


def cores() -> int:
    """Processor cores that this process may use."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return found if _Share.cores is None else min(found, _Share.cores)


def limit_cores(count: int) -> None:
    """Leave the other cores to the processes beside this one.

    Args:
        count: Cores for this process, from now on.
    """
    _Share.cores = max(1, count)
