"""Losses: by hand, against SMP, kornia, torchvision and torchmetrics, and that what is ignored does not count."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import kornia.losses
import numpy as np
import pytest
import segmentation_models_pytorch.losses as smp
import torch
import torch.nn.functional as F
import torchvision.ops
from torchmetrics.segmentation import GeneralizedDiceScore

from geoseg.errors import ParameterError
from geoseg.legend import IGNORE_ID
from geoseg.training import SegmentationLoss, build_loss, parse_losses, segmentation_loss
from geoseg.training.expressions import PARAMETERS


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny tensors in several threads wait for each other more than they compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


WEIGHTS = (0.5, 2.0, 1.25, 4.0)
LOSSES = (
    *PARAMETERS,
    "focal(gamma=0.5)",
    "tversky(alpha=0, beta=1)",
    "ce+0.5*dice",
    "lovasz + 0.1*weighted_focal(gamma=1)",
)
EVERY_LOSS = pytest.mark.parametrize("expression", LOSSES)


def build(expression: str) -> SegmentationLoss:
    return build_loss(expression, WEIGHTS if "weighted" in expression else None)


def batch(seed: int = 0, classes: int = 4, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (2, K, 5, 6) and labels in which every class occurs, a third of them ignored."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, classes, 5, 6, generator=generator, dtype=dtype)
    indices = torch.randint(0, classes, (2, 5, 6), generator=generator)
    indices[torch.rand(2, 5, 6, generator=generator) < 1 / 3] = IGNORE_ID
    indices[0, 0, :classes] = torch.arange(classes)
    return logits.requires_grad_(), indices


def gradient(loss: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(loss, logits)[0]


def old_segmentation_loss(logits: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Word for word what the built-in model was trained with."""
    valid = indices != IGNORE_ID
    count = valid.sum()
    cross_entropy = F.cross_entropy(logits, indices, ignore_index=IGNORE_ID, reduction="sum") / count.clamp(min=1)
    probabilities = torch.softmax(logits, dim=1) * valid[:, None]
    truth = F.one_hot(indices.where(valid, 0), logits.shape[1]).movedim(-1, 1) * valid[:, None]
    overlap = (probabilities * truth).sum(dim=(0, 2, 3))
    total = probabilities.sum(dim=(0, 2, 3)) + truth.sum(dim=(0, 2, 3))
    occurs = truth.sum(dim=(0, 2, 3)) > 0
    dice = 2 * overlap / total.clamp(min=1e-6)
    return cross_entropy + ((1 - dice) * occurs).sum() / occurs.sum().clamp(min=1)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("classes", "occurring"), [(2, 2), (7, 3)])
def test_the_default_is_what_it_was_bit_for_bit(
    memory_format: torch.memory_format, classes: int, occurring: int
) -> None:
    generator = torch.Generator().manual_seed(classes)
    logits = torch.randn(3, classes, 67, 41, generator=generator).contiguous(memory_format=memory_format)
    indices = torch.randint(0, occurring, (3, 67, 41), generator=generator)
    indices[:, 20:30] = IGNORE_ID
    logits.requires_grad_()
    before = old_segmentation_loss(logits, indices)
    for now in (segmentation_loss(logits, indices), build_loss("ce+dice")(logits, indices)):
        assert torch.equal(now, before)
        assert torch.equal(gradient(now, logits), gradient(old_segmentation_loss(logits, indices), logits))


def test_cross_entropy_is_torchs() -> None:
    logits, indices = batch()
    weights = torch.tensor(WEIGHTS, dtype=torch.float64)
    torch.testing.assert_close(build("ce")(logits, indices), F.cross_entropy(logits, indices, ignore_index=IGNORE_ID))
    expected = F.cross_entropy(logits, indices, weight=weights, ignore_index=IGNORE_ID)
    torch.testing.assert_close(build("weighted_ce")(logits, indices), expected)


def test_focal_is_kornias_and_torchvisions() -> None:
    logits, indices = batch()
    for gamma in (0.0, 0.5, 2.0, 3.0):
        each = kornia.losses.focal_loss(
            logits, indices, alpha=None, gamma=gamma, reduction="none", ignore_index=IGNORE_ID
        )
        expected = each.sum() / (indices != IGNORE_ID).sum()
        torch.testing.assert_close(build_loss(f"focal(gamma={gamma})")(logits, indices), expected)
    logits, indices = batch(classes=2)
    valid = indices != IGNORE_ID
    difference = (logits[:, 1] - logits[:, 0])[valid]  # a softmax of two is a sigmoid of their difference
    expected = torchvision.ops.sigmoid_focal_loss(difference, indices[valid].double(), alpha=-1, reduction="mean")
    torch.testing.assert_close(build("focal")(logits, indices), expected)


def test_focal_without_gamma_is_cross_entropy() -> None:
    logits, indices = batch()
    for kind in ("", "weighted_"):
        focal, entropy = build(f"{kind}focal(gamma=0)"), build(f"{kind}ce")
        torch.testing.assert_close(focal(logits, indices), entropy(logits, indices))


@pytest.mark.parametrize(
    ("expression", "theirs"),
    [
        ("dice", smp.DiceLoss("multiclass", ignore_index=IGNORE_ID)),
        ("jaccard", smp.JaccardLoss("multiclass", ignore_index=IGNORE_ID)),
        ("tversky", smp.TverskyLoss("multiclass", ignore_index=IGNORE_ID, alpha=0.3, beta=0.7)),
        ("lovasz", smp.LovaszLoss("multiclass", ignore_index=IGNORE_ID)),
    ],
)
def test_regions_are_smps_where_every_class_occurs(expression: str, theirs: Any) -> None:
    for seed in range(5):
        logits, indices = batch(seed, dtype=torch.float32)  # SMP's Lovász takes no other
        ours, expected = build(expression)(logits, indices), theirs(logits, indices)
        torch.testing.assert_close(ours, expected)
        torch.testing.assert_close(gradient(ours, logits), gradient(expected, logits), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("expression", ["dice", "jaccard", "tversky", "lovasz", "generalized_dice"])
def test_a_class_that_does_not_occur_does_not_dilute_the_loss(expression: str) -> None:
    """SMP's Dice, Jaccard and Tversky would halve it."""
    logits, indices = batch(classes=2)
    absent = torch.full((2, 2, 5, 6), -100.0, dtype=torch.float64)
    expected = build_loss(expression)(logits, indices)
    torch.testing.assert_close(build_loss(expression)(torch.cat([logits, absent], dim=1), indices), expected)


def test_regions_by_hand() -> None:
    """Three pixels, of classes 0, 0 and 1; class 2 does not occur; the fourth is ignored."""
    p = torch.tensor([[0.7, 0.2, 0.1], [0.4, 0.4, 0.2], [0.1, 0.6, 0.3], [0.1, 0.1, 0.8]], dtype=torch.float64)
    logits, indices = p.log().T[None, :, None], torch.tensor([[[0, 0, 1, IGNORE_ID]]])
    hit, predicted, actual = (1.1, 0.6), (1.2, 1.2), (2, 1)
    sums = list(zip(hit, predicted, actual, strict=True))
    expected = {
        "dice": 1 - sum(2 * h / (p + a) for h, p, a in sums) / 2,
        "jaccard": 1 - sum(h / (p + a - h) for h, p, a in sums) / 2,
        "tversky": 1 - sum(h / (h + 0.3 * (p - h) + 0.7 * (a - h)) for h, p, a in sums) / 2,
        "tversky(alpha=1, beta=0)": 1 - sum(h / p for h, p, _ in sums) / 2,
        "generalized_dice": 1 - 2 * (1.1 / 4 + 0.6 / 1) / (3.2 / 4 + 2.2 / 1),
    }
    for expression, value in expected.items():
        assert build_loss(expression)(logits, indices).item() == pytest.approx(value, rel=1e-12)


def test_tversky_of_halves_is_dice() -> None:
    logits, indices = batch()
    torch.testing.assert_close(build("tversky(alpha=0.5, beta=0.5)")(logits, indices), build("dice")(logits, indices))
    torch.testing.assert_close(build("tversky(alpha=1, beta=1)")(logits, indices), build("jaccard")(logits, indices))


def test_generalized_dice_of_a_hard_map_is_torchmetrics() -> None:
    generator = torch.Generator().manual_seed(0)
    predicted, indices = torch.randint(0, 4, (2, 1, 9, 9), generator=generator)
    score = GeneralizedDiceScore(num_classes=4, weight_type="square", input_format="index")
    expected = 1 - score(predicted, indices)
    logits = F.one_hot(predicted, 4).movedim(-1, 1) * 100.0
    torch.testing.assert_close(build("generalized_dice")(logits, indices), expected)


def test_lovasz_of_a_hard_map_is_the_jaccard_loss() -> None:
    """On the corners of the cube, the extension is what it extends."""
    generator = torch.Generator().manual_seed(0)
    predicted, indices = torch.randint(0, 3, (2, 1, 9, 9), generator=generator)
    indices[0, :2] = IGNORE_ID
    valid = indices != IGNORE_ID
    ious = [
        ((predicted == k) & (indices == k)).sum() / (((predicted == k) & valid) | (indices == k)).sum()
        for k in range(3)
    ]
    logits = F.one_hot(predicted, 3).movedim(-1, 1) * 100.0
    torch.testing.assert_close(build_loss("lovasz")(logits, indices), 1 - sum(ious, start=torch.zeros(())) / 3)


def test_lovasz_is_kornias() -> None:
    """Kornia's takes all classes and no ignore, one image at a time, and reckons in float64."""
    logits, indices = batch()
    one, labels = logits[:1], indices[:1].where(indices[:1] != IGNORE_ID, 2)
    ours, theirs = build("lovasz")(one, labels), kornia.losses.lovasz_softmax_loss(one, labels)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)


def test_a_rare_class_counts_exactly_in_float32() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(1, 2, 1000, 1000, generator=generator)
    logits[:, 0] += 14
    indices = torch.zeros(1, 1000, 1000, dtype=torch.int64)
    indices[0, 0, :6] = 1
    for expression in ("dice", "generalized_dice", "jaccard", "tversky", "lovasz"):
        loss = build_loss(expression)
        assert loss(logits, indices).item() == pytest.approx(loss(logits.double(), indices).item(), rel=2e-6)


@EVERY_LOSS
@pytest.mark.parametrize("seed", range(5))
def test_what_is_ignored_does_not_count(expression: str, seed: int) -> None:
    logits, indices = batch(seed)
    ignored = indices == IGNORE_ID
    loss = build(expression)
    value = loss(logits, indices)
    other = logits.detach().clone()
    other.movedim(1, -1)[ignored] = 1000 * torch.randn(int(ignored.sum()), 4, dtype=torch.float64)
    torch.testing.assert_close(loss(other, indices), value)
    assert not gradient(value, logits).movedim(1, -1)[ignored].any()
    # The same as if those pixels were not there.
    left = logits.movedim(1, -1)[~ignored].T[None, :, None]
    torch.testing.assert_close(loss(left, indices[~ignored][None, None]), value)


@EVERY_LOSS
def test_a_batch_that_is_all_ignored_costs_nothing(expression: str) -> None:
    logits, indices = batch(dtype=torch.float32)
    value = build(expression)(logits, torch.full_like(indices, IGNORE_ID))
    assert value.shape == ()
    assert value == 0
    assert torch.equal(gradient(value, logits), torch.zeros_like(logits))


@EVERY_LOSS
def test_classes_may_be_permuted(expression: str) -> None:
    logits, indices = batch()
    expected = build(expression)(logits, indices)
    for order in itertools.permutations(range(4)):
        places = torch.tensor(order).argsort()
        table = torch.cat([places, torch.full((252,), IGNORE_ID)])
        weights = [WEIGHTS[k] for k in order] if "weighted" in expression else None
        torch.testing.assert_close(build_loss(expression, weights)(logits[:, order], table[indices]), expected)


@EVERY_LOSS
def test_pixels_may_be_shuffled(expression: str) -> None:
    logits, indices = batch()
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    shuffled = logits.movedim(1, -1).reshape(60, 4)[order].T[None, :, None]
    loss = build(expression)
    torch.testing.assert_close(loss(shuffled, indices.flatten()[order][None, None]), loss(logits, indices))


@EVERY_LOSS
def test_gradients_are_right(expression: str) -> None:
    logits, indices = batch(3)
    loss = build(expression)
    assert torch.autograd.gradcheck(lambda x: loss(x, indices), (logits,))


@EVERY_LOSS
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_gradients_are_finite_and_lead_to_the_truth(expression: str, scale: float) -> None:
    logits, indices = batch(dtype=torch.float32)
    loss = build(expression)
    truth = F.one_hot(indices.where(indices != IGNORE_ID, 0), 4).movedim(-1, 1)
    for values in (logits, scale * truth, -scale * truth):
        start = values.detach().float().requires_grad_()
        value = loss(start, indices)
        assert value.isfinite()
        assert gradient(value, start).isfinite().all()
    assert loss(1e4 * truth.float(), indices) < 1e-5
    start = logits.detach().requires_grad_()
    slope = gradient(loss(start, indices), start)
    assert loss(start - 0.1 * slope, indices) < loss(start, indices)


@EVERY_LOSS
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_summed_in_float32(expression: str, dtype: torch.dtype) -> None:
    logits, indices = batch()
    half = logits.detach().to(dtype)
    loss = build(expression)
    assert torch.equal(loss(half, indices), loss(half.float(), indices))


def test_a_sum_is_the_sum_of_its_parts() -> None:
    logits, indices = batch()
    loss = build_loss("2*ce + dice + 0.25*weighted_focal(gamma=1)", WEIGHTS)
    parts = loss.parts(logits, indices)
    alone = [build("ce"), build("dice"), build("weighted_focal(gamma=1)")]
    expected = [f * one(logits, indices) for f, one in zip((2, 1, 0.25), alone, strict=True)]
    assert list(parts) == ["ce", "dice", "weighted_focal"]
    for part, value in zip(parts.values(), expected, strict=True):
        torch.testing.assert_close(part, value)
    torch.testing.assert_close(loss(logits, indices), sum(expected))


def test_class_weights_of_zero_only_in_the_batch() -> None:
    logits, indices = batch()
    loss = build_loss("weighted_ce", (0.0, 1.0, 1.0, 1.0))
    only = indices.where(indices == IGNORE_ID, 0)
    value = loss(logits, only)
    assert value == 0
    assert not gradient(value, logits).any()


def test_losses_are_repeatable_operations() -> None:
    logits, indices = batch()
    torch.use_deterministic_algorithms(True)
    try:
        for expression in LOSSES:
            gradient(build(expression)(logits, indices), logits)
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    ("losses", "text"),
    [
        ("ce+dice", "ce + dice"),
        ("  ce + 0.5 * dice\n", "ce + 0.5*dice"),
        ("1e-1*focal(gamma=3)+jaccard", "0.1*focal(gamma=3) + jaccard"),
        ("tversky(beta=0.9, alpha=0.1)", "tversky(alpha=0.1, beta=0.9)"),
        ("focal(gamma=2)", "focal"),
        ({"ce": 1, "focal(gamma=1)": 0.5}, "ce + 0.5*focal(gamma=1)"),
        ({"2*ce": 3}, "6*ce"),
    ],
)
def test_expressions(losses: str | Mapping[str, float], text: str) -> None:
    terms = parse_losses(losses)
    assert " + ".join(map(str, terms)) == text
    assert parse_losses(text) == terms
    assert build_loss(losses).extra_repr() == text


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ("dise", "there is no loss 'dise', did you mean 'dice'"),
        ("", "'' is not a sum of losses"),
        ("ce-dice", "'ce-dice' is not a sum of losses; write it as"),
        ("ce+", "is not a sum of losses"),
        ("dice*0.5", "is not a sum of losses"),
        ("True*ce", "is not a sum of losses"),
        ("focal(2)", "is not a sum of losses"),
        ("focal(**{})", "is not a sum of losses"),
        ("__import__('os')", "is not a sum of losses"),
        ("-1*ce", "is not a sum of losses"),
        ("0*ce", "loss ce has factor 0.0"),
        ({"ce": float("nan")}, "loss ce has factor nan"),
        ({}, "there is no loss to minimise"),
        ("ce+dice+ce", "loss ce stands 2 times"),
        ("dice(gamma=2)", "loss dice has no parameter 'gamma'; it has: none"),
        ("focal(alpha=2)", "loss focal has no parameter 'alpha'; it has: gamma"),
        ("focal(gamma=1e999)", "loss focal has gamma=inf"),
        ("tversky(alpha=0, beta=0)", "no error would count"),
    ],
)
def test_expressions_that_are_none(losses: str | Mapping[str, float], message: str) -> None:
    with pytest.raises(ParameterError, match=message) as caught:
        parse_losses(losses)
    assert "\n" not in str(caught.value)


def test_class_weights_that_do_not_fit() -> None:
    logits, indices = batch()
    with pytest.raises(ParameterError, match="weighted_ce needs class weights; give class_weights, or take ce"):
        build_loss("weighted_ce")
    with pytest.raises(ParameterError, match=r"class weights apply to no loss in ce\+dice"):
        build_loss("ce+dice", WEIGHTS)
    for weights in ((1.0, -1.0), (0.0, 0.0), (1.0, float("nan")), (1.0, float("inf")), ()):
        with pytest.raises(ParameterError, match="give finite numbers from 0 up, and one above 0"):
            build_loss("weighted_ce", weights)
    with pytest.raises(ParameterError, match="there are 3 class weights for 4 classes"):
        build_loss("weighted_ce", (1, 2, 3))(logits, indices)
    with pytest.raises(ParameterError, match=r"logits \(2, 4, 5, 6\) and labels \(2, 5\) do not fit"):
        build_loss("ce")(logits, indices[..., 0])


def test_class_weights_are_no_part_of_a_checkpoint() -> None:
    loss = build_loss("weighted_ce", np.array(WEIGHTS))
    assert not loss.state_dict()
    assert loss.double().class_weights is not None
    assert loss.class_weights.dtype == torch.float64
