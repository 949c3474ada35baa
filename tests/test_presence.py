"""The auxiliary head in training: its loss, its weight, and that nothing is left of it afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from small_training import config, source
from test_task import FixedBatches, batch, learn, plain

from geoseg.models import create_model, load_model, read_spec
from geoseg.models.auxiliary import has_auxiliary
from geoseg.training.presence import AUXILIARY_WEIGHT, presence_loss, whole_loss
from geoseg.training.runs import RunFolder
from geoseg.training.workflow import train_on

SMALL = {"encoder": "resnet18", "decoder_channels": [16, 8, 8, 8, 4]}
HEAD = {**SMALL, "aux_params": {"pooling": "avg", "dropout": 0.1}}


def test_it_is_the_cross_entropy_of_what_occurs() -> None:
    generator = torch.Generator().manual_seed(0)
    presence = torch.randn((3, 4), generator=generator)
    indices = torch.randint(0, 2, (3, 5, 6), generator=generator)
    indices[0, :2], indices[1], indices[2, 0, 0] = 255, 255, 3
    losses = []
    for chip in (0, 2):  # in the other nothing is labelled
        seen = set(indices[chip].unique().tolist()) - {255}
        probabilities = torch.sigmoid(presence[chip]).double()
        losses.append(np.mean([-np.log(p if k in seen else 1 - p) for k, p in enumerate(probabilities.tolist())]))
    assert presence_loss(presence, indices).item() == pytest.approx(np.mean(losses), rel=1e-6)
    of_map = torch.tensor(2.0)
    assert whole_loss(of_map, presence, indices, 0.5).item() == pytest.approx(2 + 0.5 * np.mean(losses), rel=1e-6)
    assert whole_loss(of_map, None, indices, 0.5) is of_map


def test_nothing_labelled_says_nothing() -> None:
    presence = torch.randn((2, 3), generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = presence_loss(presence, torch.full((2, 4, 4), 255))
    loss.backward()
    assert loss.item() == 0
    assert presence.grad is not None
    assert not presence.grad.any()


def test_half_precision_is_summed_in_float32() -> None:
    logits = torch.full((1, 3), 9.0)
    indices = torch.zeros((1, 2, 2), dtype=torch.int64)
    found = presence_loss(logits.bfloat16(), indices)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, presence_loss(logits, indices))


def test_the_weight_weighs(tmp_path: Path) -> None:
    """The first loss is that of the map and so many times that of the head."""

    def first_loss(weight: float | None) -> float:
        settings = plain(
            trainer={"epochs": 1, "steps": 1},
            model={"architecture": "smp.unet", "options": HEAD},
            loss={"expression": "ce", "auxiliary": weight},
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = create_model("smp.unet", bands=2, classes=3, **HEAD)
        return learn(tmp_path / str(weight), settings, FixedBatches([wide()]), network)[1].history[0].loss

    half, one, two = (first_loss(weight) for weight in (0.5, 1.0, 2.0))
    assert one > half
    assert two - one == pytest.approx(2 * (one - half), rel=1e-4)
    assert first_loss(None) == pytest.approx(one - 2 * (1 - AUXILIARY_WEIGHT) * (one - half), rel=1e-4)


def wide() -> Any:
    """Chips of 32 px of four of 16."""
    small = [batch(seed) for seed in range(4)]
    rows = [[torch.cat([getattr(small[2 * r + c], name) for c in (0, 1)], dim=-1) for r in (0, 1)]
            for name in ("pixels", "indices")]  # fmt: skip
    pixels, indices = (torch.cat(pair, dim=-2) for pair in rows)
    return type(small[0])(pixels, None, indices, small[0].where)


def test_the_file_of_a_training_holds_no_head_and_starts_another(tmp_path: Path) -> None:
    settings = config(
        model={"architecture": "smp.unet", "options": HEAD},
        loss={"auxiliary": 0.4},
        trainer={"epochs": 1},
        chips={"per_epoch": 4},
    )
    run = train_on(source(), settings, RunFolder(tmp_path / "small"))
    spec = read_spec(run.model)
    assert spec.options == SMALL
    network, _ = load_model(run.model)
    assert not has_auxiliary(network)
    assert network(torch.zeros(1, 2, 32, 32)).shape == (1, 3, 32, 32)
    again = settings.model_copy(
        update={"name": "again", "model": settings.model.model_copy(update={"init": str(run.model)})}
    )
    second = train_on(source(), again, RunFolder(tmp_path / "again"))
    assert any("3 classes taken over by name" in note for note in second.notes)


def test_a_weight_needs_a_head() -> None:
    with pytest.raises(
        ValidationError, match=r"loss.auxiliary weighs nothing: model.options asks for no auxiliary head"
    ):
        config(loss={"auxiliary": 0.4})
    with pytest.raises(ValidationError, match="greater than 0"):
        config(loss={"auxiliary": 0}, model={"options": HEAD})
    with pytest.raises(ValidationError, match="auxilary"):
        config(loss={"auxilary": 0.4}, model={"options": HEAD})
