"""Class weights from pixel counts, for the losses ``weighted_ce`` and ``weighted_focal``.

A class that does not occur among the counts weighs 1, as an average class does under each of the rules: 0 would drop it
in silence where it turns up after all, in validation for one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from geoseg.errors import ParameterError
from geoseg.legend import IGNORE_ID

Counts = npt.NDArray[np.int64]
Weights = npt.NDArray[np.float64]

Weighting = Literal["median-frequency", "inverse-frequency", "effective-number"]
"""How the pixel counts of classes become their weights."""


def count_pixels(images: Iterable[npt.NDArray[Any]], classes: int) -> Counts:
    """Count the pixels of each class in each image.

    Args:
        images: Arrays of class indices, 0..K-1, 255 = ignore, of any integer dtype and shape.
        classes: K.

    Returns:
        (N, K).

    Raises:
        ParameterError: No image, or an index that is neither a class nor 255.
    """
    rows = [_count(image, number, classes) for number, image in enumerate(images)]
    if not rows:
        raise ParameterError("there are no images to count classes in; give at least one")
    return np.stack(rows)


def _count(image: npt.NDArray[Any], number: int, classes: int) -> Counts:
    indices = image[image != IGNORE_ID]
    if indices.size and not (indices.min() >= 0 and indices.max() < classes):
        raise ParameterError(
            f"image {number} has indices {indices.min()}..{indices.max()}; there are the classes 0..{classes - 1}, "
            f"and {IGNORE_ID} for ignore"
        )
    return np.bincount(indices.ravel(), minlength=classes).astype(np.int64)


def class_weights(counts: npt.ArrayLike, weighting: Weighting = "median-frequency") -> Weights:
    """Weights by the rule of that name.

    Args:
        counts: (N, K) pixels of each class in each image.
        weighting: Which rule.

    Returns:
        (K,) above 0.

    Raises:
        ParameterError: No such rule, or counts that are none.
    """
    rules = {
        "median-frequency": median_frequency,
        "inverse-frequency": inverse_frequency,
        "effective-number": effective_number,
    }
    if weighting not in rules:
        raise ParameterError(f"there is no class weighting {weighting!r}; there are: {', '.join(rules)}")
    return rules[weighting](counts)


def median_frequency(counts: npt.ArrayLike) -> Weights:
    """Median-frequency balancing, as SegNet is trained (Badrinarayanan et al. 2017, section 4.1).

    A class's frequency is its share of the labelled pixels of the images in which it occurs (Eigen & Fergus 2015,
    https://arxiv.org/abs/1411.4734); its weight is the median of all frequencies over its own. A class that fills the
    few images it is in is therefore not taken for rare.

    Args:
        counts: (N, K) pixels of each class in each image.

    Returns:
        (K,) above 0; 1 for a class that does not occur.

    Raises:
        ParameterError: Counts that are none.
    """
    table = _checked(counts)
    seen = (table.sum(axis=1, keepdims=True) * (table > 0)).sum(axis=0)
    total = table.sum(axis=0)
    occurs = total > 0
    frequency = np.divide(total, seen, where=occurs, out=np.ones(len(total)))
    return np.where(occurs, np.median(frequency[occurs]) / frequency, 1.0)


def inverse_frequency(counts: npt.ArrayLike) -> Weights:
    """Weights as 1 / pixels of the class, scaled to a mean of 1 over the classes that occur.

    Args:
        counts: (N, K) pixels of each class in each image.

    Returns:
        (K,) above 0; 1 for a class that does not occur.

    Raises:
        ParameterError: Counts that are none.
    """
    total = _checked(counts).sum(axis=0)
    return _scaled_inverse(total.astype(np.float64), total > 0)


def effective_number(counts: npt.ArrayLike, beta: float = 1 - 1e-6) -> Weights:
    """Weights as (1 − β) / (1 − βⁿ) for a class of n pixels, scaled to a mean of 1 over the classes that occur.

    Cui et al. 2019, "Class-Balanced Loss Based on Effective Number of Samples", https://arxiv.org/abs/1901.05555: of n
    samples that resemble each other, (1 − βⁿ) / (1 − β) count, at most N = 1 / (1 − β). The paper's largest N, ten
    thousand, is meant for images; nearly every class has more pixels than that, and all would weigh the same. Here N is
    a million: above it a class counts as common, and far below it this is the inverse frequency.

    Args:
        counts: (N, K) pixels of each class in each image.
        beta: 0 <= beta < 1; 0 weighs all classes alike.

    Returns:
        (K,) above 0; 1 for a class that does not occur.

    Raises:
        ParameterError: Counts that are none, or beta out of range.
    """
    if not 0 <= beta < 1:
        raise ParameterError(f"beta {beta} is out of range; give 0 <= beta < 1, such as 0.999999")
    total = _checked(counts).sum(axis=0)
    # −expm1(n·log β) is 1 − βⁿ without the cancellation for β near 1.
    effective = -np.expm1(total * math.log(beta)) if beta else np.sign(total).astype(np.float64)
    return _scaled_inverse(effective, total > 0)


def _checked(counts: npt.ArrayLike) -> Counts:
    table = np.asarray(counts)
    if table.ndim != 2 or not np.issubdtype(table.dtype, np.integer) or (table < 0).any():
        raise ParameterError(
            f"pixel counts of shape {table.shape} and type {table.dtype}: give (images, classes) integers from 0 up"
        )
    if not table.any():
        raise ParameterError(f"no pixel of {len(table)} images has a class; give labels that are not all to be ignored")
    return table.astype(np.int64)


def _scaled_inverse(amounts: Weights, occurs: npt.NDArray[np.bool_]) -> Weights:
    """1 / amount with mean 1 where a class occurs, 1 elsewhere."""
    inverse = np.divide(1.0, amounts, where=occurs, out=np.ones(len(amounts)))
    return np.where(occurs, inverse / inverse[occurs].mean(), 1.0)
