"""The client's side: workers that were looked at, and tasks given out a few at a time."""

from __future__ import annotations

import logging
import secrets
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from geoseg import __version__
from geoseg.distributed.clusters import Cluster
from geoseg.distributed.duties import Opening, Report
from geoseg.distributed.flights import LIGHTER, Event, Flights
from geoseg.distributed.posts import Ground, Post, introduce
from geoseg.distributed.seats import Claim, Seats
from geoseg.errors import ClusterError, LostError
from geoseg.wording import listed

if TYPE_CHECKING:
    from distributed import Client, WorkerPlugin

_log = logging.getLogger("geoseg")

WORKER_SECONDS = 300
"""How long the first worker may take to come: a batch system starts jobs one by one."""

_FORGET_SECONDS = 10.0
_ASKED = 3
_LISTED = 3

# What Dask raises where its scheduler is gone: how it goes decides which, and with it goes the client's handle.
_UNANSWERED = (OSError, RuntimeError, ValueError, AttributeError)


class Crew:
    """The workers of a cluster. Made by :func:`~geoseg.distributed.open_crew`; jobs may use it from several threads.

    Attributes:
        left_out: Workers that get no more tasks.
        reason: Why the last of them does not.
        heard: When each worker last gave a sign of life, to any job.
        seats: How many tasks may be under way, of all jobs together.
        stopped: Whether all jobs are to end.

    Args:
        client: Connected.
        cluster: Where that is.
        cores: Those that workers of our own share; None where they are not ours.
        gpus: How many GPUs they share.

    Raises:
        ClusterError: No worker comes, or one of them has another geoseg.
    """

    def __init__(self, client: Client, cluster: Cluster, cores: tuple[int, ...] | None, gpus: int) -> None:
        self.client = client
        self.cluster = cluster
        self.own = cores is not None
        self.left_out: set[str] = set()
        self.reason = ""
        self.heard: dict[str, float] = {}
        self.seats = Seats()
        self.stopped = False
        self._claims: dict[str, Claim] = {}
        self._lighter: dict[str, str] = {}
        self._leaving = threading.Lock()
        self._ground = f"geoseg-{secrets.token_hex(8)}"
        self._plugin = Ground(cores, cluster.workers or 1, gpus)

    def __enter__(self) -> Crew:
        self._await_workers()
        self._check_versions()
        self._register(self._plugin, self._ground)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._forget(self._ground)

    def workers(self) -> frozenset[str]:
        """Addresses of those that take tasks.

        Raises:
            LostError: The scheduler does not answer.
        """
        try:
            found = frozenset(self.client.nthreads()) - self.left_out
        except _UNANSWERED as error:
            raise self.lost() from error
        self.seats.fit(len(found))
        return found

    def stop(self) -> None:
        """Let all jobs end by :class:`~geoseg.threads.Abandoned`, in whatever thread they are."""
        self.stopped = True

    def lost(self) -> LostError:
        """The error for a scheduler that is gone."""
        where = self.cluster.scheduler or self.cluster.scheduler_file or "this cluster"
        return LostError(f"the scheduler of {where} is lost; what is finished is kept, run the same command again")

    def alone(self, seconds: float) -> LostError:
        """The error for workers that have been gone for so long."""
        why, remedy = "", "start workers and run the same command again"
        if self.left_out:
            why = f", with {len(self.left_out)} left out (the last of them: {self.reason or 'unknown why'})"
            remedy = "see to that, or start other workers, and run the same command again"
        return LostError(f"no worker has been left for {seconds:.0f} s{why}; what is finished is kept: {remedy}")

    @contextmanager
    def posted(self, opening: Opening, claim: Claim | None = None, lighter: str = LIGHTER) -> Iterator[str]:
        """Let workers know a job while the block runs; gives its name.

        Args:
            opening: The job.
            claim: What :attr:`seats` admitted it with, where other jobs run beside it.
            lighter: What its tasks take less memory with, for the user whose workers die of them.

        Raises:
            LostError: The scheduler does not answer.
        """
        name = f"geoseg-{secrets.token_hex(8)}"
        if claim is not None:
            self._claims[name] = claim
        self._lighter[name] = lighter
        try:
            self._register(Post(name, self._ground, opening), name)
            yield name
        finally:
            self._claims.pop(name, None)
            del self._lighter[name]
            self._forget(name)

    def perform(self, post: str, items: deque[Any], *, everywhere: bool = False) -> Iterator[Event]:
        """Do the tasks of a job, in any order, and tell what happens.

        Args:
            post: Name of the job.
            items: Descriptions, small and picklable; taken from the left. More may be added on the way.
            everywhere: Do the only item once on each worker instead.

        Raises:
            LostError: The scheduler is lost, or no worker is left.
            Abandoned: The crew was stopped.
        """
        claim = self._claims.get(post) or self.seats.claim()
        flights = Flights(self, post, items, claim, self._lighter.get(post, LIGHTER))
        try:
            if everywhere:
                flights.send_everywhere(items.popleft())
            yield from flights.events()
        finally:
            flights.cancel()

    def once(self, post: str, item: Any) -> Report:
        """Do one task on any worker.

        Raises:
            LostError: The scheduler is lost, or no worker is left.
        """
        [report] = [e.report for e in self.perform(post, deque([item])) if e.report is not None]
        return report

    def leave_out(self, worker: str, why: str) -> None:
        """Give a worker no more tasks; start it anew where it is ours."""
        with self._leaving:
            if worker in self.left_out:
                return
            self.left_out.add(worker)
            self.reason = why
        _log.warning("worker %s is left out: %s", worker, why)
        if self.own:
            with suppress(OSError, RuntimeError, ValueError, TimeoutError):
                self.client.restart_workers([worker], timeout=30, raise_for_error=False)

    def _await_workers(self) -> None:
        if not self.workers():
            _log.info("waiting for workers at %s", self.client.scheduler.address)  # type: ignore[union-attr]
        try:
            self.client.wait_for_workers(1, timeout=WORKER_SECONDS)
        except TimeoutError as error:
            raise ClusterError(f"no worker has come to the scheduler within {WORKER_SECONDS} s; start some") from error

    def _check_versions(self) -> None:
        """See that all workers have this geoseg."""
        found = self.client.run(introduce, on_error="return")
        bad = {worker: version for worker, version in found.items() if version != __version__}
        missing = {worker: version for worker, version in bad.items() if isinstance(version, BaseException)}
        if missing:
            raise ClusterError(
                f"no usable geoseg on {_some(missing)}; install geoseg {__version__} with what it needs on all workers"
            )
        if bad and not self.cluster.allow_mixed:
            raise ClusterError(
                f"geoseg is {__version__} here but not on {_some(bad)}; install one version everywhere, or give "
                "--allow-mixed (allow_mixed=True)"
            )

    def _register(self, plugin: WorkerPlugin, name: str) -> None:
        """Give a plugin to all workers.

        The scheduler keeps it for those that come later before it asks those that are there; one that is lost on the
        way makes it complain, and is asked no more.

        Raises:
            LostError: The scheduler does not answer.
        """
        for _ in range(_ASKED):
            try:
                self.client.register_plugin(plugin, name=name)
            except _UNANSWERED as error:
                lost = error
            else:
                return
        raise self.lost() from lost

    def _forget(self, plugin: str) -> None:
        """Take a plugin from all workers; one that is cut off would be waited for for ever."""
        if self.client.status != "running":
            return

        def forget() -> None:
            with suppress(Exception):  # the scheduler may go this very moment, and nothing depends on it
                self.client.unregister_worker_plugin(plugin)

        thread = threading.Thread(target=forget, name="geoseg-forget", daemon=True)
        thread.start()
        thread.join(_FORGET_SECONDS)


def _some(workers: dict[str, Any]) -> str:
    told = [f"worker {name} ({' '.join(str(what).split())[:80]})" for name, what in workers.items()]
    return listed(told, _LISTED)
