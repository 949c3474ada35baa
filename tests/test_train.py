"""train(): what a run leaves, and that it means what it says."""

from __future__ import annotations

import csv
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from labelled import MemorySource
from small_training import LEGEND, config, sheet, source, write_sheet

from geoseg.config.loading import load_config
from geoseg.errors import GeosegError, ModelError, OutputError, OutputExistsError, ParameterError
from geoseg.inference import predict
from geoseg.metrics import BoundaryScore, boundary_counts, confusion_matrix
from geoseg.models import file_hash, load_model, read_spec
from geoseg.predictors import Loaded, NetworkOptions, Tiles, load_predictor
from geoseg.training.ground import survey_ground
from geoseg.training.results import TrainingRun, TrainingStatus
from geoseg.training.running import choose_accelerator, choose_precision
from geoseg.training.runs import RunFolder, check_folder, check_same
from geoseg.training.stopwatch import Stopwatch
from geoseg.training.workflow import train_on

LEARNED = {"trainer": {"epochs": 8}, "chips": {"per_epoch": 24}}


@pytest.fixture(scope="module")
def statuses() -> list[TrainingStatus]:
    return []


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, statuses: list[TrainingStatus]) -> TrainingRun:
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "small")
    return train_on(source(), config(**LEARNED), folder, progress=statuses.append)


def short(folder: Path, given: MemorySource | None = None, *, resume: bool = False, **sections: Any) -> TrainingRun:
    """One epoch of four steps."""
    settings = config(**{"trainer": {"epochs": 1}, **sections})
    return train_on(given or source(), settings, RunFolder(folder), resume=resume)


def test_a_run_leaves_what_it_promises(run: TrainingRun) -> None:
    left = {p.relative_to(run.folder).as_posix() for p in run.folder.rglob("*") if p.is_file()}
    events = {name for name in left if name.startswith("events.out.tfevents.")}
    assert len(events) == 1
    assert left - events == {
        "config.yaml", "split.gpkg", "metrics.csv", "model.safetensors", "report.html", "checkpoints/last.ckpt",
        "checkpoints/best.ckpt",
    }  # fmt: skip
    assert load_config(run.folder / "config.yaml", ()) == config(**LEARNED)
    assert run.report.read_text().startswith("<!DOCTYPE html>")
    assert run.judgement is not None
    assert run.judgement.metrics.mean_iou is not None
    assert run.judgement.metrics.mean_iou > 0.6


def test_the_model_file_says_what_it_was_trained_on(run: TrainingRun) -> None:
    spec = read_spec(run.model)
    assert (spec.name, spec.bands, spec.dtype, spec.license) == ("small", ("band 1", "band 2"), "uint8", "MIT")
    assert (spec.tile_size, spec.stride_multiple, spec.gsd) == (32, 1, None)
    assert spec.legend == LEGEND
    assert spec.temperature == run.temperature != 1
    assert run.judgement is not None
    assert spec.metrics["mean_iou"] == run.judgement.metrics.mean_iou
    assert spec.metrics["boundary_f1"] == run.judgement.boundary.mean_f1
    assert spec.training_data.startswith("memory: 2 images")
    pixels = np.stack([sheet(0)[0], sheet(1)[0]]).astype(np.float64)
    np.testing.assert_allclose(spec.mean, pixels.mean(axis=(0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(spec.std, pixels.std(axis=(0, 2, 3)), rtol=1e-6)


def test_the_logs_tell_the_history(run: TrainingRun) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with (run.folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["validation/mean_iou"]) for row in rows] == [r.figures["mean_iou"] for r in run.history]
    assert [int(row["step"]) for row in rows] == [6 * (i + 1) for i in range(8)]
    events = EventAccumulator(str(run.folder)).Reload()
    told = [(e.step, e.value) for e in events.Scalars("training/loss")]
    assert told == [(r.epoch, pytest.approx(r.loss, rel=1e-6)) for r in run.history]
    assert run.best_epoch is not None
    best = run.history[run.best_epoch - 1].figures["mean_iou"]
    assert best == max(r.figures["mean_iou"] or 0 for r in run.history)
    assert run.judgement is not None
    assert run.judgement.metrics.mean_iou == best


def test_prediction_gives_the_map_that_was_judged(run: TrainingRun, tmp_path: Path) -> None:
    """The invariant: the network sees the same numbers in training, validation and prediction."""
    pixels, _, indices = sheet(2)
    scene = write_sheet(tmp_path / "scene.tif", pixels)
    found = predict(
        scene, run.model, tmp_path / "map.tif", tile_size=32, overlap=8, blend="crop", backend="torch",
        precision="fp32", device="cpu", bands=(1, 2),
    )  # fmt: skip
    with rasterio.open(found.labels) as file:
        labels = file.read(1)
    truth = np.append(LEGEND.ids, np.zeros(253, np.uint8)).astype(np.uint8)[indices]
    assert run.judgement is not None
    where = np.where(truth == 0, np.uint8(0), labels)
    np.testing.assert_array_equal(run.judgement.confusion, confusion_matrix(truth, where, LEGEND.ids))
    borders = BoundaryScore.from_counts(boundary_counts(truth, labels, LEGEND.ids, 2.0), 2.0)
    assert run.judgement.boundary == borders


def test_logits_of_validation_are_those_of_prediction(run: TrainingRun) -> None:
    from geoseg.sources.chips import TileBatch
    from geoseg.training.losses import build_loss
    from geoseg.training.task import SegmentationTask

    model, spec = load_model(run.model)
    task = SegmentationTask(model, spec.stats, build_loss("ce"), config(), steps=1, classes=3, subsets=[0]).eval()
    rng = np.random.default_rng(0)
    present = rng.random((2, 1, 32, 32)) > 0.1
    pixels = np.where(present, rng.integers(0, 256, (2, 2, 32, 32)), 0).astype(np.uint8)
    tiles = TileBatch(torch.from_numpy(pixels), torch.from_numpy(present), torch.zeros((2, 32, 32)), ())
    with torch.no_grad():
        scores = torch.softmax(task.judge(tiles) / spec.temperature, dim=1)
    predictor = load_predictor(
        [Loaded(lambda: load_model(run.model)[0], spec, spec.stats, "0" * 64)],
        NetworkOptions(backend="torch", precision="fp32", device="cpu"),
        tile_size=32, dtype="uint8", sample_tiles=lambda _: [], cache=None,
    )  # fmt: skip
    expected = predictor.submit(Tiles(pixels, present, ((0, 0), (0, 1))))()
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-5)


def test_progress_goes_through_all_stages(run: TrainingRun, statuses: list[TrainingStatus]) -> None:
    assert len(run.history) == 8
    stages = list(dict.fromkeys(s.stage for s in statuses))
    assert stages == ["survey", "train", "validate", "evaluate"]
    assert all(0 <= s.done <= s.total for s in statuses)
    training = [s for s in statuses if s.stage == "train"]
    assert [(s.epoch, s.done) for s in training] == [(e, b) for e in range(1, 9) for b in range(1, 7)]
    assert training[-1].chips == 8 * 24
    assert training[-1].seconds_left == 0
    assert training[-1].best == max(r.figures["mean_iou"] or 0 for r in run.history[:-1])
    assert all(s.rate and s.loss for s in training)


def test_worst_chips_are_the_worst(run: TrainingRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import geoseg.training.workflow as workflow

    reports = []
    monkeypatch.setattr(workflow, "write_run_report", lambda _, report: reports.append(report))
    short(tmp_path / "few", logging={"worst_chips": 2})
    short(tmp_path / "all", logging={"worst_chips": 200})
    few, every = (list(r.chips) for r in reports)
    assert [c.wrong for c in every] == sorted((c.wrong for c in every), reverse=True)
    assert [(c.window, c.wrong, c.pixels) for c in few] == [(c.window, c.wrong, c.pixels) for c in every[:2]]
    assert sum(c.pixels for c in every) == int((sheet(2)[2] != 255).sum()) == sum(reports[0].validation_pixels)
    assert sum(c.wrong for c in every) == reports[1].judgement.confusion.sum() - reports[1].judgement.confusion.trace()
    assert {c.sheet for c in every} == {"three"}
    assert sum(reports[0].training_pixels) == sum(int((sheet(i)[2] != 255).sum()) for i in range(2))
    assert reports[0].temperature > 0
    assert run.report.exists()


def test_one_seed_gives_one_model(tmp_path: Path) -> None:
    hashes = [
        file_hash(short(tmp_path / name, trainer={"epochs": 1, "seed": seed}).model)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_run_is_neither_replaced_nor_resumed_by_accident(tmp_path: Path) -> None:
    settings = config(trainer={"epochs": 1})
    folder = RunFolder(tmp_path / "small")
    with pytest.raises(ParameterError, match="no run to resume"):
        check_folder(folder, settings, resume=True, overwrite=False)
    short(folder.path)
    (folder.path / "notes.txt").write_text("mine")
    (folder.path / "checkpoints/mine.ckpt").write_text("mine")
    with pytest.raises(OutputExistsError, match="--resume"):
        check_folder(folder, settings, resume=False, overwrite=False)
    with pytest.raises(ParameterError, match="give one of them"):
        check_folder(folder, settings, resume=True, overwrite=True)
    other = config(trainer={"epochs": 1}, optimizer={"lr": 0.02})
    with pytest.raises(ParameterError, match=r"optimizer.lr is 0.02 and was 0.01"):
        check_folder(folder, other, resume=True, overwrite=False)
    check_folder(folder, config(trainer={"epochs": 5}), resume=True, overwrite=False)
    check_folder(folder, other, resume=False, overwrite=True)
    short(folder.path, optimizer={"lr": 0.02})
    assert load_config(folder.config, ()).optimizer.lr == 0.02
    assert (folder.path / "notes.txt").exists()
    assert (folder.path / "checkpoints/mine.ckpt").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file"):
        check_folder(RunFolder(tmp_path / "file"), settings, resume=False, overwrite=False)


def test_only_length_and_logs_may_change() -> None:
    before = config(trainer={"epochs": 5})
    check_same(config(trainer={"epochs": 6}, logging={"worst_chips": 1}, chips={"threads": 1}), before)
    for other in (
        config(trainer={"epochs": 4}),
        config(trainer={"epochs": 5, "seed": 3}),
        config(model={"options": {}}),
    ):
        with pytest.raises(ParameterError, match="was begun with other settings"):
            check_same(other, before)


def test_a_run_that_is_made_longer_is_one_that_was_long(tmp_path: Path) -> None:
    still = {"schedule": {"kind": "constant", "warm_up": 0}}
    whole = short(tmp_path / "whole", trainer={"epochs": 3}, **still)
    short(tmp_path / "longer", trainer={"epochs": 2}, **still)
    longer = short(tmp_path / "longer", trainer={"epochs": 3}, resume=True, **still)
    assert file_hash(longer.model) == file_hash(whole.model)
    assert load_config(longer.folder / "config.yaml", ()).trainer.epochs == 3
    again = short(tmp_path / "longer", trainer={"epochs": 3}, resume=True, **still)
    assert file_hash(again.model) == file_hash(whole.model)
    assert [r.figures for r in again.history] == [r.figures for r in whole.history]


def test_areas_are_judged_apart(tmp_path: Path) -> None:
    given = MemorySource(
        LEGEND, [sheet(i) for i in range(3)], roles=["train", "validation", "validation"],
        subsets=["urban", "urban", "rural"],
    )  # fmt: skip
    run = short(tmp_path / "run", given)
    assert set(run.subsets) == {"urban", "rural"}
    assert run.judgement is not None
    parts = [found.confusion for found in run.subsets.values()]
    np.testing.assert_array_equal(sum(parts), run.judgement.confusion)
    for name in ("urban", "rural"):
        assert run.history[0].figures[f"{name}/mean_iou"] == run.subsets[name].metrics.mean_iou
    assert read_spec(run.model).metrics["rural/mean_iou"] == run.subsets["rural"].metrics.mean_iou


def test_nothing_is_written_where_the_data_or_the_settings_are_refused(tmp_path: Path) -> None:
    pixels, _, indices = sheet(0)
    empty = MemorySource(LEGEND, [(pixels, None, np.full_like(indices, 255))] * 2)
    for given, sections, error in (
        (empty, {}, GeosegError),
        (source(), {"model": {"architecture": "segnot"}}, ModelError),
        (source(), {"loss": {"expression": "ce+dise"}}, ParameterError),
        (source(), {"trainer": {"precision": "fp16"}}, ParameterError),
        (source(), {"logging": {"mlflow": "nowhere://x"}}, ParameterError),
    ):
        with pytest.raises(error):
            short(tmp_path / "run", given, **sections)
        assert not (tmp_path / "run").exists()


def test_chips_must_suit_the_network(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"chips.size 40 is not a multiple of 32 as smp.fpn needs; give 64"):
        short(tmp_path, model={"architecture": "smp.fpn", "options": {"encoder": "resnet18"}}, chips={"size": 40})


def test_images_smaller_than_a_chip_are_said(tmp_path: Path) -> None:
    """The second image is 20 pixels high, chips are 32."""
    pixels, present, indices = sheet(1)
    low = (pixels[:, :20], None if present is None else present[:, :20], indices[:20])
    given = MemorySource(LEGEND, [sheet(0), low, sheet(2)], roles=["train", "train", "validation"])
    settings = config(trainer={"epochs": 1})
    with survey_ground(given, settings, RunFolder(tmp_path / "run"), False, None, Stopwatch()) as ground:
        [found] = [text for text in ground.warnings if "smaller than chips" in text]
    assert f"1 of 2 images to train on are smaller than chips of {settings.chips.size} px" in found
    assert ground.source.sheets[1].name in found


def test_interrupting_is_interrupting(tmp_path: Path) -> None:
    handler = signal.getsignal(signal.SIGINT)

    def interrupt(status: TrainingStatus) -> None:
        if status.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_on(source(), config(), RunFolder(tmp_path), progress=interrupt)
    assert signal.getsignal(signal.SIGINT) == handler
    assert RunFolder(tmp_path).last.exists()


def test_fine_tuning_starts_from_a_model(run: TrainingRun, tmp_path: Path) -> None:
    tuned = short(tmp_path / "tuned", model={"init": str(run.model)}, optimizer={"lr": 1e-6})
    fresh = short(tmp_path / "fresh", optimizer={"lr": 1e-6})
    assert run.judgement is not None
    assert tuned.judgement is not None
    assert fresh.judgement is not None
    first, last = fresh.judgement.metrics.mean_iou, tuned.judgement.metrics.mean_iou
    assert first is not None
    assert last is not None
    assert last == pytest.approx(run.judgement.metrics.mean_iou, abs=0.1)
    assert last > first + 0.2
    assert any(note.startswith("starts from small") for note in tuned.notes)


def test_mlflow_gets_the_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # the one that needs no server, and no package more
    mlflow = pytest.importorskip("mlflow")
    uri = (tmp_path / "mlruns").as_uri()
    run = short(tmp_path / "run", logging={"mlflow": uri})
    client = mlflow.MlflowClient(tracking_uri=uri)
    (found,) = client.search_runs([client.get_experiment_by_name("geoseg").experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.params["optimizer.lr"] == "0.01"
    assert found.data.metrics["validation/mean_iou"] == run.history[0].figures["mean_iou"]


def test_mlflow_that_is_missing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "mlflow", None)
    with pytest.raises(ParameterError, match=r"pip install 'geoseg\[mlflow\]'"):
        short(tmp_path / "run", logging={"mlflow": "file:///nowhere"})


def test_accelerators_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_accelerator(config(trainer={"accelerator": "auto"}).trainer) == "cpu"
    for wanted in ("gpu", "mps"):
        with pytest.raises(ParameterError, match=f"trainer.accelerator is {wanted}"):
            choose_accelerator(config(trainer={"accelerator": wanted}).trainer)
    assert choose_precision(config().trainer, "cpu") == "fp32"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    assert choose_precision(config().trainer, "gpu") == "fp16"
