"""``geoseg models``: what each network costs is counted, not stated; what it is for and its paper are there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from geoseg import list_models
from geoseg.errors import ModelError
from geoseg.models import (
    architectures,
    create_model,
    describe_architecture,
    describe_architectures,
    macs_per_megapixel,
    receptive_radius,
    stride_multiple,
)
from geoseg.models.costs import _first_sentence, _link
from geoseg.models.reach import OwnNetwork
from geoseg.models.table import PAPERS, PURPOSES, RECEPTIVE_RADII, table_text


def test_every_architecture_has_a_complete_row() -> None:
    rows = describe_architectures()
    assert tuple(row.name for row in rows) == architectures()
    for row in rows:
        assert row.parameters > 100_000, row.name
        assert row.macs_per_megapixel > 10**9, row.name
        assert row.stride_multiple >= 1, row.name
        assert row.purpose, row.name
        assert row.paper.startswith("https://"), row.name
        assert (row.encoder is not None) == row.name.startswith("smp."), row.name
        known = row.encoder is None or row.name in RECEPTIVE_RADII
        assert (row.receptive_radius is None) == (row.depends_on_tile or not known), row.name


def test_words_are_there_for_networks_that_are() -> None:
    own = {name for name in architectures() if not name.startswith("smp.")}
    assert PAPERS.keys() == own
    assert own <= PURPOSES.keys()
    assert len(set(PURPOSES.values())) == len(PURPOSES)


@pytest.mark.parametrize("name", ["enet", "segnet-basic", "smp.fpn"])
def test_a_row_is_that_of_the_network(name: str) -> None:
    row, model = describe_architecture(name), create_model(name, bands=3, classes=8)
    assert row.parameters == sum(p.numel() for p in model.parameters())
    assert row.stride_multiple == stride_multiple(model)
    assert not isinstance(model, OwnNetwork) or row.receptive_radius == receptive_radius(model)


def counted(model: nn.Module, bands: int, side: int) -> float:
    """Multiplications for a pixel: what every convolution that runs does, by its shapes."""
    total = 0

    def count(layer: Any, given: tuple[torch.Tensor, ...], out: torch.Tensor) -> None:
        nonlocal total
        # Each output value of a convolution, and each input value of a transposed one, meets a filter's values once.
        places = given[0][0, 0].numel() if isinstance(layer, nn.ConvTranspose2d) else out[0, 0].numel()
        total += places * layer.weight.numel()

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(count)
    with torch.inference_mode():
        model.eval()(torch.zeros(1, bands, side, side))
    return total / side**2


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("unet", {"width": 4}),
        ("enet", {}),
        ("segnet", {"width": 4}),
        ("fcn8s", {"width": 2}),
        ("residual-unet", {"width": 4}),
    ],
)
def test_multiplications_are_those_of_the_convolutions(name: str, options: dict[str, Any]) -> None:
    with torch.device("meta"):
        model = create_model(name, bands=3, classes=5, **options)
    found = macs_per_megapixel(model, 3)
    assert found == pytest.approx(1e6 * counted(create_model(name, bands=3, classes=5, **options), 3, 64), rel=1e-6)


def test_describing_leaves_chance_as_it_was() -> None:
    describe_architecture.cache_clear()
    before = torch.get_rng_state()
    describe_architecture("unet")
    assert torch.equal(torch.get_rng_state(), before)


def test_an_unknown_name() -> None:
    with pytest.raises(ModelError, match="did you mean 'segnet'"):
        describe_architecture("segnt")


class Stranger(nn.Module):
    """`Stranger`__ is a network that SMP
    does not have yet. It does more.

    .. __:
        https://arxiv.org/abs/1234.56789

    """


def test_networks_that_come_later_speak_for_themselves() -> None:
    assert _first_sentence(Stranger) == "Stranger is a network that SMP does not have yet"
    assert _link(Stranger) == "https://arxiv.org/abs/1234.56789"
    Stranger.__doc__ = None
    assert _first_sentence(Stranger) == _link(Stranger) == ""


def test_the_table_is_printed_in_columns(tmp_path: Path) -> None:
    found = list_models(tmp_path)
    assert tuple(row.name for row in found.table) == found.architectures
    assert table_text(found.table) in str(found)
    assert f"encoders of smp: {len(found.encoders)}, such as efficientnet-b0, mit_b0, " in str(found)
    head, *rows = str(found).split("\n\n")[1].splitlines()
    assert len(rows) == len(found.table)
    start = head.index("for")
    for line, row in zip(rows, found.table, strict=True):
        assert line.startswith(f"{row.name} ")
        assert line[start:].startswith(row.purpose)
        assert line.endswith(row.paper)
    unet = next(line for line in rows if line.startswith("unet "))
    assert unet.split()[:6] == ["unet", "31.04", "M", "735.4", "1", "107"]


def test_json_has_every_figure() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "geoseg", "models", "--json"], capture_output=True, text=True, check=True, timeout=120
    )
    listed = json.loads(done.stdout)
    rows = {row["name"]: row for row in listed["table"]}
    assert tuple(rows) == architectures()
    row = describe_architecture("enet")
    assert rows["enet"] == {name: getattr(row, name) for name in type(row).__slots__}
    assert {"resnet34", "mit_b0", "mobilenet_v2"} < set(listed["encoders"])
    assert done.stderr == ""
