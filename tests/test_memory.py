"""What is freed is kept for what is asked for next."""

from __future__ import annotations

import ctypes
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from geoseg import memory, processors
from geoseg.arrays import tasks
from geoseg.distributed import Place, duties
from geoseg.errors import GeosegError
from geoseg.inference import Settings as InferenceSettings
from geoseg.inference import orders as inference_orders
from geoseg.memory import keep_freed_memory
from geoseg.predictors import machine
from geoseg.vectorization import orders as vectorization_orders
from geoseg.vectorization.settings import Settings as VectorizationSettings

GLIBC = sys.platform == "linux" and hasattr(ctypes.CDLL(None), "gnu_get_libc_version")

FAULTS = """
import resource, sys
import numpy as np
from geoseg.memory import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(2**16)
before = faults()
for _ in range(20):
    np.ones(2**16)
print(faults() - before)
"""


@pytest.mark.skipif(not GLIBC, reason="this is about glibc")
def test_arrays_take_the_pages_of_those_before_them() -> None:
    def faults(way: str) -> int:
        told = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "65536"}  # as Dask starts its workers
        return int(subprocess.check_output([sys.executable, "-c", FAULTS, way], env=told, text=True))

    pages = 2**16 * 8 // os.sysconf("SC_PAGE_SIZE")
    assert faults("as it is") >= 20 * pages // 16  # kernels may map several pages at one fault
    assert faults("kept") < pages // 16


def test_other_c_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: object())
    assert not keep_freed_memory()


@pytest.mark.parametrize("told", [None, "131072"])
def test_what_somebody_chose_stays(monkeypatch: pytest.MonkeyPatch, told: str | None) -> None:
    monkeypatch.setattr(memory.ctypes, "CDLL", None)  # to call it is an error
    if told is None:
        monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    else:
        monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", told)
    assert not keep_freed_memory()


def test_workers_settle_in_processes_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(duties, "keep_freed_memory", lambda: asked.append(True))
    monkeypatch.setattr(processors._Share, "cores", None)
    logger = logging.getLogger("geoseg")
    monkeypatch.setattr(logger, "level", logging.INFO)
    Place("inproc://1", alone=False, threads=1).settle()
    assert (asked, processors._Share.cores, logger.level) == ([], None, logging.INFO)
    Place("tcp://1", alone=True, threads=1).settle()
    assert (asked, processors.cores(), logger.level) == ([True], 1, logging.ERROR)


def test_orders_settle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Before anything is opened, here what is not there."""
    settled: list[str] = []
    monkeypatch.setattr(Place, "settle", lambda self: settled.append(self.address))
    place = Place("inproc://1", alone=False, threads=1)
    missing = str(tmp_path / "none.tif")
    prediction = inference_orders.Order((missing,), ((missing, ""),), missing, InferenceSettings())
    vectorization = vectorization_orders.Order(missing, VectorizationSettings(), missing, missing)
    for order in (prediction, vectorization):
        with pytest.raises(GeosegError), order.open(place):
            pass
    assert settled == [place.address] * 2


def test_blocks_of_arrays_settle(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[bool] = []
    worker = SimpleNamespace(address="tcp://1", state=SimpleNamespace(nthreads=1))
    monkeypatch.setitem(sys.modules, "distributed", SimpleNamespace(get_worker=lambda: worker))
    monkeypatch.setattr(tasks, "keep_freed_memory", lambda: kept.append(True))
    monkeypatch.setattr(processors._Share, "cores", None)
    monkeypatch.setattr(machine, "use_threads", lambda _: None)
    tasks._settle()
    assert (kept, processors._Share.cores) == ([True], 1)
