"""What is learned at each step, and how it is judged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_training import LEGEND, config
from torch import nn

from geoseg.errors import ModelError, ParameterError
from geoseg.metrics import Calibration, Metrics
from geoseg.models import create_model
from geoseg.normalization import BandStats
from geoseg.sources.chips import Batch
from geoseg.tiling import Window
from geoseg.training.averaging import MovingAverage
from geoseg.training.calibrating import LogitSample, best_temperature, calibration_at
from geoseg.training.checkpoints import load_state, save_state
from geoseg.training.losses import build_loss
from geoseg.training.preparing import criterion_of, planned_steps
from geoseg.training.recording import Recorder
from geoseg.training.repeating import repeatable, seed_step
from geoseg.training.results import HistoryRow
from geoseg.training.running import build_trainer, fit
from geoseg.training.runs import RunFolder
from geoseg.training.task import SegmentationTask, count_pairs

STATS = BandStats((100.0, 120.0), (40.0, 50.0))


class FixedBatches:
    """The same few batches in every epoch."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        self.batches = batches
        self.epochs: list[int] = []

    def __len__(self) -> int:
        return len(self.batches)

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)

    def __iter__(self) -> Any:
        return iter(self.batches)


def batch(seed: int, size: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (size, 2, 16, 16), generator=generator, dtype=torch.uint8)
    indices = torch.randint(0, 3, (size, 16, 16), generator=generator, dtype=torch.uint8)
    return Batch(pixels, None, indices, tuple((i, Window(0, 16 * i, 16, 16)) for i in range(size)))


def plain(**sections: Any) -> Any:
    """Settings without any chance in them, and a learning rate that stays."""
    still = {"flip": False, "right_angles": False, "brightness": 0, "contrast": 0}
    schedule = {"kind": "constant", "warm_up": 0}
    return config(**{"augmentation": still, "schedule": schedule, "loss": {"expression": "ce"}, **sections})


def learn(
    folder: Path, settings: Any, batches: FixedBatches, network: nn.Module, resume: Path | None = None
) -> tuple[SegmentationTask, Recorder]:
    steps = planned_steps(settings, len(batches))
    criterion = build_loss(settings.loss.expression)
    task = SegmentationTask(network, STATS, criterion, settings, steps=steps, classes=3, subsets=[0, 0])
    recorder = Recorder(RunFolder(folder), settings, LEGEND, (), ())
    with repeatable(settings.trainer.seed):
        trainer = build_trainer(settings, folder, recorder, "cpu", "fp32", judges=False)
        fit(trainer, task, recorder, batches, None, resume)  # type: ignore[arg-type]
    return task, recorder


def network(batch_norm: bool = True) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return create_model("unet", bands=2, classes=3, width=4, depth=2, batch_norm=batch_norm)


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_steps_are_those_of_a_loop_by_hand(tmp_path: Path) -> None:
    batches = FixedBatches([batch(i) for i in range(3)])
    settings = plain(trainer={"epochs": 2, "clip": 0.5}, optimizer={"kind": "sgd", "lr": 0.05, "momentum": 0.9})
    task, recorder = learn(tmp_path, settings, batches, network())
    model = network().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for one in batches.batches * 2:
        pixels = np.stack([STATS.normalize(p.numpy(), np.ones((16, 16), np.bool_)) for p in one.pixels])
        loss = nn.functional.cross_entropy(model(torch.from_numpy(pixels)), one.indices.long())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        losses.append(loss.item())
    torch.testing.assert_close(weights(task.network), weights(model), rtol=1e-4, atol=1e-6)
    assert [row.loss for row in recorder.history] == pytest.approx([np.mean(losses[:3]), np.mean(losses[3:])], rel=1e-5)
    assert [(row.epoch, row.step, row.lr) for row in recorder.history] == [(1, 3, 0.05), (2, 6, 0.05)]
    assert batches.epochs == [0, 1]


def test_accumulated_batches_are_one_large_batch(tmp_path: Path) -> None:
    halves = [batch(0), batch(1)]
    whole = Batch(*(torch.cat([getattr(h, name) for h in halves]) for name in ("pixels",)), None,
                  torch.cat([h.indices for h in halves]), halves[0].where + halves[1].where)  # fmt: skip
    sgd = {"kind": "sgd", "lr": 0.05, "momentum": 0}
    one = plain(trainer={"epochs": 1, "clip": 0}, optimizer=sgd)
    two = plain(trainer={"epochs": 1, "clip": 0, "accumulate": 2}, optimizer=sgd)
    whole_task, _ = learn(tmp_path / "a", one, FixedBatches([whole]), network(batch_norm=False))
    task, recorder = learn(tmp_path / "b", two, FixedBatches(halves), network(batch_norm=False))
    torch.testing.assert_close(weights(task.network), weights(whole_task.network), rtol=1e-4, atol=1e-6)
    assert recorder.history[0].step == 1


def test_it_stops_at_the_step_that_was_asked_for(tmp_path: Path) -> None:
    batches = FixedBatches([batch(i) for i in range(3)])
    _, recorder = learn(tmp_path, plain(trainer={"epochs": 9, "steps": 5}), batches, network())
    assert recorder.history[-1].step == 5
    assert recorder.history[-1].epoch == 2
    assert recorder.finished
    assert planned_steps(plain(trainer={"epochs": 9, "steps": 5}), 3) == 5
    assert planned_steps(plain(trainer={"epochs": 9, "accumulate": 2}), 3) == 18


def test_the_average_follows_the_weights_after_each_optimizer_step(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    average = MovingAverage(model, decay=0.5)
    first, hand = model[0].weight.detach().clone(), model[0].weight.detach().clone()
    for step, value in enumerate([1.0, 3.0, -2.0]):
        nn.init.constant_(model[0].weight, value)
        model[1].running_mean.fill_(value)  # type: ignore[union-attr, operator]
        model[1].num_batches_tracked.fill_(step)  # type: ignore[union-attr, operator]
        average.update(model)
        decay = min(0.5, (1 + step) / (10 + step))
        hand = decay * hand + (1 - decay) * value
    torch.testing.assert_close(average.module[0].weight, hand)  # type: ignore[index]
    assert average.module[1].num_batches_tracked == 2  # type: ignore[index]
    assert average.module[1].running_mean.item() != 0  # type: ignore[index]
    assert not torch.equal(first, hand)
    settings = plain(trainer={"epochs": 1, "ema": 0.9, "accumulate": 2})
    task, recorder = learn(tmp_path, settings, FixedBatches([batch(i) for i in range(4)]), network())
    assert task.average is not None
    assert task.average.updates == recorder.history[-1].step == 2
    assert task.judged is task.average.module
    assert not torch.equal(weights(task.judged), weights(task.network))


@pytest.mark.parametrize(("epochs", "moves"), [(1, True), (2, False), (-1, False)])
def test_a_frozen_encoder_stays_as_it_is(tmp_path: Path, epochs: int, moves: bool) -> None:
    settings = plain(trainer={"epochs": 2}, model={"freeze_encoder": epochs})
    task, _ = learn(tmp_path, settings, FixedBatches([batch(0), batch(1)]), network())
    for (name, before), after in zip(network().state_dict().items(), task.network.state_dict().values(), strict=True):
        if name.startswith("down") and not name.endswith("num_batches_tracked"):
            assert torch.equal(before, after) != moves, name
    assert not torch.equal(weights(network()), weights(task.network))


def test_chance_is_a_function_of_seed_epoch_step_and_rank() -> None:
    def drawn(*at: int) -> tuple[float, float]:
        generator = seed_step(*at)
        return torch.rand(1).item(), torch.rand(1, generator=generator).item()

    with torch.random.fork_rng(devices=[]):
        assert drawn(1, 2, 3, 0) == drawn(1, 2, 3, 0)
        places = [(1, 2, 3, 0), (2, 2, 3, 0), (1, 3, 3, 0), (1, 2, 4, 0), (1, 2, 3, 1)]
        assert len({drawn(*at) for at in places}) == len(places)
        assert len({value for at in places for value in drawn(*at)}) == 2 * len(places)


def test_a_loss_that_is_no_number_names_its_batch_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    class Bursting(FixedBatches):
        def __iter__(self) -> Any:
            yield self.batches[0]
            if len(self.epochs) == 2:
                bad = self.batches[1]
                yield Batch(bad.pixels.float() * float("nan"), None, bad.indices, ((1, Window(7, 8, 16, 16)),))
            else:
                yield self.batches[1]

    batches = Bursting([batch(0), batch(1)])
    with pytest.raises(ModelError, match=r"the loss became nan in epoch 2 at .*row_off=7.* lower optimizer.lr"):
        learn(tmp_path, plain(trainer={"epochs": 3}), batches, network())
    state = load_state(RunFolder(tmp_path).last)
    assert state["epoch"] == 0
    assert all(torch.isfinite(value).all() for value in state["state_dict"].values() if torch.is_tensor(value))


def test_weights_that_are_no_numbers_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.optim.AdamW.step

    def step(self: Any, *args: Any, **more: Any) -> Any:
        found = real(self, *args, **more)
        self.param_groups[0]["params"][0].data[0] = float("inf")
        return found

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    with pytest.raises(ModelError, match="weights became NaN or infinite in epoch 1"):
        learn(tmp_path, plain(trainer={"epochs": 1}), FixedBatches([batch(0)]), network())
    assert not RunFolder(tmp_path).last.exists()


def test_a_batch_of_one_is_refused_where_it_cannot_be_normalized(tmp_path: Path) -> None:
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(2), nn.Conv2d(2, 3, 1), nn.Upsample(scale_factor=16))
    with pytest.raises(ParameterError, match=r"a batch of 1 chips of 16 px .* chips.batch 2"):
        learn(tmp_path, plain(), FixedBatches([batch(0, size=1)]), model)


def test_pairs_are_counted_by_area() -> None:
    generator = torch.Generator().manual_seed(0)
    truth, predicted = (torch.randint(0, 3, (4, 5, 5), generator=generator) for _ in range(2))
    truth[:, 2] = 255
    areas = torch.tensor([1, 0, 1, 1])
    found = count_pairs(predicted, truth, areas, torch.zeros((2, 3, 3), dtype=torch.int64))
    hand = torch.zeros((2, 3, 3), dtype=torch.int64)
    for a, t, p in zip(areas.repeat_interleave(25), truth.flatten(), predicted.flatten(), strict=True):
        if t != 255:
            hand[a, t, p] += 1
    assert torch.equal(found, hand)


def test_class_weights_by_rule_and_by_name() -> None:
    counts = np.array([[10, 30, 0], [0, 60, 100]], np.int64)
    settings = config(loss={"expression": "weighted_ce", "class_weights": "inverse-frequency"}).loss
    found = criterion_of(settings, LEGEND, counts).class_weights
    inverse = 1 / counts.sum(axis=0)
    torch.testing.assert_close(found, torch.tensor(inverse / inverse.mean(), dtype=torch.float32))
    named = {"wood": 3.0, "water": 1.0, "field": 0.5}
    settings = config(loss={"expression": "weighted_ce", "class_weights": named}).loss
    assert criterion_of(settings, LEGEND, counts).class_weights.tolist() == [1.0, 0.5, 3.0]  # type: ignore[union-attr]
    for wrong, message in (
        (named | {"feld": 1.0}, "no class 'feld', did you mean 'field'"),
        ({"wood": 1.0, "water": 1.0}, "'field' has no weight"),
    ):
        settings = config(loss={"expression": "weighted_ce", "class_weights": wrong}).loss
        with pytest.raises(ParameterError, match=message):
            criterion_of(settings, LEGEND, counts)


def test_patience_ends_a_training(tmp_path: Path) -> None:
    settings = config(trainer={"epochs": 50, "patience": 2})
    recorder = Recorder(RunFolder(tmp_path), settings, LEGEND, (), ())
    improved = []
    for epoch, figure in enumerate([0.2, 0.4, 0.4, None], start=1):
        assert not recorder.finished
        row = HistoryRow(epoch, epoch, 1.0, 0.1, 1.0, {"mean_iou": figure})
        recorder.history.append(row)
        improved.append(recorder._note(row))
        recorder.finished = recorder._is_over(row)
    assert recorder.finished
    assert improved == [True, True, False, False]
    assert (recorder.best_epoch, recorder.best) == (2, 0.4)
    other = Recorder(RunFolder(tmp_path), settings, LEGEND, (), ())
    other.load_state_dict(recorder.state_dict())
    assert other.finished
    assert other.history == recorder.history


def test_checkpoints_hold_plain_values_only(tmp_path: Path) -> None:
    settings = plain(trainer={"epochs": 1, "ema": 0.9})
    learn(tmp_path, settings, FixedBatches([batch(0)]), network())
    state = torch.load(RunFolder(tmp_path).last, weights_only=True)
    assert "hyper_parameters" not in state
    path = tmp_path / "evil.ckpt"
    torch.save({"network": nn.Linear(1, 1)}, path)
    with pytest.raises(ModelError, match=r"evil.ckpt is no readable checkpoint"):
        load_state(path)
    save_state({"a": torch.ones(2), "b": [1, "x"]}, path)
    assert load_state(path)["b"] == [1, "x"]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ModelError, match=r"evil.ckpt is no readable checkpoint"):
        load_state(path)


def test_the_temperature_is_found_that_spoiled_the_logits() -> None:
    generator = torch.Generator().manual_seed(0)
    honest = torch.randn((40_000, 4), generator=generator) * 2
    truth = torch.multinomial(torch.softmax(honest, 1), 1, generator=generator)[:, 0]
    for spoiled in (0.4, 1.0, 3.0):
        assert best_temperature(honest * spoiled, truth) == pytest.approx(spoiled, rel=0.03)
    before, after = (calibration_at(honest * 3, truth, t).error for t in (1.0, 3.0))
    assert before is not None
    assert after is not None
    assert after < 0.02 < 0.1 < before
    assert best_temperature(torch.zeros((0, 4)), torch.zeros(0, dtype=torch.int64)) == 1
    assert calibration_at(torch.zeros((0, 4)), torch.zeros(0, dtype=torch.int64), 1.0) == Calibration.from_counts(
        np.zeros((3, 15))
    )


def test_all_labelled_pixels_are_sampled_or_about_as_many_as_wanted() -> None:
    logits = torch.randn((2, 3, 40, 40), generator=torch.Generator().manual_seed(0))
    indices = logits.argmax(1)
    indices[:, :4] = 255
    everything = LogitSample(2 * 36 * 40, 10**6, seed=0)
    everything.add(logits, indices)
    found, truth = everything.pixels()
    assert torch.equal(found, logits.movedim(1, -1)[:, 4:].reshape(-1, 3))
    assert torch.equal(truth, found.argmax(1))
    some = [LogitSample(2 * 36 * 40, 500, seed=7) for _ in range(2)]
    for sample in some:
        sample.add(logits, indices)
    assert 400 < len(some[0].pixels()[1]) < 600
    assert torch.equal(some[0].pixels()[0], some[1].pixels()[0])


def test_figures_of_an_epoch_are_those_of_its_matrices(tmp_path: Path) -> None:
    settings = config()
    recorder = Recorder(RunFolder(tmp_path), settings, LEGEND, ("urban", "rural"), ())
    task = SegmentationTask(network(), STATS, build_loss("ce"), settings, steps=1, classes=3, subsets=[0, 1])
    task.confusion = torch.arange(18).view(2, 3, 3)
    task.validation_loss = 0.5
    found = recorder._figures(task)
    whole = Metrics.from_confusion(np.arange(18).reshape(2, 3, 3).sum(axis=0))
    assert found["kappa"] == whole.kappa
    assert found["iou/wood"] == whole.iou[2]
    assert found["urban/mean_iou"] == Metrics.from_confusion(np.arange(9).reshape(3, 3)).mean_iou
    assert found["loss"] == 0.5
    assert recorder._figures(task) == {}
