"""What a training refuses, when it does, and what the user is told before it goes on."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_training import config, sheet, source

from geoseg.errors import GeosegError, ModelError, OutputError, ParameterError
from geoseg.sources.values import LeftOut
from geoseg.training.running import choose_accelerator
from geoseg.training.runs import RunFolder, claimed
from geoseg.training.workflow import train_on


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"model": {"options": {"widht": 4}}}, "did you mean 'width'"),
        ({"loss": {"expression": "cee"}}, "there is no loss 'cee'"),
        ({"loss": {"expression": "weighted_ce", "class_weights": {"water": 1.0}}}, "'field' has no weight"),
        ({"trainer": {"precision": "fp16"}}, "needs a GPU"),
    ],
)
def test_settings_are_refused_before_imagery_is_read(tmp_path: Path, sections: dict[str, Any], told: str) -> None:
    given = source()
    with pytest.raises(GeosegError, match=told):
        train_on(given, config(**sections), RunFolder(tmp_path / "run"))
    assert given.reads == []
    assert not (tmp_path / "run").exists()


def test_warnings_are_told_and_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lone = sheet(2)
    train = []
    for seed in range(2):
        pixels, present, indices = sheet(seed)
        train.append((pixels, present, np.where(indices == 2, np.uint8(0), indices)))
    given = source(notes=("two and one", LeftOut("x.tif is left out")))
    given = type(given)(
        given.legend, [*train, lone], roles=["train", "train", "validation"], names=["one", "two", "three"],
        notes=given.notes,
    )  # fmt: skip
    with caplog.at_level(logging.INFO, logger="geoseg"):
        run = train_on(given, config(trainer={"epochs": 1}), RunFolder(tmp_path / "run"))
    told = {(r.levelname, r.getMessage()) for r in caplog.records}
    unseen = "1 of 3 classes occur on validation ground alone and cannot be learned: wood"
    assert {("INFO", "two and one"), ("WARNING", "x.tif is left out")} <= told
    assert sum(level == "WARNING" and text.startswith(unseen) for level, text in told) == 1
    assert run.notes.count("x.tif is left out") == run.notes.count("two and one") == 1
    assert any(note.startswith(unseen) for note in run.notes)


def test_a_network_that_diverged_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"lower optimizer\.lr"):
        train_on(source(), config(optimizer={"lr": 1e9}), RunFolder(tmp_path / "run"))
    assert not (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="there is a GPU")
def test_devices_that_are_not_there() -> None:
    with pytest.raises(ParameterError, match=r"trainer\.devices is 4, but torch sees 0 GPUs"):
        choose_accelerator(config(trainer={"accelerator": "auto", "devices": 4}).trainer)
    assert choose_accelerator(config(trainer={"accelerator": "auto"}).trainer) == "cpu"
    assert choose_accelerator(config(trainer={"accelerator": "cpu", "devices": 2}).trainer) == "cpu"


@pytest.mark.skipif(sys.platform == "win32", reason="no such locks")
def test_a_run_belongs_to_one_process(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    script = (
        "import sys; from pathlib import Path; from geoseg.training.runs import RunFolder, claimed\n"
        "with claimed(RunFolder(Path(sys.argv[1]))): print('mine', flush=True); sys.stdin.readline()"
    )
    command = [sys.executable, "-c", script, str(folder.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "mine\n"
        with pytest.raises(OutputError, match="another process is training"), claimed(folder):
            pass
        with claimed(RunFolder(tmp_path / "another")):
            pass
        other.kill()
    with claimed(folder):
        assert not folder.path.exists()
    with claimed(folder):
        pass
