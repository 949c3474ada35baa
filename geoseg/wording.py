"""How messages list things."""

from __future__ import annotations

from collections.abc import Iterable


def listed(names: Iterable[object], most: int = 3) -> str:
    """The first few, and how many more: ``a.tif, b.tif, c.tif and 4 more``."""
    items = [str(name) for name in names]
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")
