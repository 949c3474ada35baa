"""What killed runs leave is removed by the next one, and nothing else is."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from geoseg.vectors import leftovers
from geoseg.vectors.leftovers import temporary_base

pytest.importorskip("fcntl", reason="this system has no locks that die with their process")

KILLED = """
import os, signal, sys
from pathlib import Path
from geoseg.vectors.leftovers import temporary_base
with temporary_base(Path(sys.argv[1])) as base:
    for suffix in (".gpkg", ".gpkg-journal", ".qml"):
        base.with_name(base.name + suffix).write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(path: Path) -> list[Path]:
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    left = sorted(path.parent.iterdir())
    assert len(left) == 4
    return left


def test_the_next_run_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    killed(tmp_path / "a [b].gpkg")
    with temporary_base(tmp_path / "a [b].gpkg"):
        assert len(list(tmp_path.iterdir())) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["b.gpkg", "a.fgb", "a.b.gpkg"])
def test_other_outputs_are_left_alone(tmp_path: Path, name: str) -> None:
    left = killed(tmp_path / "a.gpkg")
    with temporary_base(tmp_path / name):
        pass
    assert sorted(tmp_path.iterdir()) == left


def test_what_another_machine_began_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = killed(tmp_path / "a.gpkg")
    name = socket.gethostname()
    monkeypatch.setattr(socket, "gethostname", lambda: f"not-{name}")
    with temporary_base(tmp_path / "a.gpkg"):
        pass
    assert sorted(tmp_path.iterdir()) == left


def test_runs_that_live_keep_their_files(tmp_path: Path) -> None:
    with temporary_base(tmp_path / "a.gpkg") as first:
        file = first.with_name(first.name + ".gpkg")
        file.write_text("mine")
        with temporary_base(tmp_path / "a.gpkg") as second:
            assert second != first
            assert file.read_text() == "mine"
        assert file.read_text() == "mine"
    assert not list(tmp_path.iterdir())


def test_a_disk_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr(leftovers.fcntl, "flock", refuse)
    with temporary_base(tmp_path / "a.gpkg") as base:
        base.with_name(base.name + ".gpkg").write_text("mine")
        assert len(list(tmp_path.iterdir())) == 1
    assert not list(tmp_path.iterdir())
