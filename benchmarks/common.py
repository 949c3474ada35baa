"""What the benchmarks share: options, sizes, runs in a process of their own, Markdown tables."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

FOLDER = Path(tempfile.gettempdir()) / "geoseg-benchmarks"
"""Where scenes and networks are kept from one run to the next."""

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Real imagery, beside the checkout."""

GIB = 2**30

# Left to everything else on the machine when a run is watched, and what a run needs to begin with.
_SPARE, _LEAST = 1.5 * GIB, 2 * GIB


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large everything is.

    Attributes:
        tile: Side of a network input.
        overlap: Pixels that neighbouring tiles share.
        base: Side of the scene that all others are cut from or mirrored out of.
        scene: Side of the scene that is timed.
        steps: Training steps.
    """

    tile: int
    overlap: int
    base: int
    scene: int
    steps: int


FULL = Sizes(tile=512, overlap=128, base=4096, scene=4096, steps=100)
QUICK = Sizes(tile=256, overlap=64, base=1280, scene=1024, steps=8)


def parse(description: str | None, add: Callable[[argparse.ArgumentParser], None] | None = None) -> argparse.Namespace:
    """The options that every benchmark has, and ``sizes`` for what ``--quick`` says."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes: to see that it works, not to measure")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="kept from run to run (default: %(default)s)")
    if add is not None:
        add(parser)
    args = parser.parse_args()
    args.sizes = QUICK if args.quick else FULL
    args.folder = args.folder / ("quick" if args.quick else "full")
    args.folder.mkdir(parents=True, exist_ok=True)
    return args


def say(text: str) -> None:
    """A line for whoever waits, on stderr: stdout belongs to the tables."""
    print(text, file=sys.stderr, flush=True)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a Markdown table; floats with three digits, None as a dash."""
    print(f"\n{markdown(head, rows)}\n", flush=True)


def markdown(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """The lines of a Markdown table; floats with three digits, None as a dash."""
    lines = [head, ["---"] * len(head), *([_cell(c) for c in row] for row in rows)]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def write_between(path: Path, script: str, text: str) -> None:
    """Put what a script measured between its marks in a Markdown file.

    Raises:
        SystemExit: There are none.
    """
    first, last = f"<!-- measured by benchmarks/{Path(script).name} -->", "<!-- end -->"
    before, begin, rest = path.read_text().partition(first)
    _, end, after = rest.partition(last)
    if not (begin and end):
        raise SystemExit(f"{path} has no place for the table: a line {first} and below it a line {last}")
    path.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:#.3g}".rstrip(".") if isinstance(value, float) and abs(value) < 1000 else str(value)


class RunError(Exception):
    """A measured run came to nothing; says why in one line."""


PREDICT = """
import json, pathlib, sys, time
import geoseg
call = json.loads(sys.argv[1])
start = time.perf_counter()
result = geoseg.predict(**call)
seconds = time.perf_counter() - start
# VmHWM and not ru_maxrss: the latter starts with what the parent process held.
lines = pathlib.Path("/proc/self/status").read_text().splitlines()
peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
print(json.dumps({"seconds": seconds, "peak": peak * 1024, "backend": result.backend,
                  "tile_size": result.tile_size, "overlap": result.overlap}))
"""


def run_predict(timeout: float = 3600, **call: Any) -> dict[str, Any]:
    """``geoseg.predict(**call)`` in a fresh process: seconds, peak bytes, backend, tile size and overlap."""
    return run_measured([sys.executable, "-c", PREDICT, json.dumps(call, default=str)], timeout=timeout)


def run_measured(command: Sequence[str], *, timeout: float = 3600) -> dict[str, Any]:
    """Run a command whose last line on stdout is JSON, and end it before it takes the machine's last memory.

    Raises:
        RunError: It failed, took too long, or too much memory.
    """
    limit = available_memory() - _SPARE
    if limit < _LEAST:
        raise RunError(f"other programs leave only {(limit + _SPARE) / GIB:.1f} GiB of memory; end them first")
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True)
        with _watched(process, limit) as verdict:
            output = await_output(process, timeout)
        if verdict:
            raise RunError(verdict[0])
        require_success(process, errors)
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    return result


def await_output(process: subprocess.Popen[str], timeout: float) -> str:
    """What a process with a session of its own writes on stdout; it does not outlive the wait.

    Raises:
        RunError: It took too long.
    """
    try:
        output, _ = process.communicate(timeout=timeout)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise RunError(f"not done after {timeout:.0f} s") from None
        raise
    return output


def require_success(process: subprocess.Popen[str], errors: IO[str]) -> None:
    """See that a process that has ended did well.

    Raises:
        RunError: It did not; with the last line of ``errors``, to which it wrote.
    """
    if process.returncode:
        errors.seek(0)
        raise RunError(_last_line(errors.read()) or f"exit {process.returncode}")


@contextmanager
def _watched(process: subprocess.Popen[str], limit: float) -> Iterator[list[str]]:
    """Kill the process once it holds more than ``limit`` bytes; then the list says so."""
    verdict: list[str] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            if process.poll() is None and resident(process.pid) > limit:
                verdict.append(f"more than {limit / GIB:.1f} GiB")
                os.killpg(process.pid, signal.SIGKILL)
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield verdict
    finally:
        done.set()
        thread.join()


def resident(pid: int | str, key: str = "VmRSS") -> int:
    """Bytes of memory that a process holds now (``VmHWM``: held at most); 0 once it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(key)), 0)


def available_memory() -> int:
    """Bytes that can be had without swapping."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def load_file_module(path: Path) -> Any:
    """A module from its file, whatever the import path holds: ``monai.py`` here is not the package."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location(f"benchmark_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
