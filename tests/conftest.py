"""What all tests share."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from distributed import Client

ROOT = Path(__file__).resolve().parents[1]

if "PYTEST_XDIST_WORKER" in os.environ:  # each process has a core of its own, and torch reads this as it is imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The repository root."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real imagery and labels; tests that need it skip where it is absent."""
    folder = ROOT / "../shared/data"
    if not folder.is_dir():
        pytest.skip("the real imagery lies in ../shared/data, which is absent here")
    return folder


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """A Dask client of two workers in this process."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as found,
    ):
        yield found


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compiled models of the tests go to a folder of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOSEG_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """A command that runs in this process sets up logging for the rest of it: afterwards all is as it was."""
    root, log = logging.getLogger(), logging.getLogger("geoseg")
    handlers, levels = list(root.handlers), (root.level, log.level)
    yield
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
    root.setLevel(levels[0])
    log.setLevel(levels[1])
