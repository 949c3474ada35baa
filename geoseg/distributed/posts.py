"""Worker plugins and the task itself: what of Dask there is on a worker."""

from __future__ import annotations

import os
import threading
from collections import deque
from contextlib import ExitStack
from typing import Any

from distributed import Worker, WorkerPlugin, get_worker

from geoseg import __version__
from geoseg.distributed.duties import Duty, Failure, Opening, Place, Report

STARTED, OPENED = "started", "opened"
"""What a task tells first: that it begins to open what its job shares, and that this is open."""


class Ground(WorkerPlugin):
    """What all jobs of a client share on a worker: its place, and one task at a time.

    Args:
        cores: Cores of this machine that the workers share, each its own; None on a cluster that is not ours.
        workers: How many workers share them.
        gpus: How many GPUs they share.
    """

    def __init__(self, cores: tuple[int, ...] | None, workers: int, gpus: int) -> None:
        self._cores, self._workers, self._gpus = cores, workers, gpus

    def setup(self, worker: Worker) -> None:
        """Take a share of the machine before anything is loaded that counts cores or GPUs."""
        self.lock = threading.Lock()
        self._over: deque[ExitStack | Place] = deque()
        self.place = Place(worker.address, not worker.address.startswith("inproc"), worker.state.nthreads)
        if self._cores is None or not self.place.alone or not isinstance(worker.name, int):
            return
        if self._gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = str(worker.name % self._gpus)
        self.place.threads = len(share_of(self._cores, worker.name % self._workers, self._workers))

    def teardown(self, worker: Worker) -> None:  # noqa: ARG002 - the signature is Dask's
        """Give back what was kept, now or at the end of the task that still uses it."""
        self.close(self.place)

    def close(self, what: ExitStack | Place) -> None:
        """Close something, now or at the end of the task that runs, whichever job that is of."""
        self._over.append(what)
        self.close_over()

    def close_over(self) -> None:
        """Close what is over, unless a task runs: that calls this at its end."""
        while self._over and self.lock.acquire(blocking=False):
            try:
                while self._over:
                    self._over.popleft().close()
            finally:
                self.lock.release()


class Post(WorkerPlugin):
    """What the tasks of one job share on a worker, opened by the first of them.

    Args:
        name: Of the job.
        ground: Name of the :class:`Ground`.
        opening: What is opened.
    """

    def __init__(self, name: str, ground: str, opening: Opening) -> None:
        self.name = name
        self._ground, self._opening = ground, opening

    def setup(self, worker: Worker) -> None:
        """Nothing is opened before there is a task."""
        self._worker = worker
        self._stack = ExitStack()
        self._duty: Duty | None = None
        self._over = False

    def teardown(self, worker: Worker) -> None:
        """Close what is open, now or at the end of the task that still uses it."""
        self._over = True
        _ground(worker, self._ground).close(self._stack)

    def perform(self, token: str, item: Any) -> Report:
        """Do one task; an error becomes a report."""
        key, worker, ground = key_of(self.name, token), self._worker, _ground(self._worker, self._ground)

        def tell(values: list[Any]) -> None:
            worker.log_event(self.name, [key, worker.address, values])

        def wanted() -> bool:
            task = worker.state.tasks.get(key)
            return not self._over and task is not None and task.state in ("executing", "long-running")

        try:
            with ground.lock:
                if self._over:  # while it waited for a task of another job
                    return Report(worker.address, failure=Failure("LookupError", f"{self.name} is over"))
                if self._duty is None:
                    tell([STARTED])
                    self._duty = self._stack.enter_context(self._opening.open(ground.place))
                tell([OPENED])
                return Report(worker.address, self._duty(item, tell, wanted))
        except Exception as error:  # noqa: BLE001 - told to the client, who judges it
            return Report(worker.address, failure=Failure.of(error))
        finally:
            ground.close_over()


def key_of(post: str, token: str) -> str:
    """Dask's name of a task."""
    return f"{post}-{token}"


def perform(post: str, token: str, item: Any) -> Report:
    """The task that Dask runs."""
    worker = get_worker()
    plugin = worker.plugins.get(post)
    if not isinstance(plugin, Post):  # the job is over, or the worker has only just come
        return Report(worker.address, failure=Failure("LookupError", f"{worker.address} does not know the job"))
    return plugin.perform(token, item)


def share_of(cores: tuple[int, ...], index: int, workers: int) -> tuple[int, ...]:
    """The cores of one of so many workers: neighbours, as many for each, and no core twice while there are enough."""
    count = max(1, len(cores) // workers)
    return cores[index * count : (index + 1) * count] or (cores[index % len(cores)],)


def introduce() -> str:
    """What a worker says of itself before anything else."""
    return __version__


def _ground(worker: Worker, name: str) -> Ground:
    found = worker.plugins[name]
    assert isinstance(found, Ground)
    return found
