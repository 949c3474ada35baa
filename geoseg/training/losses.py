"""What training minimises: losses that leave out what is to be ignored, and weighted sums of them.

The losses are written out here, because those of segmentation-models-pytorch 0.6 depart from the papers where it
matters for maps. The tests compare with them where the two agree.

- Dice, Jaccard and Tversky are averaged over all classes, those that do not occur counting as perfect, so that a batch
  with 2 of 7 classes gives 2/7 of the gradient. Their overlaps are differences of large sums, too: in float32, Dice
  with 6 pixels of one class among 2 million of another comes to 0.4992 instead of 0.5003.
- Focal is a mean of one-against-all sigmoid losses, though the map comes from a softmax, and NaN where every pixel is
  ignored.
- Lovász gives an empty tensor where every pixel is ignored, and counts pixels in float32, which ends at 2**24.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial

import torch
import torch.nn.functional as F
from torch import nn

from geoseg.errors import ParameterError
from geoseg.legend import IGNORE_ID
from geoseg.training.expressions import CLASS_WEIGHTED, LossTerm, parse_losses

# Keeps ratios of sums finite that are 0/0 for a class that does not occur, and powers differentiable at 0.
_TINY = 1e-6

_CLASS_SUMS = (0, 2, 3)


class SegmentationLoss(nn.Module):
    """A weighted sum of losses over the pixels that are not to be ignored.

    Args:
        terms: From :func:`~geoseg.training.expressions.parse_losses`.
        class_weights: K finite numbers from 0 up, one above 0; needed by the terms ``weighted_*`` and by no other.

    Raises:
        ParameterError: Class weights are missing, out of range, or apply to no term.
    """

    class_weights: torch.Tensor | None

    def __init__(self, terms: Sequence[LossTerm], class_weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.terms = tuple(terms)
        _check_class_weights(self.terms, class_weights)
        tensor = None if class_weights is None else torch.tensor([float(w) for w in class_weights])
        self.register_buffer("class_weights", tensor, persistent=False)

    def forward(self, logits: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        """The weighted sum.

        Args:
            logits: (B, K, H, W) float; half precision is taken to float32 first.
            indices: (B, H, W) int64, 0..K-1, 255 = ignore.

        Returns:
            A scalar; 0, with a gradient of 0, where every pixel is ignored.
        """
        first, *others = self.parts(logits, indices).values()
        return sum(others, start=first)

    def parts(self, logits: torch.Tensor, indices: torch.Tensor) -> dict[str, torch.Tensor]:
        """The addends by name, each with its factor; see :meth:`forward`."""
        scored = _Scored(logits, indices, self.class_weights)
        return {term.name: term.factor * _LOSSES[term.name](scored, **term.parameters) for term in self.terms}

    def extra_repr(self) -> str:
        """The sum as it is written."""
        return " + ".join(map(str, self.terms))


def build_loss(losses: str | Mapping[str, float], class_weights: Sequence[float] | None = None) -> SegmentationLoss:
    """A loss by its expression.

    ========================  ====================================================================================
    ``ce``, ``weighted_ce``   cross-entropy, with class weights as a weighted mean over the pixels
    ``focal``                 Lin et al. 2017, https://arxiv.org/abs/1708.02002, on the softmax; ``gamma`` 2
    ``weighted_focal``        the same as a weighted mean, as Cui et al. 2019 do
    ``dice``                  Milletari et al. 2016, "V-Net", with plain sums below
    ``generalized_dice``      Sudre et al. 2017, https://arxiv.org/abs/1707.03237: classes weigh 1 / pixels²
    ``jaccard``               Rahman & Wang 2016: soft intersection over union
    ``tversky``               Salehi et al. 2017, https://arxiv.org/abs/1706.05721; ``alpha`` 0.3 for false
                              positives, ``beta`` 0.7 for false negatives
    ``lovasz``                Berman et al. 2018, Lovász-Softmax, https://arxiv.org/abs/1705.08790
    ========================  ====================================================================================

    The losses of regions, from ``dice`` on, are taken over the whole batch, and over the classes that occur in it.

    Args:
        losses: Such as ``ce+0.5*dice``; see :func:`~geoseg.training.expressions.parse_losses`.
        class_weights: See :class:`SegmentationLoss` and :mod:`geoseg.training.weights`.

    Raises:
        ParameterError: The expression cannot be read, or class weights do not fit.
    """
    return SegmentationLoss(parse_losses(losses), class_weights)


def segmentation_loss(logits: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """``ce+dice``, the default.

    Cross-entropy gives good gradients everywhere, Dice keeps small classes from being drowned by large ones.

    Args:
        logits: (B, K, H, W) float.
        indices: (B, H, W) int64, 0..K-1, 255 = ignore.

    Returns:
        A scalar; 0, with a gradient of 0, where every pixel is ignored.
    """
    loss: torch.Tensor = _DEFAULT(logits, indices)
    return loss


def _check_class_weights(terms: Sequence[LossTerm], weights: Sequence[float] | None) -> None:
    needed = [term.name for term in terms if term.name in CLASS_WEIGHTED]
    if needed and weights is None:
        plain = needed[0].removeprefix("weighted_")
        raise ParameterError(f"loss {needed[0]} needs class weights; give class_weights, or take {plain}")
    if weights is not None and not needed:
        names = ", ".join(sorted(CLASS_WEIGHTED))
        raise ParameterError(f"class weights apply to no loss in {'+'.join(t.name for t in terms)}; take {names}")
    if weights is not None and not (all(0 <= w < float("inf") for w in weights) and any(w > 0 for w in weights)):
        listed = ", ".join(f"{w:g}" for w in weights)
        raise ParameterError(f"class weights {listed}: give finite numbers from 0 up, and one above 0")


class _Scored:
    """A batch of logits beside its labels, and what several losses take from them."""

    def __init__(self, logits: torch.Tensor, indices: torch.Tensor, class_weights: torch.Tensor | None) -> None:
        batch, classes, *size = logits.shape
        if indices.shape != (batch, *size) or len(size) != 2:
            raise ParameterError(
                f"logits {tuple(logits.shape)} and labels {tuple(indices.shape)} do not fit; "
                "give (B, K, H, W) and (B, H, W)"
            )
        if class_weights is not None and len(class_weights) != classes:
            raise ParameterError(f"there are {len(class_weights)} class weights for {classes} classes; give one each")
        # Sums over millions of pixels need more than the 8 or 11 bits of bfloat16 and float16.
        self.logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        self.indices = indices
        self.class_weights = class_weights
        self.valid = indices != IGNORE_ID

    @cached_property
    def probabilities(self) -> torch.Tensor:
        """(B, K, H, W), 0 where ignored."""
        return torch.softmax(self.logits, dim=1) * self.valid[:, None]

    @cached_property
    def truth(self) -> torch.Tensor:
        """(B, K, H, W) bool: the pixel is of the class; False where ignored."""
        classes = torch.arange(self.logits.shape[1], device=self.indices.device)
        return (self.indices[..., None] == classes).movedim(-1, 1)

    @cached_property
    def overlap(self) -> torch.Tensor:
        """(K,) true positives: probability of the class on its own pixels."""
        return (self.probabilities * self.truth).sum(dim=_CLASS_SUMS)

    @cached_property
    def predicted(self) -> torch.Tensor:
        """(K,) probability of the class on all pixels."""
        return self.probabilities.sum(dim=_CLASS_SUMS)

    @cached_property
    def actual(self) -> torch.Tensor:
        """(K,) int64 pixels of the class."""
        return self.truth.sum(dim=_CLASS_SUMS)

    def mean_over_occurring(self, losses: torch.Tensor) -> torch.Tensor:
        """Mean of (K,) over the classes that occur; 0 where none does."""
        occurs = self.actual > 0
        return (losses * occurs).sum() / occurs.sum().clamp(min=1)

    def pixel_weights(self) -> torch.Tensor:
        """(B, H, W) class weight of the pixel's class; 0 where ignored."""
        if self.class_weights is None:  # SegmentationLoss has checked it
            raise ParameterError("class weights are missing; give class_weights")
        weights = self.class_weights.to(self.logits)
        return weights[self.indices.where(self.valid, 0)] * self.valid


def _cross_entropy(scored: _Scored) -> torch.Tensor:
    # reduction="mean" would be 0/0 = NaN for a batch without labels.
    total = F.cross_entropy(scored.logits, scored.indices, ignore_index=IGNORE_ID, reduction="sum")
    return total / scored.valid.sum().clamp(min=1)


def _surprise(scored: _Scored) -> torch.Tensor:
    """(B, H, W) −log of the probability of the true class; 0 where ignored."""
    return F.cross_entropy(scored.logits, scored.indices, ignore_index=IGNORE_ID, reduction="none")


def _focal_pixels(scored: _Scored, gamma: float) -> torch.Tensor:
    surprise = _surprise(scored)
    doubt = -torch.expm1(-surprise)  # 1 − p, without the cancellation where p is near 1
    return doubt.clamp(min=_TINY) ** gamma * surprise


def _focal(scored: _Scored, gamma: float) -> torch.Tensor:
    return _focal_pixels(scored, gamma).sum() / scored.valid.sum().clamp(min=1)


def _weighted_mean(scored: _Scored, losses: torch.Tensor) -> torch.Tensor:
    """Over the pixels, as ``torch.nn.CrossEntropyLoss`` has it; 0 where no pixel has a weight."""
    weights = scored.pixel_weights()
    total = weights.sum()
    return (losses * weights).sum() / total.where(total > 0, 1)


def _weighted_cross_entropy(scored: _Scored) -> torch.Tensor:
    return _weighted_mean(scored, _surprise(scored))


def _weighted_focal(scored: _Scored, gamma: float) -> torch.Tensor:
    return _weighted_mean(scored, _focal_pixels(scored, gamma))


def _dice(scored: _Scored) -> torch.Tensor:
    # As Tversky with 1/2 and 1/2, but rounded as ever: the built-in model is to be trained again bit for bit.
    total = scored.predicted + scored.actual
    return scored.mean_over_occurring(1 - 2 * scored.overlap / total.clamp(min=_TINY))


def _generalized_dice(scored: _Scored) -> torch.Tensor:
    """A class that does not occur would weigh 1/0²; it is left out."""
    actual = scored.actual.to(scored.logits)
    # Shares instead of counts: the ratio is the same, and float32 does not run out.
    weights = (actual.sum() / actual.clamp(min=1)).square() * (actual > 0)
    total = (weights * (scored.predicted + actual)).sum()
    dice = 2 * (weights * scored.overlap).sum() / total.clamp(min=_TINY)
    return (1 - dice) * (actual.sum() > 0)


def _tversky(scored: _Scored, alpha: float, beta: float) -> torch.Tensor:
    false_positives, false_negatives = scored.predicted - scored.overlap, scored.actual - scored.overlap
    total = scored.overlap + alpha * false_positives + beta * false_negatives
    return scored.mean_over_occurring(1 - scored.overlap / total.clamp(min=_TINY))


def _lovasz(scored: _Scored) -> torch.Tensor:
    probabilities, truth = (t.movedim(1, 0).flatten(1) for t in (scored.probabilities, scored.truth))
    losses = [_lovasz_extension(*one) for one in zip(probabilities, truth, strict=True)]
    return scored.mean_over_occurring(torch.stack(losses))


def _lovasz_extension(probabilities: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """The Lovász extension of the Jaccard loss of one class at the errors of its pixels.

    Each error counts by how much the Jaccard loss rises when its pixel becomes wrong after all those of larger errors
    (algorithm 1 of the paper). Ignored pixels have error 0: they come last and count for nothing.

    Args:
        probabilities: (P,) 0 where ignored.
        truth: (P,) bool.

    Returns:
        A scalar.
    """
    errors = (probabilities - truth.to(probabilities)).abs()
    order = errors.detach().argsort(descending=True)
    misses = truth[order]
    missed = misses.cumsum(0)  # int64: exact for any number of pixels
    hits, union = missed[-1] - missed, missed[-1] + (~misses).cumsum(0)
    # The rises in closed form: neighbouring Jaccard values of a large batch differ in their last digits only.
    if_missed, if_taken = 1 / union.clamp(min=1).to(errors), hits / (union * (union - 1)).clamp(min=1).to(errors)
    rises = torch.where(misses, if_missed, if_taken)
    return (errors * torch.empty_like(errors).scatter(0, order, rises)).sum()


_LOSSES: Mapping[str, Callable[..., torch.Tensor]] = {
    "ce": _cross_entropy,
    "weighted_ce": _weighted_cross_entropy,
    "focal": _focal,
    "weighted_focal": _weighted_focal,
    "dice": _dice,
    "generalized_dice": _generalized_dice,
    "jaccard": partial(_tversky, alpha=1.0, beta=1.0),
    "tversky": _tversky,
    "lovasz": _lovasz,
}

_DEFAULT = build_loss("ce+dice")
