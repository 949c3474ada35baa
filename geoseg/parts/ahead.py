"""Parts that lie far away, fetched a few ahead of where they are put together."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

AHEAD = 4
"""Parts that are under way beside the one that is read; each has some megabytes."""

# Of one that was read: its planes are asked for one by one, and the seam to the next one needs both.
_KEPT = 2


class ReadAhead:
    """Whole files by name, of which those that come next are fetched meanwhile. Used by one thread.

    Args:
        fetch: Gets a file; called in other threads too.
    """

    def __init__(self, fetch: Callable[[str], bytes]) -> None:
        self._fetch = fetch
        self._pool: ThreadPoolExecutor | None = None
        self._next: deque[str] = deque()
        self._coming: dict[str, Future[bytes]] = {}
        self._kept: OrderedDict[str, bytes] = OrderedDict()

    def foresee(self, names: Iterable[str]) -> None:
        """Files that will be read in this order."""
        self._forget()
        self._next = deque(names)
        if self._next and self._pool is None:
            self._pool = ThreadPoolExecutor(AHEAD, "geoseg-ahead")

    def read(self, name: str) -> bytes:
        """A file, whether it was foreseen or not; raises what ``fetch`` raises."""
        if name not in self._kept:
            coming = self._coming.pop(name, None)
            if coming is None and name in self._next:
                while self._next.popleft() != name:
                    pass
            self._start()
            self._kept[name] = self._fetch(name) if coming is None else coming.result()
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return self._kept[name]

    def drop(self, name: str) -> None:
        """A file has changed or gone."""
        self._kept.pop(name, None)
        self._coming.pop(name, None)

    def close(self) -> None:
        """Give threads and memory back."""
        self._forget()
        self._next.clear()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def _start(self) -> None:
        while self._pool is not None and self._next and len(self._coming) < AHEAD:
            name = self._next.popleft()
            self._coming[name] = self._pool.submit(self._fetch, name)

    def _forget(self) -> None:
        for future in self._coming.values():
            future.cancel()
        self._coming.clear()
        self._kept.clear()
