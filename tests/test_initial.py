"""Starting from a model file with other classes: which rows of the classifier go where, and what is refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from geoseg.config import ModelSpec
from geoseg.errors import MissingFileError, ModelError
from geoseg.legend import Legend
from geoseg.models import architectures, create_model, save_model
from geoseg.training import initial
from geoseg.training.initial import ClassMatch, class_axes, match_classes, start_from

SMALL: dict[str, dict[str, Any]] = {
    "unet": {"width": 3, "depth": 2}, "segnet": {}, "smp.dpt": {"encoder": "tu-vit_tiny_patch16_224"},
}  # fmt: skip
OWN = [name for name in architectures() if not name.startswith("smp.")]
OLD = ("water", "forest", "field", "road")
NEW = ("Road", "pond", "Forest")  # two of them known, in another order


def small(architecture: str) -> dict[str, Any]:
    """Options for a network that is quick to build."""
    return SMALL.get(architecture, {"width": 4} if architecture in OWN else {"encoder": "resnet18"})


def spec(architecture: str = "unet", classes: tuple[str, ...] = NEW, **changes: Any) -> ModelSpec:
    bands = changes.pop("bands", ("red", "green", "blue"))
    return ModelSpec(
        name=changes.pop("name", "m"), architecture=architecture,
        options=changes.pop("options", small(architecture)), bands=bands,
        classes=Legend.from_names(classes).to_records(), mean=(0.0,) * len(bands), std=(1.0,) * len(bands),
        value_range=(0, 255), **changes,
    )  # fmt: skip


def network(of: ModelSpec, seed: int = 0) -> nn.Module:
    """Random in every tensor, the statistics of normalisation layers too."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = create_model(of.architecture, bands=len(of.bands), classes=len(of.classes), **of.options)
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) if "running" in name else torch.randn_like(tensor) / 10)
            if tensor.shape[:2] == (len(of.classes),) * 2:  # FCN's upsampling: each class for itself, as it starts
                tensor.mul_(torch.eye(len(of.classes))[..., None, None])
    return model.eval()


def saved(folder: Path, of: ModelSpec, seed: int = 1) -> tuple[Path, nn.Module]:
    path, model = folder / "old.safetensors", network(of, seed)
    save_model(path, model, of, overwrite=True)
    return path, model


def logits(model: nn.Module, size: int = 64, bands: int = 3) -> torch.Tensor:
    with torch.inference_mode():
        result: torch.Tensor = model(torch.randn(1, bands, size, size, generator=torch.Generator().manual_seed(5)))
    return result


@pytest.mark.parametrize("architecture", [*OWN, "smp.unet", "smp.deeplabv3plus", "smp.segformer", "smp.upernet"])
def test_known_classes_answer_as_before(architecture: str, tmp_path: Path) -> None:
    """The logits of a class are those of its namesake, wherever both stand."""
    path, old = saved(tmp_path, spec(architecture, OLD))
    new_spec = spec(architecture)
    model = network(new_spec)
    fresh = copy.deepcopy(model)
    note = start_from(model, new_spec, path)
    before, after = logits(old), logits(model)
    torch.testing.assert_close(after[:, 0], before[:, 3])
    torch.testing.assert_close(after[:, 2], before[:, 1])
    assert "2 classes taken over by name (Road, Forest); 1 class anew (pond)" in note
    assert "2 classes of the file not used (water, field)" in note
    axes = class_axes(model, new_spec)
    rows = {name: tensor for name, tensor in model.state_dict().items() if axes[name]}
    assert rows
    for name, tensor in rows.items():  # the class that is new starts as it would have
        for axis in axes[name]:
            assert torch.equal(tensor.select(axis, 1), fresh.state_dict()[name].select(axis, 1))
    others = model.state_dict().keys() - rows.keys()
    assert all(torch.equal(model.state_dict()[name], old.state_dict()[name]) for name in others)


def test_the_same_number_of_classes_in_another_order(tmp_path: Path) -> None:
    """Shapes fit, and a classifier copied as it is would take fields for water."""
    path, old = saved(tmp_path, spec(classes=("water", "forest", "field")))
    new_spec = spec(classes=("FIELD", "water", "Forest"))
    model = network(new_spec)
    start_from(model, new_spec, path)
    torch.testing.assert_close(logits(model), logits(old)[:, [2, 0, 1]])


def test_the_same_legend_is_the_same_network(tmp_path: Path) -> None:
    path, old = saved(tmp_path, spec(classes=OLD))
    model = network(spec(classes=OLD))
    note = start_from(model, spec(classes=OLD), path)
    assert all(torch.equal(tensor, old.state_dict()[name]) for name, tensor in model.state_dict().items())
    assert note == f"starts from m ({path}): 4 classes taken over by name (water, forest, field, road)"


def test_no_class_is_known(tmp_path: Path) -> None:
    path, old = saved(tmp_path, spec(classes=("a", "b", "c")))
    model = network(spec())
    fresh = copy.deepcopy(model)
    assert "0 classes taken over by name; 3 classes anew (Road, pond, Forest)" in start_from(model, spec(), path)
    for name in ("classifier.weight", "classifier.bias"):
        assert torch.equal(model.get_parameter(name), fresh.get_parameter(name))
    assert torch.equal(model.get_parameter("down.0.0.weight"), old.get_parameter("down.0.0.weight"))


def test_as_many_classes_as_a_layer_has_rows(tmp_path: Path) -> None:
    """The classifier is found by what it is, not by a size that others have too."""
    options = {"options": {"width": 4, "depth": 2}}
    path, old = saved(tmp_path, spec(classes=("a", "b", "c", "d"), **options))
    new_spec = spec(classes=("d", "c", "b", "a"), **options)
    model = network(new_spec)
    start_from(model, new_spec, path)
    torch.testing.assert_close(logits(model), logits(old).flip(1))
    assert {name for name, axes in class_axes(model, new_spec).items() if axes} == {
        "classifier.weight",
        "classifier.bias",
    }


@pytest.mark.parametrize("architecture", architectures())
def test_the_classifier_of_every_architecture_is_found(architecture: str) -> None:
    new_spec = spec(architecture)
    found = {name: axes for name, axes in class_axes(network(new_spec), new_spec).items() if axes}
    assert {name.rpartition(".")[2] for name in found} == {"weight", "bias"}
    assert all(axes == (0,) for name, axes in found.items() if name.endswith("bias"))
    if architecture.startswith("fcn"):
        assert found["enlarging.weight"] == (0, 1)
    else:
        assert len(found) == 2
        assert set(found.values()) == ({(0,), (1,)} if architecture == "enet" else {(0,)})


@pytest.mark.parametrize("encoder", ["mit_b0", "tu-convnext_atto", "mobileone_s0"])
def test_encoders_of_other_kinds(encoder: str, tmp_path: Path) -> None:
    path, old = saved(tmp_path, spec("smp.fpn", OLD, options={"encoder": encoder}))
    new_spec = spec("fpn", options={"encoder": encoder})  # the same architecture by its shorter name
    model = network(new_spec)
    start_from(model, new_spec, path)
    torch.testing.assert_close(logits(model)[:, [0, 2]], logits(old)[:, [3, 1]])


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (("a", "b"), ("b", "a"), {0: 1, 1: 0}),
        (("Dry Land", "x"), ("dry  land",), {0: 0}),
        (("water", "Water"), ("Water", "water"), {0: 1, 1: 0}),
        (("water", "Water"), ("WATER",), {0: 0}),
        (("water",), ("Water", "water", "WATER"), {1: 0}),
        (("STRASSE",), ("straße",), {0: 0}),
        (("a",), ("b",), {}),
    ],
)
def test_names_are_matched(old: tuple[str, ...], new: tuple[str, ...], expected: dict[int, int]) -> None:
    match = match_classes(old, new)
    assert dict(zip(match.new, match.old, strict=True)) == expected


def test_rows_of_classes_along_two_axes() -> None:
    """As in FCN's upsampling, which maps scores to scores."""
    own, given = torch.zeros(3, 2, 3), torch.arange(32.0).reshape(4, 2, 4)
    merged = initial._merged({"w": own}, {"w": given}, {"w": (0, 2)}, ClassMatch(new=(0, 2), old=(3, 1)))["w"]
    expected = torch.zeros(3, 2, 3)
    for new, old in ((0, 3), (2, 1)):
        for new_to, old_to in ((0, 3), (2, 1)):
            expected[new, :, new_to] = given[old, :, old_to]
    assert torch.equal(merged, expected)


def test_random_numbers_go_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    path, _ = saved(tmp_path, spec(classes=OLD))
    model = network(spec())
    before = torch.get_rng_state()
    start_from(model, spec(), path)
    assert torch.equal(torch.get_rng_state(), before)


def test_by_the_name_of_a_run_and_of_a_built_in_model(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    path, old = saved(tmp_path, spec(classes=OLD, name="forests", license="CC BY 4.0"))
    path.rename(tmp_path / "first/model.safetensors")
    model = network(spec())
    note = start_from(model, spec(), "first", runs=tmp_path)
    assert note.startswith("starts from forests (")
    assert note.endswith("; licence of its weights: CC BY 4.0")
    assert torch.equal(model.get_parameter("down.0.0.weight"), old.get_parameter("down.0.0.weight"))
    with pytest.raises(ModelError, match="there is no model 'frst', did you mean 'first'"):
        start_from(model, spec(), "frst", runs=tmp_path)
    with pytest.raises(MissingFileError, match=r"none\.safetensors does not exist"):
        start_from(model, spec(), tmp_path / "none.safetensors")


def test_bands_of_other_names_are_told(tmp_path: Path) -> None:
    path, _ = saved(tmp_path, spec(classes=OLD))
    new_spec = spec(bands=("nir", "red", "green"))
    assert "; bands nir, red, green in the places of red, green, blue" in start_from(network(new_spec), new_spec, path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"options": {"width": 4, "depth": 2}},
            r"is a unet with options {'width': 3, 'depth': 2}, and cannot start a unet",
        ),
        (
            {"architecture": "smp.unet"},
            r"is a unet .* cannot start a smp\.unet with options {'encoder': 'resnet18'}; set",
        ),
        (
            {"bands": ("red", "green", "blue", "nir")},
            r"3 bands \(red, green, blue\), the data have 4 .*choose 3 with data",
        ),
        (
            {"bands": ("Blue", "Green", "Red")},
            "in another order: red, green, blue, the data have Blue, Green, Red; give",
        ),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path, _ = saved(tmp_path, spec(classes=OLD))
    new_spec = spec(**changes)
    model = network(new_spec)
    untouched = copy.deepcopy(model)
    with pytest.raises(ModelError, match=message) as caught:
        start_from(model, new_spec, path)
    assert "\n" not in str(caught.value)
    assert all(map(torch.equal, model.state_dict().values(), untouched.state_dict().values()))


def test_a_network_that_is_not_its_specs(tmp_path: Path) -> None:
    path, _ = saved(tmp_path, spec(classes=OLD))
    with pytest.raises(ModelError, match="the network to fill has not its spec's tensors: "):
        start_from(nn.Linear(3, 3), spec(), path)


def test_a_classifier_without_one_row_per_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as one that upsamples by shuffling channels."""

    def shuffling(*_: object, classes: int, **__: object) -> nn.Module:
        return nn.Conv2d(3, 4 * classes, 1)

    monkeypatch.setattr(initial, "create_model", shuffling)
    with pytest.raises(ModelError, match=r"no single row per class in weight: \(12, 3, 1, 1\) becomes \(16, 3, 1, 1\)"):
        class_axes(shuffling(classes=3), spec())
