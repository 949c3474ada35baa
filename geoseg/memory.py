"""How much memory there is, asked before a job that needs much of it."""

from __future__ import annotations

from pathlib import Path

from geoseg.errors import ResourceError

_GIB = 2**30


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
