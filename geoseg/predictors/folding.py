"""Batch normalisation folded into the convolution before it: one pass over memory less for each pair.

The pairs are found by watching which normalisation is given the very tensor that a convolution returned, so that it
does not matter how a network names or nests its layers. What comes out is compared with what was there before.
"""

from __future__ import annotations

import copy
import logging
from collections import Counter

import torch
from torch import nn

_log = logging.getLogger("geoseg")

# Largest change of a logit that folding may make, over the largest logit: float32 rounding through a deep network.
TOLERANCE = 1e-4

_Pair = tuple[str, str]


def folded(network: nn.Module, bands: int, side: int) -> nn.Module:
    """A network that computes the same with fewer layers, or the network itself where nothing can be folded.

    Args:
        network: In ``eval()`` mode, float32, on the CPU; not changed.
        bands: Input channels.
        side: Side of an input that the network takes.
    """
    probe = torch.randn(1, bands, side, side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before, pairs = _watched(network, probe)
        if not pairs:
            return network
        lean = copy.deepcopy(network)
        for convolution, norm in pairs:
            _fold(lean, convolution, norm)
        after = lean(probe)
    largest = float(before.abs().max())
    if float((after - before).abs().max()) <= TOLERANCE * largest:
        return lean
    _log.info("batch normalisation is left unfolded: folding would change the scores of this network")
    return network


def _watched(network: nn.Module, probe: torch.Tensor) -> tuple[torch.Tensor, list[_Pair]]:
    """The output, and the (convolution, normalisation) pairs that run once, one straight after the other."""
    outputs: dict[int, tuple[str, torch.Tensor]] = {}  # holds the tensors, so that no id is used twice
    pairs: list[_Pair] = []
    runs: Counter[str] = Counter()

    def after_convolution(name: str) -> object:
        def hook(_module: nn.Module, _args: object, output: torch.Tensor) -> None:
            runs[name] += 1
            outputs[id(output)] = (name, output)

        return hook

    def before_norm(name: str) -> object:
        def hook(_module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            runs[name] += 1
            if id(args[0]) in outputs:
                pairs.append((outputs[id(args[0])][0], name))

        return hook

    handles = []
    for name, module in network.named_modules():
        if _is_convolution(module):
            handles.append(module.register_forward_hook(after_convolution(name)))
        elif _is_norm(module):
            handles.append(module.register_forward_pre_hook(before_norm(name)))
    try:
        result: torch.Tensor = network(probe)
    finally:
        for handle in handles:
            handle.remove()
    followers = Counter(convolution for convolution, _ in pairs)
    return result, [(c, n) for c, n in pairs if runs[c] == runs[n] == followers[c] == 1]


def _is_convolution(module: nn.Module) -> bool:
    # timm's Conv2dSame is a Conv2d that pads first. Others of its subclasses change their weights as they go.
    if type(module).__name__ == "Conv2dSame":
        return isinstance(module, nn.Conv2d)
    return type(module) is nn.Conv2d or (type(module) is nn.ConvTranspose2d and module.groups == 1)


def _is_norm(module: nn.Module) -> bool:
    # timm's BatchNormAct2d is a BatchNorm2d that goes on with ``drop`` and ``act``.
    known = type(module) is nn.BatchNorm2d or (
        isinstance(module, nn.BatchNorm2d) and type(module).__name__ == "BatchNormAct2d"
    )
    return known and isinstance(module, nn.BatchNorm2d) and module.running_mean is not None


def _fold(network: nn.Module, convolution: str, norm: str) -> None:
    conv, batch_norm = network.get_submodule(convolution), network.get_submodule(norm)
    assert isinstance(conv, nn.Conv2d | nn.ConvTranspose2d)
    assert isinstance(batch_norm, nn.BatchNorm2d)
    gain, offset = _gain_and_offset(batch_norm)
    shape = (1, -1, 1, 1) if isinstance(conv, nn.ConvTranspose2d) else (-1, 1, 1, 1)
    weight = conv.weight.double() * gain.reshape(shape)
    bias = offset if conv.bias is None else offset + conv.bias.double() * gain
    conv.weight = nn.Parameter(weight.float(), requires_grad=False)
    conv.bias = nn.Parameter(bias.float(), requires_grad=False)
    rest = [m for m in (getattr(batch_norm, "drop", None), getattr(batch_norm, "act", None)) if m is not None]
    parent, _, name = norm.rpartition(".")
    setattr(network.get_submodule(parent), name, nn.Sequential(*rest) if rest else nn.Identity())


def _gain_and_offset(norm: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalisation as x · gain + offset, float64."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = torch.rsqrt(norm.running_var.double() + norm.eps)
    if norm.affine:
        gain = gain * norm.weight.double()
        return gain, norm.bias.double() - norm.running_mean.double() * gain
    return gain, -norm.running_mean.double() * gain
