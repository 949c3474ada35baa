"""How much memory there is, asked before a job that needs much of it; and how what is freed is kept."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from geoseg.errors import ResourceError

_GIB = 2**30

# Of malloc.h. The value is the largest that glibc goes up to by itself, on 64 bits; memory is trimmed at twice as much.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_MMAP_THRESHOLD = 32 * 2**20

_OF_DASK = ("MALLOC_TRIM_THRESHOLD_", "65536")


def free_memory() -> int | None:
    """Bytes this process can get: what the system has left, or what its control group allows; None where unknown."""
    fields = dict(line.split(":", 1) for line in _text(Path("/proc/meminfo")).splitlines() if ":" in line)
    if "MemAvailable" not in fields:
        return None
    free = int(fields["MemAvailable"].split()[0]) * 1024
    limit, used = (_text(Path("/sys/fs/cgroup") / name).strip() for name in ("memory.max", "memory.current"))
    return min(free, int(limit) - int(used)) if limit.isdigit() and used.isdigit() else free


def require_memory(needed: int, what: str, remedy: str) -> None:
    """See that ``needed`` bytes are there.

    Raises:
        ResourceError: They are not; the message gives both figures.
    """
    free = free_memory()
    if free is not None and needed > free:
        raise ResourceError(
            f"{what} needs about {needed / _GIB:.1f} GiB of memory but {free / _GIB:.1f} GiB are available; {remedy}"
        )


def keep_freed_memory() -> bool:
    """Let glibc keep what is freed for what is asked for next, as it does where nothing else is set.

    Dask starts its workers with ``MALLOC_TRIM_THRESHOLD_=65536``, after which glibc gives every array of more than
    128 KiB back at once and maps the next one anew, page by page: networks under torch then take 1.6 times as long.
    A threshold that somebody else has chosen stays.

    Returns:
        Whether it was told to.
    """
    if os.environ.get(_OF_DASK[0]) != _OF_DASK[1]:
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        return False
    settings = ((_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD), (_M_TRIM_THRESHOLD, 2 * _LARGEST_MMAP_THRESHOLD))
    return all(mallopt(what, size) == 1 for what, size in settings)


def _text(path: Path) -> str:
    """Content of a small system file; empty where there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def used_memory() -> int:
    """Bytes that this process holds now; 0 where unknown."""
    for line in _text(Path("/proc/self/status")).splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def peak_memory() -> int | None:
    """Most bytes that this process ever held at once; None where unknown."""
    for line in _text(Path("/proc/self/status")).splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None
