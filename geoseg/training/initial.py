"""Fine-tuning: a network starts from a model file, whose classes may be others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from geoseg.config import ModelSpec
from geoseg.errors import ModelError
from geoseg.models import architectures, create_model, load_model, resolve_model
from geoseg.models.auxiliary import lasting_options, lasting_state

State = Mapping[str, torch.Tensor]

Axes = tuple[int, ...]
"""The axes of a tensor along which there is one row for each class."""


@dataclass(frozen=True, slots=True)
class ClassMatch:
    """Which classes of a network come from which of another.

    Attributes:
        new: Indices in the new legend.
        old: Index in the old legend for each of these.
    """

    new: tuple[int, ...]
    old: tuple[int, ...]


def start_from(model: nn.Module, spec: ModelSpec, source: str | Path, *, runs: Path = Path("runs")) -> str:
    """Fill a network with the weights of a model file; classes are matched by name, whatever their ids and order.

    All of the network is taken over but an auxiliary head, which files of trainings do not hold, and the classifier:
    there, the rows of classes of the same name (upper or lower case) are, and classes that the file does not know keep
    the random start they have.

    Only weights are taken over. The network goes on with the statistics of the *new* data's bands: it was trained on
    bands of mean 0 and variance 1 and sees such again, whatever unit or sensor they come from, while the old statistics
    would shift and stretch other imagery away from what the weights and the running statistics of batch normalisation
    know. The temperature, which belongs to the old classes, is not taken over either.

    Args:
        model: From ``create_model`` for ``spec``; filled in place, or left as it is after an error.
        spec: Of the new model: architecture, options, bands and classes count.
        source: Path of a model file, or the name of a run or a built-in model.
        runs: Folder of training runs.

    Returns:
        What was taken over, in a sentence.

    Raises:
        MissingFileError: The file does not exist.
        ModelError: Not a model file, another architecture, other options, another number or order of bands.
    """
    path = resolve_model(source, runs)
    old, old_spec = load_model(path)
    _check_architecture(spec, old_spec, path)
    _check_bands(spec, old_spec, path)
    match = match_classes(old_spec.legend.names, spec.legend.names)
    axes = class_axes(model, spec)
    merged = _merged(lasting_state(model), lasting_state(old), axes, match)
    model.load_state_dict(model.state_dict() | merged)
    return _in_words(spec, old_spec, path, match)


def match_classes(old: Sequence[str], new: Sequence[str]) -> ClassMatch:
    """Classes of the same name; each is used once, and the very same name comes before the same but for case."""
    found: dict[int, int] = {}
    for same in (str, lambda name: " ".join(name.casefold().split())):
        free = {same(name): i for i, name in reversed(list(enumerate(old))) if i not in found.values()}
        for index, name in enumerate(new):
            if index not in found and same(name) in free:
                found[index] = free.pop(same(name))
    pairs = sorted(found.items())
    return ClassMatch(tuple(n for n, _ in pairs), tuple(o for _, o in pairs))


def class_axes(model: nn.Module, spec: ModelSpec) -> dict[str, Axes]:
    """Where a network has a row for each class: what grows when it is built for one class more.

    By that, not by names or shapes: networks name their classifiers as they like, and other tensors may happen to have
    as many rows as there are classes.

    Raises:
        ModelError: The network is not what the spec says, or it grows by other than one row.
    """
    classes = len(spec.classes)
    # For real, not on the meta device: some encoders compute with numbers while they are built.
    with torch.random.fork_rng(devices=[]):
        options = lasting_options(spec.options)
        grown = create_model(spec.architecture, bands=len(spec.bands), classes=classes + 1, **options)
    wider = grown.state_dict()
    own = lasting_state(model)
    _check_names(own, wider, "the network to fill", "its spec's")
    axes = {}
    for name, tensor in own.items():
        sizes = list(zip(tensor.shape, wider[name].shape, strict=True))
        axes[name] = tuple(axis for axis, (size, more) in enumerate(sizes) if size != more)
        if any(sizes[axis] != (classes, classes + 1) for axis in axes[name]):
            raise ModelError(
                f"{spec.architecture} has no single row per class in {name}: {tuple(tensor.shape)} becomes "
                f"{tuple(wider[name].shape)} with one class more; start without init"
            )
    return axes


def _merged(own: State, given: State, axes: Mapping[str, Axes], match: ClassMatch) -> dict[str, torch.Tensor]:
    """The given tensors, with the rows of other classes from ``own``.

    Raises:
        ModelError: Tensors that differ in other axes than those of classes.
    """
    _check_names(given, own, "the file", "the network's")
    new, old = torch.tensor(match.new, dtype=torch.int64), torch.tensor(match.old, dtype=torch.int64)
    merged = {}
    for name, tensor in own.items():
        block = given[name]
        for axis in axes[name]:
            block = block.index_select(axis, old)
        merged[name] = _put(tensor.detach().cpu(), block, axes[name], new)
        if merged[name].shape != tensor.shape:
            raise ModelError(f"{name} is {tuple(given[name].shape)} in the file, {tuple(tensor.shape)} in the network")
    return merged


def _put(values: torch.Tensor, block: torch.Tensor, axes: Axes, rows: torch.Tensor) -> torch.Tensor:
    """``values`` with ``block`` where all ``axes`` have one of ``rows``."""
    if not axes:
        return block
    inner = _put(values.index_select(axes[0], rows), block, axes[1:], rows)
    return values.index_copy(axes[0], rows, inner)


def _check_names(state: State, other: State, what: str, whose: str) -> None:
    different = sorted(set(state) ^ set(other))
    if different:
        raise ModelError(
            f"{what} has not {whose} tensors: {len(different)} are in one of both only, the first is {different[0]}"
        )


def _check_architecture(new: ModelSpec, old: ModelSpec, path: Path) -> None:
    options = [lasting_options(spec.options) for spec in (new, old)]
    if (_full_name(new), options[0]) != (_full_name(old), options[1]):
        raise ModelError(
            f"{path} is a {_full_name(old)} with options {options[1]}, and cannot start a {_full_name(new)} with "
            f"options {options[0]}; set model.architecture and model.options to the file's, or give the file as "
            "model.encoder_weights where the encoders are the same"
        )


def _full_name(spec: ModelSpec) -> str:
    """``create_model`` takes SMP's names without ``smp.`` too."""
    name = spec.architecture.lower()
    return name if name in architectures() else f"smp.{name}"


def _check_bands(new: ModelSpec, old: ModelSpec, path: Path) -> None:
    names = [", ".join(spec.bands) for spec in (old, new)]
    if len(new.bands) != len(old.bands):
        raise ModelError(
            f"{path} was trained on {len(old.bands)} bands ({names[0]}), the data have {len(new.bands)} ({names[1]}); "
            f"choose {len(old.bands)} with data.bands, or start without init"
        )
    before, now = ([band.casefold() for band in spec.bands] for spec in (old, new))
    if before != now and sorted(before) == sorted(now):
        raise ModelError(
            f"{path} was trained on the same bands in another order: {names[0]}, the data have {names[1]}; "
            "give data.bands in the file's order"
        )


def _in_words(new: ModelSpec, old: ModelSpec, path: Path, match: ClassMatch) -> str:
    taken = [new.legend.names[i] for i in match.new]
    anew = [name for i, name in enumerate(new.legend.names) if i not in match.new]
    left = [name for i, name in enumerate(old.legend.names) if i not in match.old]
    text = f"starts from {old.name} ({path}): {_listed(taken, 'taken over by name')}"
    text += f"; {_listed(anew, 'anew')}" if anew else ""
    text += f"; {_listed(left, 'of the file not used')}" if left else ""
    if [b.casefold() for b in new.bands] != [b.casefold() for b in old.bands]:
        text += f"; bands {', '.join(new.bands)} in the places of {', '.join(old.bands)}"
    return text + (f"; licence of its weights: {old.license}" if old.license else "")


def _listed(names: Sequence[str], what: str) -> str:
    count = f"{len(names)} {'class' if len(names) == 1 else 'classes'} {what}"
    return f"{count} ({', '.join(names)})" if names else count
