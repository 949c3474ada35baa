"""What a client and a scheduler take for regions and parts, each a process of its own beside a process of workers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from common import RunError, run_measured

_HERE = Path(__file__).parent
_START_SECONDS = 60


def load(parts: int, region_parts: int, workers: int, folder: Path) -> dict[str, float]:
    """One run with a scheduler and workers of its own: what the client tells, and what the scheduler took.

    Args:
        parts: Of the run.
        region_parts: Parts of a task.
        workers: That share the work; all in one process.
        folder: Where the parts go; as fast as a disk is, for they are synced one by one.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix="load-") as name, ExitStack() as stack:
        file = Path(name) / "scheduler.json"
        scheduler = stack.enter_context(_running(
            ["-m", "distributed.cli.dask_scheduler", "--scheduler-file", str(file), "--port", "0",
             "--dashboard-address", ":0"]
        ))  # fmt: skip
        address = _address(file, scheduler)
        stack.enter_context(_running([str(_HERE / "fleet.py"), address, str(workers), name]))
        job = {
            "scheduler_file": str(file), "scheduler": scheduler.pid, "workers": workers, "parts": parts,
            "region_parts": region_parts, "folder": str(Path(name) / "run.parts"),
        }  # fmt: skip
        found: dict[str, Any] = run_measured([sys.executable, str(_HERE / "client.py"), json.dumps(job)], timeout=900)
        shutil.rmtree(job["folder"], ignore_errors=True)
    return {"parts": parts, "tasks": -(-parts // region_parts), "workers": workers, **found}


@contextmanager
def _running(arguments: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process while the block runs."""
    environment = os.environ | {"PYTHONPATH": str(_HERE), "DASK_LOGGING__DISTRIBUTED": "critical"}
    process = subprocess.Popen(
        [sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _address(file: Path, scheduler: subprocess.Popen[bytes]) -> str:
    """Where a scheduler listens, once it does."""
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and scheduler.poll() is None:
        try:
            return str(json.loads(file.read_text())["address"])
        except (OSError, ValueError):  # not there yet, or half
            time.sleep(0.05)
    raise RunError(f"no scheduler has started within {_START_SECONDS} s")
