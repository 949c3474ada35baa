"""Model files: what is saved is loaded, every architecture; what is not ours is refused in one line."""

from __future__ import annotations

import json
import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save_file as save_arrays
from scenes import write_spec
from smp_networks import SMP
from torch import nn

from geoseg.config import ModelSpec
from geoseg.errors import GeosegError, MissingFileError, ModelError, OutputError, OutputExistsError
from geoseg.metrics import confusion_matrix
from geoseg.models import (
    builtin_models,
    create_model,
    file_hash,
    load_model,
    read_spec,
    resolve_model,
    save_model,
    stride_multiple,
)

OWN = [
    ("segnet", {}),
    ("unet", {"width": 4, "depth": 3}),
    ("unet", {"width": 4, "depth": 2, "batch_norm": False, "upsampling": "bilinear"}),
]


def spec_of(architecture: str, options: dict[str, Any], **more: Any) -> ModelSpec:
    fields: dict[str, Any] = {
        "name": "tiny",
        "architecture": architecture,
        "options": options,
        "bands": ("a", "b"),
        "classes": [{"id": i, "name": f"class {i}", "color": "#112233"} for i in (1, 2, 3)],
        "mean": (1.0, 2.0),
        "std": (3.0, 4.0),
        "value_range": (0.0, 255.0),
    }
    return ModelSpec.model_validate({**fields, **more})


def build(spec: ModelSpec) -> nn.Module:
    torch.manual_seed(3)
    model = create_model(spec.architecture, bands=2, classes=3, **spec.options)
    for module in model.modules():  # running statistics that are not the initial ones
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
    return model.eval()


def tiny() -> tuple[nn.Module, ModelSpec]:
    spec = spec_of("unet", {"width": 2, "depth": 2})
    return build(spec), spec


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    save_model(path, *tiny())
    return path


@pytest.mark.parametrize(("architecture", "options"), [*OWN, *SMP])
def test_saved_is_loaded(architecture: str, options: dict[str, Any], tmp_path: Path) -> None:
    spec = spec_of(architecture, options)
    model = build(spec)
    height, width = (n * stride_multiple(model) for n in ((2, 1) if architecture.startswith("smp.") else (19, 33)))
    path = tmp_path / "model.safetensors"
    save_model(path, model, spec)
    loaded, read = load_model(path)
    assert read == spec == read_spec(path)
    assert not loaded.training
    x = torch.randn(1, 2, height, width)
    with torch.inference_mode():
        logits = loaded(x)
        assert torch.equal(logits, model(x))
    assert logits.shape == (1, 3, height, width)
    assert logits.dtype == torch.float32


def test_half_rounds_weights_and_keeps_statistics(tmp_path: Path) -> None:
    model, spec = tiny()
    variance = model.get_buffer("down.0.1.running_var")
    variance[0] = 1e9  # beyond float16
    save_model(tmp_path / "half.safetensors", model, spec, half=True)
    loaded, _ = load_model(tmp_path / "half.safetensors")
    with safe_open(tmp_path / "half.safetensors", framework="np") as file:
        assert file.get_slice("classifier.weight").get_dtype() == "F16"
    for name, tensor in loaded.state_dict().items():
        original = model.state_dict()[name]
        assert tensor.dtype == original.dtype
        exact = name.endswith(("running_mean", "running_var", "num_batches_tracked"))
        assert torch.equal(tensor, original if exact else original.half().float()), name


@pytest.mark.parametrize(("value", "half"), [(float("nan"), False), (float("inf"), False), (1e5, True)])
def test_weights_that_cannot_be_stored(value: float, half: bool, tmp_path: Path) -> None:
    model, spec = tiny()
    with torch.no_grad():
        model.get_parameter("classifier.bias")[0] = value
    with pytest.raises(ModelError, match=r"classifier\.bias holds values"):
        save_model(tmp_path / "m.safetensors", model, spec, half=half)
    assert not list(tmp_path.iterdir())


def test_equal_models_give_equal_files_and_no_others_appear(saved: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_model(other, *tiny())
    assert file_hash(other) == file_hash(saved)
    assert len(file_hash(saved)) == 64
    assert sorted(p.name for p in tmp_path.iterdir()) == ["other.safetensors", "tiny.safetensors"]


def test_a_model_file_can_be_read_by_whoever_may_read_new_files(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "new").touch()
    assert saved.stat().st_mode == (tmp_path / "new").stat().st_mode


def test_saving_and_loading_leave_the_random_numbers_alone(tmp_path: Path) -> None:
    model, spec = tiny()
    state = torch.get_rng_state()
    save_model(tmp_path / "m.safetensors", model, spec)
    load_model(tmp_path / "m.safetensors")
    assert torch.equal(torch.get_rng_state(), state)


def test_an_existing_file_stays(saved: Path) -> None:
    before = saved.read_bytes()
    model, spec = tiny()
    with pytest.raises(OutputExistsError, match="exists"):
        save_model(saved, model, spec)
    assert saved.read_bytes() == before
    save_model(saved, model, spec_of("unet", spec.options, name="new"), overwrite=True)
    assert read_spec(saved).name == "new"


def test_outputs_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"absent.*cannot be written"):
        save_model(tmp_path / "absent" / "m.safetensors", *tiny())
    with pytest.raises(OutputError, match=r"ends in \.safetensors, not \.pth"):
        save_model(tmp_path / "m.pth", *tiny())


def test_a_model_that_is_not_what_its_spec_says_is_not_saved(tmp_path: Path) -> None:
    model, _ = tiny()
    with pytest.raises(ModelError, match=r"the network to save does not fit its spec: \d+ of \d+ tensors differ"):
        save_model(tmp_path / "m.safetensors", model, spec_of("unet", {"width": 3, "depth": 2}))


def test_reading_a_spec_needs_no_torch(saved: Path) -> None:
    code = (
        "import sys\nfrom geoseg.models import read_spec, resolve_model\n"
        "assert read_spec(resolve_model(sys.argv[1])).name == 'tiny'\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
    )
    subprocess.run([sys.executable, "-c", code, str(saved)], check=True, timeout=60)


def test_loading_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of("smp.fpn", {"encoder": "resnet18"})
    save_model(tmp_path / "m.safetensors", build(spec), spec)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    load_model(tmp_path / "m.safetensors")


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("exploded",)


def _damage(path: Path, kind: str) -> None:
    """Files that hold no tensors at all."""
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Bomb()))
    elif kind == "checkpoint":
        torch.save({"state_dict": Bomb()}, path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_text("this is no model" if kind == "text" else "")


def _headers() -> dict[str, dict[str, str] | None]:
    """Headers that are not what a model file says, or not true of its tensors."""
    spec = tiny()[1].model_dump(mode="json")
    return {
        "no header": None,
        "other header": {"format": "pt"},
        "no json": {"geoseg": "{"},
        "no spec": {"geoseg": "{}"},
        "wrong tensors": {"geoseg": json.dumps(spec)},
        "no architecture": {"geoseg": json.dumps({**spec, "architecture": "os.system"})},
        "bad option": {"geoseg": json.dumps({**spec, "options": {"wdth": 2}})},
        "taken option": {"geoseg": json.dumps({**spec, "options": {"encoder_weights": "x.pth"}})},
        "foreign encoder": {
            "geoseg": json.dumps({**spec, "architecture": "smp.unet", "options": {"encoder": "tu-hf-hub:a/b"}})
        },
    }


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("pickle", "is a pickled checkpoint"),
        ("checkpoint", "is a pickled checkpoint"),
        ("text", "damaged or no .safetensors"),
        ("empty", "damaged or no .safetensors"),
        ("no header", "not a geoseg model"),
        ("other header", "not a geoseg model"),
        ("no json", "model spec is not valid"),
        ("no spec", "model spec is not valid at 'name'"),
        ("wrong tensors", "does not fit its spec"),
        ("no architecture", "no architecture 'os.system'"),
        ("bad option", "no option 'wdth'"),
        ("taken option", "options encoder_weights"),
        ("foreign encoder", "no encoder 'tu-hf-hub:a/b'"),
        ("folder", "is a folder"),
    ],
)
def test_what_is_not_ours_is_refused_in_one_line(
    kind: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "m.safetensors"
    headers = _headers()
    if kind in headers:
        save_arrays({"a": np.zeros(3, np.float32)}, path, headers[kind])
    else:
        _damage(path, kind)
    with pytest.raises(ModelError, match=message) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("kept", [0, 4, 9, 100, -1, -1000])
def test_a_truncated_file_is_damaged(saved: Path, kept: int) -> None:
    saved.write_bytes(saved.read_bytes()[:kept])
    with pytest.raises(ModelError, match="damaged") as caught:
        read_spec(saved)
    assert "\n" not in str(caught.value)


def test_missing_files(tmp_path: Path) -> None:
    for function in (read_spec, load_model, file_hash, resolve_model):
        with pytest.raises(MissingFileError, match="absent"):
            function(tmp_path / "absent.safetensors")  # type: ignore[operator]


def test_names_are_paths_then_runs_then_builtin(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = tmp_path / "runs"
    for name in ("meadow", "unet"):
        (runs / name).mkdir(parents=True)
        (runs / name / "model.safetensors").write_bytes(saved.read_bytes())
    (runs / "unfinished").mkdir()
    assert resolve_model(saved) == saved
    assert resolve_model("meadow", runs) == runs / "meadow/model.safetensors"
    assert resolve_model("unet", runs) == runs / "unet/model.safetensors"
    assert resolve_model("unet", tmp_path / "none") == builtin_models()["unet"]
    monkeypatch.chdir(tmp_path)
    assert resolve_model("meadow") == Path("runs/meadow/model.safetensors")
    for unknown in ("medow", "unfinished", "..", "."):
        with pytest.raises(GeosegError):
            resolve_model(unknown, runs)
    with pytest.raises(ModelError, match=r"no model 'medow', did you mean 'meadow'\?; there are: unet, meadow"):
        resolve_model("medow", runs)


def test_the_builtin_unet_is_sound() -> None:
    path = builtin_models()["unet"]
    spec = read_spec(path)
    assert path.stat().st_size < 15e6
    assert spec.legend.names == ("forest", "non-forest")
    assert (spec.bands, spec.dtype, spec.gsd, spec.tile_size) == (("red", "green", "blue"), "uint8", 10.0, 512)
    assert "CC BY 4.0" in spec.license
    assert "Bragagnolo" in spec.license
    assert spec.metrics["mean_iou"] >= 0.87
    with safe_open(path, framework="np") as file:
        assert {str(file.get_slice(name).get_dtype()) for name in file.keys()} == {"F16", "F32", "I64"}  # noqa: SIM118


def test_the_builtin_unet_has_the_figures_that_it_states(shared_data: Path) -> None:
    """All validation pixels in one matrix, each image in one piece, on what is stored."""
    import rasterio

    model, spec = load_model(builtin_models()["unet"])
    counts = np.zeros((2, 2), np.int64)
    for path in sorted((shared_data / "amazon_forest/validation/images").glob("*.tiff")):
        with rasterio.open(path) as source:
            pixels = source.read()
        with Image.open(path.parents[1] / "masks" / f"{path.stem}.png") as image:
            truth = np.asarray(image)
        with torch.inference_mode():
            logits = model(torch.from_numpy(spec.stats.normalize(pixels, np.ones(pixels.shape, np.bool_)))[None])
        labels = np.asarray(spec.legend.ids, np.uint8)[logits[0].argmax(dim=0).numpy()]
        counts += confusion_matrix(truth, labels, spec.legend.ids)
    hits = np.diag(counts)
    iou = hits / (counts.sum(axis=0) + counts.sum(axis=1) - hits)
    assert counts.sum() == 8 * 512 * 512
    np.testing.assert_allclose(iou, [spec.metrics["iou_forest"], spec.metrics["iou_non-forest"]], atol=5e-4)
    np.testing.assert_allclose(iou.mean(), spec.metrics["mean_iou"], atol=5e-4)
    np.testing.assert_allclose(hits.sum() / counts.sum(), spec.metrics["overall_accuracy"], atol=5e-4)


@pytest.mark.parametrize("length", [0x0280, 0x0380, 0x0480, 0x0580])
def test_a_header_whose_length_begins_like_a_pickle_is_a_header(tmp_path: Path, length: int) -> None:
    """A .safetensors file begins with the length of its header, whose low byte may be that of a pickle."""
    path = write_spec(tmp_path / "m.safetensors")
    [size] = struct.unpack("<Q", path.read_bytes()[:8])
    data = path.read_bytes()
    assert size <= 0x0680
    padded = data[8 : 8 + size].rstrip() + b" " * 0x10000
    whole = length + 0x10000
    path.write_bytes(struct.pack("<Q", whole) + padded[:whole].ljust(whole) + data[8 + size :])
    assert read_spec(path).name == "tiny"
