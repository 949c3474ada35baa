"""Workers with addresses of their own: each in a network namespace, on a bridge, all of it inside namespaces of ours.

Run as a program it is the machine of the client and of the scheduler. Nothing of this reaches the network of the real
machine or needs its root, and the kernel takes namespaces, links and bridge away with the last process in them.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

WAYS = (["unshare", "--user", "--map-root-user", "--net"], ["unshare", "--net"])
_TRIAL = "ip link add b0 type bridge && ip link add v0 type veth peer name v1 && unshare --net true"
_NET = "10.231.77"
_QUIET: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
_WORKER = """
read -r ready
ip link set lo up && ip addr add "$1/24" dev eth0 && ip link set eth0 up && shift && exec "$@"
"""


def find_way() -> tuple[list[str], str]:
    """What a command begins with to have a network of its own; or else why it cannot."""
    missing = [name for name in ("unshare", "ip") if shutil.which(name) is None]
    if missing:
        return [], f"there is no {' and no '.join(missing)} to make network namespaces with"
    said = ""
    for way in WAYS:
        tried = subprocess.run([*way, "sh", "-c", _TRIAL], capture_output=True, text=True, timeout=20, check=False)
        if tried.returncode == 0:
            return way, ""
        said = said or " ".join(tried.stderr.split())
    return [], f"network namespaces are not allowed here: {said}"


def run_there(way: list[str], plan: dict[str, Any], seconds: float) -> list[dict[str, Any]]:
    """Do the runs of a plan, see :func:`main`, and give what each told. Whatever happens, no process is left."""
    command = [*way, sys.executable, __file__, json.dumps(plan)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            out, err = process.communicate(timeout=seconds)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, err[-3000:]
    told: list[dict[str, Any]] = json.loads(out.splitlines()[-1])
    return told


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, timeout=20)


class Machines:
    """A scheduler here, and workers that are reached over a bridge.

    Args:
        folder: Where the scheduler's file and Dask's own folders go.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / "scheduler.json"
        self._folder = folder
        self._workers: list[subprocess.Popen[bytes]] = []  # those that are meant to live
        self._all: list[subprocess.Popen[bytes]] = []
        _ip("link", "set", "lo", "up")
        _ip("link", "add", "bridge", "type", "bridge")
        _ip("addr", "add", f"{_NET}.1/24", "dev", "bridge")
        _ip("link", "set", "bridge", "up")
        options = ["--host", f"{_NET}.1", "--port", "0", "--scheduler-file", str(self.file), "--no-dashboard"]
        self._scheduler = subprocess.Popen([sys.executable, "-m", "distributed.cli.dask_scheduler", *options], **_QUIET)
        self._until(self.file.exists, 120)

    def add(self) -> None:
        """Start a worker on a machine of its own."""
        number = len(self._all)
        address = f"{_NET}.{10 + number}"
        worker = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", _WORKER, "sh", address, sys.executable, "-m",
             "distributed.cli.dask_worker", "--scheduler-file", str(self.file), "--host", address, "--nthreads", "1",
             "--no-nanny", "--no-dashboard", "--local-directory", str(self._folder / "dask")],
            stdin=subprocess.PIPE, **_QUIET,
        )  # fmt: skip
        self._all.append(worker)
        ours = Path("/proc/self/ns/net").readlink()
        self._until(lambda: Path(f"/proc/{worker.pid}/ns/net").readlink() != ours, 20)
        _ip("link", "add", f"port{number}", "type", "veth", "peer", "name", "eth0", "netns", str(worker.pid))
        _ip("link", "set", f"port{number}", "master", "bridge", "up")
        assert worker.stdin is not None
        worker.stdin.write(b"ready\n")
        worker.stdin.close()
        self._workers.append(worker)

    def await_workers(self) -> None:
        """Wait until those that are meant to live have come."""
        from distributed import Client

        with Client(scheduler_file=str(self.file), set_as_default=False) as client:
            client.wait_for_workers(len(self._workers), timeout=120)

    def kill(self) -> str:
        """Kill the last worker that was started; gives its address."""
        worker = self._workers.pop()
        worker.kill()
        worker.wait()
        return f"{_NET}.{9 + len(self._all)}"

    def cut(self) -> str:
        """Take away the link of the last worker that was started, which goes on and knows nothing of it."""
        self._workers.pop()
        _ip("link", "set", f"port{len(self._all) - 1}", "down")
        return f"{_NET}.{9 + len(self._all)}"

    def close(self) -> None:
        """Kill all that was started here."""
        for process in (*self._all, self._scheduler):
            process.kill()
            process.wait()

    @staticmethod
    def _until(true: Any, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end
            time.sleep(0.05)


class Told(logging.Handler):
    """What a run tells: who did how many tasks, what was lost when, and what the log said of it."""

    def __init__(self, machines: Machines, lose: str | None) -> None:
        super().__init__(logging.WARNING)
        self.record: dict[str, Any] = {"lose": lose, "lost": None, "warnings": [], "done": Counter()}
        self._machines, self._lose, self._lost_at = machines, lose, 0.0

    def progress(self, done: int, total: int) -> None:
        """Lose a worker once a fifth of the run is done."""
        if self._lose and not self._lost_at and done > total / 5:
            self.record["lost"] = getattr(self._machines, self._lose)()
            self.record["share"] = done / total
            self._lost_at = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        if self._lost_at:
            self.record["warnings"].append([time.monotonic() - self._lost_at, record.getMessage()])

    def end(self) -> None:
        self.record["seconds"] = time.monotonic() - self._lost_at if self._lost_at else None


def watch_reports(told: Told) -> Any:
    """A ``Crew.perform`` that counts whose reports come."""
    from geoseg.distributed.crew import Crew

    perform = Crew.perform

    def watched(self: Crew, post: str, items: deque[Any], **options: Any) -> Iterator[Any]:
        for event in perform(self, post, items, **options):
            if event.report is not None:
                told.record["done"][event.report.worker] += 1
                told.record["last"] = time.monotonic() - told._lost_at
            yield event

    return watched


def main() -> None:
    """Do runs one after the other on so many workers; the plan says ``folder``, ``workers`` and ``runs``.

    A run says what it loses ('kill', 'cut' or None), and the arguments of :func:`geoseg.predict`; before it the workers
    are as many as planned.
    """
    plan = json.loads(sys.argv[1])
    machines = Machines(Path(plan["folder"]))
    try:
        print(json.dumps(do_runs(machines, plan)))
    finally:
        machines.close()


def do_runs(machines: Machines, plan: dict[str, Any]) -> list[dict[str, Any]]:
    """The runs of a plan, and what each told."""
    from geoseg.distributed.crew import Crew
    from geoseg.inference import predict, steps

    steps.STEP_PIXELS = 1  # many parts
    perform, log, found = Crew.perform, logging.getLogger("geoseg"), []
    for run in plan["runs"]:
        while len(machines._workers) < plan["workers"]:
            machines.add()
        machines.await_workers()
        told = Told(machines, run["lose"])
        Crew.perform = watch_reports(told)  # type: ignore[method-assign]
        log.addHandler(told)
        try:
            predict(*run["files"], scheduler_file=machines.file, progress=told.progress, **run["choices"])
            told.end()
        finally:
            log.removeHandler(told)
            Crew.perform = perform  # type: ignore[method-assign]
        found.append(told.record)
    return found


if __name__ == "__main__":
    main()
