"""The mean field of a truncated conditional random field, for one block of pixels, in torch.

Every pixel hears from all others within the radius: m_k = w_a · Σ A q_k / Σ A + w_s · Σ S q_k / Σ S, the sums over the
pixels with data around it, A falling with distance and with the difference of colour, S with distance alone. Then
q_k ∝ p_k · exp(m_k), with p what the network says. That is equation 2 and algorithm 1 of Krähenbühl & Koltun 2011 with
Potts compatibility; no pixel speaks to itself.

Bits matter here: a map must not show where it was cut. So blocks lie on a grid of the scene and are computed whole, in
one layout. On a CPU no operation is large enough for torch to share it out among threads: what is left is one order of
additions, whatever the machine has. It also stays in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import torch

from geoseg.refinement.options import Crf

# From 32768 elements on torch's element-wise operations take several threads.
_ELEMENTS = 2**15 - 1

# exp() of more is no float32; messages are at most the weights together.
_MOST = 80.0

_TINY = 1e-20
"""Less than any sum that counts; what Krähenbühl's own code adds before it divides."""


@torch.inference_mode()
def refined_block(scores: torch.Tensor, colours: torch.Tensor, present: torch.Tensor, crf: Crf) -> torch.Tensor:
    """Refine the middle of a block.

    Args:
        scores: (K, n, n) float32, probabilities; they need not sum to 1.
        colours: (C, n, n) float32, in standard deviations.
        present: (n, n) bool, False where there is no data, or nothing: such pixels neither speak nor are heard.
        crf: How.

    Returns:
        (K, n − 2·halo, n − 2·halo) float32, marginals that sum to 1; 0 where not ``present``.
    """
    known = present.float()[None]
    own = _shares(scores, known)
    pairs = _affinities(colours, crf)
    # What a message is divided by; without a neighbour there is no message either.
    alike, near = _norms(pairs, known, crf)
    marginals = own
    for iteration in range(crf.iterations):
        past = crf.radius * iteration
        marginals = _iterated(
            marginals,
            _within(pairs, past),
            _within(alike, past),
            _within(near, past),
            _within(own, past + crf.radius),
            crf,
        )
    return marginals


def _shares(scores: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """(K, n, n) probabilities that sum to 1 where there is data, else to 0."""
    shares = torch.empty_like(scores)
    for first, end in _bands(scores.shape[1], scores.shape[2] * len(scores), scores.device):
        part = scores[:, first:end].clamp_min(0).mul_(known[:, first:end])
        torch.div(part, _summed(part).clamp_min_(_TINY), out=shares[:, first:end])
    return shares


def _norms(pairs: torch.Tensor, known: torch.Tensor, crf: Crf) -> tuple[torch.Tensor, torch.Tensor]:
    """(m, m) twice: the weight of each kernel over its sum around a pixel."""
    side = known.shape[-1] - 2 * crf.radius
    alike, near = known.new_empty((2, side, side))
    for first, end in _bands(side, known.shape[-1], known.device):
        alike[first:end] = crf.appearance_weight / (_from_alike(pairs, known, crf.radius, (first, end))[0] + _TINY)
        near[first:end] = crf.smoothness_weight / (_from_near(known, crf, (first, end))[0] + _TINY)
    return alike, near


def _iterated(
    marginals: torch.Tensor,
    pairs: torch.Tensor,
    alike: torch.Tensor,
    near: torch.Tensor,
    own: torch.Tensor,
    crf: Crf,
) -> torch.Tensor:
    """The marginals after an iteration, (K, m, m) from (K, n, n); m is n less the radius at each side."""
    found = torch.empty(own.shape, device=own.device)
    too_much = crf.appearance_weight + crf.smoothness_weight - _MOST
    for first, end in _bands(own.shape[1], marginals.shape[2] * len(own), own.device):
        heard = _from_alike(pairs, marginals, crf.radius, (first, end)).mul_(alike[first:end])
        heard.add_(_from_near(marginals, crf, (first, end)).mul_(near[first:end]))
        if too_much > 0:  # all classes alike: shares stay what they are
            heard.sub_(too_much)
        raised = heard.mul_(math.log2(math.e)).exp2_().mul_(own[:, first:end])
        torch.div(raised, _summed(raised).clamp_min_(_TINY), out=found[:, first:end])
    return found


def _within(planes: torch.Tensor, margin: int) -> torch.Tensor:
    """(..., n, n) less so many pixels at each side."""
    end = planes.shape[-1] - margin
    return planes[..., margin:end, margin:end]


def _bands(rows: int, elements: int, device: torch.device) -> Iterator[tuple[int, int]]:
    """(first, last + 1) of rows that are computed at once, where each has so many elements."""
    step = max(1, _ELEMENTS // elements) if device.type == "cpu" else rows
    return ((first, min(first + step, rows)) for first in range(0, rows, step))


@lru_cache(maxsize=8)
def _half(radius: int) -> tuple[tuple[int, int], ...]:
    """Steps (down, across) to a half of the pixels within the radius; the other half is opposite."""
    across = range(-radius, radius + 1)
    return tuple((y, x) for y in range(radius + 1) for x in across if y > 0 or x > 0)


def _affinities(colours: torch.Tensor, crf: Crf) -> torch.Tensor:
    """(D, n, n): the appearance kernel between a pixel and that by each step of :func:`_half`; else undefined."""
    bands, side, _ = colours.shape
    pairs = colours.new_empty((len(_half(crf.radius)), side, side))
    per_colour = -math.log2(math.e) / (2 * crf.colour**2 * bands)
    per_place = -math.log2(math.e) / (2 * crf.appearance**2)
    for (down, across), plane in zip(_half(crf.radius), pairs, strict=True):
        left, right = max(0, -across), side - max(0, across)
        for first, end in _bands(side - down, side, colours.device):
            total = torch.zeros((end - first, right - left), device=colours.device)
            for colour in colours:
                here = colour[first:end, left:right]
                step = colour[first + down : end + down, left + across : right + across] - here
                total.addcmul_(step, step)
            total.mul_(per_colour).add_(per_place * (down**2 + across**2))
            plane[first:end, left:right] = total.exp2_()
    return pairs


def _from_alike(pairs: torch.Tensor, marginals: torch.Tensor, radius: int, rows: tuple[int, int]) -> torch.Tensor:
    """(K, h, m): Σ A q over the pixels around each of some rows of the middle."""
    side = marginals.shape[-1] - 2 * radius
    heard = marginals.new_zeros((len(marginals), rows[1] - rows[0], side))
    (top, bottom), left, right = (row + radius for row in rows), radius, radius + side
    for (down, across), plane in zip(_half(radius), pairs, strict=True):
        there = slice(top + down, bottom + down), slice(left + across, right + across)
        heard.addcmul_(marginals[:, *there], plane[top:bottom, left:right])
        opposite = slice(top - down, bottom - down), slice(left - across, right - across)
        heard.addcmul_(marginals[:, *opposite], plane[opposite])
    return heard


def _from_near(marginals: torch.Tensor, crf: Crf, rows: tuple[int, int]) -> torch.Tensor:
    """(K, h, m): Σ S q over the pixels around each of some rows of the middle; S is a product of two."""
    radius, (first, end) = crf.radius, rows
    side = marginals.shape[-1] - 2 * radius
    tall = marginals[:, first + radius : end + radius].clone()
    heard = marginals.new_zeros((len(marginals), end - first, side))
    steps = [step for step in range(-radius, radius + 1) if step]
    weights = [math.exp(-(step**2) / (2 * crf.smoothness**2)) for step in steps]
    for step, weight in zip(steps, weights, strict=True):
        beside = marginals[:, first + radius + step : end + radius + step]
        tall.add_(beside, alpha=weight)
        heard.add_(beside[:, :, radius : radius + side], alpha=weight)
    for step, weight in zip(steps, weights, strict=True):
        heard.add_(tall[:, :, radius + step : radius + step + side], alpha=weight)
    return heard


def _summed(planes: torch.Tensor) -> torch.Tensor:
    """The sum over the first axis, in order."""
    total = planes[0].clone()
    for plane in planes[1:]:
        total.add_(plane)
    return total
