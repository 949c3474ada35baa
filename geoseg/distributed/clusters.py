"""Which cluster: workers on this machine, one that exists, or a client that the caller has."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from geoseg.errors import ClusterError, ParameterError
from geoseg.processors import cores

if TYPE_CHECKING:
    from distributed import Client

    from geoseg.distributed.crew import Crew

_log = logging.getLogger("geoseg")

_CONNECT_SECONDS = 30


class ClusterChoices(TypedDict, total=False):
    """Keyword arguments of what can run on a cluster, as :class:`Cluster` describes them."""

    workers: int | None
    scheduler: str | None
    scheduler_file: str | Path | None
    client: Client | None
    region_parts: int | None
    task_timeout: float | None
    allow_mixed: bool


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where a job runs, and how.

    Attributes:
        workers: So many processes on this machine, which share its cores, or take turns at its GPUs.
        scheduler: Address of a Dask scheduler, such as ``tcp://host:8786``.
        scheduler_file: File in which a scheduler wrote its address, on a disk that all see.
        client: A ``distributed.Client`` that the caller has and keeps.
        region_parts: Parts that one task makes; default is as few as recompute at most 5 % of the tiles.
        task_timeout: Seconds after which a worker that gives no sign of life loses its task to another; default is ten
            times what the longest part took, at least ten minutes.
        allow_mixed: Whether workers may differ in what changes pixels: geoseg's version, backend, precision.

    Raises:
        ParameterError: More than one of the first four is given, or a number is out of range.
    """

    workers: int | None = None
    scheduler: str | None = None
    scheduler_file: str | Path | None = None
    client: Client | None = None
    region_parts: int | None = None
    task_timeout: float | None = None
    allow_mixed: bool = False

    def __post_init__(self) -> None:
        places = {name: getattr(self, name) for name in ("workers", "scheduler", "scheduler_file", "client")}
        named = [name for name, value in places.items() if value is not None]
        if len(named) > 1:
            raise ParameterError(f"{' and '.join(named)} both say where to compute; give one of them")
        if self.workers is not None and self.workers < 1:
            raise ParameterError(f"{self.workers} workers compute nothing; give 1 or more, or leave workers out")
        if self.region_parts is not None and self.region_parts < 1:
            raise ParameterError(f"a task of {self.region_parts} parts makes nothing; give region_parts of 1 or more")
        if self.task_timeout is not None and not self.task_timeout > 0:
            raise ParameterError(f"task_timeout must be a number of seconds above 0, not {self.task_timeout}")
        if not named and (self.region_parts or self.task_timeout or self.allow_mixed):
            raise ParameterError(
                "region_parts, task_timeout and allow_mixed concern a cluster; give workers, scheduler, scheduler_file "
                "or client too"
            )

    @property
    def named(self) -> bool:
        """Whether there is any; else all runs in this process."""
        return any(v is not None for v in (self.workers, self.scheduler, self.scheduler_file, self.client))


def split_choices(choices: Mapping[str, Any]) -> tuple[Cluster, Any]:
    """Keyword arguments that say where, and all others.

    Raises:
        ParameterError: Those do not do.
    """
    names = {field.name for field in fields(Cluster)}
    where = {name: value for name, value in choices.items() if name in names}
    return Cluster(**where), {name: value for name, value in choices.items() if name not in names}


@contextmanager
def open_crew(cluster: Cluster, gpus: int = 0) -> Iterator[Crew]:
    """Connect to the workers of a cluster, and start them where they are ours.

    Args:
        cluster: One that is named.
        gpus: GPUs of this machine that its own workers take turns at.

    Raises:
        ParameterError: Dask is not installed.
        ClusterError: There is no scheduler, no worker comes, or one of them has another geoseg.
    """
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise ParameterError(f"clusters need Dask ({error}); pip install 'geoseg[dask]'") from error
    from geoseg.distributed.crew import Crew

    with ExitStack() as stack:
        client = cluster.client or stack.enter_context(_connected(cluster))
        own = _own_cores() if cluster.workers is not None else None
        _log.info("dashboard of Dask: %s", client.dashboard_link)
        yield stack.enter_context(Crew(client, cluster, own, gpus))


def _own_cores() -> tuple[int, ...]:
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else tuple(range(cores()))


@contextmanager
def _connected(cluster: Cluster) -> Iterator[Client]:
    from distributed import Client

    with ExitStack() as stack:
        address: Any = cluster.scheduler
        if cluster.workers is not None:
            address = stack.enter_context(_local(cluster.workers))
        named = {"address": address} if address is not None else {"scheduler_file": str(cluster.scheduler_file)}
        if cluster.scheduler_file is not None and not Path(cluster.scheduler_file).is_file():
            raise ClusterError(f"there is no scheduler file {cluster.scheduler_file}; has the scheduler started?")
        try:
            client = Client(**named, timeout=_CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            where = cluster.scheduler or cluster.scheduler_file
            raise ClusterError(f"no Dask scheduler answers at {where} ({_first_line(error)})") from error
        yield stack.enter_context(client)


@contextmanager
def _local(workers: int) -> Iterator[Any]:
    """Processes of this machine. Memory is theirs to use: what is checked beforehand needs no one to pause them."""
    from distributed import LocalCluster

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Port .* is already in use")
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                memory_limit=0,
                dashboard_address="localhost:8787",
                silence_logs=logging.CRITICAL,
            )
    except (OSError, RuntimeError) as error:
        raise ClusterError(f"{workers} workers could not be started here: {_first_line(error)}") from error
    with cluster:
        yield cluster


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
