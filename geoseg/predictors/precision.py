"""How far the labels of two predictors are apart."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from geoseg.errors import ParameterError
from geoseg.predictors.tiles import Predictor, Tiles


def label_difference(predictor: Predictor, reference: Predictor, tiles: Sequence[Tiles]) -> float:
    """Share of the valid pixels whose most probable class differs, 0..1; 0 where no pixel is valid.

    Args:
        predictor: Say, in reduced precision.
        reference: Say, the same model in fp32 under torch.
        tiles: Of a scene.

    Raises:
        ParameterError: The two have different numbers of classes.
    """
    if predictor.classes != reference.classes:
        raise ParameterError(f"{predictor.classes} and {reference.classes} classes cannot be compared")
    changed = valid = 0
    for batch in tiles:
        ours, theirs = (p.submit(batch)()[:, : p.classes].cpu().argmax(1) for p in (predictor, reference))
        eaten = (batch.present.shape[-1] - ours.shape[-1]) // 2  # by a network without padding, at each side
        kept = slice(eaten, eaten + ours.shape[-1])
        data = torch.from_numpy(batch.present).any(1)[:, kept, kept]
        changed += int(((ours != theirs) & data).sum())
        valid += int(data.sum())
    return changed / valid if valid else 0.0


def changed_beyond(scores: torch.Tensor, reference: torch.Tensor, margin: float) -> float:
    """Share of the pixels whose most probable class differs and is not a near tie in the reference.

    Args:
        scores: (B, K, H, W) probabilities.
        reference: The same.
        margin: The reference's score of its own best class is above that of the other by more than this.
    """
    others = reference.gather(1, scores.argmax(1, keepdim=True))[:, 0]
    return float((reference.amax(1) - others > margin).double().mean())
