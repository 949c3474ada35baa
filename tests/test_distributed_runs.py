"""Whole runs with processes of their own: killed clients and workers, and workers that are cut off."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from distributing import REAL_CHOICES, real_job, same
from machines import find_way, run_there
from own_networks import one_thread  # noqa: F401 - as each worker has: the sums of torch depend on it

from geoseg.inference import predict, steps

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are looked at as on Linux"),
    # Dask does not close all of its own sockets.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ENVIRONMENT = {"DASK_LOGGING__DISTRIBUTED": "critical", "OMP_NUM_THREADS": "1"}


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A scene of many parts, and a real network."""
    monkeypatch.setattr(steps, "STEP_PIXELS", 1)  # the client plans the parts
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    return real_job(tmp_path, (2000, 260), (slice(500, 700), slice(40, 150)))


def run(job: tuple[Path, Path], name: str, **options: Any) -> Path:
    return predict(*job, job[0].with_name(name), **REAL_CHOICES, **options).labels


def _quietly(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_the_pixels_of_workers_of_this_machine_are_those_of_one_process(job: tuple[Path, Path]) -> None:
    assert same(run(job, "local.tif"), run(job, "there.tif", workers=2, region_parts=3))


def test_a_killed_client_is_followed_by_another_that_goes_on(job: tuple[Path, Path]) -> None:
    output = job[0].with_name("there.tif")
    options = [f"--{name.replace('_', '-')}={value}" for name, value in REAL_CHOICES.items() if name != "confidence"]
    client = _quietly([
        sys.executable, "-c",
        "from geoseg.inference import steps; steps.STEP_PIXELS = 1; from geoseg.cli import main; main()",
        "predict", str(job[0]), "-m", str(job[1]), "-o", str(output), "--confidence", *options,
        "--workers", "2", "--region-parts", "1", "--tta", "d4",
    ])  # fmt: skip
    parts = output.with_name("there.tif.parts")
    end = time.monotonic() + 120
    while len(list(parts.glob("*.tif"))) < 3 and client.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    client.kill()
    client.wait()
    assert not output.exists()
    before = len(list(parts.glob("*.tif")))
    assert before >= 3
    time.sleep(3)
    assert len(list(parts.glob("*.tif"))) <= before + 2  # its workers go with it
    shares: list[float] = []
    run(job, "there.tif", tta="d4", workers=2, progress=lambda done, total: shares.append(done / total))
    assert shares[0] > 0
    assert same(run(job, "local.tif", tta="d4"), output)


@pytest.mark.timeout(900)  # processes that load torch, up to five of them
@pytest.mark.parametrize("count", [2, 4])
def test_workers_with_addresses_of_their_own_may_die_and_be_cut_off(
    job: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """One run each that loses nothing, a process, and a link; in the last one workers may not be silent for long."""
    way, why_not = find_way()
    if why_not:
        pytest.skip(why_not)
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP", "300s")  # else Dask might notice it before
    runs = [
        {
            "lose": lose,
            "files": [*map(str, job), str(job[0].with_name(f"{lose}.tif"))],
            "choices": {**REAL_CHOICES, "region_parts": 2, "task_timeout": seconds},
        }
        for lose, seconds in ((None, None), ("kill", None), ("cut", 25))
    ]
    whole, killed, cut = run_there(way, {"folder": str(job[0].parent), "workers": count, "runs": runs}, seconds=800)
    local = run(job, "local.tif")
    for lost in (None, "kill", "cut"):
        assert same(local, job[0].with_name(f"{lost}.tif"))
    hosts = {address.split("//")[1].split(":")[0] for address in whole["done"]}
    assert len(hosts) == count
    assert 0.2 < killed["share"] < 0.9
    assert killed["lost"] in hosts
    assert killed["warnings"] == []
    assert 0.2 < cut["share"] < 0.9
    [(_, text)] = cut["warnings"]
    assert text.startswith(f"worker tcp://{cut['lost']}:")
    assert text.endswith("is left out: no sign of life for 25 s")
