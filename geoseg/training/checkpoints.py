"""Checkpoints: written whole or not at all, read without running code."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO

from geoseg.errors import ModelError
from geoseg.training.runs import whole_file


class SafeCheckpoints(TorchCheckpointIO):
    """What Lightning saves and loads checkpoints with.

    Lightning would load whatever a pickle holds, and write where a kill leaves half a file.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint; it stands under its name only when it is complete."""
        del storage_options
        save_state(checkpoint, Path(path))

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint: tensors and plain values, nothing else."""
        del map_location, weights_only
        return load_state(Path(path))


def save_state(state: dict[str, Any], path: Path) -> None:
    """Write tensors and plain values.

    Raises:
        OutputError: The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        torch.save(state, temporary)


def load_state(path: Path) -> dict[str, Any]:
    """Read what :func:`save_state` wrote, to the CPU.

    Raises:
        ModelError: The file is damaged, or holds more than tensors and plain values.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{path} is no readable checkpoint ({str(error).splitlines()[0]}); start the run over with --overwrite"
        ) from error
    return state
