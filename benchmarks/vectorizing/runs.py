"""Running the ways from a raster to polygons, each in a process of its own, in turns."""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import GIB, RunError, run_measured, say

HERE = Path(__file__).resolve().parent

# Seconds beyond which a run is not repeated, and after which it is given up.
_LONG, _TIMEOUT = 20, 1200

GDAL = """
import json, pathlib, runpy, sys, time
from osgeo import gdal
job = json.loads(sys.argv[1])
sys.argv = [job["script"], "-q", job["raster"], "-f", job["format"], job["output"]]
start = time.perf_counter()
try:
    runpy.run_path(job["script"], run_name="__main__")
except SystemExit as end:
    if end.code:
        raise
seconds = time.perf_counter() - start
lines = pathlib.Path("/proc/self/status").read_text().splitlines()
peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
print(json.dumps({"seconds": seconds, "peak": peak * 1024}))
"""


@dataclass(frozen=True, slots=True)
class Way:
    """A way from a raster to polygons.

    Attributes:
        name: In the tables.
        key: In ``ways.py``; None for gdal_polygonize.py.
        suffix: Of the output, which says its format.
        options: More of the job.
    """

    name: str
    key: str | None
    suffix: str = ".gpkg"
    options: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """Seconds of the whole process and of the work in it, and its peak memory in bytes."""

    whole: float
    work: float
    peak: int


def run(way: Way, raster: Path, output: Path) -> Run:
    """Run a way once.

    Raises:
        RunError: It cannot be run here, or failed.
    """
    output.unlink(missing_ok=True)
    job = {"way": way.key, "raster": str(raster), "output": str(output), **dict(way.options)}
    command = [sys.executable, str(HERE / "ways.py"), json.dumps(job)] if way.key else _gdal_command(job, way.suffix)
    start = time.perf_counter()
    found = run_measured(command, timeout=_TIMEOUT)
    taken = Run(time.perf_counter() - start, found["seconds"], found["peak"])
    say(f"{raster.name}, {way.name}: {taken.whole:.2f} s, work {taken.work:.2f} s, {taken.peak / GIB:.3f} GiB")
    return taken


def _gdal_command(job: dict[str, Any], suffix: str) -> list[str]:
    """The script under the Python that its first line names, without what would hide its peak memory."""
    script = shutil.which("gdal_polygonize.py")
    if script is None:
        raise RunError("gdal_polygonize.py is not installed; Debian has it in gdal-bin")
    first = Path(script).read_text().splitlines()[0]
    if not first.startswith("#!"):
        raise RunError(f"{script} does not say which Python runs it")
    formats = {".gpkg": "GPKG", ".fgb": "FlatGeobuf"}
    return [*first[2:].split(), "-c", GDAL, json.dumps({**job, "script": script, "format": formats[suffix]})]


def look(what: str, raster: Path, output: Path, **more: Any) -> dict[str, Any]:
    """What ``checks.py`` finds, in a process of its own."""
    job = {"look": what, "raster": str(raster), "output": str(output), **more}
    return run_measured([sys.executable, str(HERE / "checks.py"), json.dumps(job)], timeout=_TIMEOUT)


def output_of(folder: Path, way: Way) -> Path:
    """Where a way writes: names of its own, so that sidecars do not meet."""
    return folder / f"vectorize-{way.name.replace(' ', '-').replace('.', '-')}{way.suffix}"


def remove(output: Path) -> None:
    """Remove an output and its sidecars."""
    for path in output.parent.glob(f"{output.stem}.*"):
        path.unlink()


@dataclass(slots=True)
class Taken:
    """What the runs of a way took, and why there are none."""

    runs: list[Run]
    reason: str | None = None

    @property
    def whole(self) -> float | None:
        """Median seconds of the process."""
        return statistics.median(r.whole for r in self.runs) if self.runs else None

    @property
    def work(self) -> float | None:
        """Median seconds of the work."""
        return statistics.median(r.work for r in self.runs) if self.runs else None

    @property
    def peak(self) -> int | None:
        """Greatest peak memory in bytes."""
        return max((r.peak for r in self.runs), default=None)

    @property
    def note(self) -> str:
        """How many runs there are, or why none."""
        return self.reason or ("one run" if len(self.runs) == 1 else f"median of {len(self.runs)}")


def in_turns(ways: Sequence[Way], raster: Path, folder: Path, repeat: int) -> dict[Way, Taken]:
    """Every way ``repeat`` times, one after the other; what takes long or fails only once. Outputs are left."""
    taken = {way: Taken([]) for way in ways}
    for _ in range(repeat):
        for way, found in taken.items():
            if found.reason or (found.runs and found.runs[0].whole > _LONG):
                continue
            try:
                found.runs.append(run(way, raster, output_of(folder, way)))
            except RunError as error:
                say(f"{raster.name}, {way.name}: {error}")
                found.reason = str(error)
    return taken
