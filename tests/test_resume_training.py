"""A training that is killed anywhere, and goes on: the same model as one that was not killed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# A driver imports everything once and forks: one child trains and is killed at the n-th call of a function, the next
# resumes. Nothing has computed before a fork, so no thread is lost in it.
DRIVER = """
import importlib, json, os, signal, sys
sys.path.insert(0, sys.argv[1])
import torch
from small_training import config, source
from geoseg.models.files import file_hash
from geoseg.training import logs, recording
from geoseg.training.runs import RunFolder
from geoseg.training.workflow import train_on

SETTINGS = config(
    trainer={"epochs": 4, "ema": 0.8, "accumulate": 2, "validate_every": 1},
    model={"options": {"width": 4, "depth": 2}, "freeze_encoder": 1},
    augmentation={"rotation": 20, "noise": 0.1, "mosaic": 0.5},
    chips={"class_aware": 0.3},
)

def killed_at(name, count):
    module, _, own = name.rpartition(":")
    *path, last = own.split(".")
    holder = importlib.import_module(module)
    for part in path:
        holder = getattr(holder, part)
    real, calls = getattr(holder, last), 0
    def counted(*args, **more):
        nonlocal calls
        calls += 1
        if calls == count:
            if last == "save":  # half a file is on disk by then
                with open(args[1], "wb") as file:
                    file.write(b"PK" * 1000)
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **more)
    setattr(holder, last, counted)

def forked(run, at=None, resume=False):
    child = os.fork()
    if not child:
        status = 1
        try:
            torch.set_num_threads(1)
            if at is not None:
                killed_at(*at)
            train_on(source(), SETTINGS, RunFolder(run), resume=resume)
            status = 0
        finally:
            sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

from pathlib import Path
out = Path(sys.argv[2])
assert forked(out / "whole") == 0
found = {"whole": file_hash(out / "whole/model.safetensors")}
for number, at in enumerate(json.loads(sys.argv[3])):
    run = out / str(number)
    assert forked(run, at) == -signal.SIGKILL, at
    assert not (run / "report.html").exists(), at
    assert forked(run, resume=True) == 0, at
    found[str(number)] = file_hash(run / "model.safetensors")
    left = {p.name for p in run.rglob("*") if p.name.endswith(".tmp")}
    assert not left, left
print(json.dumps(found))
"""

KILLS = [
    ("geoseg.training.task:SegmentationTask.training_step", 2),  # before the first checkpoint
    ("geoseg.training.task:SegmentationTask.training_step", 7),
    ("geoseg.training.task:SegmentationTask.validation_step", 3),
    ("torch:save", 3),  # the best weights of the second epoch
    ("torch:save", 4),  # the checkpoint of the second epoch, or of a later one
    ("geoseg.training.logs:Table.restart", 2),  # between checkpoint and table
    ("geoseg.training.workflow:best_weights", 1),  # when all epochs are done
    ("geoseg.training.workflow:save_model", 1),
    ("geoseg.training.workflow:write_run_report", 1),
]


@pytest.mark.skipif(sys.platform == "win32", reason="has no fork")
def test_a_run_that_is_killed_and_resumed_gives_the_same_model(project_root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", DRIVER, str(project_root / "tests"), str(tmp_path)]
    done = subprocess.run([*command, json.dumps(KILLS)], check=False, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    different = [KILLS[int(name)] for name, value in found.items() if name != "whole" and value != found["whole"]]
    assert not different
    table = [line.split(",") for line in (tmp_path / "whole/metrics.csv").read_text().splitlines()]
    seconds = table[0].index("seconds")
    for number in range(len(KILLS)):
        own = [line.split(",") for line in (tmp_path / f"{number}/metrics.csv").read_text().splitlines()]
        assert [r[:seconds] + r[seconds + 1 :] for r in own] == [r[:seconds] + r[seconds + 1 :] for r in table]


TOGETHER = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
if __name__ == "__main__":
    from small_training import config, source
    from geoseg.training.runs import RunFolder
    from geoseg.training.workflow import train_on
    settings = config(trainer={"epochs": 3, "devices": 2, "ema": 0.5}, model={"freeze_encoder": 1})
    run = train_on(source(), settings, RunFolder(Path(sys.argv[2])))
    print(run.history[-1].step, run.history[run.best_epoch - 1].figures["mean_iou"] == run.judgement.metrics.mean_iou)
"""


@pytest.mark.slow
def test_two_processes_train_one_model_and_judge_together(project_root: Path, tmp_path: Path) -> None:
    script = tmp_path / "together.py"
    script.write_text(TOGETHER)
    command = [sys.executable, str(script), str(project_root / "tests"), str(tmp_path / "run")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    # 16 chips an epoch in batches of 4 on each of 2: 2 steps; and one process alone finds what the two counted.
    assert done.stdout.split() == ["6", "True"]
    assert (tmp_path / "run/report.html").exists()
