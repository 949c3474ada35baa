"""Parts in an object store, through fsspec: a put is whole or not at all, and seen by all once it is done."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, TypeVar

from geoseg.errors import GeosegError, OutputError, ParameterError, StoreError
from geoseg.parts.ahead import ReadAhead
from geoseg.parts.folders import LOCK, MANIFEST, parse_part_name, parts_named
from geoseg.parts.leases import Lease, leased
from geoseg.parts.stores import Listing
from geoseg.tiling import Window

_log = logging.getLogger("geoseg")

T = TypeVar("T")

PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds between tries of a request that the store does not answer, once it has been reached."""

# Requests at the same time where many small ones are due.
_AT_ONCE = 16

_PACKAGES = {
    "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs",
}  # fmt: skip
_UNFIT = ("file", "local", "http", "https", "ftp", "data", "zip", "tar", "git", "github")

# What stores say that are busy, and what becomes of a connection.
_PASSING = {errno.EIO, errno.EBUSY, errno.ETIMEDOUT, errno.EPIPE, getattr(errno, "EREMOTEIO", errno.EIO)}
_FINAL = (FileNotFoundError, FileExistsError, PermissionError, NotImplementedError)


class ObjectStore:
    """Objects below a URL; see :class:`~geoseg.parts.stores.Store`.

    Args:
        url: Of the run alone, such as ``s3://bucket/prefix/map.tif.parts``.

    Raises:
        ParameterError: Its kind holds no parts, or its package is not installed.
        OutputError: The store is not to be had.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._files, self._root = _connected(self._url)
        self._lease: Lease | None = None
        self._ahead = ReadAhead(self._whole)

    def __str__(self) -> str:
        return self._url

    def named(self, name: str) -> str:
        """See :class:`~geoseg.parts.stores.Store`."""
        return f"{self._url}/{name}"

    def listing(self) -> Listing:
        """See :class:`~geoseg.parts.stores.Store`."""
        parts, foreign, manifest = list[tuple[str, int]](), list[str](), False
        for name, size in sorted(self._listed()):
            if size is not None and parts_named(name):
                parts.append((name, size))
            elif size is not None and name == MANIFEST:
                manifest = True
            elif size is None or name != LOCK:
                foreign.append(name)
        return Listing(tuple(parts), (), tuple(foreign), manifest)

    def found(self, run: str, windows: Collection[Window]) -> Iterator[tuple[Window, str]]:
        """See :class:`~geoseg.parts.stores.Store`. One request for each window: a run may have many thousands."""
        for wanted in windows:
            start = f"{run}_{wanted.row_off}_{wanted.col_off}_{wanted.height}_{wanted.width}_"
            for path, entry in self._ask(partial(self._starting, start)).items():
                name = path.rpartition("/")[2]
                if parts_named(name) and name.startswith(start) and parse_part_name(name)[2] == entry["size"]:
                    yield wanted, name

    def read(self, name: str) -> bytes:
        """See :class:`~geoseg.parts.stores.Store`."""
        return self._ahead.read(name)

    def foresee(self, names: Sequence[str]) -> None:
        """See :class:`~geoseg.parts.stores.Store`."""
        self._ahead.foresee(names)

    def write(self, name: str, data: bytes) -> None:
        """See :class:`~geoseg.parts.stores.Store`."""
        self._ahead.drop(name)
        with self.errors(name):
            self._ask(partial(self._put, name, data))

    def fetch(self, name: str) -> bytes:
        """An object as it is now; raises FileNotFoundError where there is none, else what its package raises."""
        return bytes(self._files.cat_file(self._path(name)))

    def replace(self, name: str, data: bytes) -> None:
        """Make or replace an object."""
        self._files.pipe_file(self._path(name), data)

    def create(self, name: str, data: bytes) -> bool:
        """Make an object unless there is one; False where there is. A store that cannot be told so replaces it."""
        try:
            self._files.pipe_file(self._path(name), data, mode="create")
        except FileExistsError:
            return False
        except (TypeError, ValueError, NotImplementedError):
            self.replace(name, data)
        return True

    def await_file(self, name: str, size: int) -> None:
        """See :class:`~geoseg.parts.stores.Store`. What was put is seen at once: nothing is waited for."""
        with self.errors(name):
            self._ask(self._still_ours)
            try:
                found = self._ask(partial(self._files.info, self._path(name)))["size"]
            except FileNotFoundError:
                found = None
        if found != size:
            raise OutputError(
                f"{self.named(name)} was written by a worker but is not to be seen here: workers and this machine need "
                "the same bucket of the same store; compare their credentials and its address"
            )

    def remove(self, names: Sequence[str]) -> None:
        """See :class:`~geoseg.parts.stores.Store`. By their names, never by a pattern or a prefix."""
        if not names:
            return
        self._ask(partial(self._still_ours, surely=True))
        for name in names:
            self._ahead.drop(name)
        with ThreadPoolExecutor(min(_AT_ONCE, len(names)), "geoseg-remove") as pool:
            for _ in pool.map(self._drop, names):
                pass

    @contextmanager
    def held(self) -> Iterator[None]:
        """See :class:`~geoseg.parts.stores.Store`."""
        with ExitStack() as stack:
            with self.errors(LOCK):
                self._lease = stack.enter_context(leased(self))
            self._ahead.foresee(())  # what was read before may be of a run that was here since
            try:
                yield
            finally:
                self._lease = None
                self._ahead.close()

    @contextmanager
    def errors(self, name: str = "") -> Iterator[None]:
        """See :class:`~geoseg.parts.stores.Store`."""
        where = self.named(name) if name else self._url
        try:
            yield
        except GeosegError:
            raise
        except Exception as error:
            raise StoreError(f"{where} cannot be used ({one_line(error)}); {_remedy(error)}") from error

    def _whole(self, name: str) -> bytes:
        """An object, or an OSError whose number is not that of a failing disk: s3fs gives it to unknown answers."""
        try:
            return self._ask(partial(self.fetch, name))
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            raise ConnectionError(one_line(error)) from error
        except Exception as error:
            raise OSError(one_line(error)) from error

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _listed(self) -> Iterator[tuple[str, int | None]]:
        """(name, bytes) of what is directly below; None for what has more below it."""
        self._files.invalidate_cache()
        try:
            entries: list[dict[str, Any]] = self._files.ls(self._root, detail=True)
        except FileNotFoundError:
            return
        for entry in entries:
            path = str(entry["name"]).rstrip("/")
            if path != self._root.rstrip("/"):  # some programs mark a prefix by an object of its name
                yield path.rpartition("/")[2], entry["size"] if entry["type"] == "file" else None

    def _starting(self, start: str) -> dict[str, Any]:
        """Objects whose names start so; all of them where the store cannot look for that."""
        self._files.invalidate_cache()
        found = self._files.find(self._root, prefix=start, detail=True)
        return {str(path): entry for path, entry in found.items()}

    def _drop(self, name: str) -> None:
        try:
            self._ask(partial(self._files.rm_file, self._path(name)))
        except FileNotFoundError:
            return

    def _put(self, name: str, data: bytes) -> None:
        self._still_ours()  # before each try: it may have been long since the first one
        self.replace(name, data)

    def _still_ours(self, *, surely: bool = False) -> None:
        if self._lease is not None:
            self._lease.check(surely=surely)

    def _ask(self, request: Callable[[], T]) -> T:
        """A request, again after a while where the store does not answer: what runs for days meets that."""
        for pause in PAUSES:
            try:
                return request()
            except _FINAL:
                raise
            except Exception as error:
                if not _passes(error):
                    raise
                _log.warning("%s does not answer (%s); trying again in %.0f s", self._url, one_line(error), pause)
            time.sleep(pause)
        return request()


def one_line(error: BaseException) -> str:
    """What an error says, or its kind."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _connected(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it."""
    import fsspec

    protocol = url.partition("://")[0].lower()
    if "::" in url or protocol in _UNFIT:
        raise ParameterError(f"{url} cannot hold parts; give a folder, or an object store such as s3://bucket/prefix")
    try:
        files, root = fsspec.url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        package = _PACKAGES.get(protocol)
        remedy = f"pip install {package}" if package else "install what it asks for"
        raise ParameterError(f"{url} needs a package that is absent ({one_line(error)}); {remedy}") from error
    except ValueError as error:
        raise ParameterError(f"{url} is no place for parts ({one_line(error)}); try s3://bucket/prefix") from error
    except Exception as error:
        raise StoreError(f"{url} cannot be used ({one_line(error)}); {_remedy(error)}") from error
    return files, root.rstrip("/")


def _passes(error: Exception) -> bool:
    """Whether an error is of the connection or of a busy store. Each package has kinds of its own."""
    kind = type(error).__name__.lower()
    told = isinstance(error, ConnectionError | TimeoutError) or "connect" in kind or "timeout" in kind
    return told or getattr(error, "errno", None) in _PASSING


def _remedy(error: Exception) -> str:
    kind = type(error).__name__.lower()
    if "credential" in kind or "auth" in kind:
        return "it takes credentials here; for S3 set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if isinstance(error, PermissionError):
        return "the credentials must allow to list, read, write and delete there"
    if isinstance(error, FileNotFoundError):
        return "create the bucket, or compare its name and the address of the store"
    if _passes(error):
        return "is the store up, and reached from here? What is finished is kept, run the same command again"
    return "look at the address and at the settings of the store"
