"""The client of a prediction without a network: regions given out, parts taken over, with what that takes.

usage: python benchmarks/scaling/client.py JOB

The job is JSON: ``scheduler_file``, ``scheduler`` (its process), ``workers`` to wait for, ``parts``, ``region_parts``,
``folder`` for the run. The last line on stdout is JSON again. What runs is the client's own loop,
:meth:`Clustered.compute`, on parts of 64 pixels.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from duties import Writing

from geoseg.distributed import Cluster, open_crew
from geoseg.inference.clustered import Clustered
from geoseg.inference.pipeline import STAGES
from geoseg.parts import Run, join_run, open_run
from geoseg.threads import Stopwatch
from geoseg.tiling import TileGrid, Window

SIDE = 8
"""Of a part."""


def main(job: dict[str, Any]) -> dict[str, float]:
    """Do it, and tell seconds, peaks in bytes and seconds of processor time."""
    parts, folder = job["parts"], Path(job["folder"])
    steps = [Window(SIDE * i, 0, SIDE, SIDE) for i in range(parts)]
    stub = SimpleNamespace(grid=TileGrid(SIDE * parts, SIDE, SIDE, 0), steps=steps)
    cluster = Cluster(scheduler_file=job["scheduler_file"], region_parts=job["region_parts"])
    with open_crew(cluster) as crew, open_run(folder, {"benchmark": True}, ["labels"]) as run:
        crew.client.wait_for_workers(job["workers"], timeout=120)
        clustered = Clustered(crew)
        with crew.posted(Writing(folder, run.id)) as post:
            clustered._post = post  # instead of prepare(), which would open a scene and load a network
            before, begin = _state(job["scheduler"]), time.perf_counter()
            clustered.compute(stub, run, lambda _: None, Stopwatch(STAGES))
            seconds, after = time.perf_counter() - begin, _state(job["scheduler"])
        if len(run.done) != parts:
            raise RuntimeError(f"{len(run.done)} of {parts} parts were made")
        listing = _listing(folder, run, steps[-1])
        run.finish()
    cpu = {name: after[name] - before[name] for name in ("client_cpu", "scheduler_cpu")}
    return {**after, **cpu, "seconds": seconds, "before": before["client_peak"], "listing": listing}


def _listing(folder: Path, run: Run, step: Window) -> float:
    """Seconds that a worker takes to see what of its region is there."""
    found = []
    for _ in range(5):
        begin = time.perf_counter()
        join_run(folder, run.id, (step,), lambda *_: None)
        found.append(time.perf_counter() - begin)
    return statistics.median(found)


def _state(scheduler: int) -> dict[str, float]:
    """Bytes of memory that client and scheduler held at most so far, and seconds of processor time that they took."""
    return {
        "client_peak": _peak("self"), "client_cpu": time.process_time(),
        "scheduler_peak": _peak(scheduler), "scheduler_cpu": _cpu(scheduler),
    }  # fmt: skip


def _peak(pid: int | str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
