"""Whole commands, with and without Dask, on the same two cores in turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from common import await_output, require_success, say

CORES = 2
"""That every way is given."""

WAYS: dict[str, tuple[str, ...]] = {
    "local": (),
    "2 workers": ("--workers", "2"),
    "1 worker": ("--workers", "1"),
}
"""One process with a thread for each core; two with one each; one with all, behind Dask."""


@dataclass(frozen=True, slots=True)
class Took:
    """One command.

    Attributes:
        whole: Seconds from its start to its end.
        net: Of them, those from the first tile to the finished map: without imports, workers that start, and loading.
        ran: What ran the network.
    """

    whole: float
    net: float
    ran: str


def cores_here() -> frozenset[int]:
    """The cores that are measured on; one where there are no two, which then says nothing of two workers."""
    return frozenset(sorted(os.sched_getaffinity(0))[:CORES])


def predict(
    scene: Path, model: Path, output: Path, options: Sequence[str], cache: Path, *, timeout: float = 1200
) -> Took:
    """``geoseg predict`` in a process of its own.

    Raises:
        RunError: It failed or took too long.
    """
    command = [
        sys.executable, "-m", "geoseg", "predict", str(scene), "--model", str(model), "--output", str(output),
        "--overwrite", "--no-resume", "--json", *options,
    ]  # fmt: skip
    begin = time.monotonic()
    text = _run(command, cache, timeout)
    whole = time.monotonic() - begin
    found: dict[str, Any] = json.loads(text)
    return Took(whole, found["seconds"], found["backend"])


MANY = """
import json, sys, time
import geoseg

if __name__ == "__main__":
    times = []
    for outcome in geoseg.predict_scenes(*json.loads(sys.argv[1]), workers=2, overwrite=True, resume=False):
        if outcome.error is not None:
            raise outcome.error
        times.append(time.perf_counter())
    print(json.dumps((times[-1] - times[0]) / (len(times) - 1)))
"""


def between(scene: Path, count: int, model: Path, folder: Path, cache: Path) -> float:
    """Seconds for each of many scenes of one tile on two workers that have the network: what any scene takes at least.

    Raises:
        RunError: It failed.
    """
    with tempfile.TemporaryDirectory(dir=folder) as name:
        scenes = [Path(name) / f"{number}.tif" for number in range(count)]
        for path in scenes:
            path.symlink_to(scene)
        maps = Path(name) / "maps"
        maps.mkdir()
        script = Path(name) / "many.py"  # workers of a script that was given with -c could not be started anew
        script.write_text(MANY)
        job = json.dumps([[str(path) for path in scenes], str(model), str(maps)])
        return float(json.loads(_run([sys.executable, str(script), job], cache, 600)))


def in_turns(
    runs: Mapping[str, Sequence[str]], scene: Path, model: Path, folder: Path, cache: Path, repeat: int
) -> dict[str, dict[str, Any]]:
    """Each way as often, one after the other; and whether all maps are the first one's.

    Args:
        runs: Options of each way.
        scene: What is mapped.
        model: With what.
        folder: For the maps, which stay.
        cache: Of compiled networks.
        repeat: How often.
    """
    found: dict[str, list[Took]] = {name: [] for name in runs}
    outputs = {name: folder / f"scaling-{name.replace(' ', '-')}.tif" for name in runs}
    for turn in range(repeat):
        for name, options in runs.items():
            took = predict(scene, model, outputs[name], options, cache)
            say(f"  {name}, {turn + 1} of {repeat}: {took.whole:.1f} s, net {took.net:.1f} s")
            found[name].append(took)
    first = next(iter(outputs.values()))
    return {
        name: {"took": [asdict(took) for took in found[name]], "differing": differing(first, outputs[name])}
        for name in runs
    }


def differing(first: Path, second: Path) -> int:
    """Pixels of two maps that differ."""
    with rasterio.open(first) as ours, rasterio.open(second) as theirs:
        return sum(
            int(np.count_nonzero(ours.read(1, window=window) != theirs.read(1, window=window)))
            for _, window in ours.block_windows(1)
        )


def _run(command: Sequence[str], cache: Path, timeout: float) -> str:
    """What a command writes on stdout; it and its processes have :func:`cores_here`."""
    cores = cores_here()
    environment = os.environ | {"GEOSEG_CACHE": str(cache), "DASK_LOGGING__DISTRIBUTED": "critical"}
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True, env=environment,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),  # noqa: PLW1509 - there are no threads here
        )  # fmt: skip
        output = await_output(process, timeout)
        require_success(process, errors)
    return output
