"""What is freed is kept for what is asked for next."""

from __future__ import annotations

import ctypes
import logging
import os
import subprocess
import sys

import pytest

from geoseg import memory, processors
from geoseg.distributed import Place, duties
from geoseg.memory import keep_freed_memory

GLIBC = sys.platform == "linux" and hasattr(ctypes.CDLL(None), "gnu_get_libc_version")

FAULTS = """
import resource, sys
import numpy as np
from geoseg.memory import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(2**18)
before = faults()
for _ in range(20):
    np.ones(2**18)
print(faults() - before)
"""


@pytest.mark.skipif(not GLIBC, reason="this is about glibc")
def test_arrays_take_the_pages_of_those_before_them() -> None:
    def faults(way: str) -> int:
        told = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "65536"}  # as Dask starts its workers
        return int(subprocess.check_output([sys.executable, "-c", FAULTS, way], env=told, text=True))

    pages = 2**18 * 8 // os.sysconf("SC_PAGE_SIZE")
    assert faults("as it is") >= 20 * pages // 16  # kernels may map several pages at one fault
    assert faults("kept") < pages // 16


def test_other_c_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: object())
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
