"""A slow mean field, all pairs of pixels in one matrix, that shares no code with geoseg's."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from geoseg.refinement import Crf
from geoseg.refinement.strips import Rows, StripRefiner
from geoseg.tiling import Window

Floats = npt.NDArray[np.float64]


def slow_crf(scores: npt.NDArray[Any], colours: npt.NDArray[Any], valid: npt.NDArray[np.bool_], crf: Crf) -> Floats:
    """(K, H, W) marginals after Krähenbühl & Koltun 2011, algorithm 1, each pair looked at only within the radius."""
    classes, height, width = scores.shape
    place = np.indices((height, width)).reshape(2, -1).astype(float)
    colour, known = colours.reshape(len(colours), -1).astype(float), valid.ravel()
    apart = place[:, :, None] - place[:, None, :]
    heard = (np.abs(apart).max(0) <= crf.radius) & known[None, :] & known[:, None]
    np.fill_diagonal(heard, val=False)
    squared = (apart**2).sum(0)
    unlike = ((colour[:, :, None] - colour[:, None, :]) ** 2).mean(0)
    alike = heard * np.exp(-squared / (2 * crf.appearance**2) - unlike / (2 * crf.colour**2))
    near = heard * np.exp(-squared / (2 * crf.smoothness**2))
    own = np.where(known, scores.reshape(classes, -1), 1.0).astype(float)
    own /= own.sum(0)
    q = own
    for _ in range(crf.iterations):
        message = np.zeros_like(q)
        for kernel, weight in ((alike, crf.appearance_weight), (near, crf.smoothness_weight)):
            message += weight * (q @ kernel.T) / (kernel.sum(1) + 1e-20)  # as their code does
        # Potts: what is said for other classes is a cost; all that is said is the same for every class.
        cost = -np.log(np.maximum(own, 1e-300)) + message.sum(0) - message
        q = np.exp(-cost)
        q /= q.sum(0)
    return np.asarray(np.where(known, q, 0.0).reshape(scores.shape))


def made_scene(
    height: int, width: int, classes: int = 3, planes: int | None = None, seed: int = 0
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Scores, colours and validity of noise, with holes and a margin without data."""
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet(np.ones(classes), (height, width)).transpose(2, 0, 1).astype(np.float32)
    if planes is not None:
        scores = np.concatenate([scores, rng.random((planes - classes, height, width), np.float32) / 2])
    valid = rng.random((height, width)) > 0.15
    valid[:, -2:] = False
    return np.ascontiguousarray(scores), rng.normal(size=(2, height, width)).astype(np.float32), valid


def refined(
    scene: tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.bool_]],
    crf: Crf,
    area: Window | None = None,
    step: int = 1000,
    classes: int = 3,
    executor: Any = None,
    device: str = "cpu",
) -> npt.NDArray[np.float32]:
    """An area of a scene through a refiner, so many rows at a time."""
    scores, colours, valid = (torch.from_numpy(planes).to(device) for planes in scene)
    height, width = valid.shape
    area = Window(0, 0, height, width) if area is None else area
    around = crf.around(area, height, width)
    refiner = StripRefiner(area, around, classes, crf, torch.device(device), executor)
    across, found, next_row = slice(around.col_off, around.col_end), [], area.row_off
    for top in range(around.row_off, around.row_end, step):
        down = slice(top, min(top + step, around.row_end))
        for window, rows, known in refiner.add(Rows(*(p[..., down, across] for p in (scores, colours, valid)))):
            assert (window.row_off, window.col_off, window.width) == (next_row, area.col_off, area.width)
            assert torch.equal(known, valid[window.row_off : window.row_end, window.col_off : window.col_end])
            found.append(rows.cpu().numpy())
            next_row = window.row_end
    assert next_row == area.row_end
    return np.concatenate(found, axis=1)
