"""Moves of chips: flips and right angles without loss, and warps that interpolate pixels once and labels never."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from kornia.geometry.transform import get_rotation_matrix2d, remap

from geoseg.errors import ParameterError
from geoseg.legend import IGNORE_ID
from geoseg.training.draws import Draws

# Ronneberger et al. 2015, section 3.1: "random displacement vectors on a coarse 3 by 3 grid".
_NODES = 3


class ChipBatch(NamedTuple):
    """Chips, and what is known of each of their pixels.

    Attributes:
        pixels: (B, C, S, S) floating point, normalised; 0 where absent.
        present: (B, 1, S, S) or (B, C, S, S) bool.
        indices: (B, S, S) class indices, any integer type; 255 = ignore.
    """

    pixels: torch.Tensor
    present: torch.Tensor
    indices: torch.Tensor


def lay(chips: ChipBatch, flip: bool, right_angles: bool, draws: Draws) -> ChipBatch:
    """Lay each chip in one of the eight ways to lay a square: the same values, each in another place.

    Args:
        chips: Squares, for right angles.
        flip: Mirror left and right, and up and down, each with probability 1/2.
        right_angles: Turn by 0, 90, 180 or 270 degrees, each with probability 1/4.
        draws: Where chance comes from.

    Raises:
        ParameterError: Right angles, and chips that are no squares.
    """
    count, (height, width) = len(chips.pixels), chips.pixels.shape[-2:]
    if right_angles and height != width:
        raise ParameterError(f"chips of {height} x {width} px cannot be turned by right angles; cut squares")
    turns = draws.choices(4 if right_angles else 1, count)
    flips = draws.choices(4 if flip else 1, count)
    return ChipBatch(*(torch.stack(list(map(_laid, planes, turns, flips))) for planes in chips))


def _laid(plane: torch.Tensor, turn: int, flip: int) -> torch.Tensor:
    """``rot90(plane, turn)``, then mirrored up and down where ``flip & 1``, left and right where ``flip & 2``.

    A quarter turn is a transposition, which moves nothing in memory, and one flip: all is done in one copy.
    """
    mirrored = flip ^ (0, 1, 3, 2)[turn]
    return (plane.mT if turn % 2 else plane).flip(((), (-2,), (-1,), (-2, -1))[mirrored])


def warp(chips: ChipBatch, rotation: float, zoom: float, elastic: float, draws: Draws) -> ChipBatch:
    """Turn, zoom and deform at random, with one interpolation for all three.

    Args:
        chips: To be warped.
        rotation: Largest angle in degrees, either way; all angles up to it are equally likely.
        zoom: Factors of 1 / (1 + zoom) to 1 + zoom, their logarithm evenly distributed.
        elastic: Largest shift of the deformation in pixels; see :func:`elastic_shifts`.
        draws: Where chance comes from.
    """
    count, (height, width) = len(chips.pixels), chips.pixels.shape[-2:]
    factors = (1 + zoom) ** draws.around(1.0, count)
    places = affine_places(height, width, draws.around(rotation, count), factors)
    if elastic:
        places = places + elastic_shifts(height, width, elastic, draws.gaussian(count, 2, _NODES, _NODES))
    return resample(chips, places)


def affine_places(height: int, width: int, angles: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Where each pixel of a chip comes from that is turned and enlarged about its centre.

    Args:
        height: Rows.
        width: Columns.
        angles: (B,) degrees counter-clockwise as one sees it.
        factors: (B,) above 1 = larger.

    Returns:
        (B, 2, H, W) float32 columns and rows; 0 is the centre of the first pixel.
    """
    centre = angles.new_tensor([[(width - 1) / 2, (height - 1) / 2]]).expand(len(angles), 2)
    # The way back: from the new pixel to the old one.
    scales = (1 / factors)[:, None].expand(-1, 2)
    to_old: torch.Tensor = get_rotation_matrix2d(centre, -angles, scales)[..., None, None]
    cols = torch.arange(width, device=angles.device, dtype=angles.dtype)
    rows = torch.arange(height, device=angles.device, dtype=angles.dtype)[:, None]
    return to_old[:, :, 0] * cols + to_old[:, :, 1] * rows + to_old[:, :, 2]


def elastic_shifts(height: int, width: int, largest: float, nodes: torch.Tensor) -> torch.Tensor:
    """A smooth deformation: shifts of a coarse grid's nodes, interpolated with cubic splines to every pixel.

    Ronneberger et al. 2015, "U-Net", section 3.1, draw the nodes' shifts from a Gaussian with a standard deviation of
    10 px. Here it is half of ``largest``, and a field that goes beyond ``largest`` anywhere is weakened until it does
    not.

    Args:
        height: Rows.
        width: Columns.
        largest: Length in pixels that no shift exceeds.
        nodes: (B, 2, n, n) of mean 0 and variance 1.

    Returns:
        (B, 2, H, W) float32 pixels along columns and rows.
    """
    rows, cols = (_cubic(nodes.shape[-1], size, nodes.device) for size in (height, width))
    shifts = rows @ (nodes * (largest / 2)) @ cols.T
    longest = shifts.square().sum(dim=1, keepdim=True).amax(dim=(2, 3), keepdim=True).sqrt()
    return shifts.mul_((largest / longest).clamp(max=1))


def _cubic(nodes: int, size: int, device: torch.device) -> torch.Tensor:
    """(size, nodes) weights of the nodes for each pixel of a side; much faster than interpolating the plane."""
    line = torch.eye(nodes, device=device)[None, :, :, None]
    weights = F.interpolate(line, size=(size, 1), mode="bicubic", align_corners=True)
    return weights[0, :, :, 0].T


def resample(chips: ChipBatch, places: torch.Tensor) -> ChipBatch:
    """Fetch every pixel from its place: pixels bilinearly among those present, the others from the nearest pixel.

    What comes from outside is absent, and ignored. A pixel is the mean of its present neighbours, so that absent ones,
    which hold the band's mean, do not bleed into it. Zooms below 1/2 would alias.

    Args:
        chips: Any size.
        places: (B, 2, H, W) columns and rows.

    Returns:
        Chips of H x W.
    """
    bands = chips.pixels.shape[1]
    weights = chips.present.to(chips.pixels.dtype)
    x, y = places[:, 0], places[:, 1]
    values, share = remap(
        torch.cat([chips.pixels, weights], dim=1), x, y, mode="bilinear", align_corners=True
    ).split_with_sizes([bands, weights.shape[1]], dim=1)
    # Outside is 0; so that it is also "ignore", that is what labels are counted from.
    labels = (chips.indices.to(weights.dtype) - IGNORE_ID)[:, None]
    nearest = remap(torch.cat([weights, labels], dim=1), x, y, mode="nearest", align_corners=True)
    present = nearest[:, :-1] > 0.5
    indices = (nearest[:, -1] + IGNORE_ID).to(chips.indices.dtype)
    return ChipBatch(torch.where(present, values.div_(share), 0.0), present, indices)
