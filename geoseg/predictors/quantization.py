"""int8: post-training quantisation of a converted network, calibrated on the scene's own tiles."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from geoseg.errors import ModelError, ParameterError
from geoseg.predictors.conversion import Source
from geoseg.predictors.tiles import Tiles
from geoseg.predictors.toolkits import load_toolkit, quiet, reason_of

CALIBRATION_TILES = 32

REMEDY = "pip install nncf, or give --precision bf16"


def check_quantizable(network: nn.Module, name: str) -> None:
    """int8 breaks networks whose values have no common range.

    Raises:
        ModelError: Attention, or unpooling by the places of maxima; names the module.
    """
    for path, module in network.named_modules():
        kind = type(module).__name__
        if getattr(module, "max_unpooling", False) or isinstance(module, nn.MaxUnpool2d):
            reason = f"max-unpooling ({kind})"
        elif _is_attention(module):
            reason = f"a transformer ({kind} at {path})"
        else:
            continue
        raise ModelError(f"model {name!r} holds {reason}, which int8 breaks; give --precision bf16 or fp32")


def _is_attention(module: nn.Module) -> bool:
    """Self-attention by its name and its linear projections: squeeze-and-excitation has convolutions."""
    if isinstance(module, nn.MultiheadAttention):
        return True
    named = any(word in type(module).__name__.lower() for word in ("attention", "attn"))
    return named and any(isinstance(child, nn.Linear) for child in module.children())


def calibration_tiles(source: Source) -> list[Tiles]:
    """Up to ``CALIBRATION_TILES`` tiles of the scene, one in each.

    Raises:
        ParameterError: The scene has none.
    """
    batches = source.sample_tiles(CALIBRATION_TILES)
    singles = [batch.part(i, i + 1) for batch in batches for i in range(len(batch))][:CALIBRATION_TILES]
    if not singles:
        raise ParameterError("int8 is calibrated on tiles of the scene, but no tile has data; give --precision bf16")
    return singles


def tiles_hash(tiles: Sequence[Tiles]) -> str:
    """SHA-256 of what calibration sees."""
    digest = hashlib.sha256()
    for batch in tiles:
        digest.update(batch.values.tobytes())
        digest.update(batch.present.tobytes())
    return digest.hexdigest()


def quantized_files(source: Source, converted: Path, tiles: Sequence[Tiles], folder: Path) -> None:
    """Write ``model.xml`` and ``model.bin`` of a converted network in int8. The same tiles give the same files.

    Raises:
        ModelError: NNCF cannot quantise the network.
    """
    ov, nncf = load_toolkit("openvino", REMEDY), load_toolkit("nncf", REMEDY)

    def inputs(tile: Tiles) -> list[Any]:
        return [tile.values, np.ascontiguousarray(np.broadcast_to(tile.present, source.shape))]

    model = ov.Core().read_model(str(converted))
    try:
        with quiet(), _no_progress_bars():
            quantized = nncf.quantize(model, nncf.Dataset(list(tiles), inputs), subset_size=len(tiles))
    except Exception as error:  # whatever an unknown operation makes NNCF raise
        name = source.loaded.spec.name
        raise ModelError(f"NNCF cannot quantise model {name!r} ({reason_of(error)}); give --precision bf16") from error
    ov.save_model(quantized, str(folder / "model.xml"), compress_to_fp16=False)


@contextlib.contextmanager
def _no_progress_bars() -> Iterator[None]:
    """NNCF draws on stdout, which belongs to the result."""
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
