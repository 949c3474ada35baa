"""Model files with torch: save and load."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from geoseg.config import ModelSpec
from geoseg.errors import ModelError, OutputError, OutputExistsError
from geoseg.models.files import HEADER_KEY, read_spec
from geoseg.models.registry import create_model

State = dict[str, torch.Tensor]

# Running statistics of normalisation layers: a variance may lie outside float16's range, and they are small.
_STATISTICS = ("running_mean", "running_var")


def save_model(path: Path, model: nn.Module, spec: ModelSpec, *, half: bool = False, overwrite: bool = False) -> None:
    """Write a model file; it stands under its name only when it is complete.

    Args:
        path: Ends in ``.safetensors``.
        model: A network of ``create_model(spec.architecture, ...)``.
        spec: What the file says of itself. No date is added: equal models give equal files.
        half: Store float16 (running statistics stay float32): half the size, weights rounded to 11 bits.
        overwrite: Replace an existing file.

    Raises:
        OutputExistsError: The file exists.
        OutputError: The folder is missing or cannot be written.
        ModelError: The network is not what the spec says, or holds NaN, infinite or (with ``half``) too large weights.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise OutputError(f"a model file ends in .safetensors, not {path.suffix or 'nothing'}: {path}")
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} exists; give another name, or overwrite")
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    _check_fits(state, _build(spec).state_dict(), "the network to save")
    if half:
        state = {name: _halved(name, tensor) for name, tensor in state.items()}
    _check_finite(state)
    _write(path, state, {HEADER_KEY: spec.model_dump_json()})


def _halved(name: str, tensor: torch.Tensor) -> torch.Tensor:
    whole = not tensor.is_floating_point() or name.endswith(_STATISTICS)
    return tensor if whole else tensor.half()


def _check_finite(state: Mapping[str, torch.Tensor]) -> None:
    for name, tensor in state.items():
        if not torch.isfinite(tensor).all():
            kind = "half precision (above 65504); save without half" if tensor.dtype == torch.float16 else "use"
            raise ModelError(f"{name} holds values that are NaN, infinite or too large for {kind}")


def _write(path: Path, state: State, header: dict[str, str]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:  # safetensors' own writer makes files that only their owner can read
            file.write(save(state, header))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"{path} cannot be written: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def load_model(path: Path) -> tuple[nn.Module, ModelSpec]:
    """Rebuild a network from its file: float32, in ``eval()`` mode, on the CPU. Needs no network connection.

    Raises:
        MissingFileError: The file does not exist or cannot be read.
        ModelError: Not a geoseg model, damaged, or with other tensors than its architecture has.
    """
    path = Path(path)
    spec = read_spec(path)
    model = _build(spec)
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is damaged ({str(error).splitlines()[0]})") from error
    _check_fits(state, model.state_dict(), path.name)
    model.load_state_dict(state)  # casts to the model's float32
    return model.eval(), spec


def _build(spec: ModelSpec) -> nn.Module:
    """The network with random weights; the caller's random numbers go on as if this had not been."""
    with torch.random.fork_rng(devices=[]):
        return create_model(spec.architecture, bands=len(spec.bands), classes=len(spec.classes), **_plain(spec))


def _plain(spec: ModelSpec) -> dict[str, Any]:
    taken = sorted({"name", "bands", "classes", "encoder_weights"} & set(spec.options))
    if taken:
        raise ModelError(f"the spec of model {spec.name!r} has options {', '.join(taken)}, which are not options")
    return spec.options


def _check_fits(state: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor], what: str) -> None:
    """The same names, shapes and kinds of numbers.

    Raises:
        ModelError: Counts what differs and names the first.
    """
    different = sorted(
        set(state) ^ set(own)
        | {
            name
            for name in set(state) & set(own)
            if state[name].shape != own[name].shape or state[name].is_floating_point() != own[name].is_floating_point()
        }
    )
    if different:
        first = different[0]
        shapes = [str(tuple(s[first].shape)) if first in s else "absent" for s in (state, own)]
        raise ModelError(
            f"{what} does not fit its spec: {len(different)} of {len(own)} tensors differ, the first is {first}: "
            f"{shapes[0]}, the architecture has {shapes[1]}"
        )
